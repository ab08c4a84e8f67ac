"""The matrix of faults: what each of them comes to, for each operation, over each transport."""

import pytest

from . import figures, page
from .cells import Cell, play
from .matrix import every_cell, on_trio, some_cells
from .rows import ROWS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-cell", default=False)
        cells = [*every_cell(), *on_trio()] if every else some_cells()
        metafunc.parametrize("cell", cells, ids=str)


def test_what_a_fault_comes_to(cell: Cell, verdicts: dict[Cell, str]) -> None:
    verdicts[cell] = play(cell)


def test_the_page_has_every_fault_and_no_other() -> None:
    assert page.names() == [row.name for row in ROWS]
    assert page.faults() == list(dict.fromkeys(row.fault for row in ROWS))


def test_the_page_says_how_many_cells_there_are() -> None:
    assert figures.figures()[page.FIGURE] == page.figure()
