"""`--every-cell`: the whole matrix of faults, put on the page that tells of it."""

from collections.abc import Iterator

import pytest

from . import page
from .cells import Cell
from .matrix import every_cell


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-cell", action="store_true", help="run the whole matrix of faults")


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest) -> Iterator[dict[Cell, str]]:
    """What each cell came to; put on the page if every one of them was played, and well."""
    found: dict[Cell, str] = {}
    yield found
    if set(found) >= set(every_cell()):
        page.show(found)
