"""httpx's transport over a pool of our own."""

import asyncio
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio.lowlevel
import httpcore
import httpx

from little_pay_async._transport.leasing import LeasingTransport
from little_pay_async._transport.pool import Pool


class PooledTransport(httpx.AsyncHTTPTransport):
    """Sends by a `Pool` under asyncio, and by leased connections of httpx's own else.

    It is httpx's own class but for what stands behind it: tools that test and observe look for
    `httpx.AsyncHTTPTransport.handle_async_request`, so that this must be the method in use. What it
    calls, `_pool`, is the one private part of httpx that is touched here.

    Args:
        ssl_context: Of all connections.
        max_connections: How many there may be.
        open_transport: Makes one of httpx's own transports.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext,
        max_connections: int,
        open_transport: Callable[[], httpx.AsyncHTTPTransport],
    ) -> None:
        # Not httpx's: it would make an SSL context and a pool that nobody uses.
        def choose() -> Pool | _LeasingPool:
            pool: Pool | _LeasingPool
            if isinstance(anyio.lowlevel.current_token().native_token, asyncio.AbstractEventLoop):
                pool = Pool(ssl_context=ssl_context, max_connections=max_connections)
            else:
                pool = _LeasingPool(
                    LeasingTransport(max_connections=max_connections, open_transport=open_transport)
                )
            self._pool = pool  # type: ignore[assignment]
            return pool

        self._pool = _FirstUse(choose)  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<PooledTransport {self._pool!r}>"


class _FirstUse:
    """Stands where the pool will be: which it is depends on the event loop of the first request."""

    def __init__(self, choose: "Callable[[], Pool | _LeasingPool]") -> None:
        self._choose = choose
        self._closed = False

    def __repr__(self) -> str:
        return "<not used yet>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        if self._closed:
            raise httpcore.ConnectError("the transport is closed")
        return await self._choose().handle_async_request(request)

    async def aclose(self) -> None:
        self._closed = True


class _LeasingPool:
    """The leasing transport behind httpcore's interface, as `_pool` has it."""

    def __init__(self, transport: LeasingTransport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return repr(self._transport)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        response = await self._transport.handle_async_request(_as_httpx(request))
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - as httpx does
        return httpcore.Response(
            response.status_code,
            headers=response.headers.raw,
            content=response.stream,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._transport.aclose()


def _as_httpx(request: httpcore.Request) -> httpx.Request:
    assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - it came from httpx
    host = request.url.host.decode("ascii")
    return httpx.Request(
        request.method.decode("ascii"),
        httpx.URL(scheme=request.url.scheme.decode("ascii"), host=host, port=request.url.port),
        headers=request.headers,
        stream=request.stream,
        # Not in the URL, which may be shown: the target may hold a credential.
        extensions={**request.extensions, "target": request.url.target},
    )
