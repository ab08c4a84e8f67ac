"""What each worker runs: `taskiq worker fleet:broker --app-dir examples/taskiq_fleet`.

Credentials come from the environment, and so does REDIS_URL.
"""

import os
import sqlite3

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from little_pay_async import Settlement
from little_pay_async.integrations.taskiq import setup

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
DATABASE = os.environ.get("DATABASE", "orders.sqlite")


def on_settled(settlement: Settlement) -> None:
    """Set an order's state, once: this may be called again for the same payment."""
    if settlement.payment is None or settlement.error is not None:
        return  # the result backend has the error
    with sqlite3.connect(DATABASE, timeout=30) as database:
        changed = database.execute(
            "UPDATE orders SET state = ? WHERE key = ? AND state = 'PENDING'",
            (settlement.payment.status, settlement.key),
        )
        if changed.rowcount:
            print(f"{settlement.key} is {settlement.payment.status}", flush=True)


broker = RedisStreamBroker(
    REDIS_URL,
    idle_timeout=60_000,  # a minute after its death a worker's payments are taken over
    xread_count=1,  # a worker takes no more tasks than it has begun
    maxlen=100_000,
).with_result_backend(RedisAsyncResultBackend(REDIS_URL, result_ex_time=86_400))
setup(broker, on_settled=on_settled)
