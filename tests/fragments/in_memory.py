"""A network in memory, beneath everything else that is real: pool, connections, TLS, sessions.

`with in_memory(Network()) as network:` takes the place of connecting on asyncio. What a network
delivers, and in which pieces, is decided for each request; each piece comes in a step of its own.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import attrs
import pytest

from little_pay_async._transport import connecting
from little_pay_async._transport.connection import Connection

from ..tls_peers import server_context

Cut = Callable[[bytes], Iterable[bytes]]
"""What pieces of a stream are delivered."""


def whole(stream: bytes) -> list[bytes]:
    return [stream]


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[place : place + 1] for place in range(len(stream))]


def first(length: int) -> Cut:
    """Return what lets through so many bytes."""
    return lambda stream: [stream[:length]]


def in_two(place: int) -> Cut:
    return lambda stream: [stream[:place], stream[place:]]


@attrs.frozen
class Answer:
    """What a request is answered.

    Attributes:
        parts: Each is a record of its own if there is TLS.
        cut: What becomes of the stream on its way.
        then: What comes after it: "end", "goodbye" (close_notify, then the end), "reset", "".
    """

    parts: list[bytes]
    cut: Cut = whole
    then: str = ""


class Network:
    """Where the connections of a session end.

    Attributes:
        answer: Of each request, by its number since `requests` was cleared.
        requests: The first line of each.
        stream: The last one that was sent, before it was cut.
        pieces: How many were delivered.
        tls: Is it encrypted?
        silence: A socket at which nothing comes: a connection looks at it before it is used again.
    """

    def __init__(self, *, tls: bool) -> None:
        self.answer: Callable[[int], Answer]
        self.requests: list[str] = []
        self.stream = b""
        self.pieces = 0
        self.silence, self.other_end = socket.socketpair()
        self.tls = tls

    async def connect(self, make: Callable[[], Connection], _host: str, _port: int) -> Connection:
        connection = make()
        connection.connection_made(_Wire(connection, self, _TlsServer() if self.tls else None))
        return connection

    def next_answer(self, request: bytes) -> Answer:
        self.requests.append(request.partition(b"\r\n")[0].decode())
        return self.answer(len(self.requests))


@contextlib.contextmanager
def in_memory(network: Network) -> Iterator[Network]:
    with pytest.MonkeyPatch.context() as patch, network.silence, network.other_end:
        patch.setattr(connecting, "connect", network.connect)
        yield network


class _Wire(asyncio.Transport):
    """What a connection takes for its socket."""

    def __init__(self, connection: Connection, network: Network, tls: "_TlsServer | None") -> None:
        super().__init__({"socket": network.silence})
        self._connection = connection
        self._network = network
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def write(self, data: Any) -> None:
        if self._tls is not None:
            data, handshake = self._tls.read(bytes(data))
            if handshake:
                self._loop.call_soon(self._deliver, iter([handshake]), "")
        if data:
            answer = self._network.next_answer(data)
            stream = self._network.stream = self._sent(answer.parts)
            self._loop.call_soon(self._deliver, iter(answer.cut(stream)), answer.then)

    def _sent(self, parts: list[bytes]) -> bytes:
        return b"".join(parts) if self._tls is None else self._tls.encrypted(parts)

    def _deliver(self, pieces: Iterator[bytes], then: str) -> None:
        if self._closed:
            return
        piece = next(pieces, None)
        if piece is None:
            self._end(then)
            return
        if piece:
            self._network.pieces += 1
            self._connection.get_buffer(-1)[: len(piece)] = piece
            self._connection.buffer_updated(len(piece))
        self._loop.call_soon(self._deliver, pieces, then)

    def _end(self, then: str) -> None:
        if then == "goodbye" and self._tls is not None:
            self._deliver(iter([self._tls.farewell()]), "end")
        elif then in {"end", "goodbye"}:
            self._connection.eof_received()
            self.close()
        elif then == "reset":
            self._lost(ConnectionResetError(104, "Connection reset by peer"))

    def _lost(self, problem: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._connection.connection_lost, problem)

    def close(self) -> None:
        self._lost(None)

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0


class _TlsServer:
    def __init__(self) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _context().wrap_bio(self._in, self._out, server_side=True)

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the client said, and what belongs to the handshake and is to be sent."""
        self._in.write(data)
        said = b""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            self._tls.do_handshake()
            said = self._tls.read(1 << 16)
        return said, self._out.read()

    def encrypted(self, parts: list[bytes]) -> bytes:
        for part in parts:
            self._tls.write(part)
        return self._out.read()

    def farewell(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._out.read()


@cache
def _context() -> ssl.SSLContext:
    return server_context()
