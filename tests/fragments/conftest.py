"""Counts what was tried; `nox -s fragments`, which tries everything, has it recorded."""

from collections import Counter
from collections.abc import Iterator

import pytest

from ..faults.figures import record
from .scenes import EVERY, FRAMINGS, SCENES


@pytest.fixture(scope="session")
def tried(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Of what how many were tried, in the whole run."""
    counted: Counter[str] = Counter()
    yield counted
    if EVERY and not request.session.testsfailed:
        numbers = ", ".join(f"{number:,} {what}" for what, number in sorted(counted.items()))
        answers = len(SCENES) * len(FRAMINGS)
        record("fragments", f"{answers} answers, no other result than the right one: {numbers}")
