"""The sentences and lists in the documents that have figures in them, from results.json."""

import textwrap
from collections.abc import Iterator
from typing import Any

from cases import FLOOR, RIVAL, US

SMALL, LARGE = "TLS, 1,000 parked", "TLS, 10,000 parked"
# Figure, as a column, format.
WATCHED = [
    ("connect_ms", "CPU to connect and poll, ms", ".2f"),
    ("reused_ms", "CPU a poll, reused, ms", ".2f"),
    ("kib", "KiB a poll", ".0f"),
    ("wall_s", "s over the holds", ".1f"),
]
CHECKED = [("check_ms", "CPU a key, ms", ".2f"), ("wall_s", "s", ".1f")]
ABOUT = 0.05  # a difference that is none


def measured(written: Any) -> str:
    """Return where the figures come from."""
    about = written["about"]
    runs = "one run" if about["rounds"] == 1 else f"medians of up to {about['rounds']} runs"
    return wrapped(
        f"Measured on {about['processors']} processor cores with Python {about['python']}, and "
        f"with asyncio's own event loop where nothing else is said; {runs}. Timings move from "
        "machine to machine: read the ratios."
    )


def wrapped(text: str) -> str:
    return textwrap.fill(text, 125, break_on_hyphens=False)


def compared(ours: float, theirs: float, whose: str) -> str:
    """Return in words what ours is of theirs."""
    ratio = ours / theirs
    if abs(ratio - 1) <= ABOUT:
        return f"about {whose}"
    return f"{ratio:.0%} of {whose}" if ratio < 1 else f"{ratio:.1f} times {whose}"


def of_rival(written: Any, case: str, figure: str) -> str:
    clients = written["cases"][case]["clients"]
    return compared(clients[US][figure], clients[RIVAL][figure], f"{RIVAL}'s")


def in_short(written: Any) -> str:
    """Return what a parked poll over TLS costs, next to aiohttp."""
    walls = {client: written["cases"][LARGE]["clients"][client]["wall_s"] for client in (US, RIVAL)}
    memory, small = of_rival(written, SMALL, "kib"), of_rival(written, SMALL, "reused_ms")
    large = of_rival(written, LARGE, "reused_ms")
    return wrapped(
        f"Over TLS, as it is used, the memory of a parked poll is {memory}, the CPU of a poll "
        f"{small} at 1,000 polls and {large} at 10,000. Beyond what "
        f"the server held them for, 10,000 polls took {walls[US]:.0f} s; with {RIVAL}, "
        f"{walls[RIVAL]:.0f} s."
    )


def cases(written: Any) -> str:
    """Return a table for each case, as Markdown."""
    return "\n\n".join("\n".join(case_lines(name, written)) for name in written["cases"])


def case_lines(name: str, written: Any) -> Iterator[str]:
    case = written["cases"][name]
    columns = CHECKED if case["what"]["at_once"] else WATCHED
    yield f"### {name}\n"
    yield "| client | " + " | ".join(title for _, title, _ in columns) + " | runs |"
    yield "|---|" + "---|" * (len(columns) + 1)
    for client, found in case["clients"].items():
        at = "" if found["keys"] == case["what"]["keys"] else f" (at {found['keys']:,})"
        cells = (format(found[figure], form) for figure, _, form in columns)
        yield f"| {client}{at} | " + " | ".join(cells) + f" | {found['runs']} |"


def behind(written: Any) -> str:
    """Return where others need less, as a list: the floor, which does nothing else, left out."""
    lines = []
    for name, case in written["cases"].items():
        ours = case["clients"][US]
        for figure, title, form in CHECKED if case["what"]["at_once"] else WATCHED:
            better = sorted(
                (found[figure], client)
                for client, found in case["clients"].items()
                if client not in {US, FLOOR}
                and found["keys"] == ours["keys"]
                and found[figure] < ours[figure] * (1 - ABOUT)
            )
            if better:
                others = ", ".join(f"{client} {value:{form}}" for value, client in better)
                lines.append(f"- {name}: {title}: {ours[figure]:{form}} here, but {others}.")
    return "\n".join(lines) or "Nowhere by more than a twentieth."


def libraries(written: Any) -> str:
    """Return which versions took part."""
    named = (f"{name} {version}" for name, version in written["about"]["libraries"].items())
    return wrapped(f"Versions: {', '.join(named)}.")
