"""httpx's own transports, one connection each, leased one per request."""

import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import anyio
import httpx


def one_connection(
    *, ssl_context: ssl.SSLContext, proxy: httpx.Proxy | None = None
) -> httpx.AsyncHTTPTransport:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    return httpx.AsyncHTTPTransport(
        verify=ssl_context,
        trust_env=False,
        proxy=proxy,
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60),
        socket_options=options,
    )


class _Lease(httpx.AsyncByteStream):
    def __init__(self, stream, transport, owner) -> None:
        self._stream, self._transport, self._owner = stream, transport, owner
        self._whole = self._closed = False

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
            await self._owner._give_back(self._transport, reusable=self._whole)


class LeasingTransport(httpx.AsyncBaseTransport):
    def __init__(self, *, max_connections: int, open_transport: Callable[[], httpx.AsyncHTTPTransport], idle_seconds: float = 60.0) -> None:
        self._max, self._open_transport, self._idle_seconds = max_connections, open_transport, idle_seconds
        self._idle = deque()
        self._leased = set()
        self._limiter = anyio.Semaphore(max_connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            with anyio.fail_after(request.extensions.get("timeout", {}).get("pool")):
                await self._limiter.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no connection became free", request=request) from None
        transport = None
        if self._idle and not request.extensions.get("fresh_connection"):
            transport, _ = self._idle.pop()
        transport = transport or self._open_transport()
        self._leased.add(transport)
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            await self._give_back(transport, reusable=False)
            raise
        response.stream = _Lease(response.stream, transport, self)
        return response

    async def _give_back(self, transport, *, reusable):
        self._leased.discard(transport)
        self._limiter.release()
        if reusable:
            self._idle.append((transport, time.monotonic()))
        else:
            with anyio.CancelScope(shield=True):
                await transport.aclose()

    async def aclose(self) -> None:
        for transport in [*self._leased, *(t for t, _ in self._idle)]:
            await transport.aclose()
        self._idle.clear()
