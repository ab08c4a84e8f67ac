"""A fleet of workers, and 30 payments for them: all that it takes, in one command.

    python examples/taskiq_fleet/play.py

It starts a Redis of its own, a sandbox, which moves no money, and two workers.
"""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio

from little_pay_async import AsyncLittlePay, Msisdn
from little_pay_async.integrations.taskiq import settle_many
from little_pay_async.sandbox import Sandbox

HERE = Path(__file__).parent
KEYS = [f"ORDER{number}" for number in range(30)]
WORKERS = 2


@contextmanager
def running(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command)  # noqa: S603 - the commands are below
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def main(folder: str) -> None:
    redis_server = shutil.which("redis-server")
    if redis_server is None:
        sys.exit("redis-server is missing: apt-get install redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    os.environ["REDIS_URL"] = f"redis://127.0.0.1:{port}"
    os.environ["DATABASE"] = f"{folder}/orders.sqlite"
    redis = [redis_server, "--port", port, "--bind", "127.0.0.1", "--dir", folder]
    redis += ["--save", "", "--loglevel", "warning"]
    taskiq = [sys.executable, "-m", "taskiq", "worker", "fleet:broker", "--app-dir", str(HERE)]
    taskiq += ["--workers", str(WORKERS), "--wait-tasks-timeout", "1", "--log-level", "WARNING"]

    with closing(sqlite3.connect(os.environ["DATABASE"])) as database:
        database.execute("CREATE TABLE orders (key TEXT PRIMARY KEY, state TEXT NOT NULL)")
        database.executemany("INSERT INTO orders VALUES (?, 'PENDING')", [(key,) for key in KEYS])
        database.commit()
        async with Sandbox() as sandbox, sandbox.serve() as url:
            os.environ["LITTLE_PAY_BASE_URL"] = url
            for name, value in sandbox.credentials.items():
                os.environ[f"LITTLE_PAY_{name.upper()}"] = str(value)
            with running(*redis), running(*taskiq):
                await pay_for(KEYS)
        for state, count in database.execute("SELECT state, count(*) FROM orders GROUP BY state"):
            print(f"{count} orders are {state}")


async def pay_for(keys: list[str]) -> None:
    sys.path.insert(0, str(HERE))
    from fleet import broker  # noqa: PLC0415 - it takes its addresses from the environment

    while True:
        try:
            await broker.startup()
            break
        except ConnectionError:  # Redis has just been started
            await anyio.sleep(0.1)
    async with AsyncLittlePay() as pay:
        for number, key in enumerate(keys):
            intent = await pay.create_intent(
                amount=100, key=key, description="2 tickets", callback_url="https://shop.example/"
            )
            ends = number % 2 + 1  # completed, declined
            await pay.process(intent, "MPESA", Msisdn.unchecked(f"25470000000{ends}"))
    settling = await settle_many(keys, batch=5)
    while True:
        progress = await settling.progress()
        print(f"{progress.settled} of {progress.keys}", flush=True)
        if progress.settled == progress.keys:
            break
        await anyio.sleep(0.5)
    await broker.shutdown()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(main, folder)
