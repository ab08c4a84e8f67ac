"""Who gets which connection: the pool's own rules, on real sockets."""

import asyncio

import anyio
import httpcore
import httpx
import pytest

from little_pay_async._transport import connecting as connecting_module

from .leases import (
    a_few_steps,
    answers,
    descriptors,
    hold,
    idle,
    parked,
    plain_and_tls,
    sends_half,
    serving,
    until,
)
from .pools import client_over, new_pool, only_leased, state
from .servers import (
    Exchange,
    ScriptedServer,
    closes,
    full_backlog,
    in_turn,
    refusing_port,
    resets,
    response,
)

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


async def connection_used(client: httpx.AsyncClient, url: str = "/", **extensions: bool) -> int:
    return int((await client.get(url, extensions=extensions)).text)


# --- Idle connections


async def test_only_so_many_are_kept_idle_and_those_used_last() -> None:
    pool = new_pool(9, max_idle=2)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        await idle(client, 4)
        assert state(pool) == (0, 2, 0)
        await server.until(lambda: server.open == 2)
        async with parked(client, 2) as held:
            assert [int(await answer.aread()) for answer in held] == [3, 2]


async def test_none_need_be_kept_idle() -> None:
    pool = new_pool(9, max_idle=0)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        for number in range(3):
            assert await connection_used(client) == number
            assert state(pool) == (0, 0, 0)


@plain_and_tls
async def test_what_is_idle_for_too_long_is_closed_without_a_request(tls: bool) -> None:
    pool = new_pool(9, idle_seconds=0.01)
    async with serving(answers, tls=tls) as server, client_over(pool, server) as client:
        for _ in range(2):
            await idle(client, 3)
            await server.until(lambda: server.open == 0)
            assert state(pool) == (0, 0, 0)
            assert not pool._idle._since  # not even their origin is remembered
            assert pool._idle._sweeper is None


@plain_and_tls
@pytest.mark.parametrize("ends", [closes, resets])
async def test_the_end_of_an_idle_connection_is_noticed_without_a_request(
    tls: bool, ends: object
) -> None:
    may_go = anyio.Event()

    async def answers_and_ends(exchange: Exchange) -> None:
        await answers(exchange)
        await may_go.wait()
        await ends(exchange)  # type: ignore[operator]

    pool = new_pool(3)
    async with serving(answers_and_ends, tls=tls) as server, client_over(pool, server) as client:
        await idle(client, 3)
        assert state(pool) == (0, 3, 0)
        may_go.set()
        await until(lambda: state(pool) == (0, 0, 0))
        assert len(server.requests) == 3


@plain_and_tls
@pytest.mark.threat("T6")
async def test_what_comes_unasked_ends_an_idle_connection_without_a_request(tls: bool) -> None:
    speaks = anyio.Event()

    async def answers_and_speaks(exchange: Exchange) -> None:
        await answers(exchange)
        await speaks.wait()
        await exchange.send(response(b"unasked"))

    pool = new_pool()
    async with (
        serving(in_turn(answers_and_speaks, answers), tls=tls) as server,
        client_over(pool, server) as client,
    ):
        await connection_used(client)
        speaks.set()
        await until(lambda: state(pool) == (0, 0, 0))
        await server.until(lambda: server.open == 0)
        assert await connection_used(client) == 1


async def test_each_origin_has_its_own() -> None:
    pool = new_pool(4)
    async with (
        ScriptedServer(answers) as server,
        ScriptedServer(answers) as other,
        client_over(pool, server) as client,
    ):
        for _ in range(2):
            assert await connection_used(client) == 0
            assert await connection_used(client, other.base_url) == 0
        assert state(pool) == (0, 2, 0)
        extensions = {"sni_hostname": "another.example"}  # another origin too
        assert (await client.get("/", extensions=extensions)).text == "1"
        assert (server.connections, other.connections) == (2, 1)


async def test_whoever_has_been_idle_longest_makes_room_for_another_origin() -> None:
    pool = new_pool(2)
    async with (
        ScriptedServer(answers) as server,
        ScriptedServer(answers) as other,
        client_over(pool, server) as client,
    ):
        await idle(client, 2)
        assert await connection_used(client, other.base_url) == 0
        await server.until(lambda: server.open == 1)
        assert state(pool) == (0, 2, 0)
        assert await connection_used(client) == 1
        assert await connection_used(client, other.base_url) == 0


# --- Taking turns


async def test_turns_are_taken_in_the_order_of_asking_whatever_is_asked_for() -> None:
    served: list[str] = []

    async def answers_and_notes(exchange: Exchange) -> None:
        served.append(exchange.request.target)
        await answers(exchange)

    pool = new_pool()
    used: dict[str, int] = {}
    async with (
        ScriptedServer(answers_and_notes) as server,
        ScriptedServer(answers_and_notes) as other,
        client_over(pool, server) as client,
    ):

        async def request(url: str, **extensions: bool) -> None:
            used[url.removeprefix(other.base_url)] = await connection_used(
                client, url, **extensions
            )

        async with anyio.create_task_group() as tasks:
            held = await hold(client, "/held")
            for number, (url, fresh) in enumerate(
                [
                    ("/0", False),
                    ("/1-fresh", True),
                    (f"{other.base_url}/2-other", False),
                    (f"{other.base_url}/3-other-fresh", True),
                    (f"{other.base_url}/4-other", False),
                    ("/5", False),
                    ("/6", False),
                ]
            ):
                tasks.start_soon(lambda url=url, fresh=fresh: request(url, fresh_connection=fresh))
                await until(lambda number=number: state(pool) == (1, 0, number + 1))
            await held.aread()
    assert served == [
        "/held", "/0", "/1-fresh", "/2-other", "/3-other-fresh", "/4-other", "/5", "/6",
    ]  # fmt: skip
    assert used == {
        "/0": 0, "/1-fresh": 1, "/2-other": 0, "/3-other-fresh": 1, "/4-other": 1, "/5": 2, "/6": 2,
    }  # fmt: skip
    assert pool.statistics().made == 5


async def test_one_connection_is_passed_on_to_many() -> None:
    pool = new_pool()
    async with (
        ScriptedServer(answers) as server,
        client_over(pool, server) as client,
    ):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(connection_used, client)
        assert (len(server.requests), pool.statistics().made) == (20, 1)


@pytest.mark.parametrize("next_one", ["none", "same", "fresh"])
@pytest.mark.parametrize("given", ["connection", "ended connection", "place"])
async def test_cancelled_in_the_step_in_which_it_was_given_something(
    given: str, next_one: str
) -> None:
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        held = await hold(client)
        connection = only_leased(pool)
        victim = asyncio.ensure_future(client.get("/victim"))
        await until(lambda: state(pool) == (1, 0, 1))
        async with anyio.create_task_group() as tasks:
            if next_one != "none":
                fresh = next_one == "fresh"
                tasks.start_soon(lambda: connection_used(client, fresh_connection=fresh))
                await until(lambda: state(pool) == (1, 0, 2))
            await (held.aclose() if given == "place" else held.aread())
            if given == "ended connection":
                connection.eof_received()  # as the loop would tell it
            victim.cancel()
            await asyncio.wait([victim])
        assert victim.cancelled()
        is_kept = given == "connection" or next_one != "none"
        assert state(pool) == (0, 1 if is_kept else 0, 0)
        is_same = given == "connection" and next_one != "fresh"
        assert await connection_used(client) == (0 if is_same else 1)


async def test_a_connection_that_ends_on_its_way_to_the_next_is_not_used() -> None:
    pool = new_pool()
    async with (
        ScriptedServer(answers) as server,
        client_over(pool, server) as client,
        anyio.create_task_group() as tasks,
    ):
        held = await hold(client)
        connection = only_leased(pool)
        tasks.start_soon(connection_used, client)
        await until(lambda: state(pool) == (1, 0, 1))
        await held.aread()
        connection.eof_received()
        await until(lambda: state(pool) == (0, 1, 0))
        assert server.requests[-1].connection == 1


async def test_a_response_may_be_read_when_its_connection_serves_another() -> None:
    """It was there as a whole when its head was."""
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        async with client.stream("GET", "/") as first:
            assert state(pool) == (0, 1, 0)
            async with client.stream("GET", "/") as second:
                assert await second.aread() == b"0"
            assert await first.aread() == b"0"
        assert (server.connections, state(pool)) == (1, (0, 1, 0))


async def test_a_response_that_is_closed_again_frees_nothing_twice() -> None:
    pool = new_pool(2)
    async with (
        ScriptedServer(in_turn(sends_half, answers)) as server,
        client_over(pool, server) as client,
    ):
        first = await client.send(client.build_request("GET", "/"), stream=True)
        await first.aclose()
        assert state(pool) == (0, 0, 0)
        async with parked(client):
            await first.aclose()
            assert isinstance(first.stream, httpx.AsyncByteStream)
            await first.stream.aclose()
            assert state(pool) == (1, 0, 0)


# --- What fails


async def test_what_can_not_be_sent_takes_no_place() -> None:
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        for url in ("ftp://127.0.0.1/", f"ftp://127.0.0.1:{server.port}/"):
            with pytest.raises(httpx.UnsupportedProtocol):
                await client.get(url)
        for headers in ({"x": b"a\r\nEvil: b"}, {b"x\r\nEvil": "b"}):
            with pytest.raises(httpx.LocalProtocolError, match="characters"):
                await client.get("/", headers=headers)  # type: ignore[arg-type]
        with pytest.raises(httpx.LocalProtocolError, match="characters"):
            await client.get("/", extensions={"target": b"/ HTTP/1.1\r\nEvil: b\r\nx:"})
        with pytest.raises(httpx.LocalProtocolError, match="Content-Length"):
            await client.post("/", content=b"abc", headers={"content-length": "2"})
        assert state(pool) == (0, 0, 0)
        assert server.received == 0
        assert await connection_used(client) == server.connections - 1


async def test_port_0_is_not_port_80() -> None:
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:0/")


@pytest.mark.threat("T27")
async def test_many_failures_lose_no_place() -> None:
    pool = new_pool(2)
    url = f"http://127.0.0.1:{refusing_port()}/"
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:

        async def refused() -> None:
            with pytest.raises(httpx.ConnectError):
                await client.get(url)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(refused)
        assert state(pool) == (0, 0, 0)
        await idle(client, 2)
        assert state(pool) == (0, 2, 0)


async def test_the_wait_for_a_turn_to_connect_is_bounded_by_the_pool_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connecting_module, "_AT_ONCE", 1)
    pool = new_pool(3)
    async with (
        ScriptedServer(answers) as server,
        full_backlog() as unreachable,
        client_over(pool, server) as client,
        anyio.create_task_group() as tasks,
    ):
        before = descriptors(server)
        tasks.start_soon(client.get, unreachable)
        await until(lambda: descriptors(server) > before)
        with pytest.raises(httpx.PoolTimeout):
            await client.get("/", timeout=httpx.Timeout(None, pool=0.01))
        assert state(pool) == (1, 0, 0)
        tasks.cancel_scope.cancel()
    assert server.connections == 0


async def test_statistics_name_what_repr_shows() -> None:
    pool = new_pool(3)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        await idle(client, 2)
        async with parked(client):
            assert repr(pool) == "<Pool 1 leased, 1 idle, 0 waiting, of 3>"
            now = pool.statistics()
            assert (now.leased, now.idle, now.waiting, now.made) == (1, 1, 0, 2)


async def test_a_request_of_httpcore_needs_no_extensions() -> None:
    async with ScriptedServer(answers) as server, new_pool() as pool:
        answer = await pool.handle_async_request(httpcore.Request("GET", server.base_url))
        assert (answer.status, await answer.aread()) == (200, b"0")
        assert answer.extensions == {"http_version": b"HTTP/1.1", "whole_body": b"0"}
    await a_few_steps()
    assert state(pool) == (0, 0, 0)


CHUNKS = "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


@pytest.mark.parametrize("framing", ["Content-Length: 5\r\n\r\nhello", CHUNKS])
async def test_a_body_that_came_with_its_head_is_at_hand_and_can_be_read_as_well(
    framing: str,
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 200 OK\r\n{framing}".encode())

    async with ScriptedServer(script) as server, new_pool() as pool:
        answer = await pool.handle_async_request(httpcore.Request("GET", server.base_url))
        assert answer.extensions["whole_body"] == b"hello"
        assert state(pool) == (0, 1, 0)  # before it is read
        assert await answer.aread() == b"hello"


async def test_a_body_that_is_still_coming_is_not_at_hand() -> None:
    rest = anyio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")
        await rest.wait()
        await exchange.send(b"o")

    async with ScriptedServer(script) as server, new_pool() as pool:
        answer = await pool.handle_async_request(httpcore.Request("GET", server.base_url))
        assert "whole_body" not in answer.extensions
        rest.set()
        assert await answer.aread() == b"hello"
