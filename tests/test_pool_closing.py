"""Closed at any moment, the pool ends what is under way, says how, and leaves nothing behind."""

import asyncio
import contextlib
import errno
from collections import Counter
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import httpcore
import httpx
import pytest

from little_pay_async._transport import connecting as connecting_module
from little_pay_async._transport import tcp as tcp_module
from little_pay_async._transport.bounds import Bounds
from little_pay_async._transport.connection import Connection

from .leases import (
    Held,
    answers,
    assert_no_descriptor_is_left,
    client_of,
    hold,
    left_pending,
    may_end,
    parked,
    plain_and_tls,
    pooled,
    sends_half,
    serving,
    until,
)
from .pools import client_over, new_pool, only_leased, state
from .servers import Exchange, ScriptedServer, full_backlog, is_silent, response, server_tls

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


async def in_two_parts(exchange: Exchange) -> None:
    answer = response(b"..")
    await exchange.send(answer[:-1])
    await may_end(exchange)
    await anyio.lowlevel.checkpoint()
    await exchange.send(answer[-1:])


@pytest.mark.parametrize("situation", ["alone", "reusing", "connection passed on", "place freed"])
@plain_and_tls
async def test_closed_at_each_step(tls: bool, situation: str) -> None:
    outcomes: Counter[str] = Counter()
    async with serving(in_two_parts, tls=tls) as server:
        async with client_over(new_pool(), server) as client:
            await client.get("/first")
        before = await left_pending(server)
        for steps in count():
            ended, outcome = await closed_after(steps, server, situation)
            assert await left_pending(server) == before
            await assert_no_descriptor_is_left(server)
            outcomes[outcome] += 1
            if ended:
                break
    assert set(outcomes) <= {"ConnectError", "ReadError", "ended"}
    assert outcomes["ReadError"] > 0
    assert outcomes["ConnectError"] > 0 or situation == "reusing"


async def closed_after(steps: int, server: ScriptedServer, situation: str) -> tuple[bool, str]:
    """Close the pool after so many steps of a request.

    Return whether it had ended by then, and how it ended.
    """
    pool = new_pool()
    outcome = ""

    async def request() -> None:
        nonlocal outcome
        try:
            await client.get("/victim")
        except httpx.TransportError as error:
            outcome = type(error).__name__
        else:
            outcome = "ended"

    async with client_over(pool, server) as client, anyio.create_task_group() as tasks:
        held = None
        if situation == "reusing":
            await client.get("/first")
        elif situation != "alone":
            held = await hold(client)
        tasks.start_soon(request)
        if held is not None:
            await until(lambda: state(pool) == (1, 0, 1))
            tasks.start_soon(release, held, situation == "connection passed on")
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        ended = outcome == "ended"
        await pool.aclose()
        await until(lambda: outcome != "")
        if held is not None:
            await held.aclose()
    return ended, outcome


async def release(held: Held, whole: bool) -> None:
    with contextlib.suppress(httpx.ReadError):  # the pool was closed before
        await (held.aread() if whole else held.aclose())


async def test_closed_in_the_step_in_which_a_connection_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*arguments: Any) -> Connection:
        made = await tcp_module.connect(*arguments)
        pool._bounds.close()
        return made

    monkeypatch.setattr(connecting_module, "connect", connect)
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        with pytest.raises(httpx.ConnectError, match="closed"):
            await client.get("/")
        await server.until(lambda: server.open == 0)
        assert server.requests == []


async def test_closing_twice_at_once() -> None:
    """The second one meets requests that have been told to end, and have not yet."""
    pool = new_pool()
    errors: list[type[Exception]] = []

    async def refused() -> None:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get("/waiting")
        errors.append(caught.type)

    async def closes_after(steps: int) -> None:
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        await pool.aclose()

    async with (
        ScriptedServer(answers) as server,
        client_over(pool, server) as client,
        parked(client),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(refused)
        await until(lambda: state(pool) == (1, 0, 1))
        for steps in range(6):
            tasks.start_soon(closes_after, steps)
    assert errors == [httpx.ConnectError]


async def test_a_limit_that_is_over_already_does_not_keep_closing_from_the_others() -> None:
    bounds = Bounds()
    raised: list[BaseException] = []

    async def waits(limit: float | None) -> None:
        try:
            async with bounds.within(limit, httpcore.PoolTimeout("late")):
                await anyio.sleep_forever()
        except httpcore.ConnectError as error:
            raised.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(waits, None)
        await until(lambda: len(bounds._bounds) == 3)
        [expired, *_] = bounds._bounds
        expired._on_timeout()  # as the loop does when its time has come
        bounds.close()
    assert len(raised) == 3
    with pytest.raises(httpcore.ConnectError, match="closed"):
        async with bounds.within(None, ZeroDivisionError()):
            pass


async def test_a_timeout_of_the_system_is_not_taken_for_the_limit() -> None:
    with pytest.raises(TimeoutError, match="by the system"):
        async with Bounds().within(99, ZeroDivisionError()):
            raise TimeoutError(errno.ETIMEDOUT, "by the system")


async def test_closing_ends_each_as_it_stands() -> None:
    """Those who connect, shake hands, are parked, read half or wait: all of them at once."""
    greeted = anyio.Event()

    async def never_shakes_hands(connection: Any) -> None:
        while await connection.stream.receive():  # raises at the end
            greeted.set()

    async def script(exchange: Exchange) -> None:
        await (is_silent if exchange.request.target == "/parked" else sends_half)(exchange)

    pool = new_pool(4)
    errors: dict[str, type[Exception]] = {}
    async with (
        ScriptedServer(script) as server,
        ScriptedServer(answers, tls=server_tls(), greeting=never_shakes_hands) as shaker,
        full_backlog() as unreachable,
        client_over(pool, server) as client,
        anyio.create_task_group() as tasks,
    ):

        async def ends(name: str, url: str) -> None:
            with pytest.raises(httpx.TransportError) as caught:
                await client.get(url)
            errors[name] = caught.type

        tasks.start_soon(ends, "parked", "/parked")
        tasks.start_soon(ends, "half read", "/half")
        tasks.start_soon(ends, "connecting", unreachable)
        tasks.start_soon(ends, "shaking hands", shaker.base_url)
        await server.until_requests(2)
        await greeted.wait()
        await until(lambda: state(pool) == (4, 0, 0))
        tasks.start_soon(ends, "waiting", "/waiting")
        await until(lambda: state(pool) == (4, 0, 1))
        await pool.aclose()
        await until(lambda: len(errors) == 5)
    assert errors == {
        "parked": httpx.ReadError,
        "half read": httpx.ReadError,
        "connecting": httpx.ConnectError,
        "shaking hands": httpx.ConnectError,
        "waiting": httpx.ConnectError,
    }


async def test_who_got_a_connection_in_the_step_of_closing_sends_nothing() -> None:
    pool = new_pool()
    async with (
        ScriptedServer(answers) as server,
        client_over(pool, server) as client,
        anyio.create_task_group() as tasks,
    ):

        async def refused() -> None:
            with pytest.raises(httpx.ConnectError, match="closed"):
                await client.get("/waiting")

        held = await hold(client)
        tasks.start_soon(refused)
        await until(lambda: state(pool) == (1, 0, 1))
        await held.aread()
        assert state(pool) == (1, 0, 0)  # it has the connection now, but no turn to use it yet
        await pool.aclose()
    assert len(server.requests) == 1


@pytest.mark.parametrize("event", ["connection.connect_tcp.complete", "lease.wait.complete"])
async def test_closed_while_a_trace_is_told(event: str) -> None:
    """A trace may take its time; what was told to it is not true any more then."""
    reached, goes_on = anyio.Event(), anyio.Event()

    async def trace(name: str, info: object) -> None:
        if name == event:
            reached.set()
            await goes_on.wait()

    pool = new_pool()
    async with (
        ScriptedServer(answers) as server,
        client_over(pool, server) as client,
        anyio.create_task_group() as tasks,
    ):

        async def refused() -> None:
            with pytest.raises(httpx.ConnectError):
                await client.get("/", extensions={"trace": trace})

        tasks.start_soon(refused)
        await reached.wait()
        await pool.aclose()
        goes_on.set()
    assert server.requests == []


async def test_cancelled_in_the_step_of_closing() -> None:
    """It has been given a connection, is cancelled, and the pool is closed: nobody keeps it."""
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        held = await hold(client)
        victim = asyncio.ensure_future(client.get("/waiting"))
        await until(lambda: state(pool) == (1, 0, 1))
        await held.aread()
        victim.cancel()
        await pool.aclose()
        await asyncio.wait([victim])
        assert victim.cancelled()
        assert state(pool) == (0, 0, 0)
        assert pool._idle._sweeper is None


async def test_a_transport_that_was_never_used_can_be_closed() -> None:
    transport = pooled()
    assert repr(transport) == "<PooledTransport <not used yet>>"
    async with ScriptedServer(answers) as server:
        async with client_of(server, transport):
            pass
        for _ in range(2):
            with pytest.raises(httpx.ConnectError, match="closed"):
                await transport.handle_async_request(httpx.Request("GET", server.base_url))
            await transport.aclose()
    assert server.connections == 0


async def test_what_is_idle_ends_with_the_pool() -> None:
    pool = new_pool(3)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        async with parked(client, 3) as held:
            for answer in held:
                await answer.aread()
        assert repr(pool) == "<Pool 0 leased, 3 idle, 0 waiting, of 3>"
        async with pool:  # as httpcore's
            assert server.open == 3
        assert repr(pool) == "<Pool 0 leased, 0 idle, 0 waiting, of 3>"
        await server.until(lambda: server.open == 0)


async def test_a_held_response_can_not_be_read_after_closing() -> None:
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        held = await hold(client)
        connection = only_leased(pool)
        await pool.aclose()
        assert connection.ended
        with pytest.raises(httpx.ReadError, match="closed"):
            await held.aread()
