"""What is the leasing transport's own: `test_transports` has what it shares with the pooled one."""

from collections.abc import Callable
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import httpx
import pytest

from little_pay_async._transport import LeasingTransport
from little_pay_async._transport import leasing as leasing_module

from .leases import (
    answers,
    assert_no_descriptor_is_left,
    client_of,
    counts,
    idle,
    leasing,
    parked,
    until,
)
from .servers import ScriptedServer

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


# --- Who stands in, and what fails on the way


async def test_a_response_that_is_complete_already_holds_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tools that patch httpx's transport see the requests, and may answer with what is closed."""
    seen = []

    async def stands_in(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path, await request.aread()))
        return httpx.Response(200, content=b"made up")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", stands_in)
    transport = leasing()
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for _ in range(3):
            assert (await client.post("/path", content=b"body")).text == "made up"
            assert counts(transport) == (0, 1, 0)
    assert seen == [("POST", "/path", b"body")] * 3


async def test_who_was_given_a_place_but_finds_all_closed_sends_nothing() -> None:
    transport = leasing()
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
        assert transport._taken == 0
        await assert_no_descriptor_is_left(server)


async def test_what_was_idle_for_too_long_is_closed_even_if_no_other_can_be_opened() -> None:
    transport = leasing(9, idle_seconds=-1)
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        await idle(client, 3)

        def unopenable() -> httpx.AsyncHTTPTransport:
            raise ZeroDivisionError

        transport._open_transport = unopenable
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


class SlowToClose(httpx.AsyncHTTPTransport):
    """A transport that awaits something before it answers, and before it is closed."""

    closed = 0
    fails = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/cancelled":
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return httpx.Response(200)

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        type(self).closed += 1
        if self.fails:
            raise ZeroDivisionError


async def test_closing_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowToClose, "closed", 0)
    transport = LeasingTransport(max_connections=1, open_transport=SlowToClose)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                transport.handle_async_request, httpx.Request("GET", "http://a/cancelled")
            )
            await until(lambda: counts(transport) == (1, 0, 0))
            scope.cancel()
    assert SlowToClose.closed == 1
    assert transport._taken == 0


async def test_one_that_can_not_be_closed_keeps_no_other_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SlowToClose, "closed", 0)
    monkeypatch.setattr(SlowToClose, "fails", True)
    transport = LeasingTransport(max_connections=3, open_transport=SlowToClose)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            request = httpx.Request("GET", "http://a/")
            tasks.start_soon(transport.handle_async_request, request)
    assert counts(transport) == (0, 3, 0)
    with pytest.raises(ZeroDivisionError):
        await transport.aclose()
    assert SlowToClose.closed == 3


class Unwilling(httpx.AsyncHTTPTransport):
    """A transport that fails before it connects."""

    async def handle_async_request(self, _request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError


def unopenable() -> httpx.AsyncHTTPTransport:
    raise ZeroDivisionError


@pytest.mark.parametrize("open_transport", [Unwilling, unopenable])
async def test_a_transport_that_fails_gives_its_place_back(
    open_transport: Callable[[], httpx.AsyncHTTPTransport],
) -> None:
    transport = LeasingTransport(max_connections=1, open_transport=open_transport)
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await client.get("http://127.0.0.1/")
            assert counts(transport) == (0, 0, 0)


async def test_repr_counts_and_names_nobody() -> None:
    transport = leasing(3)
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        assert repr(transport) == "<LeasingTransport 0 leased, 0 idle, 0 waiting, of 3>"
        await idle(client, 2)
        async with parked(client), anyio.create_task_group() as tasks:
            assert repr(transport) == "<LeasingTransport 1 leased, 1 idle, 0 waiting, of 3>"
            async with parked(client, 2):
                tasks.start_soon(client.get, "/")
                await until(lambda: counts(transport)[2] == 1)
                assert repr(transport) == "<LeasingTransport 3 leased, 0 idle, 1 waiting, of 3>"
    assert repr(transport) == "<LeasingTransport 0 leased, 0 idle, 0 waiting, of 3>"
