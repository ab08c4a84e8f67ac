"""The server's side of TLS in all its steps: `ScriptedServer(script, greeting=Peers(context))`.

`ScriptedServer(tls=...)` shows neither what the client said nor how it said goodbye.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache, partial
from typing import Any, TypeVar

import anyio.abc
import httpx
import pytest
import trustme

from little_pay_async._transport.pool import PoolStatistics
from little_pay_async._transport.pooled import PooledTransport, new_pool

from .servers import Exchange, ScriptedServer, response, right_answer

T = TypeVar("T")
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
each_version = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
ANSWER = response(b"whole", content_type=None)
FRESH = {"fresh_connection": True}


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(
    *names: str, version: ssl.TLSVersion | None = None, issuer: trustme.CA | None = None
) -> ssl.SSLContext:
    """Return a server's context, with ticket keys of its own, for 127.0.0.1 and more names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (issuer or authority()).issue_cert("127.0.0.1", *names).configure_cert(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def client_context(
    *, version: ssl.TLSVersion | None = None, identity: trustme.LeafCert | None = None
) -> ssl.SSLContext:
    """Return a client's context that trusts the servers' authority and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if identity is not None:
        identity.configure_cert(context)
    return context


class Peer(anyio.abc.ByteStream):
    """TLS with one client.

    Attributes:
        raw: What is under TLS.
        tls: What tells of versions, names and sessions.
        hello: The client's first bytes.
        goodbye: Has the client sent close_notify?
        failure: What TLS failed of.
        byte_by_byte: Is every byte sent alone?
    """

    def __init__(self, raw: anyio.abc.ByteStream, context: ssl.SSLContext) -> None:
        self.raw = raw
        self.hello = b""
        self.goodbye = False
        self.failure: ssl.SSLError | None = None
        self.byte_by_byte = False
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=True)

    async def shake_hands(self) -> None:
        await self._step(self.tls.do_handshake)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await self._step(partial(self.tls.read, max_bytes))
        if not data:
            self.goodbye = True
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        await self._step(partial(self.tls.write, item))

    async def send_eof(self) -> None:
        """Send close_notify, and leave the connection as it is."""
        await self.raw.send(self.farewell())

    async def aclose(self) -> None:
        await self.raw.aclose()

    def encrypted(self, *items: bytes) -> bytes:
        """Return items as records, one each, which are to be sent by `raw`."""
        for item in items:
            self.tls.write(item)
        return self._out.read()

    def farewell(self) -> bytes:
        """Return close_notify as a record, which is to be sent by `raw`."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._out.read()

    def alert(self) -> bytes:
        """Return a fatal alert as a record, which is to be sent by `raw`."""
        self._in.write(b"\x17\x03\x03\x00\x20" + bytes(32))  # is none of the client's
        with contextlib.suppress(ssl.SSLError):
            while self.tls.read():
                pass
        return self._out.read()

    async def last_flight(self) -> bytes:
        """Shake hands, and return what would be sent last.

        That is all after the client's Finished in TLS 1.3: two tickets. In TLS 1.2 it is a ticket,
        and our own Finished.
        """
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                self._in.write(await self.raw.receive())
            else:
                return self._out.read()

    async def flush(self) -> None:
        data = self._out.read()
        if self.byte_by_byte:
            for number in range(len(data)):
                await self.raw.send(data[number : number + 1])
        elif data:
            await self.raw.send(data)

    async def _step(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await self.raw.receive()
                self.hello = self.hello or data
                self._in.write(data)
            except ssl.SSLZeroReturnError:
                self.goodbye = True
                raise anyio.EndOfStream from None
            except ssl.SSLError as error:
                self.failure = error
                await self.flush()
                raise
            else:
                await self.flush()
                return result


class Peers:
    """Does TLS with all clients of a server.

    Attributes:
        context: Of those to come; may be changed at any time.
        prepare: Done with each peer before its handshake.
        all: In the order in which they came.
        names: Whom they asked for by SNI.
    """

    def __init__(
        self, context: ssl.SSLContext, prepare: Callable[[Peer], Awaitable[None]] | None = None
    ) -> None:
        self.context = context
        self.prepare = prepare
        self.all: list[Peer] = []
        self.names: list[str | None] = []

    async def __call__(self, connection: Any) -> None:
        self.context.sni_callback = self._note
        peer = Peer(connection.stream, self.context)
        self.all.append(peer)
        if self.prepare is not None:
            await self.prepare(peer)
        await peer.shake_hands()
        connection.stream = peer

    def _note(self, _tls: object, name: str | None, _context: object) -> None:
        self.names.append(name)

    def of(self, exchange: Exchange) -> Peer:
        return self.all[exchange.request.connection]


def url(server: ScriptedServer, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{server.port}"


def transport_of(context: ssl.SSLContext, max_connections: int = 10) -> PooledTransport:
    return PooledTransport(partial(new_pool, ssl_context=context, max_connections=max_connections))


@contextlib.asynccontextmanager
async def client_of(
    context: ssl.SSLContext, server: ScriptedServer, max_connections: int = 10
) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=transport_of(context, max_connections),
        base_url=url(server),
        timeout=None,  # noqa: S113 - each test is bounded as a whole
    ) as client:
        yield client


def statistics(client: httpx.AsyncClient) -> PoolStatistics:
    pool: Any = client._transport._pool  # type: ignore[attr-defined]
    found: PoolStatistics = pool.statistics()
    return found


async def answers_well(exchange: Exchange) -> None:
    """Answer as a Little Pay where all goes well."""
    await exchange.send(right_answer(exchange.request))


async def answers(exchange: Exchange) -> None:
    """Answer with the number of the connection."""
    await exchange.send(response(b"%d" % exchange.request.connection, content_type=None))


def failure(caught: pytest.ExceptionInfo[BaseException]) -> ssl.SSLError:
    """Return the error of TLS that led to what was raised."""
    return next(link for link in causes(caught.value) if isinstance(link, ssl.SSLError))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
