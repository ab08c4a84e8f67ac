"""What users of httpx rely on is the same over the library's pools as over httpx's own.

On real sockets. httpx's own transport runs along, so that no expectation is an invention.
"""

import contextlib
import datetime as dt
import gzip
import json
import pickle
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import product
from typing import Any

import anyio
import attrs
import h11
import httpx
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from little_pay_async._transport.pooled import PooledTransport

from .leases import leasing, pooled
from .servers import (
    Arrived,
    Exchange,
    Script,
    ScriptedServer,
    client_tls,
    closes,
    full_backlog,
    in_turn,
    is_silent,
    refusing_port,
    resets,
    response,
    sends,
    server_tls,
)

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]

OK = response(b"ok", content_type="text/plain")
EMPTY = response(b"", content_type=None)  # right for a HEAD too


def httpx_s_own(max_connections: int) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(
        max_connections=max_connections, max_keepalive_connections=max_connections
    )
    return httpx.AsyncHTTPTransport(verify=client_tls(), limits=limits)


NewTransport = Callable[[int], httpx.AsyncBaseTransport]
NewClient = Callable[..., httpx.AsyncClient]
OURS = [pytest.param(leasing, id="leasing"), pytest.param(pooled, id="pooled")]
ALL = [pytest.param(httpx_s_own, id="httpx"), *OURS]


def new_client(
    new_transport: NewTransport,
    server: ScriptedServer | str,
    *,
    max_connections: int = 10,
    path: str = "",
    **options: Any,
) -> httpx.AsyncClient:
    base_url = server if isinstance(server, str) else server.base_url
    options = {"timeout": None} | options
    return httpx.AsyncClient(
        transport=new_transport(max_connections), base_url=base_url + path, **options
    )


@pytest.fixture(params=ALL)
def client_of(request: pytest.FixtureRequest) -> NewClient:
    """Return what makes a client of a server: over each transport."""
    return partial(new_client, request.param)


def is_httpx_s_own(client_of: NewClient) -> bool:
    return isinstance(client_of, partial) and client_of.args == (httpx_s_own,)


def serving(script: Script, *, tls: bool) -> ScriptedServer:
    return ScriptedServer(script, tls=server_tls() if tls else None)


plain_and_tls = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


# --- What goes out and what comes in: the same as by httpx's own


async def parts_of_a_body() -> AsyncIterator[bytes]:
    yield b"some, "
    yield b""
    yield b"and more"


MULTIPART = "multipart/form-data; boundary=edge"
REQUESTS: dict[str, Mapping[str, Any]] = {
    "GET": {"method": "GET"},
    "GET with a body": {"method": "GET", "content": b"body"},
    "HEAD": {"method": "HEAD"},
    "OPTIONS": {"method": "OPTIONS"},
    "OPTIONS of all": {"method": "OPTIONS", "extensions": {"target": b"*"}},
    "DELETE": {"method": "DELETE"},
    "PUT": {"method": "PUT", "content": b"\x00\xff\r\n\r\n"},
    "PATCH": {"method": "PATCH", "content": "täxt"},
    "a method of one's own": {"method": "PURGE"},
    "POST of nothing": {"method": "POST"},
    "POST of no bytes": {"method": "POST", "content": b""},
    "POST of JSON": {"method": "POST", "json": {"a": [1, None, "ü"]}},
    "POST of a form": {"method": "POST", "data": {"a": "1", "b": ["2", "&"]}},
    "POST of a file": {
        "method": "POST",
        "files": {"f": ("name.txt", b"content", "text/plain")},
        "headers": {"Content-Type": MULTIPART},
    },
    "POST of a large body": {"method": "POST", "content": b"x" * 3_000_000},
    "POST of parts, of which the length is told": {
        "method": "POST",
        "content": parts_of_a_body,
        "headers": {"Content-Length": "14"},
    },
    "parameters": {"method": "GET", "url": "/a b?c=d", "params": {"e": "f g", "h": ["1", "2"]}},
    "a path that is encoded": {"method": "GET", "url": "/a%2Fb/%C3%BC;x=1?q=%20+"},
    "a fragment": {"method": "GET", "url": "/a?b#c"},
    "a target of one's own": {"method": "GET", "extensions": {"target": b"/secret?x"}},
    "the case of headers": {
        "method": "GET",
        "headers": [("X-Two", "1"), ("x-oNE", "a,  b"), ("x-two", "2"), ("X-Two", "1")],
    },
    "a header of Latin letters": {"method": "GET", "headers": [(b"X-Name", b"J\xfcrgen\t!")]},
    "a header without a value": {"method": "GET", "headers": {"X-None": ""}},
    "a host of one's own": {"method": "GET", "headers": {"Host": "elsewhere.example"}},
    "a user agent": {"method": "GET", "headers": {"User-Agent": "me/1", "Accept": "*"}},
    "a cookie": {"method": "GET", "headers": {"Cookie": "a=1; b=2"}},
    "a name and a password": {"method": "GET", "auth": httpx.BasicAuth("me", "secret")},
    "limits that are not reached": {
        "method": "GET",
        "extensions": {"timeout": dict.fromkeys(["connect", "read", "write", "pool"], 60.0)},
    },
    "a host for TLS": {"method": "GET", "extensions": {"sni_hostname": "127.0.0.1"}},
}


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize(
    ("name", "tls"),
    [*product(REQUESTS, [False]), ("POST of a large body", True), ("a host for TLS", True)],
)
async def test_a_request_arrives_as_by_httpx_s_own(
    name: str, ours: NewTransport, tls: bool
) -> None:
    async def sent_by(new_transport: NewTransport) -> list[Arrived]:
        options = {"url": "/x"} | dict(REQUESTS[name])
        content = options.get("content")
        server.requests.clear()
        async with new_client(new_transport, server) as client:
            for _ in range(2):
                if callable(content):
                    options["content"] = content()
                answer = await client.request(**options)
                assert answer.status_code == 200
        numbers = sorted({request.connection for request in server.requests})
        return [
            attrs.evolve(
                request,
                connection=numbers.index(request.connection),
                # httpx's own moves Host to the front, wherever it was given.
                headers=sorted(request.headers, key=lambda header: header[0] != "Host"),
            )
            for request in server.requests
        ]

    async with serving(sends(EMPTY), tls=tls) as server:
        theirs = await sent_by(httpx_s_own)
        assert await sent_by(ours) == theirs
        assert len(theirs) == 2


SQUEEZED = gzip.compress(b"text" * 99, mtime=0)
CHUNKS = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked"
TEXT = "HTTP/1.1 200 OK\nContent-Length: 4"
ANSWERS: dict[str, tuple[str, bytes]] = {
    "200": (TEXT, b"text"),
    "201 without a body": ("HTTP/1.1 201 Created\nContent-Length: 0", b""),
    "204": ("HTTP/1.1 204 No Content", b""),
    "204 with headers": ("HTTP/1.1 204 No Content\nX-A: b\nETag: x", b""),
    "304": ("HTTP/1.1 304 Not Modified\nETag: x", b""),
    "304 with a length": ("HTTP/1.1 304 Not Modified\nContent-Length: 4", b""),
    "404": ("HTTP/1.1 404 Not Found\nContent-Length: 4", b"none"),
    "500": ("HTTP/1.1 500 Oops\nContent-Length: 4", b"oops"),
    "a status that nobody knows": ("HTTP/1.1 299 Fine\nContent-Length: 0", b""),
    "a phrase of one's own": ("HTTP/1.1 200 Very  well, thanks\nContent-Length: 0", b""),
    "an empty phrase": ("HTTP/1.1 200 \nContent-Length: 0", b""),
    "no phrase": ("HTTP/1.1 200\nContent-Length: 0", b""),
    "HTTP/1.0": ("HTTP/1.0 200 OK\nContent-Length: 4", b"text"),
    "HTTP/1.0 kept alive": (
        "HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 4",
        b"text",
    ),
    "an end of the connection": (f"{TEXT}\nConnection: close", b"text"),
    "the case of headers": (f"{TEXT}\nX-Two: 1\nx-oNE: a,  b\nx-two: 2\nX-Two: 1", b"text"),
    "white space around values": (f"{TEXT}\nX-A:b\nX-C: \t d \t \nX-None:\nX-Blank:   ", b"text"),
    "values of Latin letters": (f"{TEXT}\nX-Name: J\xfcrgen", b"text"),
    "cookies": (f"{TEXT}\nSet-Cookie: a=1; Path=/\nSet-Cookie: b=2", b"text"),
    "90 headers": ("\n".join([TEXT, *(f"X-{number}: {number}" for number in range(89))]), b"text"),
    "a long header": (f"{TEXT}\nX-Long: {'x' * 50_000}", b"text"),
    "a charset": (f"{TEXT}\nContent-Type: text/plain; charset=latin-1", b"T\xfcr!"),
    "chunks": (CHUNKS, b"4\r\ntext\r\n1\r\n!\r\n0\r\n\r\n"),
    "chunks with extensions": (CHUNKS, b"4;a=b\r\ntext\r\n00;c\r\n\r\n"),
    "chunks with trailers": (CHUNKS, b"4\r\ntext\r\n0\r\nX-Sum: 1\r\n\r\n"),
    "no chunks at all": (CHUNKS, b"0\r\n\r\n"),
    "a mebibyte": (f"HTTP/1.1 200 OK\nContent-Length: {1 << 20}", bytes(1 << 20)),
    "squeezed": (
        f"HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: {len(SQUEEZED)}",
        SQUEEZED,
    ),
    "after a 100": (f"HTTP/1.1 100 Continue\n\n{TEXT}", b"text"),
    "after a 103": (f"HTTP/1.1 103 Early Hints\nLink: </a>\nX-A: b\n\n{TEXT}", b"text"),
    "the end of the stream": ("HTTP/1.1 200 OK\nContent-Type: text/plain", b"text"),
    "the end of HTTP/1.0's stream": ("HTTP/1.0 200 OK", b"text"),
}
CONNECTION_ENDS = [
    *("HTTP/1.0", "an end of the connection"),
    *("the end of the stream", "the end of HTTP/1.0's stream"),
]


def on_the_wire(head: str, body: bytes) -> bytes:
    return f"{head}\n\n".replace("\n", "\r\n").encode("latin-1") + body


def shown(answer: httpx.Response) -> dict[str, Any]:
    """Return all that a user can see of a response that was read."""
    return {
        "pickled": pickle.loads(pickle.dumps(answer)).content,
        "status": (answer.status_code, answer.http_version),
        "headers": answer.headers.raw,
        "content": (answer.content, answer.text, answer.encoding, answer.charset_encoding),
        "downloaded": answer.num_bytes_downloaded,
        "state": (answer.is_closed, answer.is_stream_consumed),
        "cookies": dict(answer.cookies),
        "extensions": {
            name: value
            for name, value in answer.extensions.items()
            # Those that httpx's own has more, and the one that ours has.
            if name not in {"network_stream", "reason_phrase", "whole_body"}
        },
    }


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("name", "tls"),
    [
        *product(ANSWERS, [False]),
        *product(["200", "204", "an end of the connection", "chunks", "a mebibyte"], [True]),
    ],
)
async def test_a_response_comes_as_by_httpx_s_own(
    name: str, method: str, ours: NewTransport, tls: bool
) -> None:
    async def got_by(new_transport: NewTransport) -> tuple[list[dict[str, Any]], int]:
        before = server.connections
        async with new_client(new_transport, server) as client:
            answers = [await client.request(method, "/x") for _ in range(2)]
        return [shown(answer) for answer in answers], server.connections - before

    head, body = ANSWERS[name]
    ends = name in CONNECTION_ENDS and method == "GET"
    script = sends(on_the_wire(head, body if method == "GET" else b""), then_close=ends)
    async with serving(script, tls=tls) as server:
        theirs, connections = await got_by(httpx_s_own)
        assert await got_by(ours) == (theirs, connections)
        assert connections == 2 or not ends


ENDLESS = b"HTTP/1.1 200 OK\r\n\r\ntext"


async def test_the_end_of_tls_may_delimit_a_response(client_of: NewClient) -> None:
    async def script(exchange: Exchange) -> None:
        stream = exchange._connection.stream
        assert isinstance(stream, TLSStream)
        await exchange.send(ENDLESS)
        await stream.unwrap()
        await exchange.close()

    async with serving(script, tls=True) as server, client_of(server) as client:
        assert (await client.get("/")).content == b"text"


async def test_the_end_of_a_connection_without_that_of_tls_delimits_nothing() -> None:
    """Over httpx's own it does: who cuts a response off is not noticed there."""
    async with serving(sends(ENDLESS, then_close=True), tls=True) as server:
        for new_transport in httpx_s_own, leasing:
            async with new_client(new_transport, server) as client:
                assert (await client.get("/")).content == b"text"
        async with new_client(pooled, server) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/")


STRICTER: dict[str, tuple[str, bytes]] = {
    "a second length": (f"{TEXT}\nContent-Length: 4", b"text"),
    "a length for chunks": (f"{CHUNKS}\nContent-Length: 4", b"4\r\ntext\r\n0\r\n\r\n"),
    "a length where there is no body": ("HTTP/1.1 204 No Content\nContent-Length: 4", b""),
    "a header over two lines": (f"{TEXT}\nX-A: b\n c", b"text"),
    "a control character": (f"{TEXT}\nX-A: \x01", b"text"),
    "another version": ("HTTP/1.2 200 OK\nContent-Length: 4", b"text"),
    "101 headers": (
        "\n".join([TEXT, *(f"X-{number}: {number}" for number in range(100))]),
        b"text",
    ),
    "a head over 64 KiB": (f"{TEXT}\nX-Long: {'x' * (64 << 10)}", b"text"),
    "a body over a mebibyte": (
        f"HTTP/1.1 200 OK\nContent-Length: {(1 << 20) + 1}",
        bytes((1 << 20) + 1),
    ),
    "nine interim answers": ("HTTP/1.1 100 Continue\n\n" * 9 + TEXT, b"text"),
}


LEASING_IS_TOO = {"another version", "101 headers"}


@pytest.mark.parametrize("name", STRICTER)
async def test_the_pooled_transport_refuses_what_httpx_s_own_takes(name: str) -> None:
    """What is too long, or what two readers could understand differently."""
    stricter = [pooled, leasing] if name in LEASING_IS_TOO else [pooled]
    async with ScriptedServer(sends(on_the_wire(*STRICTER[name]))) as server:
        for new_transport in httpx_s_own, leasing, pooled:
            async with new_client(new_transport, server) as client:
                if new_transport in stricter:
                    with pytest.raises(httpx.RemoteProtocolError):
                        await client.get("/")
                else:
                    assert (await client.get("/")).is_success


async def test_a_host_has_a_name(client_of: NewClient) -> None:
    async with (
        ScriptedServer(sends(OK)) as server,
        client_of(f"http://localhost:{server.port}") as client,
    ):
        assert (await client.get("/")).text == "ok"
        assert server.requests[0].header("host") == f"localhost:{server.port}"


@plain_and_tls
async def test_a_request_may_say_that_its_connection_is_used_once(
    tls: bool, client_of: NewClient
) -> None:
    async with serving(sends(OK), tls=tls) as server, client_of(server) as client:
        await client.get("/", headers={"Connection": "close"})
        await server.until(lambda: server.open == 0)
        await client.get("/")
        assert [request.connection for request in server.requests] == [0, 1]


# --- What goes wrong


def stalls_after(data: bytes) -> Script:
    """Return a script that sends `data` and then says nothing more."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data)
        await exchange.client_has_gone()

    return script


def resets_after(data: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.send(data)
        await exchange.reset()

    return script


def closes_after(data: bytes) -> Script:
    return sends(data, then_close=True)


HALF_A_HEAD = b"HTTP/1.1 200 OK\r\nContent-"
HALF = response(b"half", length=8)
HALF_A_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf"
Expected = type[httpx.TransportError] | tuple[type[httpx.TransportError], ...]
# Older versions of anyio, by which the server works, end the stream before they reset it.
RESET = (httpx.ReadError, httpx.RemoteProtocolError)
FAULTS: dict[str, tuple[Script, Expected]] = {
    "silence": (is_silent, httpx.ReadTimeout),
    "silence within a head": (stalls_after(HALF_A_HEAD), httpx.ReadTimeout),
    "silence within a body": (stalls_after(HALF), httpx.ReadTimeout),
    "silence within a chunk": (stalls_after(HALF_A_CHUNK), httpx.ReadTimeout),
    "closed": (closes, httpx.RemoteProtocolError),
    "closed within a head": (closes_after(HALF_A_HEAD), httpx.RemoteProtocolError),
    "closed within a body": (closes_after(HALF), httpx.RemoteProtocolError),
    "closed within a chunk": (closes_after(HALF_A_CHUNK), httpx.RemoteProtocolError),
    "reset": (resets, RESET),
    "reset within a head": (resets_after(HALF_A_HEAD), RESET),
    "reset within a body": (resets_after(HALF), RESET),
    "no HTTP": (sends(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), httpx.RemoteProtocolError),
    "no status": (sends(b"HTTP/1.1 OK\r\n\r\n"), httpx.RemoteProtocolError),
    "no chunks": (
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n"),
        httpx.RemoteProtocolError,
    ),
    "two lengths": (
        sends(response(b"x", headers={"Content-Length": "2"}, length=1)),
        httpx.RemoteProtocolError,
    ),
    "a NUL in a header": (sends(response(b"", headers={"X": "\0"})), httpx.RemoteProtocolError),
}


@plain_and_tls
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_server_raises_what_httpx_s_own_raises(
    name: str, tls: bool, client_of: NewClient
) -> None:
    script, expected = FAULTS[name]
    async with (
        serving(script, tls=tls) as server,
        client_of(server, max_connections=1) as client,
    ):
        limit = 0.05 if expected is httpx.ReadTimeout else None
        request = client.build_request("GET", "/", timeout=httpx.Timeout(None, read=limit))
        with pytest.raises(expected) as caught:
            await client.send(request)
        assert caught.value.request is request
        server.script = sends(OK)  # and what it used is free again
        assert (await client.get("/")).text == "ok"


@pytest.mark.parametrize(
    "name", [name for name in FAULTS if "within a body" in name or "within a chunk" in name]
)
async def test_a_fault_within_a_body_is_raised_where_it_is_read(
    name: str, client_of: NewClient
) -> None:
    script, expected = FAULTS[name]
    async with (
        ScriptedServer(script) as server,
        client_of(server, max_connections=1) as client,
    ):
        limit = 0.3 if expected is httpx.ReadTimeout else None  # the head comes in time
        async with client.stream("GET", "/", timeout=httpx.Timeout(None, read=limit)) as answer:
            assert answer.status_code == 200
            parts = answer.aiter_raw()
            assert await anext(parts) == b"half"
            with pytest.raises(expected):
                await anext(parts)
        server.script = sends(OK)
        assert (await client.get("/")).text == "ok"


async def test_nobody_listens(client_of: NewClient) -> None:
    async with client_of(f"http://127.0.0.1:{refusing_port()}", max_connections=1) as client:
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await client.get("/")


async def test_a_connection_is_not_accepted_in_time(client_of: NewClient) -> None:
    async with (
        full_backlog() as base_url,
        client_of(base_url, timeout=httpx.Timeout(None, connect=0.05)) as client,
    ):
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("/")


async def waits(_: object) -> None:
    await anyio.sleep_forever()


async def breaks(connection: Any) -> None:
    await connection.close()


GREETINGS: dict[str, tuple[Callable[[Any], Awaitable[None]], type[httpx.TransportError]]] = {
    "silence": (waits, httpx.ConnectTimeout),
    "closed": (breaks, httpx.ConnectError),
}


@pytest.mark.parametrize("name", GREETINGS)
async def test_tls_is_not_agreed_on(name: str, client_of: NewClient) -> None:
    greeting, expected = GREETINGS[name]
    server = ScriptedServer(sends(OK), tls=server_tls(), greeting=greeting)
    limit = 0.05 if expected is httpx.ConnectTimeout else None
    async with server, client_of(server) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get("/", timeout=httpx.Timeout(None, connect=limit))
        assert type(caught.value) is expected


@pytest.mark.parametrize("fault", ["unknown authority", "wrong host", "expired"])
async def test_a_certificate_is_not_to_be_trusted(fault: str, client_of: NewClient) -> None:
    async with (
        ScriptedServer(sends(OK), tls=server_tls(fault)) as server,
        client_of(server) as client,
    ):
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("/")
    link: BaseException | None = caught.value
    while link is not None and not isinstance(link, ssl.SSLCertVerificationError):
        link = link.__cause__ or link.__context__
    assert link is not None
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)


async def test_a_host_for_tls_is_who_the_certificate_must_name(client_of: NewClient) -> None:
    async with (
        ScriptedServer(sends(OK), tls=server_tls("wrong host")) as server,
        client_of(server) as client,
    ):
        extensions = {"sni_hostname": "elsewhere.example"}
        assert (await client.get("/", extensions=extensions)).text == "ok"


async def test_a_request_is_not_taken_in_time(client_of: NewClient) -> None:
    with socket.socket() as listener:  # a server on an event loop may read before it is told to
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with client_of(base_url, timeout=httpx.Timeout(None, write=0.05)) as client:
            with pytest.raises(httpx.WriteTimeout):
                await client.post("/", content=bytes(32 << 20))


async def test_no_connection_gets_free_in_time(client_of: NewClient) -> None:
    async with (
        ScriptedServer(stalls_after(HALF)) as server,
        client_of(server, max_connections=1, timeout=httpx.Timeout(None, pool=0.05)) as client,
    ):
        async with client.stream("GET", "/"):
            with pytest.raises(httpx.PoolTimeout):
                await client.get("/")
        server.script = sends(OK)
        assert (await client.get("/")).text == "ok"


WRONG: dict[str, tuple[Mapping[str, Any], type[httpx.TransportError]]] = {
    "another scheme": ({"url": "ftp://127.0.0.1/"}, httpx.UnsupportedProtocol),
    "no scheme": ({"url": "//127.0.0.1/"}, httpx.UnsupportedProtocol),
    "a line break in a header": ({"headers": {"X": "a\r\nY: b"}}, httpx.LocalProtocolError),
    "a space in a header's name": ({"headers": {"X Y": "a"}}, httpx.LocalProtocolError),
    "a space in a target": ({"extensions": {"target": b"/a b"}}, httpx.LocalProtocolError),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_request_that_is_none_raises_what_httpx_s_own_raises(
    name: str, client_of: NewClient
) -> None:
    wrong, expected = WRONG[name]
    options = {"url": "/"} | dict(wrong)
    async with (
        ScriptedServer(sends(OK)) as server,
        client_of("" if "scheme" in name else server, max_connections=1) as client,
    ):
        with pytest.raises(httpx.TransportError) as caught:
            await client.request("POST", **options)
        assert type(caught.value) is expected
        assert (await client.get(server.base_url)).text == "ok"


@pytest.mark.parametrize("length", ["2", "4"])
async def test_a_body_must_be_as_long_as_its_head_says(length: str, client_of: NewClient) -> None:
    async def three() -> AsyncIterator[bytes]:
        yield b"123"

    async with (
        ScriptedServer(sends(OK)) as server,
        client_of(server, max_connections=1) as client,
    ):
        is_ours = isinstance(client._transport, PooledTransport)
        # h11's comes out of httpx's own transport as it is.
        with pytest.raises(httpx.LocalProtocolError if is_ours else h11.LocalProtocolError):
            await client.put("/", content=three(), headers={"Content-Length": length})
        assert (await client.get("/")).text == "ok"


class OwnError(Exception):
    pass


async def test_what_the_body_of_a_request_raises_is_the_caller_s(client_of: NewClient) -> None:
    async def fails() -> AsyncIterator[bytes]:
        yield b"some"
        raise OwnError

    async with (
        ScriptedServer(sends(OK)) as server,
        client_of(server, max_connections=1) as client,
    ):
        with pytest.raises(OwnError):
            await client.post("/", content=fails())
        assert (await client.get("/")).text == "ok"


# --- Bodies of requests


class ChunkedServer:
    """Takes one request in chunks, and answers as soon as it is there."""

    def __init__(self) -> None:
        self.head = b""
        self.chunks: list[bytes] = []

    async def __call__(self, connection: Any) -> None:
        stream = BufferedByteReceiveStream(connection.stream)
        self.head = await stream.receive_until(b"\r\n\r\n", 1 << 16)
        while size := int(await stream.receive_until(b"\r\n", 100), 16):
            self.chunks.append(await stream.receive_exactly(size))
            assert await stream.receive_exactly(2) == b"\r\n"
        assert await stream.receive_exactly(2) == b"\r\n"
        await connection.stream.send(OK)
        await connection.close()


@pytest.mark.parametrize("parts", [[b"some", b"", b"m\r\nore"], [b"x" * 70_000] * 3, [b""], []])
async def test_a_body_of_unknown_length_goes_in_chunks(
    parts: list[bytes], client_of: NewClient
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    taken = ChunkedServer()
    async with (
        ScriptedServer(sends(OK), greeting=taken) as server,
        client_of(server) as client,
    ):
        assert (await client.put("/", content=body())).text == "ok"
    assert b"\r\nTransfer-Encoding: chunked" in taken.head
    assert b"Content-Length" not in taken.head
    assert b"".join(taken.chunks) == b"".join(parts)


# --- Streams


async def test_parts_are_there_as_they_come(client_of: NewClient) -> None:
    read = anyio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(response(b"one", length=6))
        await read.wait()
        await exchange.send(b"two")

    parts = []
    async with (
        ScriptedServer(script) as server,
        client_of(server) as client,
        client.stream("GET", "/") as answer,
    ):
        async for part in answer.aiter_raw():
            parts.append((part, answer.num_bytes_downloaded))
            read.set()
    assert parts == [(b"one", 3), (b"two", 6)]


ITERATIONS: dict[str, tuple[Callable[[httpx.Response], AsyncIterator[Any]], list[Any]]] = {
    "raw": (lambda answer: answer.aiter_raw(chunk_size=7), [SQUEEZED[:7], SQUEEZED[7:14]]),
    "bytes": (lambda answer: answer.aiter_bytes(chunk_size=6), [b"textte", b"xttext"]),
    "text": (lambda answer: answer.aiter_text(chunk_size=6), ["textte", "xttext"]),
    "lines": (lambda answer: answer.aiter_lines(), ["text" * 99]),
}


@pytest.mark.parametrize("name", ITERATIONS)
async def test_a_body_is_read_by(name: str, client_of: NewClient) -> None:
    iterate, expected = ITERATIONS[name]
    data = response(SQUEEZED, headers={"Content-Encoding": "gzip"}, content_type="text/plain")
    async with (
        ScriptedServer(sends(data)) as server,
        client_of(server) as client,
        client.stream("GET", "/") as answer,
    ):
        assert answer.num_bytes_downloaded == 0
        parts = [part async for part in iterate(answer)]
        assert parts[: len(expected)] == expected
        assert answer.num_bytes_downloaded == len(SQUEEZED)
        assert answer.is_closed
        with pytest.raises(httpx.StreamConsumed):
            await anext(aiter(iterate(answer)))


async def test_lines_are_whole_however_they_come(client_of: NewClient) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in [b"eins\r", b"\nzw", "ö".encode()[:1], "ö".encode()[1:], b"lf\n\ndr", b"ei"]:
            await exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
        await exchange.send(b"0\r\n\r\n")

    async with (
        ScriptedServer(script) as server,
        client_of(server) as client,
        client.stream("GET", "/") as answer,
    ):
        assert [line async for line in answer.aiter_lines()] == ["eins", "zwölf", "", "drei"]


@plain_and_tls
@pytest.mark.parametrize("read_some", [False, True], ids=["unread", "begun"])
async def test_a_stream_that_is_left_early_frees_its_connection(
    read_some: bool, tls: bool, client_of: NewClient
) -> None:
    gone = anyio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(HALF)
        await exchange.client_has_gone()
        gone.set()

    async with (
        serving(script, tls=tls) as server,
        client_of(server, max_connections=1) as client,
    ):
        async with client.stream("GET", "/") as answer:
            parts = answer.aiter_bytes()
            if read_some:
                assert await anext(parts) == b"half"
        assert answer.is_closed
        await gone.wait()
        server.script = sends(OK)
        assert (await client.get("/")).text == "ok"
        assert [request.connection for request in server.requests] == [0, 1]
        with contextlib.suppress(httpx.StreamError):
            await parts.aclose()


@pytest.mark.parametrize("whole", [False, True], ids=["half", "whole"])
async def test_a_closed_stream_can_be_closed_again_but_not_read(
    whole: bool, client_of: NewClient
) -> None:
    script = sends(OK) if whole else stalls_after(HALF)
    async with ScriptedServer(script) as server, client_of(server) as client:
        answer = await client.send(client.build_request("GET", "/"), stream=True)
        await answer.aclose()
        await answer.aclose()
        assert answer.is_closed
        for read in (answer.aread, answer.aiter_raw().__anext__, answer.aiter_lines().__anext__):
            with pytest.raises(httpx.StreamClosed):
                await read()
        with pytest.raises(httpx.ResponseNotRead):
            answer.content  # noqa: B018 - it is a property


async def test_a_read_response_can_be_read_again(client_of: NewClient) -> None:
    async with (
        ScriptedServer(sends(OK)) as server,
        client_of(server) as client,
        client.stream("GET", "/") as answer,
    ):
        assert await answer.aread() == await answer.aread() == b"ok"
        assert [part async for part in answer.aiter_bytes()] == [b"ok"]


async def test_a_stream_breaks_off_where_its_client_is_closed(client_of: NewClient) -> None:
    async with ScriptedServer(stalls_after(HALF)) as server:
        client = client_of(server)
        answer = await client.send(client.build_request("GET", "/"), stream=True)
        parts = answer.aiter_raw()
        assert await anext(parts) == b"half"
        await client.aclose()
        with pytest.raises(httpx.ReadError):
            await anext(parts)
        await answer.aclose()


async def test_the_time_that_it_took_is_known_at_the_end(client_of: NewClient) -> None:
    async with ScriptedServer(sends(OK)) as server, client_of(server) as client:
        async with client.stream("GET", "/") as answer:
            with pytest.raises(RuntimeError):
                answer.elapsed  # noqa: B018 - it is a property
            await answer.aread()
        assert dt.timedelta(0) < answer.elapsed < dt.timedelta(seconds=30)
        assert (await client.get("/")).elapsed > dt.timedelta(0)


async def test_many_requests_share_few_connections(client_of: NewClient) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.send(response(exchange.request.target.encode()))

    got: dict[str, str] = {}

    async def get(target: str) -> None:
        got[target] = (await client.get(target)).text

    async with ScriptedServer(echo) as server, client_of(server, max_connections=2) as client:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(get, f"/{number}")
        assert got == {f"/{number}": f"/{number}" for number in range(20)}
        assert server.connections == 2


async def test_two_clients_share_nothing(client_of: NewClient) -> None:
    async with ScriptedServer(sends(OK)) as server, client_of(server) as one:
        async with client_of(server) as two:
            for client in (one, two, one, two):
                await client.get("/")
        await server.until(lambda: server.open == 1)
        assert (await one.get("/")).text == "ok"
    assert [request.connection for request in server.requests] == [0, 1, 0, 1, 0]


# --- Extensions


@plain_and_tls
async def test_limits_of_a_request_go_before_those_of_the_client(
    tls: bool, client_of: NewClient
) -> None:
    async with serving(is_silent, tls=tls) as server, client_of(server, timeout=60) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=httpx.Timeout(60, read=0.05))
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", extensions={"timeout": {"read": 0.05}})


@pytest.mark.parametrize("phrase", ["OK", "Very  well, thanks", ""])
async def test_the_phrase_is_the_standard_s_whatever_the_server_says(
    phrase: str, client_of: NewClient
) -> None:
    """It goes into the log of httpx, and a server may have put anything there."""
    answers = sends(response(b"", f"200 {phrase}"))
    async with ScriptedServer(answers) as server, client_of(server) as client:
        answer = await client.get("/")
        assert answer.reason_phrase == (phrase if is_httpx_s_own(client_of) else "OK")


async def test_a_target_is_sent_in_place_of_the_url_s(client_of: NewClient) -> None:
    async with ScriptedServer(sends(OK)) as server, client_of(server) as client:
        answer = await client.get("/shown?a=b", extensions={"target": b"/hidden"})
        assert answer.url == answer.request.url == f"{server.base_url}/shown?a=b"
        assert [request.target for request in server.requests] == ["/hidden"]


async def test_who_looks_for_the_network_stream_finds_it_or_nothing(client_of: NewClient) -> None:
    async with ScriptedServer(sends(OK)) as server, client_of(server) as client:
        answer = await client.get("/")
        known = {"http_version", "reason_phrase", "network_stream", "whole_body"}
        assert {"http_version"} <= set(answer.extensions) <= known


def pairs(*steps: str) -> list[str]:
    return [f"{step}.{state}" for step in steps for state in ("started", "complete")]


CONNECT = pairs("connection.connect_tcp")
EXCHANGE = pairs(
    "http11.send_request_headers", "http11.send_request_body", "http11.receive_response_headers"
)
BODY = pairs("http11.receive_response_body", "http11.response_closed")


async def traced(client: httpx.AsyncClient, *, fails: bool = False) -> list[str]:
    """Send a request and return the events that its trace was told of, but those of the lease."""
    told: list[str] = []

    async def trace(name: str, info: Mapping[str, Any]) -> None:
        assert isinstance(info, Mapping)
        told.append(name)

    if fails:
        with pytest.raises(httpx.TransportError):
            await client.get("/", extensions={"trace": trace})
    else:
        await client.get("/", extensions={"trace": trace})
    return [name for name in told if not name.startswith("lease.")]


@plain_and_tls
async def test_a_trace_is_told_of_every_step(tls: bool, client_of: NewClient) -> None:
    connect = [*CONNECT, *pairs("connection.start_tls")] if tls else CONNECT
    async with serving(sends(OK), tls=tls) as server, client_of(server) as client:
        assert await traced(client) == [*connect, *EXCHANGE, *BODY]
        assert await traced(client) == [*EXCHANGE, *BODY]


async def test_a_trace_is_told_of_a_body_that_is_not_read(client_of: NewClient) -> None:
    told: list[str] = []

    async def trace(name: str, info: Mapping[str, Any]) -> None:
        told.append(name)

    async with ScriptedServer(stalls_after(HALF)) as server, client_of(server) as client:
        async with client.stream("GET", "/", extensions={"trace": trace}) as answer:
            assert await anext(answer.aiter_raw()) == b"half"
        await server.until(lambda: server.open == 0)
    assert "http11.receive_response_body.started" in told
    assert "http11.receive_response_body.complete" not in told
    # What fails is the reading, which httpcore gives up.
    told = [name for name in told if name != "http11.receive_response_body.failed"]
    assert told[-2:] == pairs("http11.response_closed")


async def test_a_trace_is_told_what_a_step_begins_with(client_of: NewClient) -> None:
    """Of what httpcore tells too: the names are its own."""
    told: dict[str, Mapping[str, Any]] = {}

    async def trace(name: str, info: Mapping[str, Any]) -> None:
        told[name] = info

    async with serving(sends(OK), tls=True) as server, client_of(server) as client:
        limits = httpx.Timeout(None, connect=30)
        await client.get("/", extensions={"trace": trace}, timeout=limits)
    connect_tcp = told["connection.connect_tcp.started"]
    assert (connect_tcp["host"], connect_tcp["port"]) == ("127.0.0.1", server.port)
    start_tls = told["connection.start_tls.started"]
    assert start_tls["server_hostname"] == "127.0.0.1"
    assert connect_tcp["timeout"] == start_tls["timeout"] == 30
    for step in ("send_request_headers", "receive_response_body"):
        assert told[f"http11.{step}.started"]["request"].url.target == b"/"
    version, status, reason, headers = told["http11.receive_response_headers.complete"][
        "return_value"
    ]
    assert (version, status, reason) == (b"HTTP/1.1", 200, b"OK")
    assert (b"Content-Length", b"2") in headers


async def test_the_pool_does_not_tell_a_trace_of_what_fails() -> None:
    for new_transport, is_told in ((httpx_s_own, True), (leasing, True), (pooled, False)):
        async with ScriptedServer(closes) as server, new_client(new_transport, server) as client:
            told = await traced(client, fails=True)
        assert ("http11.receive_response_headers.failed" in told) == is_told


async def test_the_pool_does_not_give_a_trace_what_was_connected() -> None:
    """Over httpx's own that is the event's `return_value`."""
    servers: list[Any] = []

    async def trace(name: str, info: Mapping[str, Any]) -> None:
        if name == "connection.connect_tcp.complete":
            connected = info["return_value"]
            servers.append(connected and connected.get_extra_info("server_addr"))

    async with ScriptedServer(sends(OK)) as server:
        for new_transport in (httpx_s_own, leasing, pooled):
            async with new_client(new_transport, server) as client:
                await client.get("/", extensions={"trace": trace})
        address = ("127.0.0.1", server.port)
    assert servers == [address, address, None]


LOSES_ITS_CONNECTION = [
    CONNECT[1],
    *pairs("connection.start_tls"),
    "http11.response_closed.started",
]


@pytest.mark.parametrize("step", [*CONNECT, *pairs("connection.start_tls"), *EXCHANGE, *BODY])
async def test_what_a_trace_raises_is_the_caller_s(step: str, client_of: NewClient) -> None:
    if step in LOSES_ITS_CONNECTION and is_httpx_s_own(client_of):
        pytest.skip("a connection is lost there")

    async def trace(name: str, info: Mapping[str, Any]) -> None:
        if name == step:
            raise OwnError

    async with (
        serving(sends(OK), tls=True) as server,
        client_of(server, max_connections=1) as client,
    ):
        with pytest.raises(OwnError):
            await client.get("/", extensions={"trace": trace})
        assert (await client.get("/")).text == "ok"


# --- What the client does with a transport: hooks, redirects, authentication, cookies


async def test_hooks_run_around_each_request_in_their_order(client_of: NewClient) -> None:
    told: list[str] = []

    def note(name: str) -> Callable[[httpx.Request | httpx.Response], Awaitable[None]]:
        async def hook(it: httpx.Request | httpx.Response) -> None:
            path = it.url.path
            state = "" if isinstance(it, httpx.Request) else f" {it.is_closed}"
            told.append(f"{name} {path}{state}")

        return hook

    async def script(exchange: Exchange) -> None:
        told.append(f"server {exchange.request.target}")
        moved = response(b"", "302 Found", {"Location": "/b"})
        await exchange.send(moved if exchange.request.target == "/a" else OK)

    hooks = {"request": [note("one"), note("two")], "response": [note("three"), note("four")]}
    async with (
        ScriptedServer(script) as server,
        client_of(server, event_hooks=hooks, follow_redirects=True) as client,
    ):
        await client.get("/a")
    assert told == [
        *("one /a", "two /a", "server /a", "three /a False", "four /a False"),
        *("one /b", "two /b", "server /b", "three /b False", "four /b False"),
    ]


async def test_a_hook_may_raise_for_the_status(client_of: NewClient) -> None:
    async def raise_for_status(answer: httpx.Response) -> None:
        answer.raise_for_status()

    async with (
        ScriptedServer(in_turn(stalls_after(response(b"", "404 None", length=4)), sends(OK))) as (
            server
        ),
        client_of(
            server, max_connections=1, event_hooks={"response": [raise_for_status]}
        ) as client,
    ):
        with pytest.raises(httpx.HTTPStatusError) as caught:
            await client.get("/")
        assert caught.value.response.status_code == 404
        assert caught.value.response.is_closed
        assert (await client.get("/")).text == "ok"


REDIRECTS: dict[tuple[str, str], str] = {
    ("301 Moved", "GET"): "GET",
    ("301 Moved", "POST"): "GET",
    ("302 Found", "PUT"): "GET",
    ("303 See", "POST"): "GET",
    ("303 See", "HEAD"): "HEAD",
    ("307 Moved", "POST"): "POST",
    ("308 Moved", "PUT"): "PUT",
}


@pytest.mark.parametrize(("status", "method"), REDIRECTS)
async def test_redirects_are_followed_when_asked_for(
    status: str, method: str, client_of: NewClient
) -> None:
    async def script(exchange: Exchange) -> None:
        moved = response(b"", status, {"Location": "/b"}, content_type=None)
        await exchange.send(moved if exchange.request.target == "/a" else EMPTY)

    content = b"body" if method in {"POST", "PUT"} else None
    async with ScriptedServer(script) as server, client_of(server) as client:
        answer = await client.request(method, "/a", content=content)
        assert answer.has_redirect_location
        assert len(server.requests) == 1
        followed = await client.request(method, "/a", content=content, follow_redirects=True)
    assert [answer.status_code for answer in followed.history] == [int(status[:3])]
    assert followed.status_code == 200
    last = server.requests[-1]
    assert (last.method, last.target) == (REDIRECTS[status, method], "/b")
    assert last.body == (content if last.method == method and content else b"")
    assert server.connections == 1


async def test_redirects_end(client_of: NewClient) -> None:
    moved = response(b"", "302 Found", {"Location": "/"})
    async with (
        ScriptedServer(sends(moved)) as server,
        client_of(server, follow_redirects=True, max_redirects=3) as client,
    ):
        with pytest.raises(httpx.TooManyRedirects):
            await client.get("/")
        assert len(server.requests) == 4


async def test_a_redirect_to_another_server_takes_no_credential_along(client_of: NewClient) -> None:
    async with ScriptedServer(sends(OK)) as other:
        moved = response(b"", "307 Moved", {"Location": f"{other.base_url}/b"})
        async with (
            ScriptedServer(sends(moved)) as server,
            client_of(server, auth=("me", "secret"), follow_redirects=True) as client,
        ):
            assert (await client.get("/a")).text == "ok"
        assert server.requests[0].header("authorization") == "Basic bWU6c2VjcmV0"
        assert other.requests[0].header("authorization") is None
        assert other.requests[0].header("host") == f"127.0.0.1:{other.port}"


@pytest.mark.parametrize("path", ["/v1", "/v1/"])
async def test_a_base_url_may_have_a_path(path: str, client_of: NewClient) -> None:
    async with ScriptedServer(sends(OK)) as server, client_of(server, path=path) as client:
        for url in ("x", "/x", f"{server.base_url}/y"):
            await client.get(url)
    assert [request.target for request in server.requests] == ["/v1/x", "/v1/x", "/y"]


async def test_digest_authentication_takes_two_requests(client_of: NewClient) -> None:
    async def script(exchange: Exchange) -> None:
        if (exchange.request.header("authorization") or "").startswith("Digest "):
            await exchange.send(OK)
        else:
            challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
            await exchange.send(response(b"no", "401 No", {"WWW-Authenticate": challenge}))

    async with (
        ScriptedServer(script) as server,
        client_of(server, max_connections=1, auth=httpx.DigestAuth("me", "secret")) as client,
    ):
        answer = await client.put("/x", content=b"body")
        assert answer.text == "ok"
        assert [earlier.status_code for earlier in answer.history] == [401]
        await client.put("/x", content=b"body")
    assert [request.connection for request in server.requests] == [0, 0, 0]
    assert [request.body for request in server.requests] == [b"body"] * 3
    assert 'username="me"' in (server.requests[1].header("authorization") or "")


async def test_an_authentication_may_read_answers(client_of: NewClient) -> None:
    class Token(httpx.Auth):
        requires_response_body = True

        def auth_flow(
            self, request: httpx.Request
        ) -> Generator[httpx.Request, httpx.Response, None]:
            answer = yield httpx.Request("POST", request.url.copy_with(path="/token"))
            request.headers["Authorization"] = f"Bearer {answer.json()['token']}"
            yield request

    async def script(exchange: Exchange) -> None:
        token = json.dumps({"token": "t"}).encode()
        await exchange.send(response(token) if exchange.request.target == "/token" else OK)

    async with (
        ScriptedServer(script) as server,
        client_of(server, max_connections=1, auth=Token()) as client,
    ):
        assert (await client.get("/x")).text == "ok"
    assert server.requests[1].header("authorization") == "Bearer t"


async def test_cookies_are_sent_back_unless_that_is_off(client_of: NewClient) -> None:
    async with ScriptedServer(sends(response(b"", headers={"Set-Cookie": "a=1"}))) as server:
        for options in ({}, {"cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[]))}):
            async with client_of(server, **options) as client:
                for _ in range(2):
                    assert "set-cookie" in (await client.get("/")).headers
    assert [request.header("cookie") for request in server.requests] == [None, "a=1", None, None]
