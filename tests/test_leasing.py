"""What is the leasing pool's own: `test_transports` has what it shares with the other one."""

import ssl
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import h11
import httpcore
import httpx
import pytest

from little_pay_async._transport import leasing as leasing_module
from little_pay_async._transport.broken import RefusedResponseError
from little_pay_async._transport.pooled import PooledTransport

from .leases import (
    answers,
    assert_no_descriptor_is_left,
    client_of,
    counts,
    idle,
    leasing,
    leasing_pool,
    parked,
    until,
)
from .servers import ScriptedServer, response, sends

pytestmark = pytest.mark.anyio


async def connection_used(client: httpx.AsyncClient) -> int:
    return int((await client.get("/")).text)


async def test_connections_that_are_idle_for_too_long_are_closed_by_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(leasing_module, "time", SimpleNamespace(monotonic=lambda: now))
    transport = leasing(9, idle_seconds=60)
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        await idle(client, 3)
        now = 60.0
        assert await connection_used(client) == 2
        assert counts(transport) == (0, 3, 0)
        now = 60.1
        assert await connection_used(client) == 2  # the other two have not been used since 0
        await server.until(lambda: server.open == 1)
        assert counts(transport) == (0, 1, 0)
        now = 999.0
        assert await connection_used(client) == 3
        await server.until(lambda: server.open == 1)
        assert counts(transport) == (0, 1, 0)


# --- What h11 and httpcore take, and should not


@pytest.mark.threat("T6")
async def test_a_connection_on_which_more_came_than_was_asked_for_is_not_used_again() -> None:
    unasked = sends(response(b"0", content_type=None) + response(b"1", content_type=None))
    transport = leasing(9)
    async with ScriptedServer(unasked) as server, client_of(server, transport) as client:
        assert await connection_used(client) == 0
        assert counts(transport) == (0, 0, 0)
        assert await connection_used(client) == 0
        assert server.connections == 2


@pytest.mark.parametrize(
    "head", [b"HTTP/2.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101]
)
async def test_a_response_that_is_refused_leaves_no_connection(head: bytes) -> None:
    transport = leasing(9)
    script = sends(head + b"Content-Length: 0\r\n\r\n")
    async with ScriptedServer(script) as server, client_of(server, transport) as client:
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await client.get("/")
        assert isinstance(caught.value.__cause__.__cause__, RefusedResponseError)  # type: ignore[union-attr]
        assert counts(transport) == (0, 0, 0)
        await server.until(lambda: server.open == 0)


# --- What fails on the way


async def test_who_was_given_a_place_but_finds_all_closed_sends_nothing() -> None:
    pool = leasing_pool()
    transport = PooledTransport(lambda: pool)
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:

        async def refused() -> None:
            with pytest.raises(httpx.ConnectError, match="closed"):
                await client.get("/waiting")

        async with anyio.create_task_group() as tasks, parked(client) as [held]:
            tasks.start_soon(refused)
            await until(lambda: counts(transport) == (1, 0, 1))
            await held.aread()  # it has the place now, but no turn to use it yet
            assert counts(transport) == (0, 1, 0)
            await transport.aclose()
        assert len(server.requests) == 1
        assert pool._taken == 0
        await assert_no_descriptor_is_left(server)


async def test_what_was_idle_for_too_long_is_closed_even_if_no_other_can_be_opened() -> None:
    pool = leasing_pool(9, idle_seconds=-1)
    transport = PooledTransport(lambda: pool)
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        await idle(client, 3)
        pool._open_pool = unopenable
        with pytest.raises(ZeroDivisionError):
            await client.get("/")
        await server.until(lambda: server.open == 0)
        assert counts(transport) == (0, 0, 0)


async def test_closing_wakes_who_waits_though_all_places_stay_taken() -> None:
    transport = leasing()
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:

        async def waits() -> None:
            with pytest.raises(httpx.ConnectError, match="closed"):
                await client.get("/waiting")

        async with client.stream("GET", "/") as held:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(waits)
                await until(lambda: counts(transport) == (1, 0, 1))
                await transport.aclose()
            assert counts(transport) == (1, 0, 0)
            await held.aread()  # it had come already
            assert counts(transport) == (0, 0, 0)  # and its connection is not kept
        assert len(server.requests) == 1


class SlowToClose(httpcore.AsyncConnectionPool):
    """A pool that awaits something before it answers, and before it is closed."""

    closed = 0
    fails = False

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        if request.url.target == b"/cancelled":
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return httpcore.Response(200)

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        type(self).closed += 1
        if self.fails:
            raise ZeroDivisionError


async def test_closing_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowToClose, "closed", 0)
    pool = leasing_pool(open_pool=SlowToClose)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            request = httpcore.Request("GET", "http://a/cancelled")
            tasks.start_soon(pool.handle_async_request, request)
            await until(lambda: len(pool._leases) == 1)
            scope.cancel()
    assert SlowToClose.closed == 1
    assert pool._taken == 0


async def test_one_that_can_not_be_closed_keeps_no_other_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SlowToClose, "closed", 0)
    monkeypatch.setattr(SlowToClose, "fails", True)
    transport = leasing(3, open_pool=SlowToClose)
    client = httpx.AsyncClient(transport=transport)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(client.get, "http://a/")
    assert counts(transport) == (0, 3, 0)
    with pytest.raises(ZeroDivisionError):
        await transport.aclose()
    assert SlowToClose.closed == 3


class Unwilling(httpcore.AsyncConnectionPool):
    """A pool that fails before it connects."""

    async def handle_async_request(self, _request: httpcore.Request) -> httpcore.Response:
        raise ZeroDivisionError


def unopenable() -> httpcore.AsyncConnectionPool:
    raise ZeroDivisionError


@pytest.mark.parametrize("open_pool", [Unwilling, unopenable])
async def test_a_pool_that_fails_gives_its_place_back(
    open_pool: Callable[[], httpcore.AsyncConnectionPool],
) -> None:
    transport = leasing(open_pool=open_pool)
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await client.get("http://127.0.0.1/")
            assert counts(transport) == (0, 0, 0)


async def test_repr_counts_and_names_nobody() -> None:
    pool = leasing_pool(3)
    transport = PooledTransport(lambda: pool)
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        assert repr(pool) == "<LeasingPool 0 leased, 0 idle, 0 waiting, of 3>"
        await idle(client, 2)
        async with parked(client), anyio.create_task_group() as tasks:
            assert repr(pool) == "<LeasingPool 1 leased, 1 idle, 0 waiting, of 3>"
            async with parked(client, 2):
                tasks.start_soon(client.get, "/")
                await until(lambda: counts(transport)[2] == 1)
                assert repr(pool) == "<LeasingPool 3 leased, 0 idle, 1 waiting, of 3>"
        assert repr(transport) == f"<PooledTransport {pool!r}>"
    assert repr(pool) == "<LeasingPool 0 leased, 0 idle, 0 waiting, of 3>"


# --- What httpcore lets through


class Breaks(httpcore.AsyncConnectionPool):
    """A pool that fails of what `error` is, in its answer or in the body of that."""

    error: Exception
    within_body = False

    async def handle_async_request(self, _request: httpcore.Request) -> httpcore.Response:
        if not self.within_body:
            raise self.error
        return httpcore.Response(200, content=self.body())

    async def body(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise self.error


LET_THROUGH: dict[str, tuple[Exception, type[Exception]]] = {
    "TLS": (ssl.SSLError(1, "bad record"), httpcore.ReadError),
    "the system's": (ConnectionResetError(104, "reset"), httpcore.ReadError),
    "anyio's": (anyio.ClosedResourceError(), httpcore.ReadError),
    "h11's": (h11.LocalProtocolError("too long"), httpcore.LocalProtocolError),
    "httpcore's": (httpcore.ConnectTimeout("late"), httpcore.ConnectTimeout),
    "the caller's": (ZeroDivisionError("own"), ZeroDivisionError),
}


@pytest.mark.parametrize("within_body", [False, True])
@pytest.mark.parametrize(("error", "seen_as"), LET_THROUGH.values(), ids=LET_THROUGH)
async def test_errors_are_httpcore_s(
    error: Exception, seen_as: type[Exception], within_body: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaks, "error", error, raising=False)
    monkeypatch.setattr(Breaks, "within_body", within_body)
    pool = leasing_pool(open_pool=Breaks)
    with pytest.raises(seen_as) as caught:
        await (await pool.handle_async_request(httpcore.Request("GET", "http://a/"))).aread()
    assert type(caught.value) is seen_as
    assert error in (caught.value, caught.value.__cause__)
    assert str(caught.value)
    assert repr(pool) == "<LeasingPool 0 leased, 0 idle, 0 waiting, of 1>"
