"""One client process: watches keys until all are settled, and prints what that cost as JSON.

First as many keys as are asked for, each polled on a connection that is made for it; then as many
others, on the connections that are there.
"""

import argparse
import asyncio
import gc
import json
import resource
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

Watch = Callable[[list[str]], Awaitable[int]]


@asynccontextmanager
async def little_pay_async(url: str, context: ssl.SSLContext | None):  # noqa: ANN201
    from little_pay_async import AsyncLittlePay

    async with AsyncLittlePay(api_key="key", base_url=url, ssl_context=context) as pay:

        async def watch(keys: list[str]) -> int:
            completed = 0
            async with pay.watch(keys) as settlements:
                async for settlement in settlements:
                    completed += settlement.error is None
            return completed

        yield watch


@asynccontextmanager
async def aiohttp(url: str, context: ssl.SSLContext | None):  # noqa: ANN201
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, ssl=context or True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(path: str) -> str:
            async with session.get(url + path, headers={"X-API-KEY": "key"}) as response:
                return (await response.json())["data"]["status"]

        yield by_hand(ask)


@asynccontextmanager
async def httpx_aiohttp(url: str, context: ssl.SSLContext | None):  # noqa: ANN201
    import aiohttp
    import httpx
    from httpx_aiohttp import AiohttpTransport

    connector = aiohttp.TCPConnector(limit=0, ssl=context or True)
    transport = AiohttpTransport(client=aiohttp.ClientSession(connector=connector))
    async with httpx.AsyncClient(transport=transport, timeout=None) as client:
        yield by_hand(httpx_ask(client, url))


@asynccontextmanager
async def httpx_leased(url: str, context: ssl.SSLContext | None):  # noqa: ANN201
    """Use httpx over this library's leasing transport, without the rest of it."""
    from little_pay_async import AsyncLittlePay

    async with AsyncLittlePay(base_url=url, ssl_context=context) as pay:
        pay.http.timeout = 120.0
        yield by_hand(httpx_ask(pay.http, url))


@asynccontextmanager
async def httpx_default(url: str, context: ssl.SSLContext | None):  # noqa: ANN201
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(verify=context or True, limits=limits, timeout=None) as client:
        yield by_hand(httpx_ask(client, url))


def httpx_ask(client, url: str) -> Callable[[str], Awaitable[str]]:  # noqa: ANN001
    async def ask(path: str) -> str:
        response = await client.get(url + path, headers={"X-API-KEY": "key"})
        return response.json()["data"]["status"]

    return ask


def by_hand(ask: Callable[[str], Awaitable[str]]) -> Watch:
    """What a user would write: a task for each key that asks until it is final."""

    async def settle(key: str) -> bool:
        while True:
            status = await ask(f"/api/payments-v2/{key}?longPoll=true")
            if status != "PENDING":
                return status == "COMPLETED"

    async def watch(keys: list[str]) -> int:
        return sum(await asyncio.gather(*map(settle, keys)))

    return watch


CLIENTS: dict[str, Callable[..., AbstractAsyncContextManager[Watch]]] = {
    "little_pay_async": little_pay_async,
    "aiohttp": aiohttp,
    "httpx-aiohttp": httpx_aiohttp,
    "httpx, leased connections": httpx_leased,
    "httpx, its own pool": httpx_default,
}


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


async def run(options: argparse.Namespace) -> dict[str, float]:
    context = ssl.create_default_context(cafile=options.ca) if options.ca else None
    async with CLIENTS[options.client](options.url, context) as watch:
        await watch(["warm"])
        gc.collect()
        memory = resident()
        keys = [f"K{number}" for number in range(options.keys)]
        begun, spent = time.perf_counter(), cpu()
        first = asyncio.create_task(watch([f"first-{key}" for key in keys]))
        await asyncio.sleep(options.hold * 0.9)
        parked = resident() - memory
        completed = await first
        connect = cpu() - spent
        assert completed == options.keys, f"{completed} of {options.keys} completed"
        spent = cpu()
        completed = await watch([f"again-{key}" for key in keys])
        reused = cpu() - spent
        assert completed == options.keys, f"{completed} of {options.keys} completed"
    return {
        "connect_ms": connect / options.keys * 1e3,
        "reused_ms": reused / options.keys * 1e3,
        "kib": parked / options.keys / 1024,
        "wall_s": time.perf_counter() - begun,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("url")
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--hold", type=float, required=True)
    parser.add_argument("--ca")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
