"""Whatever happens to many requests at once, no place, connection or waiting request is lost."""

import asyncio
import contextlib
import random

import anyio
import anyio.lowlevel
import httpx
import pytest

from little_pay_async._transport.pool import Pool

from .leases import a_few_steps, answers, plain_and_tls, serving, until
from .pools import client_over, new_pool, state
from .servers import Exchange, response

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]

PLACES = 5
REQUESTS = 80


class Chaos:
    """A server that does now this, now that."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.calm = False

    async def __call__(self, exchange: Exchange) -> None:
        whole = response(exchange.request.target.encode())
        half, rest = whole[:-2], whole[-2:]
        for _ in range(self.chance.randrange(3)):
            await anyio.lowlevel.checkpoint()
        match 0 if self.calm else self.chance.randrange(11):
            case 1:
                await exchange.send(half)
                await exchange.close()
            case 2:
                await exchange.send(half)
                await exchange.reset()
            case 3:
                await exchange.reset()
            case 4:
                await exchange.send(whole)
                await exchange.close()
            case 5:
                await exchange.send(whole + response(b"unasked"))
            case 6:
                await exchange.send(response(exchange.request.target.encode(), length=-1))
                await exchange.close()
            case 7:
                await exchange.client_has_gone()
            case _:
                await exchange.send(half)
                await anyio.lowlevel.checkpoint()
                await exchange.send(rest)


def check(pool: Pool) -> None:
    leased, idle, waiting = state(pool)
    assert leased + idle <= PLACES
    assert len(pool._leased) <= leased
    assert idle == sum(map(len, pool._idle._since.values()))
    assert not (waiting and leased + idle < PLACES), "a place is free, and somebody waits"
    assert not (waiting and idle), "a connection is idle, and somebody waits"
    kept = [one for ones in pool._idle._since.values() for one in ones]
    assert not pool._leased & {*kept}
    assert not any(one.ended or one.reader for one in kept)


async def request(client: httpx.AsyncClient, url: str, chance: random.Random) -> None:
    limits = httpx.Timeout(None, read=0.05, pool=chance.choice([None, 0.0, 0.01, 0.05]))
    extensions = {"fresh_connection": chance.random() < 0.2}
    with contextlib.suppress(httpx.TransportError):
        async with client.stream("GET", url, timeout=limits, extensions=extensions) as answer:
            if chance.random() < 0.8:
                # Never the answer to another request, whatever came.
                assert await answer.aread() == answer.request.url.raw_path


@plain_and_tls
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.threat("T27")
async def test_nothing_is_lost_whatever_happens(tls: bool, seed: int) -> None:
    chance = random.Random(seed)
    chaos = Chaos(chance)
    pool = new_pool(PLACES, max_idle=3)
    under_way = REQUESTS

    async def perhaps_cancelled(client: httpx.AsyncClient, url: str) -> None:
        nonlocal under_way
        for _ in range(chance.randrange(30)):
            await anyio.lowlevel.checkpoint()
        task = asyncio.ensure_future(request(client, url, chance))
        if chance.random() < 0.3:
            for _ in range(chance.randrange(60)):
                await anyio.lowlevel.checkpoint()
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        under_way -= 1

    async def watch() -> None:
        while under_way:
            check(pool)
            await anyio.lowlevel.checkpoint()

    async with (
        serving(chaos, tls=tls) as server,
        serving(chaos, tls=tls) as other,
        client_over(pool, server) as client,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            for number in range(REQUESTS):
                url = f"{chance.choice([server, other]).base_url}/{number}"
                tasks.start_soon(perhaps_cancelled, client, url)
        leased, _, waiting = state(pool)
        assert (leased, waiting) == (0, 0)
        await a_few_steps()
        check(pool)
        await until(lambda: server.open + other.open == state(pool)[1])

        chaos.calm = True
        server.script = answers
        async with anyio.create_task_group() as tasks:
            for _ in range(PLACES * 4):
                tasks.start_soon(client.get, "/")
        assert state(pool) == (0, 3, 0)
