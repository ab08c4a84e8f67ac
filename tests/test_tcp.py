"""Where connections lead to, and what their sockets are like."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from little_pay_async._transport import tcp as tcp_module

from .leases import (
    a_few_steps,
    answers,
    descriptors,
    idle,
    left_pending,
    sends_half,
    until,
)
from .pools import client_over, new_pool, only_leased, socket_of, state
from .servers import (
    ScriptedServer,
    full_backlog,
    response,
)

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


@pytest.mark.parametrize("url", ["/", "http://localhost:{port}/"], ids=["address", "name"])
async def test_a_socket_sends_at_once_and_is_kept_alive(url: str) -> None:
    pool = new_pool()
    async with (
        ScriptedServer(sends_half) as server,
        client_over(pool, server) as client,
        client.stream("GET", url.format(port=server.port)),
    ):
        with socket_of(only_leased(pool)) as connected:
            assert connected.getpeername() == ("127.0.0.1", server.port)
            for level, name, value in (
                (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
                (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
                (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
                (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
                (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
            ):
                assert connected.getsockopt(level, getattr(socket, name)) == value, name


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_no_descriptor_left_is_no_connection() -> None:
    pool = new_pool(2)
    fresh = {"fresh_connection": True}
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        await client.get("/")  # the server waits for the next connection from then on
        with no_descriptor_left():
            for _ in range(3):
                with pytest.raises(httpx.ConnectError, match=r"(?i)open files"):
                    await client.get("/", extensions=fresh)
                assert state(pool) == (0, 0, 0)
        await idle(client, 2)
        assert state(pool) == (0, 2, 0)


# --- Where it leads to


Addresses = list[tuple[int, int, int, str, tuple[Any, ...]]]


def found_at(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Let any name lead to those ports of this machine, in their order."""
    kind, tcp = socket.SOCK_STREAM, socket.IPPROTO_TCP
    found: Addresses = [
        (socket.AF_INET, kind, tcp, "", ("127.0.0.1", port)) for port in ports if port
    ]
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "little.example":
            return found
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


# uvloop looks names up by itself, and tries one address after the other.
on_asyncio_alone = pytest.mark.parametrize(
    "anyio_backend", [pytest.param(("asyncio", {"debug": True}), id="asyncio-debug")]
)


async def test_a_name_leads_to_an_address() -> None:
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        for _ in range(2):
            answer = await client.get(f"http://localhost:{server.port}/")
            assert answer.is_success
        assert server.requests[0].header("host") == f"localhost:{server.port}"
        assert server.connections == 1


@on_asyncio_alone
async def test_the_next_address_is_tried_where_one_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = new_pool(2)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        async with ScriptedServer(answers) as server, client_over(pool, server) as client:
            found_at(monkeypatch, unheard.getsockname()[1], server.port)
            assert (await client.get("http://little.example/")).text == "0"
            found_at(monkeypatch, unheard.getsockname()[1])
            with pytest.raises(httpx.ConnectError):
                await client.get("http://little.example:81/")
            await a_few_steps()
            assert state(pool) == (0, 1, 0)


@on_asyncio_alone
async def test_the_next_address_is_tried_where_one_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp_module, "_PATIENCE", 0.01)
    pool = new_pool()
    async with (
        ScriptedServer(answers) as server,
        full_backlog() as unreachable,
        client_over(pool, server) as client,
    ):
        found_at(monkeypatch, httpx.URL(unreachable).port or 0, server.port)
        assert (await client.get("http://little.example/")).text == "0"


@pytest.mark.parametrize("name", ["a" * 64, "a..b"])
async def test_a_name_that_is_none_is_no_connection(name: str) -> None:
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://{name}:{server.port}/")
        assert state(pool) == (0, 0, 0)
        assert server.connections == 0


@on_asyncio_alone
async def test_a_name_that_is_unknown_is_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def unknown(*arguments: object, **options: object) -> Addresses:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(httpx.ConnectError, match="not known"):
            await client.get("http://little.example/")
        assert state(pool) == (0, 0, 0)


@on_asyncio_alone
async def test_cancelled_at_each_step_of_connecting_to_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: Addresses = []

    async def getaddrinfo(*_: object, **__: object) -> Addresses:
        await anyio.lowlevel.checkpoint()
        return found

    tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    pool = new_pool()
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        async with ScriptedServer(answers) as server, client_over(pool, server) as client:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            found += [(*tcp, unheard.getsockname()), (*tcp, ("127.0.0.1", server.port))]
            before = await left_pending(server)
            for steps in range(99):
                victim = asyncio.ensure_future(client.get("http://little.example/"))
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                victim.cancel()
                await asyncio.wait([victim])
                if state(pool) == (0, 1, 0):  # it had been answered by then
                    break
                assert state(pool) == (0, 0, 0)
                assert await left_pending(server) == before
            assert steps > 10
            assert state(pool) == (0, 1, 0)
        await a_few_steps()
        assert descriptors(server) == set()


async def test_ipv6() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while await reader.read(9999):
                writer.write(response(b"six"))

    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        try:
            six = await asyncio.start_server(answer, "::1", 0)
        except OSError:
            pytest.skip("no IPv6 here")
        async with six:
            url = f"http://[::1]:{six.sockets[0].getsockname()[1]}/"
            for _ in range(2):
                assert (await client.get(url)).text == "six"
            assert pool.statistics().made == 1
            await pool.aclose()


def address(family: int, host: str) -> tcp_module._Address:
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 80)


def test_families_take_turns() -> None:
    four, six = socket.AF_INET, socket.AF_INET6
    found = [address(six, "a"), address(six, "b"), address(six, "c"), address(four, "d")]
    order = [where[0] for *_, where in tcp_module._in_turn(found)]
    assert order == ["a", "d", "b", "c"]


@on_asyncio_alone
async def test_of_two_that_connect_at_once_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is one that connects in the very step in which it is cancelled."""
    made: list[socket.socket] = []
    may_go = asyncio.Event()

    async def connect(_: object) -> socket.socket:
        one = socket.socket()
        made.append(one)
        await may_go.wait()
        return one

    monkeypatch.setattr(tcp_module, "_connect", connect)
    monkeypatch.setattr(tcp_module, "_PATIENCE", 0)
    found = [address(socket.AF_INET, "a"), address(socket.AF_INET, "b")]
    for is_cancelled in (False, True):
        first = asyncio.ensure_future(tcp_module._first(found))
        await until(lambda: len(made) == 2)
        may_go.set()
        for _ in range(2):  # both of them are connected, and nobody has been told
            await anyio.lowlevel.checkpoint()
        if is_cancelled:
            first.cancel()
        await asyncio.wait([first])
        await a_few_steps()
        if is_cancelled:
            assert first.cancelled()
        else:
            winner = first.result()
            assert winner in made
            assert winner.fileno() >= 0
            winner.close()
        assert all(one.fileno() == -1 for one in made)
        may_go.clear()
        made.clear()
