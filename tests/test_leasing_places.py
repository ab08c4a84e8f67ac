"""Who gets a place and when, what gives it back, and how closing ends it all."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from little_pay_async._transport import LeasingTransport

from .leases import (
    answers,
    assert_no_descriptor_is_left,
    client_of,
    counts,
    descriptors,
    idle,
    leasing,
    parked,
    sends_half,
    until,
)
from .servers import (
    Exchange,
    ScriptedServer,
    closes,
    full_backlog,
    is_silent,
    refusing_port,
    resets,
    server_tls,
)

pytestmark = pytest.mark.anyio


async def test_who_waits_first_is_served_first() -> None:
    transport = leasing()
    async with (
        ScriptedServer(answers) as server,
        client_of(server, transport) as client,
        anyio.create_task_group() as tasks,
        parked(client) as [held],
    ):
        for number in range(5):
            tasks.start_soon(client.get, f"/{number}")
            await until(lambda number=number: counts(transport) == (1, 0, number + 1))
        await held.aread()
        await client.get("/late")  # a place has become free, but not for the one who comes now
    targets = [request.target for request in server.requests]
    assert targets == ["/", "/0", "/1", "/2", "/3", "/4", "/late"]


async def test_waiting_for_a_place_is_bounded_by_the_pool_timeout() -> None:
    transport = leasing()
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        async with parked(client):
            for pool in (0.0, 0.01):
                with pytest.raises(httpx.PoolTimeout) as caught:
                    await client.get("/", timeout=httpx.Timeout(None, pool=pool))
                assert caught.value.request.url.path == "/"
                assert counts(transport) == (1, 0, 0)
        assert counts(transport) == (0, 0, 0)
        for _ in range(2):
            await client.get("/", timeout=httpx.Timeout(None, pool=0.0))
        assert len(server.requests) == 3


async def test_who_timed_out_is_passed_over() -> None:
    transport = leasing()
    async with (
        ScriptedServer(answers) as server,
        client_of(server, transport) as client,
        anyio.create_task_group() as tasks,
    ):
        timed_out = anyio.Event()

        async def impatient() -> None:
            with pytest.raises(httpx.PoolTimeout):
                await client.get("/impatient", timeout=httpx.Timeout(None, pool=0.05))
            timed_out.set()

        async with parked(client):
            tasks.start_soon(impatient)
            await until(lambda: counts(transport) == (1, 0, 1))
            tasks.start_soon(client.get, "/patient")
            await timed_out.wait()
            assert counts(transport) == (1, 0, 1)
    assert [request.target for request in server.requests] == ["/", "/patient"]


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


async def test_a_request_that_fails_gives_its_place_back() -> None:
    transport = leasing()
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        for script in (closes, resets):
            server.script = script
            # A reset is an end of the stream to older versions of anyio.
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await client.get("/")
            assert counts(transport) == (0, 0, 0)
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{refusing_port()}/")
        async with full_backlog() as url:
            with pytest.raises(httpx.ConnectTimeout):
                await client.get(url, timeout=httpx.Timeout(None, connect=0.05))
        server.script = is_silent
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=httpx.Timeout(None, read=0.05))
        assert counts(transport) == (0, 0, 0)
        server.script = answers
        await client.get("/")
        assert counts(transport) == (0, 1, 0)


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


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_closing_ends_who_is_parked_who_waits_and_who_reads(tls: bool) -> None:
    async def script(exchange: Exchange) -> None:
        await {"/parked": is_silent, "/half": sends_half}.get(exchange.request.target, answers)(
            exchange
        )

    transport = leasing(3)
    errors: dict[str, type[Exception]] = {}

    async with ScriptedServer(script, tls=server_tls() if tls else None) as server:

        async def ends(target: str) -> None:
            with pytest.raises(httpx.TransportError) as caught:
                await client.get(target)
            errors[target] = caught.type

        client = client_of(server, transport)
        await idle(client, 2)
        async with client.stream("GET", "/half") as half, anyio.create_task_group() as tasks:
            parts = half.aiter_raw()
            assert await anext(parts) == b"half"
            for _ in range(2):
                tasks.start_soon(ends, "/parked")
            await server.until_requests(5)
            tasks.start_soon(ends, "/waiting")
            await until(lambda: counts(transport) == (3, 0, 1))
            await client.aclose()
            with pytest.raises(httpx.ReadError):
                await anext(parts)
        assert errors == {"/parked": httpx.ReadError, "/waiting": httpx.ConnectError}
        assert counts(transport) == (0, 0, 0)
        await server.until(lambda: server.open == 0)
        await assert_no_descriptor_is_left(server)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_closing_ends_who_connects(tls: bool) -> None:
    connected = anyio.Event()

    async def never_shakes_hands(connection: Any) -> None:
        while await connection.stream.receive():  # raises at the end
            connected.set()

    async with (
        ScriptedServer(answers, tls=server_tls(), greeting=never_shakes_hands) as server,
        full_backlog() as unreachable,
    ):
        transport = leasing()
        client = client_of(server, transport)

        async def ends() -> None:
            with pytest.raises(httpx.TransportError):
                await client.get("/" if tls else unreachable)

        async with anyio.create_task_group() as tasks:
            before = descriptors(server)
            tasks.start_soon(ends)
            await (connected.wait() if tls else until(lambda: descriptors(server) > before))
            await client.aclose()
        assert counts(transport) == (0, 0, 0)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert descriptors(server) == before


async def test_requests_after_closing_are_refused() -> None:
    transport = leasing()
    async with ScriptedServer(answers) as server:
        async with client_of(server, transport) as client:
            await idle(client, 1)
        for _ in range(2):
            await transport.aclose()
            with pytest.raises(httpx.ConnectError, match="closed"):
                await transport.handle_async_request(httpx.Request("GET", server.base_url))
        assert len(server.requests) == 1
        await assert_no_descriptor_is_left(server)
