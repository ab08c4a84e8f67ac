"""Who is trusted, and who is asked for."""

import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import anyio
import httpx
import pytest
import trustme
import truststore

from little_pay_async import APIConnectionError, AsyncLittlePay, OutcomeUnknownError
from little_pay_async._transport.tls import Tls

from .leases import assert_no_descriptor_is_left
from .servers import ScriptedServer
from .sessions import CREDENTIALS, MONEY, session
from .tls_peers import (
    FRESH,
    Peers,
    answers,
    answers_well,
    authority,
    causes,
    client_context,
    client_of,
    each_version,
    failure,
    server_context,
    statistics,
    url,
)

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


# --- Chain and name


def faulty_context(fault: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    match fault:
        case "expired":
            expired = datetime(2020, 1, 1, tzinfo=UTC)
            authority().issue_cert("127.0.0.1", not_after=expired).configure_cert(context)
        case "another address":
            authority().issue_cert("127.0.0.2", "localhost").configure_cert(context)
        case "unknown authority":
            trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        case "self-signed":
            itself = trustme.CA()
            with itself.cert_pem.tempfile() as cert, itself.private_key_pem.tempfile() as key:
                context.load_cert_chain(cert, key)
    return context


# OpenSSL's numbers for what is wrong with a certificate.
FAULTS = {"expired": 10, "another address": 64, "unknown authority": 20, "self-signed": 18}


@pytest.mark.parametrize("fault", FAULTS)
@each_version
@pytest.mark.threat("T1")
async def test_a_certificate_that_is_not_right(fault: str, version: ssl.TLSVersion) -> None:
    peers = Peers(faulty_context(fault))
    async with ScriptedServer(answers, greeting=peers) as server:
        async with client_of(client_context(version=version), server) as client:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.get("/")
            error = failure(caught)
            assert isinstance(error, ssl.SSLCertVerificationError)
            assert error.verify_code == FAULTS[fault]
            assert statistics(client).leased == statistics(client).idle == 0
        await server.until(lambda: server.open == 0)
        await assert_no_descriptor_is_left(server)
        [peer] = peers.all
        assert peer.failure is not None  # the server is told
        assert "ALERT" in peer.failure.reason
        assert server.requests == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.threat("T1")
async def test_a_session_says_that_it_is_tls_and_does_not_try_again(fault: str) -> None:
    async with (
        ScriptedServer(answers_well, greeting=Peers(faulty_context(fault))) as server,
        session(url(server), ssl_context=client_context()) as pay,
    ):
        for operation in (lambda pay: pay.status("ORDER42"), *MONEY.values()):
            connections = server.connections
            with pytest.raises(APIConnectionError, match="TLS failed") as caught:
                await operation(pay)
            assert caught.value.tls
            assert not caught.value.sent
            assert server.connections == connections + 1


@pytest.mark.threat("T1")
async def test_a_name_is_asked_for_and_verified() -> None:
    peers = Peers(server_context("localhost"))
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get(url(server, "localhost"))).is_success
        assert peers.names == ["localhost"]


async def test_an_address_is_verified_but_not_asked_for() -> None:
    peers = Peers(server_context())
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        assert (await client.get("/")).is_success
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get(url(server, "localhost"))
        assert isinstance(failure(caught), ssl.SSLCertVerificationError)
        assert peers.names == [None, "localhost"]


async def test_the_name_asked_for_may_be_another_than_the_host() -> None:
    peers = Peers(server_context("right.example"))
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(client_context(), server) as client,
    ):
        for extensions in ({"sni_hostname": "right.example"}, {}, {"sni_hostname": ""}):
            assert (await client.get("/", extensions=extensions)).is_success
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("/", extensions={"sni_hostname": "wrong.example"})
        assert isinstance(failure(caught), ssl.SSLCertVerificationError)
        assert peers.names == ["right.example", None, "wrong.example"]
        assert [request.connection for request in server.requests] == [0, 1, 1]


@pytest.mark.parametrize("name", [".example", f"{'a' * 64}.example", "a..example", "nul\0.example"])
async def test_a_name_that_is_none(name: str) -> None:
    async with ScriptedServer(answers, greeting=Peers(server_context())) as server:
        async with client_of(client_context(), server) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/", extensions={"sni_hostname": name})
            assert statistics(client).leased == 0
        await assert_no_descriptor_is_left(server)
        assert server.requests == []


def test_an_address_of_ipv6_is_verified() -> None:
    for name, is_right in (("::1", True), ("::2", False)):
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority().issue_cert("::1").configure_cert(server_side)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_side.wrap_bio(to_server, to_client, server_side=True)
        tls = Tls(client_context(), name)
        assert not tls.shake_hands()
        to_server.write(tls.to_send())
        with pytest.raises(ssl.SSLWantReadError):
            server.do_handshake()
        tls.receive(to_client.read())
        if is_right:
            assert tls.shake_hands()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                tls.shake_hands()


# --- ALPN

# Its number, and the lengths of what it holds: a list of one name.
ALPN_OF_HTTP_1_1 = b"\x00\x10\x00\x0b\x00\x09\x08http/1.1"


async def test_only_http_1_1_is_offered() -> None:
    context = server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    peers = Peers(context)
    shared = client_context()
    async with (
        ScriptedServer(answers, greeting=peers) as server,
        client_of(shared, server) as client,
    ):
        assert (await client.get("/")).is_success
        # As httpx does for HTTP/2, each time it connects by the context that it was given.
        shared.set_alpn_protocols(["h2", "http/1.1"])
        assert (await client.get("/", extensions=FRESH)).is_success
        for peer in peers.all:
            assert ALPN_OF_HTTP_1_1 in peer.hello
            assert peer.tls.selected_alpn_protocol() == "http/1.1"
        assert len(peers.all) == 2


# --- The client's certificate


def demanding_context(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = server_context(version=version)
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@each_version
async def test_a_server_gets_the_certificate_that_it_demands(version: ssl.TLSVersion) -> None:
    peers = Peers(demanding_context(version))
    context = client_context(identity=authority().issue_cert("shop@shop.example"))
    async with (
        ScriptedServer(answers_well, greeting=peers) as server,
        session(url(server), ssl_context=context) as pay,
    ):
        for _ in range(2):  # the second one is resumed
            await MONEY["refund"](pay)
        for peer in peers.all:
            assert peer.tls.version() == version.name.replace("_", ".")
            certificate = peer.tls.getpeercert()
            assert certificate is not None
            assert ("email", "shop@shop.example") in certificate["subjectAltName"]
        assert [peer.tls.session_reused for peer in peers.all] == [False, True]


@each_version
@pytest.mark.parametrize("identity", ["none", "of an unknown authority"])
async def test_a_client_is_refused(version: ssl.TLSVersion, identity: str) -> None:
    """In TLS 1.3 a client is told only after the handshake, when it has sent its request."""
    leaf = None if identity == "none" else trustme.CA().issue_cert("shop@shop.example")
    context = client_context(identity=leaf)
    late = version is ssl.TLSVersion.TLSv1_3
    async with (
        ScriptedServer(answers_well, greeting=Peers(demanding_context(version))) as server,
        session(url(server), ssl_context=context) as pay,
    ):
        with pytest.raises(APIConnectionError, match="TLS failed") as caught:
            await pay.status("ORDER42")
        assert caught.value.tls
        assert caught.value.sent is late
        assert "ALERT" in failure(caught).reason
        assert server.connections == 1
        with pytest.raises(OutcomeUnknownError if late else APIConnectionError) as caught_too:
            await MONEY["refund"](pay)
        assert "ALERT" in failure(caught_too).reason
        assert "TLS failed" in "".join(str(cause) for cause in causes(caught_too.value))
        assert server.connections == 2
        assert server.requests == []


# --- Where authorities are found


@pytest.fixture
def authority_file(tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority().cert_pem.write_to_path(path)
    return path


@pytest.fixture
def authority_directory(authority_file: Path) -> Path:
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("only openssl tells by what name a directory has a certificate")
    command = [openssl, "x509", "-hash", "-noout", "-in", authority_file]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    directory = authority_file.parent / "authorities"
    directory.mkdir()
    authority_file.rename(directory / f"{name}.0")
    return directory


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_authorities_of_the_environment(
    variable: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    fixture = "authority_file" if variable == "SSL_CERT_FILE" else "authority_directory"
    async with ScriptedServer(answers_well, greeting=Peers(server_context())) as server:
        async with AsyncLittlePay(**CREDENTIALS, base_url=url(server)) as pay:
            with pytest.raises(APIConnectionError, match="TLS failed"):
                await pay.status("ORDER42")
        monkeypatch.setenv(variable, str(request.getfixturevalue(fixture)))
        async with AsyncLittlePay(**CREDENTIALS, base_url=url(server)) as pay:
            assert (await pay.status("ORDER42")).key == "ORDER42"


async def test_authorities_of_the_system(
    authority_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux's truststore takes them from where OpenSSL finds them."""
    async with ScriptedServer(answers_well, greeting=Peers(server_context())) as server:
        for is_trusted in (False, True):
            context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            async with session(url(server), ssl_context=context) as pay:
                if is_trusted:
                    for _ in range(2):
                        await MONEY["refund"](pay)
                else:
                    with pytest.raises(APIConnectionError, match="TLS failed"):
                        await pay.status("ORDER42")
            monkeypatch.setenv("SSL_CERT_FILE", str(authority_file))
        assert len(server.requests) == 2


INJECTED = """
import asyncio, ssl, sys
import truststore
truststore.inject_into_ssl()
import little_pay_async as lp

async def main():
    assert ssl.SSLContext is truststore.SSLContext
    for options in ({}, {"ssl_context": ssl.create_default_context()}):
        async with lp.AsyncLittlePay(api_key="K", base_url=sys.argv[1], **options) as pay:
            for _ in range(2):
                print((await pay.status("ORDER42")).key)

asyncio.run(main())
"""


async def test_truststore_in_the_place_of_ssl(authority_file: Path) -> None:
    async with ScriptedServer(answers_well, greeting=Peers(server_context())) as server:
        done = await anyio.run_process(
            [sys.executable, "-c", INJECTED, url(server)],
            env=os.environ | {"SSL_CERT_FILE": str(authority_file), "PYTHONSAFEPATH": "1"},
            check=False,
        )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"ORDER42"] * 4, b"")
