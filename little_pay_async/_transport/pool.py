"""Who gets which connection: a pool that speaks httpcore's interface.

Rules of this file:

- A place is taken before a connection is made, and freed when it has ended. A step costs the same
  however many connections and waiting requests there are.
- Who finds neither an idle connection nor a place waits, and is served in the order of asking.
- A connection is given back as soon as its response is there as a whole, before it is read. Its
  body is then in `extensions["whole_body"]` too, for those who know, and need not be closed.
- A request may bring `extensions["progress"]`, which is told by `waiting()` and `sending()` whether
  a byte of it may have left.
- A request that asks for it (`extensions["fresh_connection"]`) goes out on a connection that nobody
  has used before.
- The pool does not send again: that is for those to decide who know what is sent.
"""

import asyncio
import ssl
from collections import OrderedDict
from typing import Any

import attrs
import httpcore

from little_pay_async._transport.body import Body, TracedBody
from little_pay_async._transport.bounds import Bounds
from little_pay_async._transport.connecting import Connector
from little_pay_async._transport.connection import Connection, Origin
from little_pay_async._transport.http1 import ResponseReader
from little_pay_async._transport.idle import IdleConnections
from little_pay_async._transport.interface import RequestPool, Trace

_DEFAULT_PORTS = {b"http": 80, b"https": 443}


@attrs.frozen
class PoolStatistics:
    """What a pool holds at a moment.

    Attributes:
        leased: Connections in use, or being made.
        idle: Connections that nobody uses.
        waiting: Requests that wait for a connection.
        made: Connections made so far.
    """

    leased: int
    idle: int
    waiting: int
    made: int


@attrs.define(eq=False)
class _Turn:
    """A request that waits: it gets a connection, or None for a place to make one."""

    origin: Origin
    fresh: bool
    given: "asyncio.Future[Connection | None]"


class _Response(httpcore.Response):
    """httpcore's, of what was checked: it would look at each header once more."""

    def __init__(self, reader: ResponseReader, body: Body, extensions: dict[str, bytes]) -> None:
        super().__init__(reader.status, extensions=extensions)
        self.headers = reader.headers
        self.stream = body


class Pool(RequestPool):
    """Connections for thousands of parked requests, on asyncio.

    Args:
        ssl_context: Of all connections that are encrypted.
        max_connections: How many there may be, idle ones included.
        max_idle: How many of them may be idle.
        idle_seconds: How long one may be idle.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext,
        max_connections: int,
        max_idle: int = 1000,
        idle_seconds: float = 60.0,
    ) -> None:
        self._max_connections = max_connections
        self._places = 0  # taken: for connections there are or are being made
        self._leased: set[Connection] = set()
        self._turns: OrderedDict[_Turn, None] = OrderedDict()
        self._bounds = Bounds()
        self._connector = Connector(ssl_context, self._bounds, self._on_end)
        self._idle = IdleConnections(most=max_idle, seconds=idle_seconds, on_close=self._free_place)

    def statistics(self) -> PoolStatistics:
        """Return what it holds now."""
        idle = len(self._idle)
        return PoolStatistics(
            leased=self._places - idle,
            idle=idle,
            waiting=len(self._turns),
            made=self._connector.made,
        )

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<Pool {now.leased} leased, {now.idle} idle, {now.waiting} waiting, "
            f"of {self._max_connections}>"
        )

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request and return its response as soon as its head is there.

        Cancellation, here or while the body is read, drops the connection.

        Raises:
            httpcore.PoolTimeout: No connection became free in time; nothing was sent.
            httpcore.ConnectError: There is no connection to be had; nothing was sent.
            httpcore.ConnectTimeout: It could not be had in time; nothing was sent.
            httpcore.UnsupportedProtocol: The URL is not one of HTTP; nothing was sent.
            httpcore.LocalProtocolError: It is no request; nothing was sent.
            httpcore.WriteTimeout: The server did not take it in time.
            httpcore.ReadTimeout: The server was silent for too long.
            httpcore.ReadError: The connection broke, or the pool was closed meanwhile.
            httpcore.RemoteProtocolError: The response breaks off, or is refused: then its cause is
                a `RefusedResponseError`.
        """
        origin = _origin(request)
        trace: Trace | None = request.extensions.get("trace")
        progress = request.extensions.get("progress")
        if progress is not None:
            progress.waiting()
        fresh = request.extensions.get("fresh_connection") is True
        connection = None if fresh else self._idle.take(origin)
        if connection is None:
            connection = await self._new_connection(origin, request, trace, fresh=fresh)
        self._leased.add(connection)
        try:
            reader = await connection.exchange(request, trace)
        except BaseException:
            self.let_go(connection)
            raise
        kind = Body if trace is None else TracedBody
        body = kind(connection, reader, request, self.let_go)
        # Without the reason phrase, a stranger's text: httpx writes it into its log.
        extensions = {"http_version": reader.http_version}
        if reader.complete:
            body.let_go()
            extensions["whole_body"] = reader.peek()
        return _Response(reader, body, extensions)

    async def aclose(self) -> None:
        """End all connections; who uses one or waits for one gets an error."""
        self._bounds.close()
        for connection in self._leased:
            connection.abort(httpcore.ReadError("the transport was closed meanwhile"))
        self._idle.close()
        # The loop closes a socket in the step after it was told to.
        await asyncio.sleep(0)

    def let_go(self, connection: Connection) -> None:
        """Take back a connection; the next request may use it if its response came as a whole."""
        if connection not in self._leased:
            return
        reader, connection.reader = connection.reader, None
        if reader is None or not reader.complete:
            connection.abort()
        elif not reader.reusable:
            connection.close()
        self._pass_on(connection)

    # --- Places and turns

    async def _new_connection(
        self, origin: Origin, request: httpcore.Request, trace: Trace | None, *, fresh: bool
    ) -> Connection:
        """Return a connection that was made, or has become free meanwhile."""
        limits = request.extensions.get("timeout", {})
        if trace is not None:
            await trace("lease.wait.started", {})
        connection = await self._take_place(origin, limits.get("pool"), fresh=fresh)
        if connection is not None:
            if connection.is_quiet():
                return connection
            connection.abort()
            self._leased.remove(connection)
        try:
            return await self._connector.connect(origin, limits, trace)
        except BaseException:
            self._free_place()
            raise

    async def _take_place(
        self, origin: Origin, limit: float | None, *, fresh: bool
    ) -> Connection | None:
        """Wait for a place for a new connection, or for a connection."""
        if self._idle and (fresh or self._places == self._max_connections):
            # Room or not for a fresh one: each would leave one more idle connection else.
            self._idle.take_longest_idle().close()  # and its place is taken over
            return None
        if self._places < self._max_connections:
            self._places += 1
            return None
        turn = _Turn(origin, fresh, asyncio.get_running_loop().create_future())
        self._turns[turn] = None
        try:
            async with self._bounds.within(limit, httpcore.PoolTimeout("no connection got free")):
                return await turn.given
        except BaseException:
            self._turns.pop(turn, None)
            if turn.given.done() and not turn.given.cancelled():
                # It was given something in the very step in which it was cancelled.
                given = turn.given.result()
                if given is None:
                    self._free_place()
                else:
                    self._pass_on(given)
            raise

    def _pass_on(self, connection: Connection) -> None:
        """Give a connection to who has waited longest, or its place if it has ended."""
        turn = self._next_turn()
        if not connection.ended and not self._bounds.closed:
            if turn is None:
                self._leased.remove(connection)
                self._idle.keep(connection)
                return
            if turn.origin == connection.origin and not turn.fresh:
                turn.given.set_result(connection)  # and it stays leased
                return
        connection.close()
        self._leased.remove(connection)
        self._give_place(turn)

    def _free_place(self) -> None:
        """Give a place to who has waited longest."""
        self._give_place(self._next_turn())

    def _give_place(self, turn: _Turn | None) -> None:
        if turn is None:
            self._places -= 1
        else:
            turn.given.set_result(None)

    def _next_turn(self) -> _Turn | None:
        while self._turns:
            turn, _ = self._turns.popitem(last=False)
            if not turn.given.done():
                return turn
        return None

    def _on_end(self, connection: Connection) -> None:
        """A connection has ended by itself, idle or in use."""
        if self._idle.remove(connection):
            self._free_place()
        elif connection in self._leased:
            self._connector.note_loss()  # its place is freed by who uses it


def _origin(request: httpcore.Request) -> Origin:
    url = request.url
    default = _DEFAULT_PORTS.get(url.scheme)
    if default is None:
        raise httpcore.UnsupportedProtocol("a URL must begin with http:// or https://")
    name: Any = request.extensions.get("sni_hostname") or url.host.decode("ascii")
    return url.scheme, url.host, default if url.port is None else url.port, name
