"""How new connections come about: not too fast after many were lost."""

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from little_pay_async._transport import connecting as connecting_module

from .leases import a_few_steps, answers, descriptors, hold, idle, until
from .pools import client_over, new_pool, state
from .servers import ScriptedServer, full_backlog, refusing_port

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]

APART = 100  # seconds between two connections after a loss: nobody here waits for them


class Pauses:
    """Stands in for asyncio where connections are made: it notes pauses instead of making them."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        self.made.append(round(seconds / APART))
        await asyncio.sleep(0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting_module, "_A_SECOND_AFTER_A_LOSS", 1 / APART)


@pytest.fixture
def pauses(slow: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    instead = Pauses()
    monkeypatch.setattr(connecting_module, "asyncio", instead)
    return instead.made


async def lose(number: int, client: httpx.AsyncClient, server: ScriptedServer) -> None:
    """Lose that many connections on which somebody waits for an answer."""
    broke = 0

    async def breaks() -> None:
        nonlocal broke
        held = await hold(client)
        with pytest.raises(httpx.TransportError):
            await held.response.aread()
        broke += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(number):
            tasks.start_soon(breaks)
        await server.until_requests(len(server.requests) + number)
        await a_few_steps()
        await server.stop()
        await until(lambda: broke == number)
    await server.start()


async def test_where_none_was_lost_nobody_waits(pauses: list[int]) -> None:
    async with ScriptedServer(answers) as server, client_over(new_pool(9), server) as client:
        await idle(client, 9)
    assert pauses == []


async def test_after_a_loss_connections_come_one_after_the_other(pauses: list[int]) -> None:
    pool = new_pool(9)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        await lose(5, client, server)
        await idle(client, 9)
        assert pauses == [1, 2, 3, 4]  # the first at once, and as many as were lost
        assert state(pool) == (0, 9, 0)


async def test_who_ends_while_idle_is_not_missed(pauses: list[int]) -> None:
    pool = new_pool(9)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        await idle(client, 5)
        await server.stop()
        await until(lambda: state(pool) == (0, 0, 0))
        await server.start()
        await idle(client, 5)
    assert pauses == []


async def test_connections_that_can_not_be_made_are_tried_one_after_the_other(
    pauses: list[int],
) -> None:
    url = f"http://127.0.0.1:{refusing_port()}/"
    async with ScriptedServer(answers) as server, client_over(new_pool(9), server) as client:
        for _ in range(5):
            with pytest.raises(httpx.ConnectError):
                await client.get(url)
    assert pauses == [1, 2, 3]


async def test_who_would_wait_too_long_is_told_so(slow: None) -> None:
    pool = new_pool(9)
    soon = httpx.Timeout(None, pool=0.01)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        await lose(2, client, server)
        held = await hold(client)
        with pytest.raises(httpx.PoolTimeout):
            await client.get("/", timeout=soon)
        assert state(pool) == (1, 0, 0)
        await client.get("/", timeout=soon)  # as many as were lost have had their turn
        await held.aclose()


async def test_who_need_not_wait_is_not_late(slow: None) -> None:
    pool = new_pool(9)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        await lose(1, client, server)
        await client.get("/", timeout=httpx.Timeout(None, pool=0.0))


async def test_closing_ends_who_waits_to_connect(slow: None) -> None:
    pool = new_pool(9)
    async with (
        ScriptedServer(answers) as server,
        client_over(pool, server) as client,
        anyio.create_task_group() as tasks,
    ):

        async def refused() -> None:
            with pytest.raises(httpx.ConnectError, match="closed"):
                await client.get("/")

        await lose(3, client, server)
        held = await hold(client)
        for number in range(2):
            tasks.start_soon(refused)
            await until(lambda number=number: state(pool) == (number + 2, 0, 0))
        await pool.aclose()
        await until(lambda: state(pool) == (1, 0, 0))
        await held.aclose()


async def test_who_is_cancelled_while_it_waits_to_connect_leaves_nothing(slow: None) -> None:
    pool = new_pool(9)
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        await lose(3, client, server)
        held = await hold(client)
        for _ in range(2):
            victim = asyncio.ensure_future(client.get("/"))
            await until(lambda: state(pool) == (2, 0, 0))
            victim.cancel()
            await asyncio.wait([victim])
            assert state(pool) == (1, 0, 0)
        await held.aclose()
        await client.get("/")


@pytest.mark.parametrize("steps", range(6))
async def test_a_turn_to_connect_is_not_lost_with_who_is_cancelled_when_it_comes(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting_module, "_AT_ONCE", 1)
    pool = new_pool(9)
    async with (
        ScriptedServer(answers) as server,
        full_backlog() as unreachable,
        client_over(pool, server) as client,
    ):
        before = descriptors(server)
        first = asyncio.ensure_future(client.get(unreachable))
        await until(lambda: descriptors(server) > before)
        others = []
        for number in range(3):
            others.append(asyncio.ensure_future(client.get("/")))
            await until(lambda number=number: state(pool) == (number + 2, 0, 0))
        first.cancel()
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        others[0].cancel()
        await asyncio.wait([first, *others])
        assert first.cancelled()
        assert all(other.result().is_success for other in others[1:])
