"""What the tests of transports share: both pools, and what is left of their connections."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from little_pay_async._transport.leasing import LeasingPool, one_connection
from little_pay_async._transport.pooled import PooledTransport, new_pool

from .servers import (
    Exchange,
    ScriptedServer,
    client_tls,
    response,
    server_tls,
    tcp_sockets,
)

NewTransport = Callable[..., PooledTransport]


def leasing_pool(max_connections: int = 1, **options: Any) -> LeasingPool:
    """Return a pool that trusts the tests' authority."""
    options = {"open_pool": partial(one_connection, ssl_context=client_tls())} | options
    return LeasingPool(max_connections=max_connections, **options)


def leasing(max_connections: int = 1, **options: Any) -> PooledTransport:
    """Return a transport over such a pool."""
    return PooledTransport(partial(leasing_pool, max_connections, **options))


def pooled(max_connections: int = 1) -> PooledTransport:
    """Return a transport over the pool of the event loop."""
    return PooledTransport(
        partial(new_pool, ssl_context=client_tls(), max_connections=max_connections)
    )


each_transport = pytest.mark.parametrize(
    "new_transport",
    [
        pytest.param(leasing, id="leasing"),
        # On trio it is the leasing one.
        pytest.param(pooled, id="pooled", marks=pytest.mark.asyncio_only),
    ],
)
plain_and_tls = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def serving(script: Callable[[Exchange], Any], *, tls: bool, **options: Any) -> ScriptedServer:
    return ScriptedServer(script, tls=server_tls() if tls else None, **options)


def client_of(server: ScriptedServer, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        base_url=server.base_url,
        timeout=None,  # noqa: S113 - each test is bounded as a whole
    )


def counts(transport: httpx.AsyncBaseTransport) -> tuple[int, int, int]:
    """Return how many connections are leased, how many idle, and how many requests wait."""
    shown = repr(transport)
    if shown == "<PooledTransport <not used yet>>":
        return 0, 0, 0
    found = re.fullmatch(
        r"<PooledTransport <(?:Leasing)?Pool (\d+) leased, (\d+) idle, (\d+) waiting, of \d+>>",
        shown,
    )
    assert found
    leased, idle, waiting = map(int, found.groups())
    return leased, idle, waiting


# --- Connections that are held


_may_end: dict[str, anyio.Event] = {}
_numbers = count()


class Held:
    """A response of which the server keeps back the end until it is read or closed."""

    def __init__(self, response: httpx.Response, may_end: anyio.Event) -> None:
        self.response = response
        self._may_end = may_end

    async def aread(self) -> bytes:
        self._may_end.set()
        return await self.response.aread()

    async def aclose(self) -> None:
        try:
            await self.response.aclose()
        finally:
            self._may_end.set()


async def hold(client: httpx.AsyncClient, target: str = "/") -> Held:
    """Send a request that holds a connection until its response is read."""
    name = str(next(_numbers))
    may_end = _may_end[name] = anyio.Event()
    request = client.build_request("GET", target, headers={"x-held": name})
    return Held(await client.send(request, stream=True), may_end)


async def may_end(exchange: Exchange) -> None:
    """Wait, if it is the request of such a response, until the end of that may be sent."""
    name = exchange.request.header("x-held")
    if name is not None:
        await _may_end[name].wait()


async def answers(exchange: Exchange) -> None:
    """Answer with the number of the connection."""
    answer = response(b"%d" % exchange.request.connection, content_type=None)
    if exchange.request.header("x-held") is not None:
        await exchange.send(answer[:-1])
        await may_end(exchange)
        answer = answer[-1:]
    await exchange.send(answer)


@contextlib.asynccontextmanager
async def parked(client: httpx.AsyncClient, number: int = 1) -> AsyncIterator[list[Held]]:
    """Hold that many connections by responses that have not come as a whole; see `answers`."""
    async with contextlib.AsyncExitStack() as stack:
        held = []
        for _ in range(number):
            held.append(await hold(client))
            stack.push_async_callback(held[-1].aclose)
        yield held


async def idle(client: httpx.AsyncClient, number: int) -> None:
    """Leave that many connections idle, the one with the highest number last."""
    async with parked(client, number) as held:
        for answer in held:
            await answer.aread()


async def sends_half(exchange: Exchange) -> None:
    """Send the half of an answer and leave it at that."""
    await exchange.send(response(b"half", length=8))
    await exchange.client_has_gone()


# --- What is left


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until something holds."""
    while not condition():
        await anyio.lowlevel.checkpoint()


def descriptors(server: ScriptedServer) -> set[int]:
    """Return this process's TCP sockets that came after the server, and are not its own."""
    found = tcp_sockets().items() - server.before.items()
    return {number for number, port in found if port != server.port}


async def a_few_steps() -> None:
    """Let a loop do what it does a few of its steps after it was told to."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def assert_no_descriptor_is_left(server: ScriptedServer) -> None:
    await a_few_steps()
    assert descriptors(server) == set()


async def left_pending(server: ScriptedServer) -> tuple[int, int]:
    """Return how many tasks and timers there are, as far as the loop tells: asyncio's own does."""
    await server.until(lambda: server.open == 0)
    await a_few_steps()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return 0, 0
    timers = [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]
    return len(asyncio.all_tasks()), len(timers)
