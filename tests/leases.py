"""What the tests of leased connections share."""

import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx

from little_pay_async._transport import LeasingTransport, one_connection

from .servers import Exchange, ScriptedServer, client_tls, response


def leasing(max_connections: int = 1, **options: float) -> LeasingTransport:
    """Return a transport that trusts the tests' authority."""
    return LeasingTransport(
        max_connections=max_connections,
        open_transport=partial(one_connection, ssl_context=client_tls()),
        **options,
    )


def client_of(server: ScriptedServer, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        base_url=server.base_url,
        timeout=None,  # noqa: S113 - each test is bounded as a whole
    )


def counts(transport: LeasingTransport) -> tuple[int, int, int]:
    """Return how many connections are leased, how many idle, and how many requests wait."""
    found = re.match(r"<LeasingTransport (\d+) leased, (\d+) idle, (\d+) waiting", repr(transport))
    assert found
    leased, idle, waiting = map(int, found.groups())
    return leased, idle, waiting


@contextlib.asynccontextmanager
async def parked(client: httpx.AsyncClient, number: int = 1) -> AsyncIterator[list[httpx.Response]]:
    """Hold that many connections by responses of which only the head was read."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client.stream("GET", "/")) for _ in range(number)]


async def idle(client: httpx.AsyncClient, number: int) -> None:
    """Leave that many connections idle, the one with the highest number last."""
    async with parked(client, number) as held:
        for answer in held:
            await answer.aread()


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until something holds."""
    while not condition():
        await anyio.lowlevel.checkpoint()


def descriptors(server: ScriptedServer) -> set[int]:
    """Return this process's TCP sockets that are not the server's own."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            probe = socket.socket(fileno=int(link.name))
        except OSError:  # no socket, or no descriptor any more
            continue
        try:
            if probe.family != socket.AF_UNIX and probe.getsockname()[1] != server.port:
                found.add(probe.fileno())
        finally:
            probe.detach()
    return found


async def assert_no_descriptor_is_left(server: ScriptedServer) -> None:
    # A loop closes a socket a few of its steps after it was told to.
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    assert descriptors(server) == set()


async def answers(exchange: Exchange) -> None:
    """Answer with the number of the connection."""
    await exchange.send(response(b"%d" % exchange.request.connection, content_type=None))


async def sends_half(exchange: Exchange) -> None:
    """Send the half of an answer and leave it at that."""
    await exchange.send(response(b"half", length=8))
    await exchange.client_has_gone()
