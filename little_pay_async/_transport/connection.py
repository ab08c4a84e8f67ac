"""One connection of asyncio: a protocol that carries one exchange at a time.

Rules of this file:

- What breaks a connection is noted where it happens, and raised where somebody waits, as
  httpcore's own errors. `ConnectError`, `ConnectTimeout`: no byte of the request has left.
- Whoever waits waits for one future, and looks at the state when it wakes up.
- No frame that waits or raises holds bytes of a request or of a response: errors are shown with
  their frames.
- A connection of which an exchange was not finished is aborted, never used again.
"""

import asyncio
import contextlib
import select
import ssl
from collections.abc import Callable
from typing import cast

import httpcore

from little_pay_async._transport.alarms import Alarms
from little_pay_async._transport.broken import BrokenResponseError, RefusedResponseError
from little_pay_async._transport.http1 import ResponseReader
from little_pay_async._transport.interface import Trace, ignore, limit_of
from little_pay_async._transport.request import RequestWriter
from little_pay_async._transport.tcp import KEEPALIVE
from little_pay_async._transport.tls import Tls

Origin = tuple[bytes, bytes, int, str]
"""Scheme, host, port, and whom the certificate must name."""

_SILENT = "the server says nothing"


class Connection(asyncio.BufferedProtocol):
    """A connection to one origin.

    Args:
        origin: What it leads to.
        alarms: Of all connections of its pool.
        buffer: What is read goes through it: the same for all, for each read is over at once. A
            plain protocol's reads allocate 256 KiB each, which costs more than reading.
        writer: Of the requests of all connections of its pool.
        on_end: Told once, when the connection has ended by itself.
        tls: If it is to be encrypted.
        on_tls: Told whenever something came by TLS, until it has seen what it wants to see, or the
            peer has spoken.

    Attributes:
        origin: What it leads to.
        reader: Of the response that is being waited for, if any.
        ended: Can it not be used any more?
    """

    __slots__ = (
        "_alarms", "_buffer", "_descriptor", "_loop", "_on_end", "_on_tls", "_paused", "_problem",
        "_shaken", "_tls", "_transport", "_waiter", "_writer", "ended", "origin", "reader",
    )  # fmt: skip

    def __init__(
        self,
        origin: Origin,
        *,
        alarms: Alarms,
        buffer: memoryview,
        writer: RequestWriter,
        on_end: Callable[["Connection"], None],
        tls: Tls | None = None,
        on_tls: Callable[[Tls], bool] | None = None,
    ) -> None:
        self.origin = origin
        self.reader: ResponseReader | None = None
        self.ended = False
        self._loop = asyncio.get_running_loop()
        self._alarms = alarms
        self._buffer = buffer
        self._writer = writer
        self._descriptor = -1
        self._tls = tls
        self._shaken = tls is None
        self._on_end = on_end
        self._on_tls = on_tls
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._problem: Exception | None = None
        self._paused = False

    # --- What a pool does with it

    async def ready(self) -> None:
        """Wait until TLS is agreed on.

        Raises:
            httpcore.ConnectError: It failed, because of TLS if an `ssl.SSLError` is the cause.
        """
        while not self._shaken and not self.ended:
            await self._wait(None)
        if self.ended:
            raise self._nothing_sent()

    async def exchange(self, request: httpcore.Request, trace: Trace | None) -> ResponseReader:
        """Send a request and wait for the head of its response.

        Raises:
            httpcore.LocalProtocolError: It is no request; nothing was sent.
            httpcore.ConnectError: The connection ended before; nothing was sent.
            httpcore.WriteTimeout: The peer did not take it in time.
            httpcore.ReadTimeout: Nothing came for as long as the request allows.
            httpcore.ReadError: The connection broke.
            httpcore.RemoteProtocolError: The response breaks off, or is refused.
        """
        if self.ended:
            raise self._nothing_sent()
        if trace is not None:
            await trace("http11.send_request_headers.started", {"request": request})
        problem = self._write(request, await self._writer.body(request))
        if problem is not None:
            raise problem
        if self._paused or trace is not None:
            await self._until_taken(request, trace)
        reader = self.reader
        assert reader is not None  # noqa: S101 - a request was sent
        while not reader.has_head:
            self._check()
            if not await self._wait(limit_of(request, "read")):
                raise httpcore.ReadTimeout(_SILENT)
        self._check()
        if trace is not None:
            await trace("http11.receive_response_headers.complete", {"return_value": _head(reader)})
        return reader

    async def receive(self, limit: float | None) -> None:
        """Wait until something more has come.

        Raises:
            httpcore.ReadTimeout: Nothing came for that many seconds.
            httpcore.ReadError: The connection broke.
            httpcore.RemoteProtocolError: The response breaks off, or is refused.
        """
        self._check()
        if not await self._wait(limit):
            raise httpcore.ReadTimeout(_SILENT)

    def is_quiet(self) -> bool:
        """Return whether it is open and nothing has come that is not read yet."""
        is_between = self._tls is None or self._tls.is_between_records
        return is_between and not self.ended and not _readable(self._descriptor)

    def close(self) -> None:
        """End it in good order; what was sent is delivered if the peer takes it."""
        if self._transport is None or self.ended:
            return
        self.ended = True
        if self._tls is not None and self._shaken:
            self._tls.close()
            self._flush(self._tls)
        if self._unsent():
            self._transport.abort()
        else:
            self._transport.close()

    def abort(self, problem: Exception | None = None) -> None:
        """Break it off; whoever waits for something gets `problem`."""
        self._problem = self._problem or problem
        self.ended = True
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    # --- What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)
        connected = transport.get_extra_info("socket")
        self._descriptor = connected.fileno()
        with contextlib.suppress(OSError):  # it is gone already, of which the loop tells next
            for option in KEEPALIVE:
                connected.setsockopt(*option)
        if self._tls is not None:
            self._shake_hands(self._tls)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as large as it is
        """Return where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Something came."""
        if self.ended:
            return
        data = bytes(self._buffer[:nbytes])
        tls = self._tls
        if tls is not None:
            data = self._decrypt(tls, data)
        reader = self.reader
        if reader is None:
            if data:  # nobody asked for it, and nobody gets it
                self._end(httpcore.RemoteProtocolError("the server spoke unasked"))
        elif data:
            try:
                reader.feed(data)
            except (BrokenResponseError, RefusedResponseError) as error:
                self._end(_because(httpcore.RemoteProtocolError, error))
            if reader.complete and self._unsent():  # the peer has not waited for the request
                reader.reusable = False
            self._wake()
        if tls is None:
            return
        if tls.failure is not None:
            self._end(_because(httpcore.ReadError, tls.failure))
        elif tls.ended:
            self._end_of_stream()

    def eof_received(self) -> None:
        """Nothing more will come."""
        self._end_of_stream()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        if not self.ended:
            if exc is None:
                self._end_of_stream()
            else:
                kind = httpcore.ReadError if self._shaken else httpcore.ConnectError
                self._end(_because(kind, exc))
        self._transport = None
        self._wake()

    def pause_writing(self) -> None:
        """The peer does not take what is sent as fast as it is sent."""
        self._paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._paused = False
        self._wake()

    # ---

    async def _until_taken(self, request: httpcore.Request, trace: Trace | None) -> None:
        """Wait until the peer has taken the request, or answers without having taken it."""
        trace = trace or ignore
        await trace("http11.send_request_headers.complete", {"return_value": None})
        await trace("http11.send_request_body.started", {"request": request})
        while self._paused and not self.ended and self.reader and not self.reader.has_head:
            if not await self._wait(limit_of(request, "write")):
                raise httpcore.WriteTimeout("the server takes nothing")
        await trace("http11.send_request_body.complete", {"return_value": None})
        await trace("http11.receive_response_headers.started", {"request": request})

    def _write(
        self, request: httpcore.Request, body: tuple[bytes, bool] | None
    ) -> Exception | None:
        """Write a request out, or return why it can't be sent."""
        head = self._writer.head(request)
        if head is None:
            return httpcore.LocalProtocolError(
                "a method, target or header has characters that HTTP does not allow there"
            )
        if body is None:
            return httpcore.LocalProtocolError("the body is not as long as its Content-Length")
        if self.ended or self._transport is None:
            return self._nothing_sent()
        content, is_last = body
        self.reader = ResponseReader(request.method, is_last=is_last)
        progress = request.extensions.get("progress")
        if progress is not None:
            progress.sending()
        if self._tls is None:
            self._transport.write(head + content)
            return None
        try:
            self._tls.write(head + content)
        except ssl.SSLError as error:
            problem = _because(httpcore.ConnectError, error)
            self._end(problem)
            return problem
        self._flush(self._tls)
        return None

    def _flush(self, tls: Tls) -> None:
        data = tls.to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _shake_hands(self, tls: Tls) -> None:
        try:
            self._shaken = tls.shake_hands()
        except ssl.SSLError as error:
            self._flush(tls)  # the alert that says why
            self._end(_because(httpcore.ConnectError, error))
            return
        self._flush(tls)
        if self._shaken:
            self._wake()

    def _decrypt(self, tls: Tls, data: bytes) -> bytes:
        tls.receive(data)
        if not self._shaken:
            self._shake_hands(tls)
            if not self._shaken:
                return b""
        plain = tls.read()
        self._flush(tls)
        if self._on_tls is not None and (self._on_tls(tls) or plain):
            self._on_tls = None
        return plain

    def _end_of_stream(self) -> None:
        """Nothing more will come: does that end the response, or break it off?"""
        if self.ended:
            return
        if not self._shaken:
            self._end(httpcore.ConnectError("the server ended the connection in TLS's handshake"))
            return
        problem: Exception | None = None
        if self.reader is not None:
            try:
                self.reader.end(cut_off=self._tls is not None and not self._tls.ended)
            except BrokenResponseError as error:
                problem = _because(httpcore.RemoteProtocolError, error)
        self._end(problem)

    def _end(self, problem: Exception | None) -> None:
        """The connection has ended by itself."""
        if self.ended:
            return
        # What ends it after a whole response does not concern that.
        self.abort(None if self.reader is not None and self.reader.complete else problem)
        self._on_end(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    async def _wait(self, limit: float | None) -> bool:
        """Wait until something happens; False if nothing did for so many seconds."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        if limit is not None:
            self._alarms.set(waiter, limit)
        try:
            return await waiter
        finally:
            self._waiter = None
            if limit is not None:
                self._alarms.cancel(waiter, limit)

    def _unsent(self) -> int:
        """Return how many bytes the peer, and the system, have not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _nothing_sent(self) -> httpcore.ConnectError:
        """Return why nothing could be sent on a connection that has ended."""
        if isinstance(self._problem, httpcore.ConnectError):
            return self._problem
        why = self._problem or "the connection ended before anything was sent"
        problem = httpcore.ConnectError(str(why))
        problem.__cause__ = self._problem
        return problem

    def _check(self) -> None:
        """Raise what has ended the connection, if it has ended."""
        if self._problem is not None:
            raise self._problem
        if self.ended and (self.reader is None or not self.reader.complete):
            raise httpcore.ReadError("the connection was closed meanwhile")


def _readable(descriptor: int) -> bool:
    """Return whether there is something to read, or the end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return len(poll.poll(0)) > 0
    return len(select.select([descriptor], [], [], 0)[0]) > 0  # Windows


def _because(kind: type[Exception], error: Exception) -> Exception:
    """Return an error of httpcore's with its cause, without the frames, which hold bytes."""
    error.__traceback__ = None
    error.__context__ = None
    problem = kind(str(error) or type(error).__name__)
    problem.__cause__ = error
    return problem


def _head(reader: ResponseReader) -> tuple[bytes, int, bytes, list[tuple[bytes, bytes]]]:
    return reader.http_version, reader.status, reader.reason, reader.headers
