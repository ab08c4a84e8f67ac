"""How many polls a session may have under way, shared out fairly among its watches."""

from collections import deque
from typing import Protocol


class Taker(Protocol):
    """Who wants places: a watch's rota."""

    queued: bool

    def use_place(self) -> bool:
        """Start a poll on a place that has become free; False if none is wanted any more."""
        ...

    def end(self, failure: Exception) -> None:
        """Begin no poll any more, because of `failure`."""
        ...


class Places:
    """A number of places, given out in turn: each watch that wants one gets one, then the next.

    Attributes:
        total: How many there are.
        keys: Unsettled keys of all watches, from which each tells how crowded it is.
        takers: Those that are at work.
    """

    def __init__(self, total: int) -> None:
        self.total: int = max(1, total)
        self.keys: int = 0
        self.takers: set[Taker] = set()
        self._free = self.total
        self._queue: deque[Taker] = deque()

    def __repr__(self) -> str:
        return f"<Places {self._free} of {self.total} free, {len(self._queue)} watches wait>"

    def take(self, taker: Taker) -> bool:
        """Take a free place; if there is none, `taker` is in the queue from now on."""
        if self._free and not self._queue:
            self._free -= 1
            return True
        self.queue(taker)
        return False

    def queue(self, taker: Taker) -> None:
        """Have `taker` asked when a place becomes free."""
        if not taker.queued:
            taker.queued = True
            self._queue.append(taker)

    def wanted_by_others(self, taker: Taker) -> bool:
        """Return whether another than `taker` waits for a place."""
        return len(self._queue) > taker.queued

    def give_back(self) -> None:
        """Give a place back, to whoever is next."""
        while self._queue:
            taker = self._queue.popleft()
            taker.queued = False
            if taker.use_place():
                return
        self._free += 1

    def close(self, failure: Exception) -> None:
        """End all that take places."""
        for taker in tuple(self.takers):
            taker.end(failure)
