"""Who gets a place and when, what gives it back, and how closing ends it all."""

from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from .leases import (
    NewTransport,
    answers,
    assert_no_descriptor_is_left,
    client_of,
    counts,
    descriptors,
    each_transport,
    idle,
    parked,
    plain_and_tls,
    sends_half,
    serving,
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


@each_transport
async def test_who_waits_first_is_served_first(new_transport: NewTransport) -> None:
    transport = new_transport()
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


@each_transport
async def test_waiting_for_a_place_is_bounded_by_the_pool_timeout(
    new_transport: NewTransport,
) -> None:
    transport = new_transport()
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


@each_transport
async def test_who_timed_out_is_passed_over(new_transport: NewTransport) -> None:
    transport = new_transport()
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


@each_transport
async def test_a_request_that_fails_gives_its_place_back(new_transport: NewTransport) -> None:
    transport = new_transport()
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


@each_transport
@plain_and_tls
async def test_closing_ends_who_is_parked_who_waits_and_who_reads(
    new_transport: NewTransport, tls: bool
) -> None:
    async def script(exchange: Exchange) -> None:
        await {"/parked": is_silent, "/half": sends_half}.get(exchange.request.target, answers)(
            exchange
        )

    transport = new_transport(3)
    errors: dict[str, type[Exception]] = {}

    async with serving(script, tls=tls) as server:

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


@each_transport
@plain_and_tls
async def test_closing_ends_who_connects(new_transport: NewTransport, tls: bool) -> None:
    connected = anyio.Event()

    async def never_shakes_hands(connection: Any) -> None:
        while await connection.stream.receive():  # raises at the end
            connected.set()

    async with (
        ScriptedServer(answers, tls=server_tls(), greeting=never_shakes_hands) as server,
        full_backlog() as unreachable,
    ):
        transport = new_transport()
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


@each_transport
async def test_requests_after_closing_are_refused(new_transport: NewTransport) -> None:
    transport = new_transport()
    async with ScriptedServer(answers) as server:
        async with client_of(server, transport) as client:
            await idle(client, 1)
        for _ in range(2):
            await transport.aclose()
            with pytest.raises(httpx.ConnectError, match="closed"):
                await transport.handle_async_request(httpx.Request("GET", server.base_url))
        assert len(server.requests) == 1
        await assert_no_descriptor_is_left(server)
