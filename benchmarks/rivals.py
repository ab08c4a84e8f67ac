"""The clients that are measured: each watches keys by long polls, and looks at keys by plain GETs.

Each does what its users would write, and no more work than it has to: a request is built once for
each key if the client lets it be sent again, there is one connection a poll, none of them gives a
poll up for two minutes, and all of them verify the server's certificate.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

HEADERS = {"X-API-KEY": "key"}
PATIENCE = 120.0


@dataclass
class Server:
    """Where to connect, and whom to trust."""

    url: str
    ca: str | None

    def context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca) if self.ca else None


@dataclass
class Client:
    """Both jobs; each returns how many of the keys were completed."""

    watch: Callable[[list[str]], Awaitable[int]]
    check: Callable[[list[str], int], Awaitable[int]]


def by_hand(build: Callable[[str], Any], ask: Callable[[Any], Awaitable[str]]) -> Client:
    """Do both jobs as one would by hand.

    Args:
        build: Makes the request for a path.
        ask: Sends it and returns the status.
    """

    async def settle(key: str) -> bool:
        request = build(f"/api/payments-v2/{key}?longPoll=true")
        while (status := await ask(request)) == "PENDING":
            pass
        return status == "COMPLETED"

    async def watch(keys: list[str]) -> int:
        return sum(await asyncio.gather(*map(settle, keys)))

    async def check(keys: list[str], at_once: int) -> int:
        to_ask = iter(keys)
        results: dict[str, str] = {}

        async def work() -> None:
            for key in to_ask:
                results[key] = await ask(build(f"/api/payments-v2/{key}"))

        await asyncio.gather(*(work() for _ in range(at_once)))
        return list(results.values()).count("COMPLETED")

    return Client(watch, check)


@asynccontextmanager
async def little_pay_async(server: Server) -> AsyncIterator[Client]:
    from little_pay_async import AsyncLittlePay, Payment, PaymentStatus

    context = server.context()
    async with AsyncLittlePay(api_key="key", base_url=server.url, ssl_context=context) as pay:

        async def watch(keys: list[str]) -> int:
            completed = 0
            async with pay.watch(keys) as settlements:
                async for settlement in settlements:
                    completed += settlement.error is None
            return completed

        async def check(keys: list[str], at_once: int) -> int:
            results = await pay.check(keys, max_in_flight=at_once)
            return sum(
                isinstance(found, Payment) and found.status is PaymentStatus.COMPLETED
                for found in results.values()
            )

        yield Client(watch, check)


@asynccontextmanager
async def floor(server: Server) -> AsyncIterator[Client]:
    from floor import Floor

    bare = Floor(server.url, server.context())
    yield Client(bare.watch, bare.check)


@asynccontextmanager
async def aiohttp(server: Server) -> AsyncIterator[Client]:
    from aiohttp import ClientTimeout
    from yarl import URL

    # Its own limit is 30 s for a connect; ten thousand at once take longer.
    async with aiohttp_session(server, ClientTimeout(total=None, sock_read=PATIENCE)) as session:

        async def ask(url: URL) -> str:
            async with session.get(url) as response:
                return (await response.json())["data"]["status"]

        yield by_hand(lambda path: URL(server.url + path, encoded=True), ask)


def aiohttp_session(server: Server, timeout: Any = None) -> Any:
    from aiohttp import ClientSession, TCPConnector

    connector = TCPConnector(limit=0, ssl=server.context() or True)
    return ClientSession(connector=connector, timeout=timeout, headers=HEADERS)


@asynccontextmanager
async def httpx_over(server: Server, transport: Any) -> AsyncIterator[Client]:
    import httpx

    patience = httpx.Timeout(None, read=PATIENCE)
    async with httpx.AsyncClient(transport=transport, timeout=patience, headers=HEADERS) as client:

        async def ask(request: httpx.Request) -> str:
            response = await client.send(request)
            return response.json()["data"]["status"]

        yield by_hand(lambda path: client.build_request("GET", server.url + path), ask)


def httpx_own_pool(server: Server) -> AbstractAsyncContextManager[Client]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    context = server.context() or True
    return httpx_over(server, httpx.AsyncHTTPTransport(verify=context, limits=limits))


def httpx_pooled(server: Server) -> AbstractAsyncContextManager[Client]:
    """Use httpx over this library's pool, without the rest of it."""
    from little_pay_async._transport.pool import Pool
    from little_pay_async._transport.pooled import PooledTransport

    context = server.context() or ssl.create_default_context()
    return httpx_over(
        server, PooledTransport(lambda: Pool(ssl_context=context, max_connections=20_000))
    )


def httpx_leased(server: Server) -> AbstractAsyncContextManager[Client]:
    """Use httpx over this library's leased connections, without the rest of it."""
    from little_pay_async._transport.leasing import LeasingPool, one_connection
    from little_pay_async._transport.pooled import PooledTransport

    context = server.context() or ssl.create_default_context()

    def new_pool() -> LeasingPool:
        return LeasingPool(
            max_connections=20_000, open_pool=lambda: one_connection(ssl_context=context)
        )

    return httpx_over(server, PooledTransport(new_pool))


def httpx_aiohttp(server: Server) -> AbstractAsyncContextManager[Client]:
    from httpx_aiohttp import AiohttpTransport

    return httpx_over(server, AiohttpTransport(client=lambda: aiohttp_session(server)))


def httpx_pyreqwest(server: Server) -> AbstractAsyncContextManager[Client]:
    from pyreqwest.compatibility.httpx import HttpxTransport

    return httpx_over(server, HttpxTransport(pyreqwest_client(server)))


@asynccontextmanager
async def pyreqwest(server: Server) -> AsyncIterator[Client]:
    async with pyreqwest_client(server) as client:

        async def ask(request: Any) -> str:
            response = await request.copy().send()  # one can be sent once, its copies as well
            return (await response.json())["data"]["status"]

        yield by_hand(lambda path: client.get(server.url + path).build(), ask)


def pyreqwest_client(server: Server) -> Any:
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().no_proxy().default_headers(HEADERS)
    builder = builder.read_timeout(timedelta(seconds=PATIENCE))
    if server.ca:
        builder = builder.add_root_certificate_pem(Path(server.ca).read_bytes())
    return builder.build()


@asynccontextmanager
async def niquests(server: Server) -> AsyncIterator[Client]:
    from niquests import AsyncSession

    async with AsyncSession(
        pool_maxsize=20_000,
        disable_http2=True,
        disable_http3=True,
        verify=server.ca or True,
        timeout=PATIENCE,
        headers=HEADERS,
    ) as session:
        session.trust_env = False  # it would prefer the environment's certificates

        async def ask(url: str) -> str:
            response = await session.get(url)
            return response.json()["data"]["status"]

        yield by_hand(lambda path: server.url + path, ask)


RIVALS: dict[str, Callable[[Server], AbstractAsyncContextManager[Client]]] = {
    "little_pay_async": little_pay_async,
    "aiohttp": aiohttp,
    "pyreqwest": pyreqwest,
    "niquests": niquests,
    "httpx over aiohttp": httpx_aiohttp,
    "httpx over pyreqwest": httpx_pyreqwest,
    "httpx over this library's pool": httpx_pooled,
    "httpx over leased connections": httpx_leased,
    "httpx, its own pool": httpx_own_pool,
    "the floor": floor,
}
