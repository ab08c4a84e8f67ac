"""Every operation, cancelled before each step of the event loop that it takes.

Whatever was done when: the cancellation comes out, nothing stays behind, no connection is used
after half an exchange, no money moves twice, and the session works on.

The suite takes some of the steps of each cell; `nox -s cancellation` takes all of them.
"""

import asyncio
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import attrs
import pytest
import trio

from little_pay_async import AsyncLittlePay, SessionClosedError
from little_pay_async._retry import RetryPolicy

from ..faults.figures import record
from ..leases import a_few_steps, counts, descriptors, leasing, pooled, serving
from ..servers import Arrived, Exchange, ScriptedServer, right_answer
from ..sessions import new_session, session
from .operations import NOTHING, OPERATIONS, SITUATIONS, WAYS, Operation, Situation, Victim
from .stepping import each_step

pytestmark = pytest.mark.anyio

EVERY_STEP = "EVERY_STEP" in os.environ
STRIDE = 13
ALWAYS_AT_EVERY_STEP = {"status", "process"}  # few steps, and they are in all the others
A_PAUSE = 0.002  # seconds, of a retry and of pacing


class LittlePay:
    """One that answers in two parts, and tells which of its answers are not whole.

    Attributes:
        first: What an operation's next requests are answered, before all goes well.
        may_end: Set when those who have taken all connections may give them back.
        half_done: The connections on which one was not answered, or not as a whole.
    """

    def __init__(self) -> None:
        self.first: list[bytes] = []
        self.may_end = anyio.Event()
        self.half_done: set[int] = set()

    async def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        if not _is_by_itself(request):
            self.half_done.add(request.connection)
        if request.key.startswith("HELD"):
            await self.may_end.wait()
        elif request.key == "PARKED":
            await exchange.client_has_gone()
            return
        as_told = self.first and not _is_by_itself(request)
        answer = self.first.pop(0) if as_told else right_answer(request)
        await exchange.send(answer[:-1])
        for _ in range(2):
            await anyio.lowlevel.checkpoint()
        self.half_done.discard(request.connection)  # the client may have it before we go on
        await exchange.send(answer[-1:])


def _is_by_itself(request: Arrived) -> bool:
    """Return whether that is none of the requests of the operation that is cancelled."""
    return request.key in {"FIRST", "OTHER", "NEXT"} or request.key.startswith("HELD")


@attrs.frozen
class Footprint:
    """What a process holds at a moment, the server's share aside as long as it has one."""

    descriptors: frozenset[Path]
    tasks: frozenset[object]
    timers: frozenset[object]

    @classmethod
    def now(cls) -> "Footprint":
        loop = anyio.lowlevel.current_token().native_token
        is_asyncio = isinstance(loop, asyncio.AbstractEventLoop)
        timers = [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]
        return cls(
            descriptors=frozenset(Path("/proc/self/fd").iterdir()),
            tasks=frozenset(asyncio.all_tasks() if is_asyncio else _trio_tasks()),
            timers=frozenset(map(id, timers)),
        )


def _trio_tasks() -> list[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    tasks = [] if root is None else [root]
    for task in tasks:
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return tasks


@attrs.frozen
class Cell:
    """A cell of the matrix."""

    server: ScriptedServer
    little_pay: LittlePay
    operation: Operation
    situation: Situation
    way: type[Victim]
    transport: Any

    async def cancelled_after(self, steps: int) -> bool:
        """Cancel the operation after so many steps; return whether it had ended by then."""
        point = Point(self, steps)
        try:
            with anyio.fail_after(10):
                await point.run()
        except BaseException as error:
            error.add_note(f"cancelled after {steps} steps")
            raise
        return point.taken < steps


class Point:
    """A moment at which an operation is cancelled."""

    def __init__(self, cell: Cell, steps: int) -> None:
        self.taken = 0
        self._cell = cell
        self._steps = steps
        self._little_pay = cell.little_pay
        self._server = cell.server
        self._operation = cell.operation
        self._situation = cell.situation
        self._may_ask = anyio.Event()
        self._half_done: set[int] = set()

    async def run(self) -> None:
        before = Footprint.now()
        self._little_pay.first = list(self._operation.first)
        self._little_pay.may_end = anyio.Event()
        self._server.requests.clear()
        pay = self._pay = self._new_session()
        try:
            await self._cancel()
            await a_few_steps()
            self._check_what_is_left(before)
            await self._ask_next()
            self._check_money()
        finally:
            await pay.aclose()
        await self._server.until(lambda: self._server.open == 0)
        await a_few_steps()
        self._little_pay.half_done.clear()
        assert Footprint.now() == before

    def _new_session(self) -> AsyncLittlePay:
        connections = self._operation.connections
        pay = new_session(self._server, max_connections=connections, **self._operation.options)
        pay.http._transport = self._cell.transport(connections)
        shared = pay._session
        shared.retries = RetryPolicy(uniform=lambda _least, _most: A_PAUSE, sleep=shared.pause)
        return pay

    async def _cancel(self) -> None:
        operation, situation = self._operation, self._situation
        if situation.idle:
            await self._ask("FIRST")
        async with anyio.create_task_group() as tasks:
            if situation.full:
                for number in range(operation.connections):
                    tasks.start_soon(self._ask, f"HELD{number}")
                await self._server.until_requests(operation.connections)
            if situation.other:
                tasks.start_soon(self._ask_when_told, "OTHER")
            in_anyio = self._cell.transport is leasing or operation.paced
            self._victim = self._cell.way(self._call, in_anyio=in_anyio)
            with each_step(self._before_step, self._between_steps):
                self._victim.start(tasks)
                await self._victim.over.wait()
            self._may_ask.set()
            self._little_pay.may_end.set()
        self._victim.check()
        assert self._victim.result in (NOTHING, operation.result)

    async def _call(self) -> object:
        try:
            return await self._operation.call(self._pay)
        finally:
            self._half_done = set(self._little_pay.half_done)

    def _before_step(self) -> None:
        self.taken += 1
        if self.taken - self._steps in {0, self._situation.again}:
            self._victim.cancel()

    def _between_steps(self) -> None:
        # Nobody is told by a task: it would take steps of its own.
        _, _, waiting = counts(self._pay.http._transport)
        at_once = self._operation.at_once
        if waiting >= at_once:
            self._may_ask.set()
        if at_once and waiting >= at_once + self._situation.other:
            self._little_pay.may_end.set()

    async def _ask(self, key: str) -> None:
        try:
            assert (await self._pay.status(key)).key == key
        except SessionClosedError:
            assert self._operation.closes

    async def _ask_when_told(self, key: str) -> None:
        await self._may_ask.wait()
        await self._ask(key)

    def _check_what_is_left(self, before: Footprint) -> None:
        """No task, timer, descriptor or place is held, but what an idle connection needs."""
        shared, transport = self._pay._session, self._pay.http._transport
        leased, idle, waiting = counts(transport)
        assert (leased, waiting) == (0, 0)
        assert len(descriptors(self._server)) == idle
        now = Footprint.now()
        idle_ones = getattr(transport._pool, "_idle", None)  # type: ignore[attr-defined]
        sweeper = getattr(idle_ones, "_sweeper", None)
        assert now.timers - before.timers <= {id(sweeper)}
        tasks = [task for task in now.tasks - before.tasks if "ScriptedServer" not in repr(task)]
        assert not tasks
        assert not shared.under_way
        places = shared.places
        assert (places._free, places.keys, len(places._queue)) == (places.total, 0, 0)
        assert not places.takers
        assert not any(one._lock.locked() for one in attrs.astuple(shared._credentials))

    async def _ask_next(self) -> None:
        if self._pay._session.closed:
            with pytest.raises(SessionClosedError):
                await self._pay.status("NEXT")
            return
        await self._ask("NEXT")
        arrived = self._server.requests[-1]
        assert arrived.key == "NEXT"
        assert arrived.connection not in self._half_done

    def _check_money(self) -> None:
        posts = Counter(
            (request.target, request.body)
            for request in self._server.requests
            if request.method == "POST"
        )
        assert set(posts.values()) <= {1}
        assert len(posts) <= self._operation.posts
        if self._victim.result is not NOTHING:
            assert len(posts) == self._operation.posts


# --- Cells

LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"debug": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
TRANSPORTS = {"pooled": pooled, "leasing": leasing}
WIRES = ["plain", "tls"]
CASES = list(product(OPERATIONS, SITUATIONS))


def all_cells() -> Iterator[tuple[str, ...]]:
    for case in CASES:
        for way, wire, transport in product(WAYS, WIRES, TRANSPORTS):
            yield "asyncio", *case, way, wire, transport
        for way, wire in product(["task", "scope"], WIRES):
            yield "uvloop", *case, way, wire, "pooled"
        for way, wire in product(["scope", "deadline"], WIRES):
            yield "trio", *case, way, wire, "leasing"


def some_cells() -> Iterator[tuple[str, ...]]:
    """Take turns, so that each way, wire and transport meets each operation or situation."""
    variants = list(product(WAYS, WIRES, TRANSPORTS))
    for number, case in enumerate(CASES):
        for variant in (7 * number, 7 * number + 9):
            yield "asyncio", *case, *variants[variant % len(variants)]
        if case[1] in {"alone", "two waiting"}:
            wire = WIRES[number // len(SITUATIONS) % 2]
            yield "uvloop", *case, ("task", "scope")[number % 2], wire, "pooled"
            yield "trio", *case, ("scope", "deadline")[number % 2], wire, "leasing"


CELLS = list(all_cells() if EVERY_STEP else some_cells())


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Not in debug mode, in which each step takes asyncio ten times as long."""
    return LOOPS[request.param]


@pytest.fixture(scope="module")
def points(request: pytest.FixtureRequest) -> Iterator[list[int]]:
    """For each cell, at how many steps its operation was cancelled."""
    found: list[int] = []
    yield found
    if EVERY_STEP and len(found) == len(CELLS):
        record(
            "cancellation",
            f"{sum(found):,}, in {len(found):,} cells of operation, situation, way to cancel, "
            "plain or TLS, transport and event loop: nothing was left behind by any, no money "
            "moved twice, and the next call worked",
        )


@pytest.mark.parametrize(
    ("anyio_backend", "operation", "situation", "way", "wire", "transport"),
    CELLS,
    indirect=["anyio_backend"],
)
async def test_cancelled_before_each_step(  # noqa: PLR0917 - the columns of the matrix
    operation: str,
    situation: str,
    way: str,
    wire: str,
    transport: str,
    points: list[int],
    record_property: Callable[[str, object], None],
) -> None:
    little_pay = LittlePay()
    async with serving(little_pay, tls=wire == "tls") as server:
        async with session(server) as pay:  # what a loop itself opens, it has opened then
            await pay.status("FIRST")
        await server.until(lambda: server.open == 0)
        await a_few_steps()
        cell = Cell(
            server,
            little_pay,
            OPERATIONS[operation],
            SITUATIONS[situation],
            WAYS[way],
            TRANSPORTS[transport],
        )
        stride = 1 if EVERY_STEP or operation in ALWAYS_AT_EVERY_STEP else STRIDE
        first = 1 + zlib.crc32(f"{operation} {situation}".encode()) % stride
        for number, steps in enumerate(count(first, stride)):
            if await cell.cancelled_after(steps):
                points.append(number)
                record_property("points", number)
                return
