"""Something done between the steps of an event loop, outside all of its tasks."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator

import anyio.lowlevel
import trio

Look = Callable[[], None]


@contextlib.contextmanager
def each_step(before: Look, between: Look) -> Iterator[None]:
    """Call `before` before each step of the running loop, until the block is left.

    And `between` at least once after the last step before the loop waits for something to happen.
    A step is the finest thing between which a loop can do something else: on asyncio one callback,
    on trio one turn of one task. What runs in uvloop can't be seen, so there it is one iteration.
    """
    loop = anyio.lowlevel.current_token().native_token
    if isinstance(loop, asyncio.BaseEventLoop):
        steps = _each_callback(loop, before, between)
    elif isinstance(loop, asyncio.AbstractEventLoop):
        steps = _each_iteration(loop, before, between)
    else:
        steps = _each_turn(before, between)
    with steps:
        yield


class _Ready(deque[asyncio.Handle]):
    """The callbacks that a loop is about to run."""

    def __init__(self, ready: "deque[asyncio.Handle]", before: Look, between: Look) -> None:
        super().__init__(ready)
        self._before = before
        self._between = between

    def __bool__(self) -> bool:
        # So the loop finds out whether it may wait for something else.
        self._between()
        return len(self) > 0

    def popleft(self) -> asyncio.Handle:
        self._before()
        return super().popleft()


@contextlib.contextmanager
def _each_callback(loop: asyncio.BaseEventLoop, before: Look, between: Look) -> Iterator[None]:
    ready = loop._ready  # type: ignore[attr-defined]
    loop._ready = _Ready(ready, before, between)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        loop._ready = deque(loop._ready)  # type: ignore[attr-defined]


@contextlib.contextmanager
def _each_iteration(loop: asyncio.AbstractEventLoop, before: Look, between: Look) -> Iterator[None]:
    goes_on = True

    def tick() -> None:
        between()
        if goes_on:
            before()
            loop.call_soon(tick)

    loop.call_soon(tick)
    try:
        yield
    finally:
        goes_on = False


class _Turns(trio.abc.Instrument):
    def __init__(self, before: Look, between: Look) -> None:
        self._before = before
        self._between = between

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's
        self._before()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's
        self._between()


@contextlib.contextmanager
def _each_turn(before: Look, between: Look) -> Iterator[None]:
    turns = _Turns(before, between)
    trio.lowlevel.add_instrument(turns)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(turns)
