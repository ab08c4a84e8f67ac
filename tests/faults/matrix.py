"""The cells of the matrix: all that there are, and those that the suite has time for."""

from collections.abc import Iterator
from itertools import product

from .cells import Cell
from .circumstances import no_such_host
from .operations import OPERATIONS
from .row import Row
from .rows import ROWS

_THIN = ("status", "process", "wait")
_NEED_TO_CHOOSE = ("collect, its process", "collect, its waiting")


def every_cell() -> list[Cell]:
    """Return every fault x operation x plain and TLS x transport, on asyncio."""
    transports = ("pooled", "leasing")
    found = [
        Cell(row, name, tls, transport)
        for row in ROWS
        for name in _operations(row)
        for tls, transport in product((False, True), transports)
    ]
    return [cell for cell in found if _is_possible(cell)]


def on_trio() -> list[Cell]:
    """Return a selection for trio, where all connections are leased."""
    found = [
        Cell(row, name, tls, "leasing", "trio")
        for row in ROWS
        for name in _THIN
        if name in row.operations
        for tls in (False, True)
    ]
    # There a thread looks names up, and the clock would not wait for it.
    return [cell for cell in found if _is_possible(cell) and cell.row.around is not no_such_host]


def some_cells() -> list[Cell]:
    """Return every fault x operation, plain and pooled; of all else one operation for each fault.

    Which one goes round, so that each operation has its turn.
    """
    turns = {name: number for number, name in enumerate(OPERATIONS)}
    return [
        cell
        for cell in [*every_cell(), *on_trio()]
        if _is_plain_and_pooled(cell)
        or (ROWS.index(cell.row) + cell.tls) % _round(cell) == turns[cell.name] % _round(cell)
    ]


def _is_plain_and_pooled(cell: Cell) -> bool:
    return (cell.tls, cell.transport, cell.loop) == (False, "pooled", "asyncio")


def _round(cell: Cell) -> int:
    return len(OPERATIONS) if cell.loop == "asyncio" else 2 * len(_THIN)


def _operations(row: Row) -> Iterator[str]:
    for name in row.operations:
        if row.strikes_requests or name not in _NEED_TO_CHOOSE:
            yield name


def _is_possible(cell: Cell) -> bool:
    row = cell.row
    return row.only != ("plain" if cell.tls else "tls")
