"""How connections over TLS begin, carry what is sent, and end."""

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute

from little_pay_async import APIConnectionError, APITimeoutError, OutcomeUnknownError
from little_pay_async._transport.tls import Tls

from .leases import assert_no_descriptor_is_left, until
from .servers import Exchange, ScriptedServer, response, right_answer
from .sessions import MONEY, session
from .tls_peers import (
    FRESH,
    VERSIONS,
    Peer,
    Peers,
    answers,
    authority,
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
ANSWER = response(b"whole", content_type=None)
WITHOUT_LENGTH = response(b"until the end", content_type=None, length=-1)


async def answers_well(exchange: Exchange) -> None:
    await exchange.send(right_answer(exchange.request))


# --- close_notify from us


@each_version
@pytest.mark.parametrize("why", ["the client is closed", "the server asks for it"])
async def test_the_end_is_said(version: ssl.TLSVersion, why: str) -> None:
    headers = {"Connection": "close"} if why == "the server asks for it" else {}

    async def script(exchange: Exchange) -> None:
        await exchange.send(response(b"", headers=headers))

    peers = Peers(server_context(version=version))
    async with ScriptedServer(script, greeting=peers) as server:
        async with client_of(client_context(), server) as client:
            assert (await client.get("/")).is_success
            if headers:
                await server.until(lambda: server.open == 0)
        await server.until(lambda: server.open == 0)
        assert peers.all[0].goodbye
        await assert_no_descriptor_is_left(server)


async def test_an_exchange_that_is_broken_off_has_no_end() -> None:
    peers = Peers(server_context())

    async def script(exchange: Exchange) -> None:
        scope.cancel()
        await exchange.client_has_gone()

    async with ScriptedServer(script, greeting=peers) as server:
        async with client_of(client_context(), server) as client:
            with anyio.CancelScope() as scope:
                await client.get("/")
            await server.until(lambda: server.open == 0)
        assert not peers.all[0].goodbye
        await assert_no_descriptor_is_left(server)


# --- close_notify, and other ends, from the server


async def says_goodbye(exchange: Exchange, peer: Peer) -> None:
    await peer.send_eof()


async def says_goodbye_and_closes(exchange: Exchange, peer: Peer) -> None:
    await peer.send_eof()
    await exchange.close()


async def closes(exchange: Exchange, peer: Peer) -> None:
    await exchange.close()


async def resets(exchange: Exchange, peer: Peer) -> None:
    await exchange.reset()


async def alerts(exchange: Exchange, peer: Peer) -> None:
    await peer.raw.send(peer.alert())


async def sends_garbage(exchange: Exchange, peer: Peer) -> None:
    await peer.raw.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


Ending = Callable[[Exchange, Peer], Awaitable[None]]
ENDINGS: list[Ending] = [
    says_goodbye,
    says_goodbye_and_closes,
    closes,
    resets,
    alerts,
    sends_garbage,
]
each_ending = pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)


@each_version
@each_ending
async def test_an_idle_connection_ends(ending: Ending, version: ssl.TLSVersion) -> None:
    peers = Peers(server_context(version=version))

    async def script(exchange: Exchange) -> None:
        await exchange.send(ANSWER)
        if exchange.request.connection == 0:
            idle.set()
            await end.wait()
            await ending(exchange, peers.of(exchange))
            await exchange.client_has_gone()

    idle, end = anyio.Event(), anyio.Event()
    async with (
        ScriptedServer(script, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get("/")).content == b"whole"
        await idle.wait()
        assert statistics(client).idle == 1
        end.set()
        await until(lambda: statistics(client).idle == 0)
        await server.until(lambda: server.open == 0)
        assert (await client.get("/")).content == b"whole"
        assert [request.connection for request in server.requests] == [0, 1]


@each_version
@each_ending
async def test_a_connection_ends_before_the_answer(ending: Ending, version: ssl.TLSVersion) -> None:
    peers = Peers(server_context(version=version))

    async def script(exchange: Exchange) -> None:
        await ending(exchange, peers.of(exchange))
        await exchange.client_has_gone()

    async with (
        ScriptedServer(script, greeting=peers) as server,
        session(url(server), ssl_context=client_context()) as pay,
    ):
        with pytest.raises(APIConnectionError) as caught:
            await pay.status("ORDER42")
        assert caught.value.sent
        is_alert = ending is alerts
        assert caught.value.tls is is_alert
        assert ("TLS failed" in str(caught.value)) is is_alert
        assert len(server.requests) == (1 if is_alert else TRIES)
        with pytest.raises(OutcomeUnknownError):
            await MONEY["refund"](pay)
        assert sum(request.method == "POST" for request in server.requests) == 1


@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "apart"])
@each_version
@each_ending
async def test_a_connection_ends_after_a_whole_answer(
    ending: Ending, version: ssl.TLSVersion, together: bool
) -> None:
    """The answer is taken, even if it came together with what ended the connection."""
    peers = Peers(server_context(version=version))

    async def script(exchange: Exchange) -> None:
        peer = peers.of(exchange)
        answer = right_answer(exchange.request)
        if together and ending in {says_goodbye, alerts, sends_garbage}:
            last = {
                says_goodbye: peer.farewell,
                alerts: peer.alert,
                sends_garbage: lambda: b"HTTP/",
            }
            await peer.raw.send(peer.encrypted(answer) + last[ending]())
        else:
            await exchange.send(answer)
            if together:
                await ending(exchange, peer)
            else:
                await answered.wait()
                await ending(exchange, peer)
        await exchange.client_has_gone()

    answered = anyio.Event()
    async with (
        ScriptedServer(script, greeting=peers) as server,
        session(url(server), ssl_context=client_context(), max_retries=0) as pay,
    ):
        if ending is resets and together:
            # A reset may overtake what was sent before it.
            with contextlib.suppress(OutcomeUnknownError):
                await MONEY["refund"](pay)
        else:
            await MONEY["refund"](pay)
        answered.set()
        await server.until(lambda: server.open == 0)
        assert len(server.requests) == 1


@each_version
@pytest.mark.parametrize("ending", [says_goodbye, says_goodbye_and_closes])
async def test_a_body_without_length_is_whole_if_its_end_is_said(
    ending: Ending, version: ssl.TLSVersion
) -> None:
    peers = Peers(server_context(version=version))

    async def script(exchange: Exchange) -> None:
        await exchange.send(WITHOUT_LENGTH)
        await ending(exchange, peers.of(exchange))
        await exchange.client_has_gone()

    async with (
        ScriptedServer(script, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get("/")).content == b"until the end"
        assert statistics(client).idle == 0


@each_version
@pytest.mark.parametrize("ending", [closes, resets, alerts, sends_garbage])
async def test_a_body_without_length_is_cut_off_if_its_end_is_not_said(
    ending: Ending, version: ssl.TLSVersion
) -> None:
    peers = Peers(server_context(version=version))

    async def script(exchange: Exchange) -> None:
        await exchange.send(WITHOUT_LENGTH)
        await has_some.wait()
        await ending(exchange, peers.of(exchange))
        await exchange.client_has_gone()

    has_some = anyio.Event()
    async with (
        ScriptedServer(script, greeting=peers) as server,
        client_of(client_context(), server) as client,
        client.stream("GET", "/") as answer,
    ):
        parts = answer.aiter_raw()
        assert await anext(parts) == b"until the end"
        has_some.set()
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await anext(parts)
        assert statistics(client).leased == 0


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
        if name == "connection.connect_tcp.complete":
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
        assert traced[-1] == "connection.connect_tcp.complete"


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
        nonlocal under_way
        flight = await beginning(peer, 1.0)
        under_way += 1
        seen.append(under_way)
        if under_way == most:
            await anyio.wait_all_tasks_blocked()  # those that would be too many
            gate.set()
        await gate.wait()
        under_way -= 1  # for the client it ends with what is sent now
        await peer.raw.send(flight)

    under_way, seen, gate = 0, list[int](), anyio.Event()
    peers = Peers(server_context(), prepare)
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server, number) as client,
    ):
        async with anyio.create_task_group() as tasks:
            for _ in range(number):
                tasks.start_soon(partial(client.get, "/", extensions=FRESH))
        assert max(seen) == most
        assert len(server.requests) == server.connections == number


# --- Records


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
