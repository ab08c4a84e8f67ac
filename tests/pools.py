"""What the tests of the pool itself share."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from little_pay_async._transport.connection import Connection
from little_pay_async._transport.pool import Pool

from .leases import a_few_steps, client_of, pooled
from .servers import ScriptedServer, client_tls


def new_pool(max_connections: int = 1, **options: Any) -> Pool:
    """Return a pool that trusts the tests' authority."""
    return Pool(ssl_context=client_tls(), max_connections=max_connections, **options)


@contextlib.asynccontextmanager
async def client_over(pool: Pool, server: ScriptedServer) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the pool, and see to it that closing it leaves nothing in the pool."""
    transport = pooled()
    transport._pool = pool  # type: ignore[assignment]
    async with client_of(server, transport) as client:
        yield client
    await a_few_steps()
    assert state(pool) == (0, 0, 0)
    assert not pool._leased
    assert not pool._bounds._bounds
    assert pool._idle._sweeper is None


def state(pool: Pool) -> tuple[int, int, int]:
    """Return how many connections are leased, how many idle, and how many requests wait."""
    now = pool.statistics()
    return now.leased, now.idle, now.waiting


def only_leased(pool: Pool) -> Connection:
    [connection] = pool._leased
    return connection


@contextlib.contextmanager
def socket_of(connection: Connection) -> Iterator[socket.socket]:
    """Give a socket that is a connection's, to look at."""
    with socket.fromfd(connection._descriptor, socket.AF_INET, socket.SOCK_STREAM) as same:
        yield same
