"""A fleet on a real Redis: one worker is killed, one is stopped, and nothing is lost or doubled.

`nox -s fleet` does it with 5,000 payments and says how long it took.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import taskiq
from redis.asyncio import Redis
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from little_pay_async.integrations.taskiq import Progress, Settling, settle_many, setup
from little_pay_async.sandbox import Sandbox

from ..sandboxes import INTENT
from .fleets import Worker, needs_redis, redis_server, workers

pytestmark = needs_redis

KEYS = int(os.environ.get("FLEET_KEYS", "200"))
# Batches are small and stints are short, so that much is handed back and taken over. But a worker
# that the machine does not let run for so long counts as dead, and what it reports comes twice.
BATCH = max(5, KEYS // 50)
IDLE_TIMEOUT = 12_000 if KEYS <= 200 else 30_000  # milliseconds
PATIENCE = 60 + KEYS / 50


class Run:
    """Payments at a sandbox, settled in two halves, and the workers that wait for them."""

    def __init__(self, sandbox: Sandbox, redis: "Redis[bytes]", fleet: list[Worker]) -> None:
        self.sandbox = sandbox
        self.redis = redis
        self.fleet = fleet
        self.keys = [f"ORDER{number}" for number in range(KEYS)]
        self.reports: list[tuple[str, str]] = []
        """Which worker has reported which key."""
        for key in self.keys:
            assert sandbox.book.add(INTENT | {"key": key}, anyio.current_time()) is not None

    async def ready(self) -> None:
        for _ in self.fleet:
            assert await self.redis.blpop(["ready"], timeout=PATIENCE), "a worker did not start"

    async def settle(self, keys: Iterable[str]) -> None:
        """Settle payments at the sandbox, and wait until each has been reported."""
        missing = set(keys)
        for number, key in enumerate(sorted(missing)):
            self.sandbox.settle(key, "FAILED" if key.endswith("7") else "COMPLETED")
            if number % 20 == 0:
                await anyio.lowlevel.checkpoint()  # it serves the workers too
        while missing:
            popped = await self.redis.blpop(["settled"], timeout=PATIENCE)
            assert popped is not None, f"{len(missing)} were never reported"
            worker, key = popped[1].decode().split()
            self.reports.append((worker, key))
            missing.discard(key)

    async def at_work(self) -> list[Worker]:
        """Return the workers, those first that have most tasks."""
        found = await self.redis.xinfo_consumers("taskiq", "taskiq")
        tasks = {consumer["name"].decode(): consumer["pending"] for consumer in found}
        fleet = sorted(self.fleet, key=lambda worker: -tasks.get(worker.name, 0))
        assert tasks[fleet[min(1, len(fleet) - 1)].name] > 0, f"too few have tasks: {tasks}"
        return fleet

    async def check(self, settling: Settling, *, killed: str | None) -> None:
        """Every key was reported once, as what it is, and every task is acknowledged."""
        assert await settling.progress() == Progress(keys=KEYS, settled=KEYS)
        assert {key for _, key in self.reports} == set(self.keys)
        counted = await self.redis.hgetall("reported")
        times = Counter({name.decode(): int(count) for name, count in counted.items()})
        tasks = {task.task_id: key for key, task in settling.tasks.items()}
        assert {times[name] for name in tasks} <= {0, 1}
        # A worker that is killed between a result and its count leaves it uncounted.
        uncounted = {key for name, key in tasks.items() if not times[name]}
        assert uncounted <= {key for worker, key in self.reports if worker == killed}
        for key, task in settling.tasks.items():
            result = await task.get_result()
            status = "FAILED" if key.endswith("7") else "COMPLETED"
            assert not result.is_err
            assert result.return_value["key"] == key
            assert result.return_value["payment"]["status"] == status
        assert (await self.redis.xpending("taskiq", "taskiq"))["pending"] == 0


async def in_a_fleet(folder: Path, number: int, *, deaths: bool) -> float:
    """Return how many seconds it took, from the first task to the last result."""
    async with Sandbox() as sandbox, sandbox.serve() as url:
        with redis_server(folder) as redis_url:
            environment = {
                f"LITTLE_PAY_{name.upper()}": str(value)
                for name, value in sandbox.credentials.items()
            }
            environment |= {"LITTLE_PAY_BASE_URL": url, "REDIS_URL": redis_url}
            environment |= {"IDLE_TIMEOUT": str(IDLE_TIMEOUT)}
            with workers(number, environment, folder) as fleet:
                async with Redis.from_url(redis_url, socket_timeout=None) as redis:
                    run = Run(sandbox, redis, fleet)
                    return await _in_two_halves(run, redis_url, deaths=deaths)
    raise AssertionError


async def _in_two_halves(run: Run, redis_url: str, *, deaths: bool) -> float:
    # A client of the workers' broker, which makes no worker of this process.
    broker = broker_at(redis_url)
    setup(broker)
    await run.ready()
    await broker.startup()
    try:
        return await _settled(run, deaths=deaths)
    finally:
        await broker.shutdown()


async def _settled(run: Run, *, deaths: bool) -> float:
    began = time.monotonic()
    settling = await settle_many(run.keys, batch=BATCH)
    await run.settle(run.keys[::2])
    if deaths:
        killed, stopped, *_ = await run.at_work()
        killed.kill()
        assert await anyio.to_thread.run_sync(stopped.stop) == 0
        assert "Traceback" not in stopped.log.read_text()
        before = len(run.reports)
    await run.settle(run.keys[1::2])
    await taskiq.gather(*settling.batches, timeout=PATIENCE)
    took = time.monotonic() - began
    if deaths:
        dead = {killed.name, stopped.name}
        assert not dead & {worker for worker, _ in run.reports[before:]}
        assert dead & {worker for worker, _ in run.reports[:before]}
    await run.check(settling, killed=killed.name if deaths else None)
    return took


def broker_at(redis_url: str) -> RedisStreamBroker:
    return RedisStreamBroker(redis_url).with_result_backend(RedisAsyncResultBackend(redis_url))


def say(figure: str) -> None:
    print(figure, file=sys.stderr)  # noqa: T201 - what `nox -s fleet` is for


# Not bounded as async tests are: starting processes takes long where others work too.


@pytest.mark.timeout(PATIENCE * 4)
def test_one_worker_is_killed_and_one_is_stopped(tmp_path: Path) -> None:
    took = anyio.run(lambda: in_a_fleet(tmp_path, 4, deaths=True))
    say(f"{KEYS} payments, 4 workers, of which 2 die half-way: {took:.1f} s")


@pytest.mark.timeout(PATIENCE * 4)
@pytest.mark.skipif("FLEET_KEYS" not in os.environ, reason="a figure: run `nox -s fleet`")
@pytest.mark.parametrize("number", [1, 4])
def test_nobody_dies(tmp_path: Path, number: int) -> None:
    took = anyio.run(lambda: in_a_fleet(tmp_path, number, deaths=False))
    say(f"{KEYS} payments, {number} workers: {took:.1f} s")
