"""Records in all pieces, messages between them, and servers that read slowly."""

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute

from little_pay_async._transport.tls import Tls

from .leases import assert_no_descriptor_is_left
from .servers import Exchange, ScriptedServer, response
from .tls_peers import (
    ANSWER,
    FRESH,
    Peer,
    Peers,
    answers,
    authority,
    client_context,
    client_of,
    each_version,
    server_context,
    statistics,
)

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


def shaken(version: ssl.TLSVersion) -> tuple[Tls, ssl.SSLObject, ssl.MemoryBIO]:
    """Return both sides of TLS after the handshake, and what the server writes."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(version=version).wrap_bio(to_server, to_client, server_side=True)
    tls = Tls(client_context(), "127.0.0.1")
    done = False
    while not done:
        done = tls.shake_hands()
        to_server.write(tls.to_send())
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        tls.receive(to_client.read())
    with contextlib.suppress(ssl.SSLWantReadError):
        server.read()
    tls.read()
    return tls, server, to_client


@each_version
@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 97, 1 << 20])
def test_records_may_come_in_any_pieces(size: int, version: ssl.TLSVersion) -> None:
    tls, server, to_client = shaken(version)
    sent = [b"x" * length for length in (1, 20_000, 300, 1)] * 2
    stream, boundaries = b"", {0}
    for part in sent:
        server.write(part)
        stream += to_client.read()
    while max(boundaries) < len(stream):
        start = max(boundaries)
        boundaries.add(start + 5 + int.from_bytes(stream[start + 3 : start + 5], "big"))
    assert len(boundaries) == len(sent) + 3  # two had to be split, and there is the beginning
    came = b""
    for start in range(0, len(stream), size):
        tls.receive(stream[start : start + size])
        came += tls.read()
        assert tls.is_between_records == (min(start + size, len(stream)) in boundaries)
    assert came == b"".join(sent)
    assert not tls.to_send()


@each_version
async def test_everything_comes_byte_by_byte(version: ssl.TLSVersion) -> None:
    async def prepare(peer: Peer) -> None:
        peer.byte_by_byte = True

    peers = Peers(server_context(version=version), prepare)
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for extensions in (FRESH, {}, FRESH):
            assert (await client.get("/", extensions=extensions)).is_success
        assert [request.connection for request in server.requests] == [0, 0, 1]


@each_version
async def test_many_records_come_at_once(version: ssl.TLSVersion) -> None:
    body = bytes(range(256)) * 1000
    answer = response(body, content_type=None)
    peers = Peers(server_context(version=version))

    async def script(exchange: Exchange) -> None:
        peer = peers.of(exchange)
        parts = [answer[start : start + 100] for start in range(0, len(answer), 100)]
        await peer.raw.send(peer.encrypted(*parts))

    async with (
        ScriptedServer(script, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for _ in range(2):
            assert (await client.get("/")).content == body
        assert server.connections == 1


async def test_the_half_of_a_record_after_an_answer() -> None:
    """Whole, it would be an answer that nobody asked for, or the answer to the next request."""
    peers = Peers(server_context())

    async def script(exchange: Exchange) -> None:
        peer = peers.of(exchange)
        if exchange.request.connection:
            await exchange.send(response(b"right", content_type=None))
            return
        unasked = peer.encrypted(ANSWER, response(b"wrong", content_type=None))
        await peer.raw.send(unasked[:-10])
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await peer.raw.receive()
            await peer.raw.send(unasked[-10:])
        await exchange.client_has_gone()

    async with (
        ScriptedServer(script, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get("/")).content == b"whole"
        assert (await client.get("/")).content == b"right"
        assert server.connections == 2


@pytest.mark.parametrize("moment", ["with the answer", "alone", "in halves"])
async def test_tickets_may_come_at_any_moment(moment: str) -> None:
    tickets: dict[Peer, bytes] = {}

    async def prepare(peer: Peer) -> None:
        tickets[peer] = await peer.last_flight()
        assert tickets[peer]

    async def script(exchange: Exchange) -> None:
        peer = peers.of(exchange)
        ticket = tickets.pop(peer, b"")
        answer = peer.encrypted(ANSWER)
        cut = {"with the answer": 0, "alone": len(ticket), "in halves": len(ticket) // 2}[moment]
        if ticket[:cut]:
            await peer.raw.send(ticket[:cut])
            await anyio.wait_all_tasks_blocked()
        await peer.raw.send(ticket[cut:] + answer)

    peers = Peers(server_context(version=ssl.TLSVersion.TLSv1_3), prepare)
    async with (
        ScriptedServer(script, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for extensions in ({}, {}, FRESH):
            assert (await client.get("/", extensions=extensions)).content == b"whole"
        assert [peer.tls.session_reused for peer in peers.all] == [False, True]


async def test_a_certificate_is_demanded_after_the_handshake() -> None:
    """Of TLS 1.3, where the caller's context allows it."""
    context = server_context(version=ssl.TLSVersion.TLSv1_3)
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.post_handshake_auth = True
    peers = Peers(context)
    mine = client_context(identity=authority().issue_cert("shop@shop.example"))
    mine.post_handshake_auth = True

    async def script(exchange: Exchange) -> None:
        peer = peers.of(exchange)
        assert peer.tls.getpeercert() is None
        peer.tls.verify_client_post_handshake()
        peer.tls.do_handshake()
        await peer.flush()
        while peer.tls.getpeercert() is None:
            peer._in.write(await peer.raw.receive())
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.read()
        await exchange.send(ANSWER)

    async with (
        ScriptedServer(script, greeting=peers) as server,
        client_of(mine, server) as client,
    ):
        assert (await client.get("/")).content == b"whole"


# --- A server that reads slowly

LARGE = bytes(range(256)) * (8 << 12)  # 8 MiB


async def narrow(connection: Any) -> None:
    """Let the kernel take little for the server."""
    raw = connection.stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - not Django's
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)


def slow(peers: Peers) -> Callable[[Any], Awaitable[None]]:
    async def greet(connection: Any) -> None:
        await narrow(connection)
        await peers(connection)

    return greet


@each_version
async def test_a_large_body_arrives_whole_at_a_server_that_reads_slowly(
    version: ssl.TLSVersion,
) -> None:
    peers = Peers(server_context(version=version))
    async with (
        ScriptedServer(answers, greeting=slow(peers)) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.post("/", content=LARGE)).is_success
        assert (await client.post("/", content=LARGE[::-1])).is_success
        assert [request.body for request in server.requests] == [LARGE, LARGE[::-1]]
        assert server.connections == 1


def answers_too_early(peers: Peers) -> Callable[[Any], Awaitable[None]]:
    """Return a greeting that answers the first request before its body has come."""

    async def greet(connection: Any) -> None:
        await narrow(connection)
        await peers(connection)
        if connection.number == 0:
            await connection.stream.receive(100)
            await connection.stream.send(response(b"early", content_type=None))
            with contextlib.suppress(ssl.SSLError):
                while True:
                    await connection.stream.receive()

    return greet


async def test_a_connection_on_which_not_all_was_sent_is_not_used_again() -> None:
    peers = Peers(server_context())
    async with (
        ScriptedServer(answers, greeting=answers_too_early(peers)) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.post("/", content=LARGE)).content == b"early"
        assert (await client.get("/")).content == b"1"
        assert server.connections == 2


async def test_a_server_that_reads_nothing() -> None:
    async def greet(connection: Any) -> None:
        await slow(peers)(connection)
        await done.wait()

    done = anyio.Event()
    peers = Peers(server_context())
    async with ScriptedServer(answers, greeting=greet) as server:
        async with client_of(client_context(), server) as client:
            with pytest.raises(httpx.WriteTimeout):
                await client.post("/", content=LARGE, timeout=httpx.Timeout(None, write=0.1))
            assert statistics(client).leased == statistics(client).idle == 0
        await assert_no_descriptor_is_left(server)
        done.set()
