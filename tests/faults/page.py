"""The matrix as `docs/what-happens-when.md` shows it."""

import re
from collections.abc import Iterable

from . import figures
from .cells import Cell
from .matrix import every_cell
from .meanings import Kind
from .operations import OPERATIONS
from .rows import ROWS

FIGURE = "cells of the matrix"
_COLUMNS = {
    "`status`, `check`": Kind.GET,
    "`long_poll`": Kind.LONG_POLL,
    "`create_intent`, `process`, `refund`": Kind.MONEY,
    "`wait`, `watch`": Kind.WAIT,
    "`collect`": Kind.COLLECT,
    "`collect`: only its `process` is struck": Kind.COLLECT_PROCESS,
    "`collect`: only its GETs are struck": Kind.COLLECT_WAIT,
}
_WHOSE = {"pooled": "asyncio", "leasing": "trio, proxy"}


def show(verdicts: dict[Cell, str]) -> None:
    """Put the matrix on the page, and how many cells it has."""
    figures.write("matrix", table(verdicts))
    figures.record(FIGURE, figure())


def figure() -> str:
    """Return how much was played, in words."""
    cells = every_cell()
    return (
        f"{len(cells):,}: {len(ROWS)} faults, {len(OPERATIONS)} operations, plain and TLS, "
        "both transports; no request that moves money arrived twice"
    )


def table(verdicts: dict[Cell, str]) -> str:
    """Return the matrix: one line for each fault, or two where the transports differ."""
    by_row: dict[str, dict[Cell, str]] = {row.name: {} for row in ROWS}
    for cell, verdict in verdicts.items():
        by_row[cell.row.name][cell] = verdict
    lines = [_line("what happens", "over", *_COLUMNS), "|---" * (len(_COLUMNS) + 2) + "|"]
    for name, found in by_row.items():
        pooled, leasing = (_cells(found, transport) for transport in _WHOSE)
        if pooled == leasing:
            lines.append(_line(name, "both", *pooled))
        else:
            lines.append(_line(name, _WHOSE["pooled"], *pooled))
            lines.append(_line(name, _WHOSE["leasing"], *leasing))
    return "\n".join(lines)


def names() -> list[str]:
    """Return the faults of the table on the page, in its order."""
    rows = [line.split(" | ")[0].strip("| ") for line in figures.read("matrix").splitlines()[2:]]
    return list(dict.fromkeys(rows))


def faults() -> list[str]:
    """Return the kinds of faults that the page explains, in its order."""
    text = figures.PAGE.read_text(encoding="utf-8")
    section = text.partition("\n## Fault by fault\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| \*\*(.+?)\*\*", section, flags=re.MULTILINE)


def _cells(found: dict[Cell, str], transport: str) -> list[str]:
    of_it = {cell: verdict for cell, verdict in found.items() if cell.transport == transport}
    return [
        _alike({c.name: v for c, v in of_it.items() if c.operation.kind is kind}, of_it)
        for kind in _COLUMNS.values()
    ]


def _alike(by_name: dict[str, str], of_it: dict[Cell, str]) -> str:
    """Return what operations of a kind came to, each by itself only where they differ."""
    for cell, verdict in of_it.items():
        assert by_name.get(cell.name, verdict) == verdict, f"{cell}: TLS makes a difference"
    if not by_name:
        return "-"
    if len(set(by_name.values())) == 1:
        return next(iter(by_name.values()))
    return "; ".join(f"{name}: {verdict}" for name, verdict in by_name.items())


def _line(*cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
