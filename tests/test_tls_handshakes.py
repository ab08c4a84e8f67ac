"""Handshakes that fail, break off, take long, are given up, or are many."""

import contextlib
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from little_pay_async import APIConnectionError, APITimeoutError

from .leases import assert_no_descriptor_is_left, until
from .servers import ScriptedServer, response
from .sessions import MONEY, session
from .tls_peers import (
    FRESH,
    VERSIONS,
    Peer,
    Peers,
    answers,
    answers_well,
    client_context,
    client_of,
    each_version,
    failure,
    server_context,
    statistics,
    url,
)

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]
TRIES = 3


# --- Ends in the handshake

PARTS = (0.0, 0.01, 0.5, 0.9)
CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"


async def beginning(peer: Peer, part: float) -> bytes:
    """Return that part of what the server sends first."""
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    peer._in.write(await peer.raw.receive())
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    flight = peer._out.read()
    return flight[: int(len(flight) * part)]


# How, after which part of the server's first flight. In TLS 1.3 that is all for the client.
@pytest.mark.parametrize(
    ("how", "part", "version"),
    [
        *((how, part, v) for how in ("closed", "reset") for part in PARTS for v in VERSIONS),
        *(("closed", 1.0, "TLS 1.2"), ("reset", 1.0, "TLS 1.2"), ("said", 1.0, "TLS 1.2")),
        *(("said", 0.0, version) for version in VERSIONS),
    ],
)
async def test_the_end_of_a_connection_in_the_handshake_is_no_failure_of_tls(
    how: str, part: float, version: str
) -> None:
    async def prepare(peer: Peer) -> None:
        await peer.raw.send(await beginning(peer, part))
        if how == "said":
            await peer.raw.send(CLOSE_NOTIFY)
        raise anyio.EndOfStream

    async def greet(connection: Any) -> None:
        try:
            await peers(connection)
        except anyio.EndOfStream:
            await (connection.reset() if how == "reset" else connection.close())

    peers = Peers(server_context(version=VERSIONS[version]), prepare)
    async with (
        ScriptedServer(answers_well, greeting=greet) as server,
        session(url(server), ssl_context=client_context()) as pay,
    ):
        for operation in (lambda pay: pay.status("ORDER42"), MONEY["refund"]):
            before = server.connections
            with pytest.raises(APIConnectionError, match="no connection") as caught:
                await operation(pay)
            assert not caught.value.sent
            assert not caught.value.tls
            assert server.connections == before + TRIES
        await assert_no_descriptor_is_left(server)


@each_version
@pytest.mark.parametrize("last", [Peer.farewell, Peer.alert])
async def test_a_connection_that_ends_with_its_handshake(
    last: Callable[[Peer], bytes], version: ssl.TLSVersion
) -> None:
    """In TLS 1.2 nothing was sent. In TLS 1.3 the client had to say the last word of it."""

    async def prepare(peer: Peer) -> None:
        flight = await peer.last_flight()
        await peer.raw.send(flight + last(peer))
        raise anyio.EndOfStream

    peers = Peers(server_context(version=version), prepare)
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        with pytest.raises(httpx.TransportError) as caught:
            await client.get("/")
        if version is ssl.TLSVersion.TLSv1_2:
            assert type(caught.value) is httpx.ConnectError
        if last is Peer.alert:
            assert "ALERT" in failure(caught).reason
        assert statistics(client).leased == statistics(client).idle == 0


async def test_a_connection_that_ends_before_the_request() -> None:
    """What TLS 1.3 says after the handshake may come while the client does something else."""

    async def prepare(peer: Peer) -> None:
        await peer.raw.send(await peer.last_flight() + peer.alert())
        raise anyio.EndOfStream

    async def trace(name: str, info: Any) -> None:
        traced.append(name)
        if name == "connection.start_tls.complete":
            await server.until(lambda: server.open == 0)
            await anyio.wait_all_tasks_blocked()

    traced = list[str]()
    peers = Peers(server_context(version=ssl.TLSVersion.TLSv1_3), prepare)
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("/", extensions={"trace": trace})
        assert "ALERT" in failure(caught).reason
        assert traced[-1] == "connection.start_tls.complete"


# --- What is no handshake

FATAL = {"handshake_failure": 40, "protocol_version": 70, "internal_error": 80, "no such name": 112}


def unready(data: bytes) -> Callable[[Any], Awaitable[None]]:
    """Return a greeting that answers a ClientHello so."""

    async def greet(connection: Any) -> None:
        await connection.stream.receive()
        await connection.stream.send(data)
        await connection.stream.receive()

    return greet


NO_TLS = {
    **{name: bytes([0x15, 3, 3, 0, 2, 2, number]) for name, number in FATAL.items()},
    "plain HTTP": response(b"{}", "400 Bad Request"),
    "garbage": bytes(range(256)),
    "zeros": bytes(300),
    "text": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.parametrize("what", NO_TLS)
async def test_what_is_no_handshake(what: str) -> None:
    async with (
        ScriptedServer(answers_well, greeting=unready(NO_TLS[what])) as server,
        session(url(server), ssl_context=client_context()) as pay,
    ):
        for operation in (lambda pay: pay.status("ORDER42"), MONEY["refund"]):
            before = server.connections
            with pytest.raises(APIConnectionError, match="TLS failed") as caught:
                await operation(pay)
            assert caught.value.tls
            assert not caught.value.sent
            assert server.connections == before + 1
        await assert_no_descriptor_is_left(server)


@pytest.mark.parametrize("newer", ["client", "server"])
async def test_a_version_that_the_other_does_not_know(newer: str) -> None:
    old, new = VERSIONS.values()
    client, server_version = (new, old) if newer == "client" else (old, new)
    peers = Peers(server_context(version=server_version))
    async with (
        ScriptedServer(answers_well, greeting=peers) as server,
        session(url(server), ssl_context=client_context(version=client)) as pay,
    ):
        with pytest.raises(APIConnectionError, match=r"(?i)TLS failed.*version") as caught:
            await pay.status("ORDER42")
        assert caught.value.tls
        assert server.connections == 1


# --- A handshake that takes long


async def says_nothing(connection: Any) -> None:
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            await connection.stream.receive()


async def says_half(connection: Any) -> None:
    peer = Peer(connection.stream, server_context())
    await connection.stream.send(await beginning(peer, 0.5))
    await says_nothing(connection)


@pytest.mark.parametrize("greeting", [says_nothing, says_half])
@pytest.mark.threat("T8")
async def test_a_handshake_has_a_deadline(greeting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer(answers_well, greeting=greeting) as server:
        async with client_of(client_context(), server) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await client.get("/", timeout=httpx.Timeout(None, connect=0.1))
            with pytest.raises(httpx.ConnectTimeout):
                await client.get("/", timeout=httpx.Timeout(None, connect=0.0))
            # And one of its own, where there is none, for it is in the way of others.
            monkeypatch.setattr("little_pay_async._transport.connecting._LONGEST", 0.1)
            with pytest.raises(httpx.ConnectTimeout):
                await client.get("/")
            assert statistics(client).leased == 0
        async with session(url(server), ssl_context=client_context(), timeout=0.1) as pay:
            with pytest.raises(APITimeoutError) as caught:
                await MONEY["refund"](pay)
            assert not caught.value.sent
            assert not caught.value.tls
        await server.until(lambda: server.open == 0)
        await assert_no_descriptor_is_left(server)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("greeting", [says_nothing, says_half])
async def test_cancellation_in_the_handshake_leaves_nothing(greeting: Any, host: str) -> None:
    async def greet(connection: Any) -> None:
        begun.set()
        await greeting(connection)

    begun = anyio.Event()
    async with (
        ScriptedServer(answers, greeting=greet) as server,
        client_of(client_context(), server) as client,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, url(server, host))
            await begun.wait()
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await server.until(lambda: server.open == 0)
        await assert_no_descriptor_is_left(server)
        assert statistics(client).leased == 0


async def test_cancellation_at_each_step_of_connecting_leaves_nothing() -> None:
    peers = Peers(server_context())
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for steps in range(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.get, "/")
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await until(lambda: statistics(client).leased == 0)
            await server.until(lambda: server.open == statistics(client).idle)
        assert (await client.get("/")).is_success
        assert statistics(client).idle == 1


async def test_not_too_many_handshakes_at_once() -> None:
    number, most = 300, 128

    async def prepare(peer: Peer) -> None:
        flight = await beginning(peer, 1.0)
        greeted.append(peer)
        if len(greeted) == most:
            all_greeted.set()
        await all_greeted.wait()
        await peer.raw.send(flight)

    async def trace(name: str, info: Any) -> None:
        nonlocal under_way
        if name == "connection.connect_tcp.started":
            under_way += 1
            seen.append(under_way)
        elif name == "connection.connect_tcp.complete":  # TLS included
            under_way -= 1

    under_way, seen, greeted, all_greeted = 0, list[int](), list[Peer](), anyio.Event()
    peers = Peers(server_context(), prepare)
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server, number) as client,
    ):
        get = partial(client.get, "/", extensions=FRESH | {"trace": trace})
        async with anyio.create_task_group() as tasks:
            for _ in range(number):
                tasks.start_soon(get)
        assert max(seen) == most
        assert len(server.requests) == server.connections == number
