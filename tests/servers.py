"""A server on a real socket that does what a test's script says, and a ledger of what reached it.

A script is an async function of one `Exchange`, called for each request that has arrived whole. It
sends what bytes it likes, when it likes, or breaks the connection. Where it returns without
breaking it, the next request of the connection is read.
"""

import contextlib
import datetime as dt
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.abc
import attrs
import trustme
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

DOCUMENTED = Path(__file__).parent / "documented"
_BROKEN = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    OSError,
)


@attrs.frozen
class Arrived:
    """A request as it really came.

    Attributes:
        connection: The number of its connection, counted from 0.
    """

    connection: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The values of a header, however often it came; None if it did not."""
        found = [value for header, value in self.headers if header.lower() == name.lower()]
        return ", ".join(found) if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def held(self) -> bool:
        return self.target.endswith("?longPoll=true")

    @property
    def key(self) -> str:
        """The key or reference in the path of status, process or refund."""
        parts = self.target.partition("?")[0].split("/")
        return parts[-2] if parts[-1] == "process" else parts[-1]


class Exchange:
    """One request, and the connection on which to answer it."""

    def __init__(self, request: Arrived, connection: "_Connection") -> None:
        self.request = request
        self._connection = connection

    async def send(self, data: bytes) -> None:
        await self._connection.stream.send(data)

    async def close(self) -> None:
        """End the stream in good order."""
        await self._connection.close()

    async def reset(self) -> None:
        """Break the connection: what was not read or not delivered is lost."""
        await self._connection.reset()

    async def client_has_gone(self) -> None:
        """Wait until the client has dropped the connection."""
        with contextlib.suppress(*_BROKEN):
            await self._connection.stream.receive()
        await self._connection.close()


Script = Callable[[Exchange], Awaitable[None]]
Greeting = Callable[["_Connection"], Awaitable[None]]


class _Connection:
    def __init__(
        self, number: int, raw: anyio.abc.SocketStream, stream: anyio.abc.ByteStream
    ) -> None:
        self.number = number
        self.stream: anyio.abc.ByteStream = stream
        self.broken = False
        self._raw = raw

    async def close(self) -> None:
        self.broken = True
        await anyio.aclose_forcefully(self.stream)

    async def reset(self) -> None:
        # Closing with a linger of no seconds sends RST.
        linger = struct.pack("ii", 1, 0)
        self.broken = True
        with contextlib.suppress(AttributeError, OSError):  # the client has gone meanwhile
            raw_socket = self._raw.extra(SocketAttribute.raw_socket)  # noqa: S610 - not Django's
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await anyio.aclose_forcefully(self._raw)


def tcp_sockets() -> dict[int, int]:
    """Return the descriptors of this process's TCP sockets, with the ports they are bound to."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            probe = socket.socket(fileno=int(link.name))
        except OSError:  # no socket, or no descriptor any more
            continue
        try:
            if probe.family != socket.AF_UNIX:
                found[probe.fileno()] = probe.getsockname()[1]
        finally:
            probe.detach()
    return found


class ScriptedServer:
    """A server on loopback: `async with ScriptedServer(script) as server:`.

    Attributes:
        script: What is done for each request; may be changed at any time.
        greeting: What is done with each connection as soon as it is there, before TLS.
        requests: The ledger: each request that arrived whole.
        connections: How many connections were accepted.
        open: How many of them are open now.
        received: How many bytes came on all of them, decrypted.
        before: The sockets that this process had before: a test that fails may leave some.
    """

    def __init__(
        self, script: Script, *, tls: ssl.SSLContext | None = None, greeting: Greeting | None = None
    ) -> None:
        self.script = script
        self.greeting = greeting
        self.requests: list[Arrived] = []
        self.connections = 0
        self.open = 0
        self.received = 0
        self.port = 0
        self.before = tcp_sockets()
        self._tls = tls
        self._news = anyio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, at the same port as before if there was one."""
        self._listener = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=self.port, backlog=1000
        )
        self.port = self._listener.extra(SocketAttribute.local_port)  # noqa: S610 - not Django's
        self._serving = anyio.CancelScope()
        self._ended = anyio.Event()
        self._tasks.start_soon(self._serve_all, self._listener, self._serving)

    async def stop(self) -> None:
        """Break every connection and listen no more."""
        self._serving.cancel()
        # Until then older anyio still accepts: a socket is not closed under a pending accept.
        await self._ended.wait()
        await self.until(lambda: self.open == 0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that requests and connections can make true."""
        while not condition():
            await self._news.wait()

    async def until_requests(self, number: int) -> None:
        """Wait until that many requests have arrived."""
        await self.until(lambda: len(self.requests) >= number)

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _serve_all(
        self, listener: anyio.abc.Listener[anyio.abc.SocketStream], serving: anyio.CancelScope
    ) -> None:
        ended = self._ended
        try:
            with serving, contextlib.suppress(anyio.ClosedResourceError):
                async with listener:
                    await listener.serve(self._serve)
        finally:
            ended.set()

    async def _serve(self, raw: anyio.abc.SocketStream) -> None:
        connection = _Connection(self.connections, raw, raw)
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(*_BROKEN, ssl.SSLError):
                if self.greeting is not None:
                    await self.greeting(connection)
                if self._tls is not None and not connection.broken:
                    connection.stream = await TLSStream.wrap(
                        raw, server_side=True, ssl_context=self._tls, standard_compatible=False
                    )
                await self._converse(connection)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(raw)
            self.open -= 1
            self._tell()

    async def _converse(self, connection: _Connection) -> None:
        while not connection.broken:
            request = await self._read(connection)
            self.requests.append(request)
            self._tell()
            await self.script(Exchange(request, connection))

    async def _read(self, connection: _Connection) -> Arrived:
        stream = BufferedByteReceiveStream(connection.stream)
        head = await stream.receive_until(b"\r\n\r\n", 1 << 20)
        self.received += len(head) + 4
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = [
            (name, value.strip()) for name, _, value in (line.partition(":") for line in lines)
        ]
        arrived = Arrived(connection.number, method, target, headers, b"")
        body = await stream.receive_exactly(int(arrived.header("content-length") or 0))
        self.received += len(body)
        return attrs.evolve(arrived, body=body)


@contextlib.asynccontextmanager
async def full_backlog() -> AsyncIterator[str]:
    """Give the base URL of a port that neither accepts nor refuses connections."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def refusing_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- What is answered


def documented(name: str) -> dict[str, Any]:
    """Return a documented answer's envelope, of which the `data` may be changed."""
    envelope: dict[str, Any] = json.loads((DOCUMENTED / f"{name}.json").read_text())
    return envelope


def envelope(data: Mapping[str, Any]) -> bytes:
    return json.dumps({"date": "2024-05-13T08:26:18.719Z", "data": data}).encode()


def payment(status: str = "COMPLETED", *, key: str = "", **changes: Any) -> bytes:
    """Return the body of an answer to a status request."""
    data = documented("status-response-completed")["data"]
    return envelope(data | {"status": status, "key": key} | changes)


def processed(status: str = "PENDING", **changes: Any) -> bytes:
    """Return the body of an answer to a process request."""
    return envelope(documented("process-response-pending")["data"] | {"status": status} | changes)


def intent(reference: str = "REF1", **changes: Any) -> bytes:
    """Return the body of an answer to create intent."""
    message = "Request processed successfully"
    return envelope({"reference": reference, "checkoutUrl": "", "message": message} | changes)


def refunded(status: str = "COMPLETED", **changes: Any) -> bytes:
    """Return the body of an answer to a refund request."""
    return envelope({"status": status, "message": "Success"} | changes)


def response(
    body: bytes = b"",
    status: str = "200 OK",
    headers: Mapping[str, str] | None = None,
    *,
    content_type: str | None = "application/json",
    length: int | None = None,
) -> bytes:
    """Return the bytes of an HTTP answer.

    Args:
        body: What it carries.
        status: Code and phrase.
        headers: More of them.
        content_type: None for none.
        length: What Content-Length says; the truth by default, nothing if it is negative.
    """
    lines = [f"HTTP/1.1 {status}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if length is None or length >= 0:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def right_answer(request: Arrived) -> bytes:
    """Return the answer of a Little Pay where all goes well."""
    if request.target.endswith("/pay"):
        return response(intent())
    if "/process" in request.target:
        return response(processed())
    if "/refund/" in request.target:
        return response(refunded())
    return response(payment(key=request.key))


def sends(data: bytes, *, then_close: bool = False) -> Script:
    """Return a script that always answers with `data`."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data)
        if then_close:
            await exchange.close()

    return script


async def answers_well(exchange: Exchange) -> None:
    """Answer as a Little Pay where all goes well."""
    await exchange.send(right_answer(exchange.request))


async def is_silent(exchange: Exchange) -> None:
    """Say nothing until the client has gone."""
    await exchange.client_has_gone()


async def closes(exchange: Exchange) -> None:
    """End the stream without an answer."""
    await exchange.close()


async def resets(exchange: Exchange) -> None:
    """Break the connection without an answer."""
    await exchange.reset()


def takes_only(key: str) -> Script:
    """Return a script that lets in who has that key and answers 401 else."""

    async def script(exchange: Exchange) -> None:
        if exchange.request.header("x-api-key") == key:
            await exchange.send(right_answer(exchange.request))
        else:
            await exchange.send(response(b'{"message": "no"}', "401 Unauthorized"))

    return script


def in_turn(*scripts: Script) -> Script:
    """Return a script that does one after the other, and the last one ever after."""
    left = list(scripts)

    async def script(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return script


# --- TLS


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def client_tls() -> ssl.SSLContext:
    """Return a context that trusts the servers' authority and nobody else."""
    context = ssl.create_default_context(cafile=None)
    _authority().configure_trust(context)
    return context


@cache
def server_tls(fault: str | None = None) -> ssl.SSLContext:
    """Return a server's context: right, or with a certificate that is not."""
    authority, host, until = _authority(), "127.0.0.1", None
    match fault:
        case None:
            pass
        case "unknown authority":
            authority = trustme.CA()
        case "wrong host":
            host = "elsewhere.example"
        case "expired":
            until = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        case _:
            raise ValueError(fault)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host, not_after=until).configure_cert(context)
    return context
