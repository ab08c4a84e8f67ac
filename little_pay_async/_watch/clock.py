"""When something is to be done about a key: thousands of times, and one wait for the first of them.

Rules of this file:

- A step costs the same however many keys there are, but for the heap's log; times of keys that are
  settled are thrown out once they are many.
- Polls under way end nearly in the order in which they began, so that they need no heap: a timer
  for each would cost as much as the rest of a poll.
"""

import heapq
import itertools
import math
from collections.abc import Callable

import anyio
import anyio.lowlevel

from little_pay_async._watch.entry import Entry


class Clock:
    """Calls when a time has come, and lets go of polls that take too long.

    Attributes:
        now: Returns the event loop's time.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] = anyio.current_time
        self._times: list[tuple[float, int, Entry]] = []
        self._ticks = itertools.count()
        self._stale = 0
        self._polls: dict[Entry, float] = {}
        self._bounds_polls = False
        self._alarm: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._times)

    def start(self) -> None:
        """Run by the event loop's own clock.

        Asked directly: finding out each time where it runs takes anyio longer than all else that is
        done for a poll here.
        """
        loop = anyio.lowlevel.current_token().native_token
        self.now = getattr(loop, "time", anyio.current_time)

    def set(self, when: float, entry: Entry) -> None:
        """Have a call made for an entry at a time."""
        item = (when, next(self._ticks), entry)
        heapq.heappush(self._times, item)
        if self._times[0] is item and self._alarm is not None:
            self._alarm.set()

    def forget(self) -> None:
        """Take note that an entry is settled for which a time is set."""
        self._stale += 1
        if self._stale > 64 and self._stale > len(self._times) // 2:
            self._times = [item for item in self._times if not item[2].settled]
            heapq.heapify(self._times)
            self._stale = 0

    def bound(self, entry: Entry, over: float) -> None:
        """Have its poll let go at a time; a server that drips gets there."""
        self._polls[entry] = over
        if not self._bounds_polls and self._alarm is not None:
            self._alarm.set()

    def unbound(self, entry: Entry) -> None:
        """Take note that its poll has ended."""
        self._polls.pop(entry, None)

    async def run(self, on_time: Callable[[Entry, float], None]) -> None:
        """Call `on_time` with entries whose time has come, and the time; until cancelled."""
        while True:
            self._alarm = anyio.Event()
            next_time = self._times[0][0] if self._times else math.inf
            first_over = next(iter(self._polls.values()), math.inf)
            self._bounds_polls = bool(self._polls)
            with anyio.CancelScope(deadline=min(next_time, first_over)):
                await self._alarm.wait()
            now = self.now()
            self._end_late_polls(now)
            while self._times and self._times[0][0] <= now:
                _, _, entry = heapq.heappop(self._times)
                if entry.settled:
                    self._stale = max(0, self._stale - 1)
                else:
                    on_time(entry, now)

    def _end_late_polls(self, now: float) -> None:
        for entry, over in self._polls.items():
            if over > now:
                break
            entry.late = True
            entry.let_go()
