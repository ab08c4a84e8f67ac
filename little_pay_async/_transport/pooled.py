"""httpx's transport over a pool of our own."""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial

import anyio.lowlevel
import httpcore
import httpx

from little_pay_async._transport.interface import RequestPool
from little_pay_async._transport.leasing import LeasingPool, one_connection
from little_pay_async._transport.pool import Pool


def new_pool(
    *, ssl_context: ssl.SSLContext, max_connections: int, proxy: httpx.Proxy | None = None
) -> RequestPool:
    """Return a pool for the event loop that runs: one of our own, if it can do what is asked for.

    Args:
        ssl_context: Of all connections that are encrypted.
        max_connections: How many there may be, idle ones included.
        proxy: What to go through, if anything.
    """
    runs_on = anyio.lowlevel.current_token().native_token
    if proxy is None and isinstance(runs_on, asyncio.AbstractEventLoop):
        return Pool(ssl_context=ssl_context, max_connections=max_connections)
    return LeasingPool(
        max_connections=max_connections,
        open_pool=partial(one_connection, ssl_context=ssl_context, proxy=proxy),
    )


class PooledTransport(httpx.AsyncHTTPTransport):
    """httpx's own class but for what stands behind it.

    Tools that test and observe look for `httpx.AsyncHTTPTransport.handle_async_request`, so that
    this must be the method in use, and must see each request once. What it calls, `_pool`, is the
    one private part of httpx that is touched here.

    Args:
        new_pool: Makes the pool at the first use: which it is may depend on the event loop.
    """

    def __init__(self, new_pool: Callable[[], RequestPool]) -> None:
        # Not httpx's: it would make an SSL context and a pool that nobody uses.
        def begin() -> RequestPool:
            pool = new_pool()
            self._pool = pool  # type: ignore[assignment]
            return pool

        self._pool = _FirstUse(begin)  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<PooledTransport {self._pool!r}>"


class _FirstUse(RequestPool):
    """Stands where the pool will be."""

    def __init__(self, begin: Callable[[], RequestPool]) -> None:
        self._begin = begin
        self._closed = False

    def __repr__(self) -> str:
        return "<not used yet>"

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        if self._closed:
            raise httpcore.ConnectError("the transport is closed")
        return await self._begin().handle_async_request(request)

    async def aclose(self) -> None:
        self._closed = True
