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
- What is counted is counted before anything is awaited: closing may be cancelled, counting not.
"""

import socket
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable

import anyio
import httpx

from little_pay_async._transport.guard import as_httpx, foreign
from little_pay_async._transport.lease import Close, Lease, LeasedStream, close_all, ignore

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

    Raises:
        ImportError: A SOCKS proxy needs a package that is not installed.
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

    Where `request.extensions["fresh_connection"]` is True, the request goes out on a connection
    that nobody has used before.

    Args:
        max_connections: How many there may be, idle ones included.
        open_transport: Makes a transport; connects to nothing yet.
        proxied: Do the transports go through a proxy? httpcore would send a request's `target`
            extension to it in a CONNECT, so that the target is put into the URL then.
        idle_seconds: How long a connection may be idle. It is closed when the next request comes
            by after that: there is no timer.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        open_transport: Callable[[], httpx.AsyncHTTPTransport],
        proxied: bool = False,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._max_connections = max_connections
        self._proxied = proxied
        self._open_transport = open_transport
        self._idle_seconds = idle_seconds
        self._taken = 0
        self._waiting: OrderedDict[anyio.Event, None] = OrderedDict()
        self._leases: set[Lease] = set()
        self._idle: deque[tuple[httpx.AsyncHTTPTransport, float]] = deque()
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<LeasingTransport {len(self._leases)} leased, {len(self._idle)} idle, "
            f"{len(self._waiting)} waiting, of {self._max_connections}>"
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its place is free again once the response is closed, or broke off.

        Cancellation drops the connection, and gives the place back.

        Raises:
            httpx.PoolTimeout: No place within the request's pool timeout.
            httpx.ConnectError: This transport was closed before the request could be sent.
            httpx.ReadError: This transport was closed while the request was under way.
            httpx.TransportError: Whatever httpx's transport raises.
        """
        await self._take_place(request)
        lease = Lease(request)
        self._leases.add(lease)
        try:
            with lease.scope:
                return await self._send(request, lease)
        except BaseException as error:
            await self._end(lease, reusable=False)
            if isinstance(error, Exception) and foreign(error):
                raise as_httpx(error) from error
            raise
        await self._end(lease, reusable=False)
        raise httpx.ReadError("the transport was closed meanwhile", request=request)

    async def aclose(self) -> None:
        """Close all connections, those in use too; who uses one or waits for one gets an error."""
        self._closed = True
        for turn in self._waiting:
            turn.set()
        to_close: list[Close] = [transport.aclose for transport, _ in self._idle]
        self._idle.clear()
        for lease in self._leases:
            lease.scope.cancel()
            to_close += lease.holds()
        await close_all(to_close)

    async def _take_place(self, request: httpx.Request) -> None:
        self._check_open(request)
        if self._taken < self._max_connections:
            self._taken += 1
            return
        trace = request.extensions.get("trace", ignore)
        turn = anyio.Event()
        self._waiting[turn] = None  # until it is given a place
        try:
            await trace("lease.wait.started", {})
            with anyio.move_on_after(request.extensions.get("timeout", {}).get("pool")):
                await turn.wait()
            await trace("lease.wait.complete", {})
        except BaseException:
            self._leave(turn)
            raise
        if turn not in self._waiting and not self._closed:
            return
        self._leave(turn)
        self._check_open(request)
        raise httpx.PoolTimeout("no connection became free in time", request=request)

    def _leave(self, turn: anyio.Event) -> None:
        if turn in self._waiting:
            del self._waiting[turn]
        else:  # cancelled, or closed, in the very step in which it was given a place
            self._free_place()

    def _free_place(self) -> None:
        if self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            turn.set()
        else:
            self._taken -= 1

    def _check_open(self, request: httpx.Request) -> None:
        if self._closed:
            raise httpx.ConnectError("the transport is closed", request=request)

    async def _send(self, request: httpx.Request, lease: Lease) -> httpx.Response:
        fresh = request.extensions.get("fresh_connection") is True
        surplus = self._pop_surplus(fresh=fresh)
        try:
            if self._idle and not fresh:
                transport, _ = self._idle.pop()
            else:
                transport = self._open_transport()
            lease.transport = transport
        finally:
            await close_all(surplus)
        if self._proxied and "target" in request.extensions:
            request = _with_target_in_url(request)
        if request.url.scheme == "https":
            # An idle one too, for it connects anew where the server has closed its connection.
            request = lease.traced(request)
        response = await transport.handle_async_request(request)
        if response.is_closed:  # by who stood in for httpx's transport: nobody will close it again
            await self._end(lease, reusable=True)
            return response
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - as httpx does
        response.stream = LeasedStream(
            response.stream, lambda whole: self._end(lease, reusable=whole)
        )
        return response

    def _pop_surplus(self, *, fresh: bool) -> list[Close]:
        """Take out what was idle for too long, and who must make room for a fresh connection."""
        surplus: list[Close] = []
        oldest_allowed = time.monotonic() - self._idle_seconds
        while self._idle and self._idle[0][1] < oldest_allowed:
            surplus.append(self._idle.popleft()[0].aclose)
        if fresh and self._idle:  # room or not: each would leave one more idle connection else
            surplus.append(self._idle.popleft()[0].aclose)
        return surplus

    async def _end(self, lease: Lease, *, reusable: bool) -> None:
        if lease not in self._leases:
            return
        self._leases.remove(lease)
        to_close = lease.holds()
        if reusable and not self._closed and lease.transport is not None:
            self._idle.append((lease.transport, time.monotonic()))
            to_close = []
        self._free_place()
        await close_all(to_close)


def _with_target_in_url(request: httpx.Request) -> httpx.Request:
    extensions = dict(request.extensions)
    return httpx.Request(
        request.method,
        request.url.copy_with(raw_path=extensions.pop("target")),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )
