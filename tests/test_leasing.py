"""Which connection a request goes out on: on real sockets."""

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
    sends_half,
    until,
)
from .servers import (
    Exchange,
    ScriptedServer,
    in_turn,
    response,
    server_tls,
)

pytestmark = pytest.mark.anyio

FRESH = {"fresh_connection": True}


async def connection_used(client: httpx.AsyncClient, **extensions: bool) -> int:
    return int((await client.get("/", extensions=extensions)).text)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_one_request_after_another_uses_one_connection(tls: bool) -> None:
    async with (
        ScriptedServer(answers, tls=server_tls() if tls else None) as server,
        client_of(server, leasing(9)) as client,
    ):
        assert [await connection_used(client) for _ in range(5)] == [0] * 5
        assert server.connections == 1


async def test_the_connection_used_last_is_used_next() -> None:
    async with ScriptedServer(answers) as server, client_of(server, leasing(3)) as client:
        await idle(client, 3)
        assert [await connection_used(client) for _ in range(3)] == [2, 2, 2]
        async with parked(client, 3) as held:
            assert [int(await answer.aread()) for answer in held] == [2, 1, 0]


async def test_a_fresh_connection_is_one_that_nobody_used() -> None:
    transport = leasing(9)
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        await idle(client, 2)
        assert await connection_used(client, **FRESH) == 2
        assert await connection_used(client, **FRESH) == 3
        assert counts(transport) == (0, 2, 0)  # each took the oldest's place, room or not
        assert await connection_used(client) == 3  # it was fresh once
        assert await connection_used(client, fresh_connection=False) == 3


async def test_the_oldest_idle_connection_makes_room_for_a_fresh_one() -> None:
    transport = leasing(2)
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
        await idle(client, 2)
        assert await connection_used(client, **FRESH) == 2
        await server.until(lambda: server.open == 2)
        assert counts(transport) == (0, 2, 0)
        async with parked(client, 2) as held:
            assert [int(await answer.aread()) for answer in held] == [2, 1]


# trio says so of every generator that is left half-way, and httpx nests some.
@pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")
async def test_a_response_that_was_not_read_to_the_end_ends_its_connection() -> None:
    transport = leasing()
    async with (
        ScriptedServer(in_turn(sends_half, answers)) as server,
        client_of(server, transport) as client,
    ):
        async with client.stream("GET", "/") as answer:
            assert await anext(answer.aiter_raw()) == b"half"
            assert counts(transport) == (1, 0, 0)
        assert counts(transport) == (0, 0, 0)
        await server.until(lambda: server.open == 0)
        assert await connection_used(client) == 1


async def test_a_response_that_breaks_off_ends_its_connection() -> None:
    async def breaks_off(exchange: Exchange) -> None:
        await exchange.send(response(b"half", length=8))
        await exchange.close()

    transport = leasing()
    async with (
        ScriptedServer(in_turn(breaks_off, answers)) as server,
        client_of(server, transport) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
        assert counts(transport) == (0, 0, 0)
        assert await connection_used(client) == 1


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_an_idle_connection_that_the_server_closed_is_not_used(tls: bool) -> None:
    async def answers_once(exchange: Exchange) -> None:
        await answers(exchange)
        await exchange.close()

    async with (
        ScriptedServer(answers_once, tls=server_tls() if tls else None) as server,
        client_of(server, leasing()) as client,
    ):
        for number in range(3):
            assert await connection_used(client) == number
            await server.until(lambda: server.open == 0)


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


async def test_a_body_that_breaks_off_gives_its_place_back_even_if_nobody_closes_it() -> None:
    async def breaks_off(exchange: Exchange) -> None:
        await exchange.send(response(b"half", length=8))
        await exchange.close()

    transport = leasing()
    async with ScriptedServer(breaks_off) as server, client_of(server, transport) as client:
        held = await client.send(client.build_request("GET", "/"), stream=True)
        with pytest.raises(httpx.RemoteProtocolError):
            await held.aread()
        assert counts(transport) == (0, 0, 0)
        await held.aclose()
        assert (counts(transport), transport._taken) == ((0, 0, 0), 0)


async def test_closing_wakes_who_waits_though_all_places_stay_taken() -> None:
    transport = leasing()
    async with ScriptedServer(answers) as server, client_of(server, transport) as client:
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
            await held.aread()  # it had come already
            assert counts(transport) == (0, 0, 0)  # and its connection is not kept
        assert len(server.requests) == 1


async def test_who_traces_a_request_is_told_as_ever() -> None:
    told: list[str] = []

    async def trace(name: str, info: object) -> None:
        told.append(name)

    async with ScriptedServer(answers) as server, client_of(server, leasing()) as client:
        request = client.build_request("GET", "/", extensions={"trace": trace})
        for _ in range(2):
            await client.send(request)
    assert told.count("connection.connect_tcp.complete") == 1
    assert told.count("http11.send_request_headers.started") == 2
    assert request.extensions["trace"] is trace


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
