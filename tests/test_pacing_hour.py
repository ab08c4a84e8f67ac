"""An hour of virtual time over many keys: how often each is asked, and how far apart."""

import anyio
import attrs
import pytest

from little_pay_async import LittlePayError, Payment
from little_pay_async._watch import Places

from .scripted_polls import (
    Answer,
    Held,
    Server,
    answer,
    broken,
    gaps,
    in_virtual_time,
    payment,
    refused,
    silence,
    watch_over,
)

KEYS = [f"K{number}" for number in range(10)]
HOUR = 3_600.0


@attrs.frozen
class Pace:
    """What a server does, and what is asked of it in an hour.

    Attributes:
        says: Its answer to every poll; None if it holds each for as long as it may.
        fewest: Polls of each key, at the least.
        most: Polls of each key, at the most.
        apart: Seconds between two polls of a key, at the least.
        longest: Seconds between two polls of a key, at the most.
    """

    says: Answer | None
    fewest: int
    most: int
    apart: float
    longest: float


def held(seconds: float, outcome: Payment | LittlePayError) -> Held:
    return Held(seconds, outcome)


PACES = {
    # Held: asked again at once.
    "silent for the whole hold": Pace(None, 40, 41, 90.0, 90.0),
    "PENDING after 60 s": Pace(held(60.0, payment("K")), 60, 61, 60.0, 60.0),
    "504 after 60 s": Pace(held(60.0, answer(504)), 60, 61, 60.0, 60.0),
    "504 after 20 s": Pace(held(20.0, answer(504)), 180, 181, 20.0, 20.0),
    # At least a second apart, growing to 30 s.
    "PENDING at once": Pace(payment("K"), 120, 160, 1.0, 30.0),
    "504 at once": Pace(answer(504), 120, 160, 1.0, 30.0),
    "502 at once": Pace(answer(502), 120, 160, 1.0, 30.0),
    "end of stream at once": Pace(broken(), 110, 160, 1.0, 30.5),
    "silence at once": Pace(silence(), 120, 160, 1.0, 30.0),
    # Failures: full jitter up to 30 s, and up to 30 s more once the budget is spent.
    "500": Pace(answer(500), 75, 250, 0.0, 60.0),
    "no connection": Pace(refused(), 75, 250, 0.0, 60.0),
    # As told, and never sooner.
    "429 for a minute": Pace(answer(429, retry_after=60.0), 30, 60, 60.0, 120.0),
    "503 for 5 minutes": Pace(answer(503, retry_after=300.0), 10, 12, 300.0, 360.0),
}


@pytest.mark.parametrize("name", PACES)
@in_virtual_time
async def test_an_hour(name: str) -> None:
    pace = PACES[name]
    server = Server(always=pace.says)
    async with watch_over(server, KEYS, timeout=None, places=Places(len(KEYS))):
        await anyio.sleep(HOUR)
    for key in KEYS:
        times = server.times(key)
        assert pace.fewest <= len(times) <= pace.most
        assert min(gaps(times)) >= pace.apart - 0.001
        assert max(gaps(times)) <= pace.longest + 0.001
