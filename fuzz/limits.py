"""What no input may do, whatever a target is: take long, or leave something behind."""

import gc
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable

SECONDS = 0.05  # of this process's time, for everything that is checked with one input
GROWTH = 1024  # bytes: what a few objects take
REPEATED = 100
EVERY = 20_000


class Limited:
    """A target's check, with these limits.

    Args:
        check: Raises for what must not be.
        seconds: How long one input may take.

    Attributes:
        executions: How many inputs were checked.
        slowest: How many seconds the slowest took.
    """

    def __init__(self, check: Callable[[bytes], None], *, seconds: float = SECONDS) -> None:
        self.executions = 0
        self.slowest = 0.0
        self._check = check
        self._seconds = seconds
        self._last: deque[bytes] = deque(maxlen=REPEATED)

    def __call__(self, data: bytes) -> None:
        self.executions += 1
        took = cost(self._check, data)
        if took > self._seconds:  # the machine may have been busy, or something was loaded
            took = min(cost(self._check, data) for _ in range(5))
        assert took <= self._seconds, f"it takes {took:.3f} s"
        self.slowest = max(self.slowest, took)
        self._last.append(data)
        if self.executions % EVERY == 0:
            check_growth(self._check, self._last)


def cost(check: Callable[[bytes], None], data: bytes) -> float:
    """Return how many seconds of this process's time a check takes."""
    started = time.process_time()
    check(data)
    return time.process_time() - started


def check_growth(check: Callable[[bytes], None], inputs: Iterable[bytes]) -> None:
    """See to it that the same inputs, checked again and again, leave nothing behind."""
    tracemalloc.start()
    try:
        held = [0]
        while len(held) < 12:  # the first fill caches and free lists
            for data in inputs:
                check(data)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
            if held[-1] - held[-2] < GROWTH:
                return
    finally:
        tracemalloc.stop()
    raise AssertionError(f"memory grows: {held}")
