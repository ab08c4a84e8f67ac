"""Event loops with real sockets and a clock that jumps: hours of pauses in milliseconds.

Client and server share the loop and talk over loopback. Where nothing has happened for a moment,
nothing is on its way, and the clock jumps to the next timer.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import trio
import trio.testing

T = TypeVar("T")

_A_MOMENT = 0.002  # real seconds in which what was sent over loopback arrives, and more
_TOO_LONG = 10.0  # real seconds without any timer: everything waits for ever


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: "JumpingLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = super().select(_TOO_LONG)
            if not events:
                raise RuntimeError("everything waits for ever")
            return events
        events = super().select(min(timeout, _A_MOMENT))
        if not events:
            self._loop.now += max(0.0, timeout)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock jumps to the next timer as soon as nothing else is to do."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # noqa: ARG002
        """Run it here and now: a thread would work in real time, unseen by the clock."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)
        return future


def run(loop: str, main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` on "asyncio" or "trio", with a clock that jumps."""
    if loop == "trio":
        clock = trio.testing.MockClock(autojump_threshold=_A_MOMENT)
        return trio.run(main, clock=clock)  # older anyio does not hand options on to trio
    return anyio.run(main, backend="asyncio", backend_options={"loop_factory": JumpingLoop})
