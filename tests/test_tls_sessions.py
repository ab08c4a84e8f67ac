"""Sessions of TLS: when they are resumed, and when they must not be."""

import ssl

import httpx
import pytest

from .servers import ScriptedServer
from .tls_peers import (
    FRESH,
    Peers,
    answers,
    client_context,
    client_of,
    each_version,
    server_context,
    url,
)

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


def resumed(peers: Peers) -> list[bool]:
    return [bool(peer.tls.session_reused) for peer in peers.all]


@each_version
async def test_a_new_connection_resumes_the_session_of_an_old_one(version: ssl.TLSVersion) -> None:
    peers = Peers(server_context(version=version))
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for _ in range(4):
            assert (await client.get("/", extensions=FRESH)).is_success
        assert resumed(peers) == [False, True, True, True]


@each_version
async def test_a_server_that_knows_no_session_any_more(version: ssl.TLSVersion) -> None:
    """It makes a whole handshake, and its new session is resumed from then on."""
    peers = Peers(server_context(version=version))
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for _ in range(2):
            for _ in range(2):
                assert (await client.get("/", extensions=FRESH)).is_success
            peers.context = server_context(version=version)
        assert resumed(peers) == [False, True, False, True]


async def test_a_server_that_was_away_is_met_with_the_old_session() -> None:
    peers = Peers(server_context())
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get("/")).is_success
        await server.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get("/", extensions=FRESH)
        await server.start()
        assert (await client.get("/", extensions=FRESH)).is_success
        assert resumed(peers) == [False, True]


async def test_a_session_with_which_a_handshake_failed_is_forgotten() -> None:
    peers = Peers(server_context())
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get("/")).is_success

        async def reset(connection: object) -> None:
            await connection.reset()  # type: ignore[attr-defined]

        server.greeting = reset
        with pytest.raises(httpx.ConnectError):
            await client.get("/", extensions=FRESH)
        server.greeting = peers
        assert (await client.get("/", extensions=FRESH)).is_success
        assert resumed(peers) == [False, False]


@each_version
@pytest.mark.threat("T2")
async def test_a_session_is_not_resumed_for_another_name(version: ssl.TLSVersion) -> None:
    """A resumed handshake has no certificate to be verified."""
    peers = Peers(server_context("right.example", version=version))
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for extensions in ({}, {"sni_hostname": "right.example"}):
            assert (await client.get("/", extensions=extensions | FRESH)).is_success
        with pytest.raises(httpx.ConnectError):
            await client.get("/", extensions={"sni_hostname": "wrong.example"})
        with pytest.raises(httpx.ConnectError):
            await client.get(url(server, "localhost"))
        assert resumed(peers) == [False] * 4
        for extensions in ({}, {"sni_hostname": "right.example"}):
            assert (await client.get("/", extensions=extensions | FRESH)).is_success
        assert resumed(peers)[4:] == [True] * 2


@pytest.mark.threat("T2")
async def test_a_session_is_not_resumed_by_another_context() -> None:
    peers = Peers(server_context())
    async with ScriptedServer(answers, greeting=peers) as server:
        async with client_of(client_context(), server) as client:
            assert (await client.get("/")).is_success
        stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with client_of(stranger, server) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/")
        assert resumed(peers) == [False, False]


@pytest.mark.threat("T2")
async def test_a_session_is_not_resumed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was verified long ago is verified again."""
    peers = Peers(server_context())
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get("/")).is_success
        monkeypatch.setattr("little_pay_async._transport.connecting._SESSION_SECONDS", -1.0)
        for _ in range(2):
            assert (await client.get("/", extensions=FRESH)).is_success
        assert resumed(peers) == [False] * 3


@each_version
async def test_a_session_that_is_resumed_does_not_become_younger(version: ssl.TLSVersion) -> None:
    """Though the server gives a new ticket each time, which would be good for as long again."""
    peers = Peers(server_context(version=version))
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get("/")).is_success
        sessions = client._transport._pool._connector._sessions  # type: ignore[attr-defined]
        before = dict(sessions)
        for extensions in (FRESH, {}):
            assert (await client.get("/", extensions=extensions)).is_success
        assert resumed(peers) == [False, True]
        assert sessions == before
        assert len(before) == 1


async def test_no_session_is_resumed_where_the_chain_is_looked_at_after_the_handshake() -> None:
    """As truststore does on macOS and Windows: with a session comes no chain."""

    class LooksAtTheChain(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            if not self._sslobj.get_unverified_chain():  # type: ignore[attr-defined]
                raise ssl.SSLCertVerificationError("no certificates to verify")

    peers = Peers(server_context())
    context = client_context()
    context.sslobject_class = LooksAtTheChain
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(context, server) as client,
    ):
        for _ in range(2):
            assert (await client.get("/", extensions=FRESH)).is_success
        assert resumed(peers) == [False, False]


async def test_a_server_that_gives_no_session() -> None:
    context = server_context(version=ssl.TLSVersion.TLSv1_3)
    context.num_tickets = 0
    peers = Peers(context)
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for extensions in ({}, {}, FRESH):
            assert (await client.get("/", extensions=extensions)).is_success
        assert resumed(peers) == [False, False]
