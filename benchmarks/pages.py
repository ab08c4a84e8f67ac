"""Writes what the documents say of the figures, and their drawings, from results.json.

Between two lines like these, in README.md and docs/how-fast.md, stands what a function here
returns; all else is theirs:

    <!-- figures: NAME -->
    <!-- end of figures -->

`nox -s bench` does it at its end, `nox -s pictures` without measuring anything.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import growth
import plot
import prose
import tables

ROOT = Path(__file__).parent.parent
DOCUMENTS = (Path("README.md"), Path("docs/how-fast.md"))
DRAWINGS: dict[Path, Callable[[Any], str]] = {
    Path("docs/images/benchmarks.svg"): plot.draw,
    Path("docs/images/growth.svg"): growth.draw,
}
PARTS: dict[str, Callable[[Any], str]] = {
    "measured": prose.measured,
    "in short": prose.in_short,
    "overview": lambda written: tables.for_readme(clients_of(written)),
    "cases": prose.cases,
    "behind": prose.behind,
    "growth": growth.table,
    "libraries": prose.libraries,
}
PART = re.compile(r"(<!-- figures: ([\w ]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def clients_of(written: Any) -> dict[str, Any]:
    return {name: case["clients"] for name, case in written["cases"].items()}


def filled_in(text: str, written: Any) -> str:
    """Return a document with its figures."""
    return PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]](written)}\n\n{part[3]}", text)


def renewed(written: Any) -> dict[Path, str]:
    """Return what each file should hold."""
    texts = {
        document: filled_in((ROOT / document).read_text(encoding="utf-8"), written)
        for document in DOCUMENTS
    }
    return texts | {drawing: draw(written) for drawing, draw in DRAWINGS.items()}


def stale() -> list[str]:
    """Return the files that do not hold what they should."""
    return [
        str(path)
        for path, text in renewed(read()).items()
        if not (ROOT / path).exists() or (ROOT / path).read_text(encoding="utf-8") != text
    ]


def read() -> Any:
    return json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))


def write() -> None:
    for path, text in renewed(read()).items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is stale")
    if not parser.parse_args().check:
        write()
    elif found := stale():
        sys.exit(f"stale: {', '.join(found)}")
