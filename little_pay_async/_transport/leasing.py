"""httpx's own transports, one connection each, leased one per request.

httpx's pool looks at every connection and every request for each request: with a thousand parked
ones that is 25 ms of CPU a request. Here each request gets a transport of its own, so that nothing
grows with their number, while proxies, HTTP/2 and TLS stay httpx's business.

Rules of this file:

- A place is taken before a transport, and given back after it, whatever happens in between. Who
  waits for a place gets it in the order of asking.
- A transport is leased to one request. It is leased again only if its response was read to the
  end; else it is closed, for its connection may be half-used.
- Idle transports are taken last in, first out, so that as few connections as possible stay warm.
"""

import socket
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import httpx

_IDLE_SECONDS = 60.0
# A peer that is gone without a word is noticed after a minute and a half.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def one_connection(
    *, ssl_context: ssl.SSLContext, proxy: httpx.Proxy | None = None
) -> httpx.AsyncHTTPTransport:
    """Return a transport of httpx's for one connection at a time, with TCP keepalive.

    Args:
        ssl_context: Shared by all of them: making one takes longer than a handshake.
        proxy: What to go through, if anything.
    """
    keepalive = [
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in _KEEPALIVE.items()
        if hasattr(socket, name)
    ]
    return httpx.AsyncHTTPTransport(
        verify=ssl_context,
        trust_env=False,
        proxy=proxy,
        # No expiry of its own: that would be a second one, beside the idle time here.
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None),
        socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *keepalive],
    )


class LeasingTransport(httpx.AsyncBaseTransport):
    """Sends each request by a transport that serves it alone.

    `request.extensions["fresh_connection"]` asks for a connection that nobody has used before.

    Args:
        max_connections: How many there may be, idle ones included.
        open_transport: Makes a transport; connects to nothing yet.
        idle_seconds: How long a connection may be idle. It is closed when the next request comes
            by after that: there is no timer.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        open_transport: Callable[[], httpx.AsyncHTTPTransport],
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._max_connections = max_connections
        self._open_transport = open_transport
        self._idle_seconds = idle_seconds
        self._taken = 0
        self._waiting: OrderedDict[_Waiter, None] = OrderedDict()
        self._leased: set[httpx.AsyncHTTPTransport] = set()
        self._idle: deque[tuple[httpx.AsyncHTTPTransport, float]] = deque()
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<LeasingTransport {len(self._leased)} leased, {len(self._idle)} idle, "
            f"{len(self._waiting)} waiting, of {self._max_connections}>"
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its place is free again once the response is closed.

        Cancellation drops the connection, and gives the place back.

        Raises:
            httpx.PoolTimeout: No place within the request's pool timeout.
            httpx.ConnectError: This transport is closed.
            httpx.TransportError: Whatever httpx's transport raises.
        """
        await self._take_place(request)
        try:
            transport, surplus = self._pick(fresh="fresh_connection" in request.extensions)
        except BaseException:
            self._free_place()
            raise
        try:
            for old in surplus:
                await _close(old)
            response = await transport.handle_async_request(request)
        except BaseException:
            await self._end_lease(transport, reusable=False)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - httpx's own
        response.stream = _LeasedStream(
            response.stream, lambda whole: self._end_lease(transport, reusable=whole)
        )
        return response

    async def aclose(self) -> None:
        """Close all connections, those in use too; who waits for one gets an error."""
        self._closed = True
        waiting, self._waiting = self._waiting, OrderedDict()
        for waiter in waiting:
            waiter.event.set()
        transports = [*self._leased, *(transport for transport, _ in self._idle)]
        self._idle.clear()
        for transport in transports:
            await _close(transport)

    async def _take_place(self, request: httpx.Request) -> None:
        self._check_open(request)
        if self._taken < self._max_connections:
            self._taken += 1
            return
        waiter = _Waiter()
        self._waiting[waiter] = None
        try:
            with anyio.move_on_after(request.extensions.get("timeout", {}).get("pool")):
                await waiter.event.wait()
        except BaseException:
            self._leave(waiter)
            raise
        if waiter.has_place:
            return
        self._leave(waiter)
        self._check_open(request)
        raise httpx.PoolTimeout("no connection became free in time", request=request)

    def _leave(self, waiter: "_Waiter") -> None:
        if waiter.has_place:  # cancelled in the very step in which it was given
            self._free_place()
        else:
            self._waiting.pop(waiter, None)

    def _free_place(self) -> None:
        if self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            waiter.has_place = True
            waiter.event.set()
        else:
            self._taken -= 1

    def _check_open(self, request: httpx.Request) -> None:
        if self._closed:
            raise httpx.ConnectError("the transport is closed", request=request)

    def _pick(
        self, *, fresh: bool
    ) -> tuple[httpx.AsyncHTTPTransport, list[httpx.AsyncHTTPTransport]]:
        """Return the transport to use, and those to close before."""
        surplus = []
        oldest_allowed = time.monotonic() - self._idle_seconds
        while self._idle and self._idle[0][1] < oldest_allowed:
            surplus.append(self._idle.popleft()[0])
        if self._idle and not fresh:
            transport, _ = self._idle.pop()
        else:
            if self._idle and self._taken + len(self._idle) > self._max_connections:
                surplus.append(self._idle.popleft()[0])
            transport = self._open_transport()
        self._leased.add(transport)
        return transport, surplus

    async def _end_lease(self, transport: httpx.AsyncHTTPTransport, *, reusable: bool) -> None:
        self._leased.discard(transport)
        keep = reusable and not self._closed
        if keep:
            self._idle.append((transport, time.monotonic()))
        self._free_place()
        if not keep:
            await _close(transport)


class _Waiter:
    """A request that waits for a place."""

    __slots__ = ("event", "has_place")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.has_place = False


class _LeasedStream(httpx.AsyncByteStream):
    """A response's body; closing it ends the lease."""

    def __init__(
        self,
        stream: httpx.AsyncByteStream,
        end_lease: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._stream = stream
        self._end_lease = end_lease
        self._whole = False
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part
        self._whole = True

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._stream.aclose()
        except BaseException:
            self._whole = False
            raise
        finally:
            await self._end_lease(self._whole)


async def _close(transport: httpx.AsyncHTTPTransport) -> None:
    with anyio.CancelScope(shield=True):
        await transport.aclose()
