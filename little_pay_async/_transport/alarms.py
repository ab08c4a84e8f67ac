"""Many waits, few timers.

Thousands of requests wait, nearly all of them for the same number of seconds, and nearly none of
them for so long: a timer of the loop for each would cost as much as reading the response does.
Waits of the same length end in the order in which they began, so that one timer does for them all.
"""

import asyncio


class Alarms:
    """Ends waits that take too long, by giving False to what is waited for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waits: dict[float, dict[asyncio.Future[bool], float]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def set(self, waiter: asyncio.Future[bool], seconds: float) -> None:
        """Begin a wait."""
        when = self._loop.time() + seconds
        waits = self._waits.get(seconds)
        if waits is None:
            waits = self._waits[seconds] = {}
            self._timers[seconds] = self._loop.call_at(when, self._ring, seconds)
        waits[waiter] = when

    def cancel(self, waiter: asyncio.Future[bool], seconds: float) -> None:
        """End a wait before its time."""
        waits = self._waits.get(seconds)
        if waits is not None:
            waits.pop(waiter, None)
            if not waits:
                del self._waits[seconds]
                self._timers.pop(seconds).cancel()

    def _ring(self, seconds: float) -> None:
        waits = self._waits[seconds]
        now = self._loop.time()
        late = []
        for waiter, when in waits.items():
            if when > now:
                self._timers[seconds] = self._loop.call_at(when, self._ring, seconds)
                break
            late.append(waiter)
        else:
            del self._waits[seconds], self._timers[seconds]
        for waiter in late:
            del waits[waiter]
            if not waiter.done():
                waiter.set_result(False)
