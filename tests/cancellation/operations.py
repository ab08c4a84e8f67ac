"""What is cancelled, how, and among whom: the rows and columns of the matrix, as data."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import attrs

from little_pay_async import AsyncLittlePay

from ..servers import payment, response
from ..sessions import COLLECT, INTENT

MOBILE = COLLECT["mobile"]
Call = Callable[[AsyncLittlePay], Awaitable[object]]


# --- Operations


@attrs.frozen
class Operation:
    """One that is cancelled.

    Attributes:
        call: What is done.
        result: What it returns if it comes to its end.
        first: What its first requests are answered, before all goes well.
        posts: How many money POSTs it makes if it comes to its end.
        connections: How many its session has.
        at_once: How many of its requests wait at once where all connections are taken. If none
            does, they are taken until it has ended.
        closes: Does it close its session?
        options: Of its session.
        paced: Does a pause of its own come to an end while it waits? A scope in a child task ends
            then, and anyio may take back what it should not: see `in_anyio` below.
    """

    call: Call
    result: object
    first: tuple[bytes, ...] = ()
    posts: int = 0
    connections: int = 1
    at_once: int = 1
    closes: bool = False
    options: Mapping[str, Any] = {}
    paced: bool = False


async def vault() -> str:
    await anyio.lowlevel.checkpoint()
    return "CANARY-api-key-of-a-vault"


async def create_intent(pay: AsyncLittlePay) -> object:
    return (await pay.create_intent(**INTENT)).reference


async def process(pay: AsyncLittlePay) -> object:
    return (await pay.process("A", "MPESA", MOBILE)).reference


async def held_process(pay: AsyncLittlePay) -> object:
    return (await pay.process("A", "MPESA", MOBILE, long_poll=True)).reference


async def refund(pay: AsyncLittlePay) -> object:
    return (await pay.refund("A", 100)).status


async def status(pay: AsyncLittlePay) -> object:
    return (await pay.status("A")).key


async def long_poll(pay: AsyncLittlePay) -> object:
    return (await pay.long_poll("A")).key


async def wait(pay: AsyncLittlePay) -> object:
    return (await pay.wait("A")).key


async def check(pay: AsyncLittlePay) -> object:
    found = await pay.check(["A", "B", "C"])
    return [getattr(one, "key", one) for one in found.values()]


async def collect(pay: AsyncLittlePay) -> object:
    return (await pay.collect(**COLLECT)).key


async def watch(pay: AsyncLittlePay) -> object:
    """Iterate to the end; no key is lost, wherever that is cancelled."""
    reported = set()
    async with pay.watch() as watch:
        for key in "ABC":
            watch.add(key)
        watch.close()
        try:
            async for settlement in watch:
                reported.add(settlement.key)
        finally:
            assert reported.isdisjoint(watch.pending)
            assert reported | set(watch.pending) == set("ABC")
    return reported


async def watch_half_way(pay: AsyncLittlePay) -> object:
    """Leave the block when one key is settled and another parked."""
    async with pay.watch(["A", "PARKED"]) as watch:
        settlement = await anext(watch)
    return settlement.key, watch.pending


async def close(pay: AsyncLittlePay) -> object:
    await pay.aclose()
    return "closed"


async def open_and_close(pay: AsyncLittlePay) -> object:
    async with pay:
        return (await pay.status("A")).key


async def close_while_watching(pay: AsyncLittlePay) -> object:
    async with pay, pay.watch(["A", "PARKED"]) as watch:
        return (await anext(watch)).key


NOT_ASKED_YET = payment("PENDING", key="ORDER42", reference="REF1", attempts=[])
OPERATIONS = {
    "create_intent": Operation(create_intent, "REF1", posts=1),
    "process": Operation(process, "A", posts=1),
    "held process": Operation(held_process, "A", posts=1),
    "refund": Operation(refund, "COMPLETED", posts=1),
    "status": Operation(status, "A"),
    "status, sent again": Operation(status, "A", first=(response(b"", "503 Busy"),)),
    "status, key renewed": Operation(
        status, "A", first=(response(b"", "401 Unauthorized"),), options={"api_key": vault}
    ),
    "long_poll": Operation(long_poll, "A"),
    "long_poll, hold lost": Operation(long_poll, "A", first=(response(b"", "504 Late"),)),
    "check": Operation(check, ["A", "B", "C"], connections=3, at_once=2),
    "wait": Operation(wait, "A"),
    "wait, paced": Operation(wait, "A", first=(response(payment("PENDING", key="A")),), paced=True),
    "watch": Operation(watch, set("ABC"), connections=3, at_once=2),
    "watch, left half way": Operation(watch_half_way, ("A", ("PARKED",)), connections=3, at_once=2),
    "collect": Operation(collect, "REF1", posts=2),
    "collect, answer lost": Operation(
        collect, "REF1", first=(response(b"", "502 Lost"), response(NOT_ASKED_YET)), posts=2
    ),
    "open and close": Operation(open_and_close, "A", closes=True),
    "close": Operation(close, "closed", closes=True, connections=2, at_once=0),
    "close while watching": Operation(close_while_watching, "A", closes=True, connections=3),
}


# --- Among whom


@attrs.frozen
class Situation:
    """What there is besides.

    Attributes:
        idle: A connection that was used before.
        full: Requests that have taken all connections, until the operation waits for one.
        other: A request that waits behind the operation's.
        again: After how many steps more it is cancelled a second time; 0 for never.
    """

    idle: bool = False
    full: bool = False
    other: bool = False
    again: int = 0


SITUATIONS = {
    "alone": Situation(),
    "reusing": Situation(idle=True),
    "pool full": Situation(full=True),
    "two waiting": Situation(full=True, other=True),
    "cancelled twice": Situation(full=True, other=True, again=1),
    "alone, cancelled twice": Situation(again=2),
}


# --- How

NOTHING = object()


class Victim:
    """An operation that can be cancelled twice: by scopes.

    Args:
        call: What it does.
        in_anyio: Does it connect by anyio, or do scopes end in it? anyio may take back more
            cancellations than it made: up to its version 4.16 those of a scope in a child of a task
            group count for the group's task.

    Attributes:
        over: Set when it has ended.
        result: What it returned, if it did.
        cancelled: Was it cancelled before its end?
    """

    def __init__(self, call: Callable[[], Awaitable[object]], *, in_anyio: bool) -> None:
        self.over = anyio.Event()
        self.result: object = NOTHING
        self.cancelled = False
        self._call = call
        self._in_anyio = in_anyio
        self._outer, self._inner = anyio.CancelScope(), anyio.CancelScope()

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        tasks.start_soon(self._run)

    async def _run(self) -> None:
        try:
            await self._cancellable()
        finally:
            self.over.set()
        check_that_no_cancellation_is_left()

    async def _cancellable(self) -> None:
        with self._outer, self._inner:
            self.result = await self._call()
        # In the step of its end it may still come to that.
        caught = self._outer.cancelled_caught or self._inner.cancelled_caught
        assert caught == (self.result is NOTHING)

    def cancel(self) -> None:
        if self.over.is_set():
            return
        scope = self._outer if self.cancelled else self._inner
        self.cancelled = True
        scope.cancel()

    def check(self) -> None:
        """Insist on the cancellation having come out."""
        assert self.cancelled or self.result is not NOTHING


class VictimInTask(Victim):
    """One that is cancelled as asyncio does it: through any shield, once each time."""

    _times = 0

    def start(self, tasks: anyio.abc.TaskGroup) -> None:  # noqa: ARG002 - it has its own
        self._task = asyncio.create_task(self._observed())
        self._task.add_done_callback(lambda _: self.over.set())

    async def _observed(self) -> None:
        try:
            self.result = await self._call()
        except asyncio.CancelledError:
            left = self._task.cancelling()  # which asyncio's timeouts go by
            assert left <= self._times if self._in_anyio else left == self._times
            raise

    def cancel(self) -> None:
        if self._task.cancel():
            self.cancelled = True
            self._times += 1

    def check(self) -> None:
        if not self._task.cancelled():
            self._task.result()
        assert self._task.cancelled() == self.cancelled


class VictimOfTimeout(Victim):
    """One that `asyncio.timeout` ends."""

    async def _cancellable(self) -> None:
        try:
            async with asyncio.timeout(None) as self._late, asyncio.timeout(None) as self._early:
                self.result = await self._call()
        except TimeoutError:
            assert self._late.expired() or self._early.expired()
            assert self.result is NOTHING
        else:
            assert self.result is not NOTHING

    def cancel(self) -> None:
        if self.over.is_set():
            return
        if not hasattr(self, "_early"):  # it has had no turn yet
            return
        timeout = self._late if self.cancelled else self._early
        self.cancelled = True
        timeout.reschedule(0.0)


class VictimOfDeadline(Victim):
    """One that `anyio.move_on_after` ends, by a timer of the loop."""

    def __init__(self, call: Callable[[], Awaitable[object]], *, in_anyio: bool) -> None:
        super().__init__(call, in_anyio=in_anyio)
        self._outer, self._inner = anyio.move_on_after(None), anyio.move_on_after(None)

    def cancel(self) -> None:
        if self.over.is_set():
            return
        scope = self._outer if self.cancelled else self._inner
        self.cancelled = True
        scope.deadline = anyio.current_time() + 1e-6


WAYS = {
    "task": VictimInTask,
    "scope": Victim,
    "deadline": VictimOfDeadline,
    "timeout": VictimOfTimeout,
}


def check_that_no_cancellation_is_left() -> None:
    """Insist on that asyncio has been told that all of them were taken in."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio's own business
        return
    assert task is not None
    assert task.cancelling() == 0
