"""Time that passes at once, for everything in an event loop, so that no test waits for a payer.

asyncio's loop waits in one place: it asks its selector for news, until its next timer at the most.
While time is to pass at once, it is told there that the next timer is due already. So each timer
rings at its time and in its turn, and all that follows from it is done before the next one rings.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from anyio.lowlevel import RunVar

# Real seconds before a timer rings, for what comes from other threads and processes: what sockets
# of this process say to each other is there at once. And after how many timers in a row it is not
# granted any more: a server's clock may tick ten times a second.
_GRACE = 0.005
_GRANTED = 20

# How many let time pass in this event loop, and what its clock's threshold was before.
_jumps_on_trio: RunVar[tuple[int, float]] = RunVar("_jumps_on_trio")


async def pass_time(seconds: float) -> None:
    """Let that many seconds pass at once, and return when all that is due then has been done.

    Raises:
        RuntimeError: This event loop's time does not let itself be changed.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        await _pass_on_trio(seconds)
        return
    clock = _clock_of(loop)
    with clock.jumping():
        await asyncio.sleep(seconds)
    await clock.parked()


class _Clock:
    """Stands in for a loop's `time` and its selector's `select`, for as long as the loop lives."""

    def __init__(self, loop: asyncio.AbstractEventLoop, selector: Any) -> None:
        self._loop = loop
        self._time = loop.time
        self._select = selector.select
        self._ahead = 0.0
        self._jumps = 0
        self._quiet = 0
        self._waiting: list[asyncio.Future[None]] = []

    def time(self) -> float:
        return self._time() + self._ahead

    def select(self, timeout: float | None = None) -> Any:
        """Do what the selector does, but do not wait for the next timer."""
        if not (self._jumps or self._waiting) or (timeout is not None and timeout <= 0):
            return self._select(timeout)
        until = None if timeout is None else self.time() + timeout
        grace = _GRACE if self._waiting or self._quiet < _GRANTED else 0.0
        news = self._select(grace if timeout is None else min(grace, timeout))
        if news:
            self._quiet = 0
            return news
        # All are parked.
        self._quiet += 1
        if self._waiting:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiting.clear()
        elif until is not None:
            self._ahead += max(0.0, until - self.time())
        return news

    @contextlib.contextmanager
    def jumping(self) -> Iterator[None]:
        """Have no timer waited for."""
        self._jumps += 1
        self._quiet = 0
        try:
            yield
        finally:
            self._jumps -= 1

    async def parked(self) -> None:
        """Wait until nothing can go on without more time or news."""
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        await waiter


def _clock_of(loop: asyncio.AbstractEventLoop) -> _Clock:
    there = getattr(loop.time, "__self__", None)
    if isinstance(there, _Clock):
        return there
    selector = getattr(loop, "_selector", None)
    if selector is None:
        raise RuntimeError(
            f"{type(loop).__module__} keeps its time to itself: time can be made to pass on "
            "asyncio's own event loop, and on trio with trio.testing.MockClock"
        )
    clock = _Clock(loop, selector)
    loop.time = clock.time  # type: ignore[method-assign]
    selector.select = clock.select
    return clock


async def _pass_on_trio(seconds: float) -> None:
    import trio  # noqa: PLC0415 - it is not asyncio, so that it is there
    import trio.testing  # noqa: PLC0415

    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, trio.testing.MockClock):
        raise RuntimeError(
            "On trio, time can be made to pass with trio.testing.MockClock alone: with anyio's "
            'pytest plugin its backend is ("trio", {"clock": MockClock(rate=1)})'
        )
    jumps, before = _jumps_on_trio.get((0, 0.0))
    if jumps == 0:
        before = clock.autojump_threshold
    _jumps_on_trio.set((jumps + 1, before))
    clock.autojump_threshold = _GRACE
    try:
        await trio.sleep(seconds)
    finally:
        jumps, before = _jumps_on_trio.get()
        _jumps_on_trio.set((jumps - 1, before))
        if jumps == 1:  # the last that goes puts back what the first has found
            clock.autojump_threshold = before
    await trio.testing.wait_all_tasks_blocked(_GRACE)
