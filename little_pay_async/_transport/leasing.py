"""httpcore's own pools, one connection each, leased one per request.

httpcore's pool looks at every connection and every request for each request: with a thousand parked
ones that is 25 ms of CPU a request. Here each request gets a pool of its own, so that nothing grows
with their number, while proxies, HTTP/2 and TLS stay httpcore's business.

Rules of this file:

- A place is taken before a connection, and given back after it, whatever happens in between. Who
  waits for a place gets it in the order of asking.
- A connection is leased to one request. It is leased again only if its response was read to the
  end; else it is closed, for it may be half-used.
- Idle connections are taken last in, first out, so that as few as possible stay warm.
- What is counted is counted before anything is awaited: closing may be cancelled, counting not.
"""

import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable

import anyio
import httpcore
import httpx

from little_pay_async._transport.broken import RefusedResponseError
from little_pay_async._transport.http1 import MAX_HEADERS
from little_pay_async._transport.interface import RequestPool, ignore, limit_of
from little_pay_async._transport.lease import (
    Close,
    Lease,
    LeasedStream,
    as_httpcore,
    close_all,
)
from little_pay_async._transport.tcp import KEEPALIVE

_IDLE_SECONDS = 60.0


def one_connection(
    *, ssl_context: ssl.SSLContext, proxy: httpx.Proxy | None = None
) -> httpcore.AsyncConnectionPool:
    """Return a pool of httpcore's for one connection, with TCP keepalive unless by a proxy.

    Args:
        ssl_context: Shared by all of them: making one takes longer than a handshake.
        proxy: What to go through, if anything.
    """
    return httpcore.AsyncConnectionPool(
        ssl_context=ssl_context,
        proxy=None if proxy is None else _as_httpcore_has_it(proxy),
        max_connections=1,
        max_keepalive_connections=1,
        # No expiry of its own: that would be a second one, beside the idle time here.
        keepalive_expiry=None,
        socket_options=KEEPALIVE,
    )


def _as_httpcore_has_it(proxy: httpx.Proxy) -> httpcore.Proxy:
    url = proxy.url
    return httpcore.Proxy(
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=proxy.ssl_context,
    )


class LeasingPool(RequestPool):
    """Sends each request by a pool of httpcore's that serves it alone, on asyncio and trio.

    Where `request.extensions["fresh_connection"]` is True, the request goes out on a connection
    that nobody has used before.

    Args:
        max_connections: How many there may be, idle ones included.
        open_pool: Makes a pool for one connection; connects to nothing yet.
        idle_seconds: How long a connection may be idle. It is closed when the next request comes
            by after that: there is no timer.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        open_pool: Callable[[], httpcore.AsyncConnectionPool],
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._max_connections = max_connections
        self._open_pool = open_pool
        self._idle_seconds = idle_seconds
        self._taken = 0
        self._waiting: OrderedDict[anyio.Event, None] = OrderedDict()
        self._leases: set[Lease] = set()
        self._idle: deque[tuple[httpcore.AsyncConnectionPool, float]] = deque()
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<LeasingPool {len(self._leases)} leased, {len(self._idle)} idle, "
            f"{len(self._waiting)} waiting, of {self._max_connections}>"
        )

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request; its place is free again once the response is closed, or broke off.

        Cancellation drops the connection, and gives the place back.

        Raises:
            httpcore.PoolTimeout: No place within the request's pool timeout.
            httpcore.ConnectError: This pool was closed before the request could be sent.
            httpcore.ReadError: This pool was closed while the request was under way.
            Exception: What httpcore's pool raises: its own errors, or those of the request's body.
        """
        await self._take_place(request)
        lease = Lease(request)
        self._leases.add(lease)
        try:
            with lease.scope:
                return await self._send(request, lease)
        except BaseException as error:
            await self._end(lease, reusable=False)
            problem = as_httpcore(error)
            if problem is None:
                raise
            raise problem from error
        await self._end(lease, reusable=False)
        raise httpcore.ReadError("the transport was closed meanwhile")

    async def aclose(self) -> None:
        """Close all connections, those in use too; who uses one or waits for one gets an error."""
        self._closed = True
        for turn in self._waiting:
            turn.set()
        to_close: list[Close] = [pool.aclose for pool, _ in self._idle]
        self._idle.clear()
        for lease in self._leases:
            lease.scope.cancel()
            to_close += lease.holds()
        await close_all(to_close)

    async def _take_place(self, request: httpcore.Request) -> None:
        self._check_open()
        if self._taken < self._max_connections:
            self._taken += 1
            return
        trace = request.extensions.get("trace", ignore)
        turn = anyio.Event()
        self._waiting[turn] = None  # until it is given a place
        try:
            await trace("lease.wait.started", {})
            with anyio.move_on_after(limit_of(request, "pool")):
                await turn.wait()
            await trace("lease.wait.complete", {})
        except BaseException:
            self._leave(turn)
            raise
        if turn not in self._waiting and not self._closed:
            return
        self._leave(turn)
        self._check_open()
        raise httpcore.PoolTimeout("no connection became free in time")

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

    def _check_open(self) -> None:
        if self._closed:
            raise httpcore.ConnectError("the transport is closed")

    async def _send(self, request: httpcore.Request, lease: Lease) -> httpcore.Response:
        fresh = request.extensions.get("fresh_connection") is True
        surplus = self._pop_surplus(fresh=fresh)
        try:
            if self._idle and not fresh:
                pool, _ = self._idle.pop()
            else:
                pool = self._open_pool()
            lease.pool = pool
        finally:
            await close_all(surplus)
        response = await pool.handle_async_request(lease.to_send())
        refusal = _refusal(response)
        if refusal is not None:
            raise httpcore.RemoteProtocolError(str(refusal)) from refusal
        extensions = dict(response.extensions)
        extensions.pop("reason_phrase", None)  # a stranger's text: httpx writes it into its log
        return httpcore.Response(
            response.status,
            headers=response.headers,
            content=LeasedStream(response, lambda whole: self._end(lease, reusable=whole)),
            extensions=extensions,
        )

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
        pool = lease.pool
        if reusable and not self._closed and pool is not None and not _says_more(pool):
            self._idle.append((pool, time.monotonic()))
            to_close = []
        self._free_place()
        await close_all(to_close)


def _refusal(response: httpcore.Response) -> RefusedResponseError | None:
    """Return why a response is refused, if h11 takes one that it should not take."""
    version = response.extensions.get("http_version", b"HTTP/1.1")
    if version not in {b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2"}:  # no status line says HTTP/2
        refusal = RefusedResponseError("its status line is not one of HTTP/1.1")
    elif len(response.headers) > MAX_HEADERS:
        refusal = RefusedResponseError(f"it has more than {MAX_HEADERS} headers")
    else:
        return None
    refusal.status = response.status
    return refusal


def _says_more(pool: httpcore.AsyncConnectionPool) -> bool:
    """Return whether more has come than the response: httpcore would give it to the next request.

    It knows no public way to find that out. Where the private one is gone, no connection is used
    again.
    """
    for connection in pool.connections:
        inner: object = connection
        while (within := getattr(inner, "_connection", None)) is not None:
            inner = within
        reader = getattr(inner, "_h11_state", None)
        if reader is None or reader.trailing_data[0]:
            return True
    return False
