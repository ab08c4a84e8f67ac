"""What `docs/what-happens-when.md` says by itself: its generated parts, and the figures in one.

Each nox session records what it has found under a name of its own:

    python tests/faults/figures.py "prefixes" "1,234 prefixes of 56 answers: none read as another"
"""

import json
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "what-happens-when.md"
_FIGURES = Path(__file__).with_suffix(".json")


def record(name: str, text: str) -> None:
    """Keep what a session found, in the place of what it found before, and put it on the page."""
    kept = figures() | {name: text}
    shown = json.dumps(dict(sorted(kept.items())), indent=2, ensure_ascii=False)
    _FIGURES.write_text(shown + "\n", encoding="utf-8")
    write("figures", table_of_figures())


def figures() -> dict[str, str]:
    """Return what the sessions have recorded, by name."""
    if not _FIGURES.exists():
        return {}
    found: dict[str, str] = json.loads(_FIGURES.read_text(encoding="utf-8"))
    return found


def table_of_figures() -> str:
    """Return the figures as the page shows them."""
    rows = [f"| {name} | {text} |" for name, text in figures().items()]
    return "\n".join(["| of what | found |", "|---|---|", *rows])


def write(part: str, text: str) -> None:
    """Replace a generated part of the page."""
    before, _, after = _around(part)
    PAGE.write_text(f"{before}\n{text}\n\n{after}", encoding="utf-8")


def read(part: str) -> str:
    """Return a generated part of the page."""
    return _around(part)[1].strip("\n")


def _around(part: str) -> tuple[str, str, str]:
    """Return the page up to a generated part, the part, and what follows it."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {part}: generated -->\n", f"<!-- end of {part} -->"
    assert page.count(begin) == page.count(end) == 1, f"no part {part!r} in {PAGE.name}"
    before, _, rest = page.partition(begin)
    inside, _, after = rest.partition(end)
    return before + begin, inside, end + after


if __name__ == "__main__":
    record(*sys.argv[1:])
