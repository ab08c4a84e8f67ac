"""The figures as tables on a terminal."""

from collections.abc import Mapping
from typing import Any

from bounds import compared_with
from cases import ALL, FLOOR, RIVAL, Case
from rich.table import Table

# Figure, what it is called, its format, and whether ratios to others are shown.
WATCHED = [
    ("connect_ms", "connect and poll, CPU ms", ".2f", True),
    ("reused_ms", "poll, reused, CPU ms", ".3f", True),
    ("kib", "KiB a poll", ".0f", True),
    ("wall_s", "wall over the holds, s", ".1f", False),
]
CHECKED = [("check_ms", "CPU ms a key", ".3f", True), ("wall_s", "wall, s", ".1f", False)]


def of_case(name: str, case: Case, results: Mapping[str, Mapping[str, float]]) -> Table:
    """Return the table of one case; ratios are to aiohttp, then to the floor."""
    shown = Table(title=f"{name}; in brackets the ratios to {RIVAL} and to {FLOOR}")
    shown.add_column("client")
    columns = CHECKED if case.at_once else WATCHED
    for _, title, _, _ in columns:
        shown.add_column(title, justify="right")
    for client, found in results.items():
        keys = int(found["keys"])
        remarks = [f"at {keys:,} polls"] if keys != case.keys else []
        if not case.at_once and found["connections"] > keys + 1:
            remarks.append(f"{found['connections']:.0f} connections")
        row = [f"{client} ({', '.join(remarks)})" if remarks else client]
        for figure, _, form, compared in columns:
            cell = format(found[figure], form)
            if compared:
                ratios = (ratio(found, results.get(to, {}), figure) for to in (RIVAL, FLOOR))
                cell += f" ({' '.join(ratios)})"
            row.append(cell)
        shown.add_row(*row)
    return shown


def ratio(found: Mapping[str, float], to: Mapping[str, float], figure: str) -> str:
    # Memory of a few polls gets lost in what the process had free before.
    return f"{found[figure] / to[figure]:.2f}" if to.get(figure, 0) > 0.01 else "-"


def for_readme(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return what README.md shows, as Markdown: a row for each client, a dash for what is not."""
    columns = [
        ("TLS: ms to connect and poll", "TLS, 1,000 parked", "connect_ms", ".2f"),
        ("ms a poll, reused", "TLS, 1,000 parked", "reused_ms", ".2f"),
        ("KiB a poll", "TLS, 1,000 parked", "kib", ".0f"),
        ("10,000: ms a poll, reused", "TLS, 10,000 parked", "reused_ms", ".2f"),
        ("KiB a poll", "TLS, 10,000 parked", "kib", ".0f"),
        ("plain: ms a poll, reused", "plain, 1,000 parked", "reused_ms", ".2f"),
        ("KiB a poll", "plain, 1,000 parked", "kib", ".0f"),
        ("`check`: ms a key", "plain, check() of 5,000 keys", "check_ms", ".2f"),
    ]
    lines = [
        "| client | " + " | ".join(title for title, *_ in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for client in ALL:
        cells = [
            format(results[case][client][figure], form) if client in results[case] else "-"
            for _, case, figure, form in columns
        ]
        lines.append(f"| {client} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def of_bounds(judged: list[dict[str, Any]]) -> Table:
    shown = Table(title="little_pay_async against the bounds")
    for title in ("case", "figure", "divided by that of", "is", "at most", "aim", ""):
        shown.add_column(title, justify="right" if title in {"is", "at most", "aim"} else "left")
    for bound in judged:
        shown.add_row(
            bound["case"],
            bound["what"],
            compared_with(bound),
            f"{bound['ratio']:.2f}",
            f"{bound['at_most']:g}",
            "" if bound["aim"] is None else f"{bound['aim']:g}",
            "met" if bound["met"] else "NOT MET",
        )
    return shown
