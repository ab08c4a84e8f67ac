"""Which connection a request goes out on: on real sockets."""

import anyio
import httpx
import pytest

from .leases import (
    NewTransport,
    answers,
    client_of,
    counts,
    each_transport,
    idle,
    parked,
    plain_and_tls,
    sends_half,
    serving,
    until,
)
from .servers import Exchange, in_turn, response

pytestmark = pytest.mark.anyio

FRESH = {"fresh_connection": True}


async def connection_used(client: httpx.AsyncClient, **extensions: bool) -> int:
    return int((await client.get("/", extensions=extensions)).text)


@each_transport
@plain_and_tls
async def test_one_request_after_another_uses_one_connection(
    new_transport: NewTransport, tls: bool
) -> None:
    async with (
        serving(answers, tls=tls) as server,
        client_of(server, new_transport(9)) as client,
    ):
        assert [await connection_used(client) for _ in range(5)] == [0] * 5
        assert server.connections == 1


@each_transport
@plain_and_tls
async def test_the_connection_used_last_is_used_next(
    new_transport: NewTransport, tls: bool
) -> None:
    async with serving(answers, tls=tls) as server, client_of(server, new_transport(3)) as client:
        await idle(client, 3)
        assert [await connection_used(client) for _ in range(3)] == [2, 2, 2]
        async with parked(client, 3) as held:
            assert [int(await answer.aread()) for answer in held] == [2, 1, 0]


@each_transport
@plain_and_tls
async def test_a_fresh_connection_is_one_that_nobody_used(
    new_transport: NewTransport, tls: bool
) -> None:
    transport = new_transport(9)
    async with serving(answers, tls=tls) as server, client_of(server, transport) as client:
        await idle(client, 2)
        assert await connection_used(client, **FRESH) == 2
        assert await connection_used(client, **FRESH) == 3
        assert counts(transport) == (0, 2, 0)  # each took the oldest's place, room or not
        assert await connection_used(client) == 3  # it was fresh once
        assert await connection_used(client, fresh_connection=False) == 3


@each_transport
@plain_and_tls
async def test_the_oldest_idle_connection_makes_room_for_a_fresh_one(
    new_transport: NewTransport, tls: bool
) -> None:
    transport = new_transport(2)
    async with serving(answers, tls=tls) as server, client_of(server, transport) as client:
        await idle(client, 2)
        assert await connection_used(client, **FRESH) == 2
        await server.until(lambda: server.open == 2)
        assert counts(transport) == (0, 2, 0)
        async with parked(client, 2) as held:
            assert [int(await answer.aread()) for answer in held] == [2, 1]


# trio says so of every generator that is left half-way, and httpx nests some.
@each_transport
@plain_and_tls
@pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")
async def test_a_response_that_was_not_read_to_the_end_ends_its_connection(
    new_transport: NewTransport, tls: bool
) -> None:
    transport = new_transport()
    async with (
        serving(in_turn(sends_half, answers), tls=tls) as server,
        client_of(server, transport) as client,
    ):
        async with client.stream("GET", "/") as answer:
            assert await anext(answer.aiter_raw()) == b"half"
            assert counts(transport) == (1, 0, 0)
        assert counts(transport) == (0, 0, 0)
        await server.until(lambda: server.open == 0)
        assert await connection_used(client) == 1


@each_transport
@plain_and_tls
async def test_a_response_that_breaks_off_ends_its_connection(
    new_transport: NewTransport, tls: bool
) -> None:
    async def breaks_off(exchange: Exchange) -> None:
        await exchange.send(response(b"half", length=8))
        await exchange.close()

    transport = new_transport()
    async with (
        serving(in_turn(breaks_off, answers), tls=tls) as server,
        client_of(server, transport) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
        assert counts(transport) == (0, 0, 0)
        assert await connection_used(client) == 1


@each_transport
@plain_and_tls
async def test_an_idle_connection_that_the_server_closed_is_not_used(
    new_transport: NewTransport, tls: bool
) -> None:
    async def answers_once(exchange: Exchange) -> None:
        await answers(exchange)
        await exchange.close()

    async with (
        serving(answers_once, tls=tls) as server,
        client_of(server, new_transport()) as client,
    ):
        for number in range(3):
            assert await connection_used(client) == number
            await server.until(lambda: server.open == 0)


@each_transport
@plain_and_tls
async def test_a_body_that_breaks_off_gives_its_place_back_even_if_nobody_closes_it(
    new_transport: NewTransport, tls: bool
) -> None:
    async def breaks_off(exchange: Exchange) -> None:
        await exchange.send(response(b"half", length=8))
        await exchange.close()

    transport = new_transport()
    async with serving(breaks_off, tls=tls) as server, client_of(server, transport) as client:
        held = await client.send(client.build_request("GET", "/"), stream=True)
        with pytest.raises(httpx.RemoteProtocolError):
            await held.aread()
        assert counts(transport) == (0, 0, 0)
        await held.aclose()
        assert counts(transport) == (0, 0, 0)


@each_transport
@plain_and_tls
async def test_closing_wakes_who_waits_though_all_places_stay_taken(
    new_transport: NewTransport, tls: bool
) -> None:
    transport = new_transport()
    async with serving(answers, tls=tls) as server, client_of(server, transport) as client:
        refused = anyio.Event()

        async def waits() -> None:
            with pytest.raises(httpx.ConnectError, match="closed"):
                await client.get("/waiting")
            refused.set()

        async with anyio.create_task_group() as tasks, parked(client) as [held]:
            tasks.start_soon(waits)
            await until(lambda: counts(transport) == (1, 0, 1))
            await transport.aclose()
            await refused.wait()
            assert counts(transport) == (1, 0, 0)
            with pytest.raises(httpx.ReadError):
                await held.aread()
            assert counts(transport) == (0, 0, 0)
        assert len(server.requests) == 1


@each_transport
@plain_and_tls
async def test_who_traces_a_request_is_told_as_ever(new_transport: NewTransport, tls: bool) -> None:
    told: list[str] = []

    async def trace(name: str, info: object) -> None:
        told.append(name)

    async with serving(answers, tls=tls) as server, client_of(server, new_transport()) as client:
        request = client.build_request("GET", "/", extensions={"trace": trace})
        for _ in range(2):
            await client.send(request)
    assert told.count("connection.connect_tcp.complete") == 1
    assert told.count("http11.send_request_headers.started") == 2
    assert request.extensions["trace"] is trace
