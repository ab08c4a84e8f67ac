"""How a connection over TLS ends, by us and by the server."""

import contextlib
import ssl
from collections.abc import Awaitable, Callable

import anyio
import httpx
import pytest

from little_pay_async import APIConnectionError, OutcomeUnknownError

from .leases import assert_no_descriptor_is_left, until
from .servers import Exchange, ScriptedServer, response, right_answer
from .sessions import MONEY, session
from .tls_peers import (
    ANSWER,
    Peer,
    Peers,
    client_context,
    client_of,
    each_version,
    server_context,
    statistics,
    url,
)

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]
TRIES = 3
WITHOUT_LENGTH = response(b"until the end", content_type=None, length=-1)


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
@pytest.mark.threat("T3")
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
