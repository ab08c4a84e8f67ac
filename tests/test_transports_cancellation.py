"""Cancelled at any moment, a request leaves nothing behind: no place, no waiter, no descriptor."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from .leases import (
    Held,
    NewTransport,
    answers,
    assert_no_descriptor_is_left,
    client_of,
    counts,
    each_transport,
    hold,
    left_pending,
    may_end,
    plain_and_tls,
    serving,
    until,
)
from .servers import Exchange, ScriptedServer, response, server_tls

pytestmark = pytest.mark.anyio

SITUATIONS = ["alone", "reusing", "pool full", "two waiting", "cancelled twice"]

Get = Callable[[], Awaitable[httpx.Response]]


class Victim:
    """A request that can be cancelled twice, by scopes."""

    def __init__(self, get: Get) -> None:
        self.ended = False
        self._get = get
        self._outer, self._inner = anyio.CancelScope(), anyio.CancelScope()

    async def run(self) -> None:
        with self._outer, self._inner:
            await self._get()
        self.ended = True

    def cancel(self) -> None:
        again = self._inner.cancel_called
        (self._outer if again else self._inner).cancel()


class VictimInTask(Victim):
    """A request that can be cancelled as asyncio does it: through any shield, once each time."""

    def __init__(self, get: Get) -> None:
        super().__init__(get)
        self._task = asyncio.ensure_future(get())

    async def run(self) -> None:
        await asyncio.wait([self._task])
        self.ended = True
        if not self._task.cancelled():
            self._task.result()

    def cancel(self) -> None:
        self._task.cancel()


@pytest.mark.parametrize("situation", SITUATIONS)
@each_transport
@plain_and_tls
async def test_cancelled_at_each_step(
    new_transport: NewTransport, tls: bool, situation: str
) -> None:
    await cancel_at_each_step(Victim, new_transport, tls, situation)


@pytest.mark.asyncio_only
@pytest.mark.parametrize("situation", SITUATIONS)
@each_transport
@plain_and_tls
async def test_task_cancelled_at_each_step(
    new_transport: NewTransport, tls: bool, situation: str
) -> None:
    await cancel_at_each_step(VictimInTask, new_transport, tls, situation)


async def answers_in_two_parts(exchange: Exchange) -> None:
    head, body = response(length=1), b"."
    await exchange.send(head)
    await may_end(exchange)
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    await exchange.send(body)


async def cancel_at_each_step(
    victims: type[Victim], new_transport: NewTransport, tls: bool, situation: str
) -> None:
    async with serving(answers_in_two_parts, tls=tls) as server:
        async with client_of(server, new_transport()) as client:
            await client.get("/first")
        before = await left_pending(server)
        for steps in count():
            ended = await ended_before(steps, server, new_transport, victims, situation)
            assert await left_pending(server) == before
            if ended:
                assert steps > 3
                return


async def ended_before(
    steps: int,
    server: ScriptedServer,
    new_transport: NewTransport,
    victims: type[Victim],
    situation: str,
) -> bool:
    """Cancel a request after so many steps of the loop; return whether it had ended by then."""
    transport = new_transport()
    async with client_of(server, transport) as client, anyio.create_task_group() as tasks:
        requests = []
        held, released = None, anyio.Event()
        if situation == "reusing":
            await client.get("/first")
        elif situation != "alone":
            held = await hold(client)

        victim = victims(lambda: client.get("/victim"))
        tasks.start_soon(victim.run)
        requests.append(victim)
        if situation in {"two waiting", "cancelled twice"}:
            await until(lambda: counts(transport) == (1, 0, 1))
            other = Victim(lambda: client.get("/other"))
            tasks.start_soon(other.run)
            requests.append(other)
        if held is not None:
            await until(lambda: counts(transport) == (1, 0, len(requests)))
            tasks.start_soon(release, held, situation == "pool full", released)

        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        ended = victim.ended
        victim.cancel()
        if situation == "cancelled twice":
            await anyio.lowlevel.checkpoint()
            victim.cancel()
        await until(lambda: all(request.ended for request in requests))
        if held is not None:
            await released.wait()

        leased, _, waiting = counts(transport)
        assert (leased, waiting) == (0, 0)
        assert (await client.get("/last")).is_success
        assert counts(transport) == (0, 1, 0)
    await assert_no_descriptor_is_left(server)
    return ended


async def release(held: Held, whole: bool, released: anyio.Event) -> None:
    """Give its place back; who is next inherits its connection if it is read to the end."""
    await (held.aread() if whole else held.aclose())
    released.set()


@each_transport
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
async def test_cancelled_in_a_handshake(new_transport: NewTransport, times: int) -> None:
    """Such a connection is forgotten by httpcore, and not closed."""
    greeted = anyio.Event()

    async def never_shakes_hands(connection: Any) -> None:
        while await connection.stream.receive():  # raises at the end
            greeted.set()

    transport = new_transport()
    async with (
        ScriptedServer(answers, tls=server_tls(), greeting=never_shakes_hands) as server,
        client_of(server, transport) as client,
        anyio.create_task_group() as tasks,
    ):
        victim = Victim(lambda: client.get("/"))
        tasks.start_soon(victim.run)
        await greeted.wait()
        for _ in range(times):
            victim.cancel()
        await until(lambda: victim.ended)
        assert counts(transport) == (0, 0, 0)
        await assert_no_descriptor_is_left(server)


@each_transport
async def test_cancelled_in_the_handshake_of_a_connection_that_replaces_a_dead_one(
    new_transport: NewTransport,
) -> None:
    """A transport that was used before connects anew where its connection is gone."""
    greeted = anyio.Event()

    async def shakes_hands_once(connection: Any) -> None:
        while connection.number and await connection.stream.receive():  # raises at the end
            greeted.set()

    async def answers_once(exchange: Exchange) -> None:
        await answers(exchange)
        await exchange.close()

    transport = new_transport()
    async with (
        ScriptedServer(answers_once, tls=server_tls(), greeting=shakes_hands_once) as server,
        client_of(server, transport) as client,
        anyio.create_task_group() as tasks,
    ):
        await client.get("/")
        await server.until(lambda: server.open == 0)
        victim = Victim(lambda: client.get("/"))
        tasks.start_soon(victim.run)
        await greeted.wait()
        victim.cancel()
        await until(lambda: victim.ended)
        assert counts(transport) == (0, 0, 0)
        await assert_no_descriptor_is_left(server)


@each_transport
@pytest.mark.parametrize("seed", range(8))
async def test_no_place_is_lost_among_many(new_transport: NewTransport, seed: int) -> None:
    """Fifty requests over five places: read, half read or cancelled at some moment."""
    chance = random.Random(seed)
    transport = new_transport(5)

    async def request(client: httpx.AsyncClient, fresh: bool, whole: bool) -> None:
        extensions = {"fresh_connection": True} if fresh else {}
        async with client.stream("GET", "/", extensions=extensions) as response:
            if whole:
                await response.aread()

    async def canceller(scope: anyio.CancelScope, steps: int) -> None:
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    async def perhaps_cancelled(client: httpx.AsyncClient) -> None:
        fresh, whole, is_cancelled = (chance.random() < share for share in (0.2, 0.7, 0.5))
        async with anyio.create_task_group() as tasks:
            if is_cancelled:
                tasks.start_soon(canceller, tasks.cancel_scope, chance.randrange(200))
            await request(client, fresh, whole)
            tasks.cancel_scope.cancel()

    arrived = 0

    async def answers_five_at_once(exchange: Exchange) -> None:
        nonlocal arrived
        arrived += 1
        await until(lambda: arrived >= 5)
        await answers(exchange)

    async with ScriptedServer(answers) as server:
        async with client_of(server, transport) as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(perhaps_cancelled, client)
            leased, idle, waiting = counts(transport)
            assert (leased, waiting) == (0, 0)
            assert idle <= 5

            server.script = answers_five_at_once
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(request, client, False, True)
            assert counts(transport) == (0, 5, 0)
        await assert_no_descriptor_is_left(server)
