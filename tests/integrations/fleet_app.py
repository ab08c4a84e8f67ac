"""What the workers of a fleet run: a broker on Redis, and a hook that says what has settled."""

import os

from redis.asyncio import Redis
from taskiq import TaskiqEvents, TaskiqResult, TaskiqState
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from little_pay_async import Settlement
from little_pay_async.integrations.taskiq import setup

REDIS_URL = os.environ["REDIS_URL"]
WORKER = os.environ.get("WORKER", "nobody")
IDLE_TIMEOUT = int(os.environ.get("IDLE_TIMEOUT", "600000"))

redis: "Redis[bytes]"  # of the worker's event loop


class Counted(RedisAsyncResultBackend[object]):
    """Counts how often a task has been reported."""

    async def set_result(self, task_id: str, result: TaskiqResult[object]) -> None:
        await super().set_result(task_id, result)
        async with Redis(connection_pool=self.redis_pool) as counter:
            await counter.hincrby("reported", task_id, 1)


async def on_settled(settlement: Settlement) -> None:
    await redis.rpush("settled", f"{WORKER} {settlement.key}")


broker = RedisStreamBroker(
    REDIS_URL,
    consumer_name=WORKER,
    idle_timeout=IDLE_TIMEOUT,
    xread_count=1,
    xread_block=500,
).with_result_backend(Counted(REDIS_URL))
setup(broker, on_settled=on_settled)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(_: TaskiqState) -> None:
    global redis  # noqa: PLW0603 - the worker's own
    redis = Redis.from_url(REDIS_URL)
    await redis.rpush("ready", WORKER)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop(_: TaskiqState) -> None:
    await redis.aclose()
