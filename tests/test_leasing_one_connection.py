"""What a leased connection is made of: TLS, keepalive, proxies, HTTP/2."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any

import anyio
import anyio.abc
import httpcore
import httpx
import pytest

from little_pay_async._transport.leasing import one_connection
from little_pay_async._transport.pooled import PooledTransport

from .leases import answers, assert_no_descriptor_is_left, client_of, counts, leasing, serving
from .servers import Exchange, ScriptedServer, client_tls, response, server_tls

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_connections_are_kept_alive_by_tcp(tls: bool) -> None:
    async with (
        ScriptedServer(answers, tls=server_tls() if tls else None) as server,
        client_of(server, leasing()) as client,
        client.stream("GET", "/") as answer,
    ):
        connected = answer.extensions["network_stream"].get_extra_info("socket")
        for level, name, value in (
            (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
            (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
            (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
            (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        ):
            assert connected.getsockopt(level, getattr(socket, name)) == value, name


async def test_all_connections_share_one_tls_context(monkeypatch: pytest.MonkeyPatch) -> None:
    context = client_tls()
    opened = 0

    def open_pool() -> httpcore.AsyncConnectionPool:
        nonlocal opened
        opened += 1
        return one_connection(ssl_context=context)

    def no_other(*arguments: object, **options: object) -> None:
        raise AssertionError("a second context was made")

    transport = leasing(9, open_pool=open_pool)
    async with (
        ScriptedServer(answers, tls=server_tls()) as server,
        client_of(server, transport) as client,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(ssl, "create_default_context", no_other)
            patch.setattr(ssl, "SSLContext", no_other)
            for _ in range(5):
                answer = await client.get("/", extensions={"fresh_connection": True})
                assert answer.is_success
        assert opened == server.connections == 5


@pytest.mark.parametrize("fault", ["unknown authority", "wrong host", "expired"])
async def test_a_certificate_that_is_not_right_is_refused(fault: str) -> None:
    transport = leasing()
    async with ScriptedServer(answers, tls=server_tls(fault)) as server:
        async with client_of(server, transport) as client:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.get("/")
            assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(caught))
            assert counts(transport) == (0, 0, 0)
        await assert_no_descriptor_is_left(server)
        assert server.requests == []


def causes(caught: pytest.ExceptionInfo[BaseException]) -> Iterator[BaseException]:
    cause: BaseException | None = caught.value
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


# --- Proxies


async def forwards(exchange: Exchange) -> None:
    """Answer what has an absolute target as its server would; tunnel what is to be tunnelled."""
    if exchange.request.method != "CONNECT":
        await answers(exchange)
        return
    host, _, port = exchange.request.target.partition(":")
    async with await anyio.connect_tcp(host, int(port)) as onward:
        await exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await connect(exchange._connection.stream, onward)
    await exchange.close()


async def connect(one: anyio.abc.ByteStream, other: anyio.abc.ByteStream) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pump, one, other, tasks.cancel_scope)
        tasks.start_soon(pump, other, one, tasks.cancel_scope)


async def pump(
    source: anyio.abc.ByteStream, sink: anyio.abc.ByteStream, both: anyio.CancelScope
) -> None:
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for data in source:
            await sink.send(data)
    both.cancel()


def through(proxy: ScriptedServer) -> PooledTransport:
    return leasing(
        2,
        open_pool=partial(
            one_connection,
            ssl_context=client_tls(),
            proxy=httpx.Proxy(
                proxy.base_url,
                auth=("me", "secret"),
                headers={"X-For-Proxy": "1"},
                ssl_context=client_tls() if proxy.base_url.startswith("https") else None,
            ),
        ),
    )


by_tls_too = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@by_tls_too
async def test_a_plain_request_is_forwarded_by_the_proxy(tls: bool) -> None:
    async with serving(forwards, tls=tls) as proxy, ScriptedServer(answers) as server:
        transport = through(proxy)
        async with client_of(server, transport) as client:
            for _ in range(2):
                assert (await client.get("/path?longPoll=true")).is_success
            assert counts(transport) == (0, 1, 0)
        assert server.connections == 0
        assert [request.target for request in proxy.requests] == [
            f"{server.base_url}/path?longPoll=true"
        ] * 2
        assert proxy.requests[0].header("proxy-authorization") == "Basic bWU6c2VjcmV0"
        assert proxy.requests[0].header("x-for-proxy") == "1"
        assert proxy.connections == 1


@by_tls_too
@pytest.mark.threat("T10")
async def test_a_tls_request_is_tunnelled_by_the_proxy(tls: bool) -> None:
    async with (
        serving(forwards, tls=tls) as proxy,
        ScriptedServer(answers, tls=server_tls()) as server,
    ):
        transport = through(proxy)
        async with client_of(server, transport) as client:
            for _ in range(2):
                assert (await client.get("/path")).is_success
            assert counts(transport) == (0, 1, 0)
            await client.get("/path", extensions={"fresh_connection": True})
        [first, second] = proxy.requests
        assert (first.method, first.target) == ("CONNECT", f"127.0.0.1:{server.port}")
        assert first.header("proxy-authorization") == "Basic bWU6c2VjcmV0"
        assert first.header("x-for-proxy") == "1"
        assert second.target == first.target
        assert [request.connection for request in server.requests] == [0, 0, 1]
        assert server.requests[0].header("proxy-authorization") is None
        assert server.requests[0].header("x-for-proxy") is None
        await proxy.until(lambda: proxy.open == 0)
        await server.until(lambda: server.open == 0)


@pytest.mark.threat("T10")
async def test_a_target_of_one_s_own_goes_through_the_proxy() -> None:
    """The extension would go to the proxy, in place of what is to be connected to."""
    extensions = {"target": b"/real?a=b"}
    async with ScriptedServer(forwards) as proxy, ScriptedServer(answers) as server:
        async with client_of(server, through(proxy)) as client:
            request = client.build_request("GET", "/shown", extensions=extensions)
            assert (await client.send(request)).is_success
        assert [request.target for request in proxy.requests] == [f"{server.base_url}/real?a=b"]
        assert request.extensions["target"] == b"/real?a=b"
    async with (
        ScriptedServer(forwards) as proxy,
        ScriptedServer(answers, tls=server_tls()) as server,
    ):
        async with client_of(server, through(proxy)) as client:
            assert (await client.get("/shown", extensions=extensions)).is_success
        assert [request.target for request in proxy.requests] == [f"127.0.0.1:{server.port}"]
        assert [request.target for request in server.requests] == ["/real?a=b"]


class SocksProxy:
    """Leads a connection to where its client asks, by SOCKS5 with a name and a password."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    async def __call__(self, connection: Any) -> None:
        stream = connection.stream
        for answer in (b"\5\2", b"\1\0"):
            self.said.append(await stream.receive())
            await stream.send(answer)
        asked = await stream.receive()
        self.said.append(asked)
        await stream.send(b"\5\0\0\1\x7f\0\0\1\0\1")
        async with await anyio.connect_tcp("127.0.0.1", int.from_bytes(asked[-2:])) as onward:
            await connect(stream, onward)
        await connection.close()


@by_tls_too
async def test_a_socks_proxy_leads_to_the_server(tls: bool) -> None:
    pytest.importorskip("socksio", reason="socksio is not installed, and httpcore needs it")
    socks = SocksProxy()
    async with (
        ScriptedServer(answers, greeting=socks) as proxy,
        serving(answers, tls=tls) as server,
    ):
        url = f"socks5://me:secret@127.0.0.1:{proxy.port}"
        transport = leasing(
            open_pool=partial(one_connection, ssl_context=client_tls(), proxy=httpx.Proxy(url))
        )
        async with client_of(server, transport) as client:
            for _ in range(2):
                assert (await client.get("/path", extensions={"target": b"/real"})).is_success
            assert counts(transport) == (0, 1, 0)
        assert [request.target for request in server.requests] == ["/real"] * 2
        await proxy.until(lambda: proxy.open == 0)
    assert len(socks.said) == 3
    assert socks.said[1] == b"\1\2me\6secret"


async def test_a_proxy_that_refuses_gives_the_place_back() -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.send(response(b"no", "407 Proxy Authentication Required"))

    async with (
        ScriptedServer(refuses) as proxy,
        ScriptedServer(answers, tls=server_tls()) as server,
    ):
        transport = through(proxy)
        async with client_of(server, transport) as client:
            with pytest.raises(httpx.ProxyError, match="407"):
                await client.get("/")
            assert counts(transport) == (0, 0, 0)
            await proxy.until(lambda: proxy.open == 0)
        assert server.connections == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.threat("T10")
async def test_no_proxy_is_used_unless_it_is_configured(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        ScriptedServer(forwards) as proxy,
        ScriptedServer(answers, tls=server_tls() if tls else None) as server,
    ):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base_url)
            monkeypatch.setenv(name.lower(), proxy.base_url)
        async with client_of(server, leasing()) as client:
            assert (await client.get("/path")).is_success
        assert proxy.connections == 0
        assert server.requests[0].target == "/path"


# --- HTTP/2


async def test_a_factory_may_offer_http_2() -> None:
    pytest.importorskip("h2", reason="h2 is not installed, and httpx needs it to offer HTTP/2")
    transport = leasing(
        open_pool=partial(httpcore.AsyncConnectionPool, ssl_context=client_tls(), http2=True)
    )
    async with (
        ScriptedServer(answers, tls=server_tls()) as server,
        client_of(server, transport) as client,
    ):
        # The server speaks HTTP/1.1 alone: what is offered need not be taken.
        assert (await client.get("/")).http_version == "HTTP/1.1"
        assert counts(transport) == (0, 1, 0)
