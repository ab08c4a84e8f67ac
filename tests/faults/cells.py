"""One cell of the matrix: a fault, an operation, plain or TLS, over one of the transports."""

import asyncio
import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import anyio.lowlevel
import attrs

from little_pay_async import (
    APIConnectionError,
    AsyncLittlePay,
    LittlePayError,
    OutcomeUnknownError,
    Payment,
    SettlementTimeoutError,
)

from ..leases import a_few_steps, leasing
from ..servers import ScriptedServer, answers_well, server_tls
from ..sessions import new_session
from . import virtual
from .circumstances import no_such_host
from .meanings import CancelledError, Meaning, Outcome
from .operations import ANOTHER, OPERATIONS, Operation
from .row import Row
from .scripts import where

CPU_SECONDS = 3.0  # that a cell may take; those of a cell without much to read are some 0.02
_GRACE = 0.5  # virtual seconds between the end of a time limit and the end of a call


@attrs.frozen
class Cell:
    """A cell.

    Attributes:
        row: What goes wrong.
        name: The operation.
        tls: Is the connection encrypted?
        transport: "pooled" or "leasing".
        loop: "asyncio" or "trio".
    """

    row: Row
    name: str
    tls: bool = False
    transport: str = "pooled"
    loop: str = "asyncio"

    @property
    def operation(self) -> Operation:
        return OPERATIONS[self.name]

    @property
    def meaning(self) -> Meaning:
        by_lease = self.transport == "leasing" and self.row.leasing
        return by_lease or self.row.meaning

    def __str__(self) -> str:
        over = "TLS" if self.tls else "plain"
        return f"{self.row.name}, {self.name}, {over}, {self.transport}, {self.loop}"


@attrs.frozen(kw_only=True)
class Found:
    """What an operation came to.

    Attributes:
        result: What it returned.
        error: What it raised.
        requests: How many requests arrived for it.
        elapsed: Seconds of a clock that jumps.
    """

    result: object
    error: LittlePayError | None
    requests: int
    elapsed: float


def play(cell: Cell) -> str:
    """Play a cell, and insist on what it has to come to; return that in a few words."""
    begun = time.process_time()
    found = virtual.run(cell.loop, partial(_play, cell))
    assert time.process_time() - begun < CPU_SECONDS, "time was spent on work, not on waiting"
    return _in_words(cell, found)


def _in_words(cell: Cell, found: Found) -> str:
    if found.error is None:
        normal = Meaning().outcome(cell.operation.kind).most
        return "the answer" if found.requests <= normal else "asks again: the answer"
    if isinstance(found.error, CancelledError):
        return "is cancelled"
    name = f"`{type(found.error).__name__}`"
    if isinstance(found.error, SettlementTimeoutError):
        return f"asks again until its timeout: {name}"
    tries = getattr(found.error, "tries", 1)
    return f"{tries} tries: {name}" if tries > 1 else name


async def _play(cell: Cell) -> Found:
    before = _descriptors()
    async with _server(cell) as server:
        base_url = server if isinstance(server, str) else server.base_url
        if cell.row.around is no_such_host:
            base_url = base_url.replace("127.0.0.1", "localhost")
        async with _session(cell, base_url) as pay:
            found = await _strike(cell, server, pay)
            _check(cell, cell.meaning.outcome(cell.operation.kind), found)
            if isinstance(server, ScriptedServer):
                _check_ledger(server)
                if _can_be_used_again(cell):
                    await _check_next_call(server, pay)
    await a_few_steps()
    _check_nothing_left(before)
    return found


@contextlib.asynccontextmanager
async def _server(cell: Cell) -> AsyncIterator[ScriptedServer | str]:
    row = cell.row
    if row.place is not None:
        async with row.place(cell.tls) as base_url:
            yield base_url
        return
    script = row.before or where(cell.operation.struck, row.each_time)
    tls = server_tls(row.certificate) if cell.tls else None
    async with ScriptedServer(script, tls=tls, greeting=row.greeting) as server:
        yield server


@contextlib.asynccontextmanager
async def _session(cell: Cell, base_url: str) -> AsyncIterator[AsyncLittlePay]:
    async with new_session(base_url) as pay:
        if cell.transport == "leasing" and cell.loop != "trio":  # there it is the own one
            pay.http._transport = leasing(10)
        pay._session.retries.sleep = pay._session.pause
        pay._session.retries.uniform = lambda _, most: most
        yield pay


async def _strike(cell: Cell, server: ScriptedServer | str, pay: AsyncLittlePay) -> Found:
    """Make the operation while all goes wrong."""
    row, operation = cell.row, cell.operation
    earlier = 0
    if row.before is not None and isinstance(server, ScriptedServer):
        await pay.status("BEFORE")
        await anyio.sleep(2)
        earlier = len(server.requests)
        server.script = where(operation.struck, row.each_time)
    begun = anyio.current_time()
    result: object = None
    error: LittlePayError | None = None
    await a_few_steps()  # the server listens
    with row.around() if row.around is not None else contextlib.nullcontext():
        try:
            result = await _interrupted(row, server, pay, partial(operation.call, pay, row.key))
        except LittlePayError as problem:
            error = problem.with_traceback(None)
    requests = 0
    if isinstance(server, ScriptedServer):
        arrived = server.requests[earlier:]
        requests = len([request for request in arrived if request.key != ANOTHER])
    return Found(
        result=result, error=error, requests=requests, elapsed=anyio.current_time() - begun
    )


async def _interrupted(
    row: Row, server: ScriptedServer | str, pay: AsyncLittlePay, call: Callable[[], Any]
) -> object:
    """Make a call, while something happens on the caller's side."""
    match row.interruption:
        case "cancelled":
            with anyio.move_on_after(5):
                return await call()
            raise CancelledError("cancelled")
        case "closed":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_close_later, pay)
                try:
                    return await call()
                except LittlePayError as error:
                    problem = error
            raise problem
        case "away at first":
            assert isinstance(server, ScriptedServer)
            await server.stop()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_start_later, server)
                return await call()
        case "elsewhere":
            return _in_another_loop(call)
        case _:
            return await call()


async def _close_later(pay: AsyncLittlePay) -> None:
    await anyio.sleep(5)
    await pay.aclose()


async def _start_later(server: ScriptedServer) -> None:
    await anyio.sleep(0.2)
    await server.start()


def _in_another_loop(call: Callable[[], Any]) -> object:
    raised: list[Exception] = []

    def run() -> None:
        try:
            asyncio.run(call())
        except Exception as error:  # noqa: BLE001 - raised below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    raise raised[0]


# --- What must hold


def _check(cell: Cell, expected: Outcome, found: Found) -> None:
    error = found.error
    if expected.error is None:
        if error is not None:
            raise AssertionError("it should have been answered") from error
        _check_result(cell, found.result)
    else:
        assert type(error) is expected.error, repr(found.result if error is None else error)
        _check_error(cell, expected, error)
    assert expected.least <= found.requests <= expected.most
    assert expected.lasts <= found.elapsed <= cell.operation.longest + _GRACE


def _check_result(cell: Cell, result: object) -> None:
    assert type(result) is cell.operation.right
    if isinstance(result, Payment) and result.key:
        assert result.key in {quote(cell.row.key, safe=""), "REF1"}
    if isinstance(result, Payment):
        assert result.status in {"COMPLETED", "PENDING", cell.row.shows}


def _check_error(cell: Cell, expected: Outcome, error: LittlePayError) -> None:
    if expected.tries is not None and hasattr(error, "tries"):
        assert error.tries == expected.tries
    if isinstance(error, OutcomeUnknownError):
        operation = cell.name.partition(",")[0]
        steps = {"create_intent", "process"} if operation == "collect" else {operation}
        assert error.operation in steps
        assert error.key == cell.row.key
    cause = error.__cause__
    if expected.cause is not None:
        assert type(cause) is expected.cause
    for each in (error, cause):
        if isinstance(each, APIConnectionError):
            assert each.sent is expected.sent
            assert each.tls is expected.tls


def _check_ledger(server: ScriptedServer) -> None:
    """Insist on what matters most: no request that moves money has arrived twice."""
    money = Counter(request.target for request in server.requests if request.method != "GET")
    assert set(money.values()) <= {1}, money


def _can_be_used_again(cell: Cell) -> bool:
    row = cell.row
    no_certificate = cell.tls and (row.certificate is not None or row.around is no_such_host)
    return not no_certificate and row.interruption != "closed"


async def _check_next_call(server: ScriptedServer, pay: AsyncLittlePay) -> None:
    """Insist on the session being as good as new."""
    server.script, server.greeting = answers_well, None
    found = await pay.status("NEXT")
    assert (found.key, found.status) == ("NEXT", "COMPLETED")


def _check_nothing_left(before: Counter[str]) -> None:
    assert _descriptors() == before
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:  # trio insists on it by itself
        return
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()] == []


def _descriptors() -> Counter[str]:
    """Return what this process has open, as far as the system tells."""
    found: Counter[str] = Counter()
    for link in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            found[str(link.readlink())] += 1
    return found - Counter({f"/proc/{os.getpid()}/fd": 1})
