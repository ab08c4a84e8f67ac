"""Two worker processes behind one port: one waits, the callback reaches the other."""

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx

from little_pay_async import AsyncLittlePay
from little_pay_async.sandbox import Sandbox

from ..sandboxes import Ledger
from .serving import PATH, client, free_port
from .shops import ordered

HERE = Path(__file__).parent
UVICORN = [
    "-m",
    "uvicorn",
    "--app-dir",
    str(HERE),
    "worker_app:app",
    "--workers",
    "2",
    "--no-access-log",
]


@contextlib.contextmanager
def two_workers(environment: dict[str, str]) -> Iterator[str]:
    """Run the app in two processes; give its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, *UVICORN, "--port", str(port)],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        for _ in range(2):
            assert any("startup complete" in line for line in lines)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        rest = process.communicate(timeout=20)[1]
    assert process.returncode == 0, rest
    assert "Traceback" not in rest


@contextlib.asynccontextmanager
async def one_client_for_each(url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Give two clients, whose connections lead to different processes."""
    async with contextlib.AsyncExitStack() as clients:
        found: dict[int, httpx.AsyncClient] = {}
        for _ in range(1_000):  # who takes a connection is up to the system
            http = await clients.enter_async_context(client(url))
            found.setdefault((await http.get("/seen")).json()["pid"], http)
            if len(found) == 2:
                break
        yield list(found.values())


def test_the_waiters_own_poll_finds_what_another_worker_was_told() -> None:
    # Not bounded as async tests are: starting processes takes long where others work too.
    anyio.run(wait_in_one_and_call_back_the_other)


async def wait_in_one_and_call_back_the_other() -> None:
    answers: list[httpx.Response] = []

    async def wait(waiter: httpx.AsyncClient) -> None:
        await waiter.post("/watch/ORDER1")
        answers.append(await waiter.get("/outcome/ORDER1"))

    async with Sandbox() as sandbox, sandbox.serve() as url:
        sandbox.requests = ledger = Ledger()
        async with AsyncLittlePay(**sandbox.credentials, base_url=url) as pay:
            await ordered(pay, "ORDER1")
        entry = sandbox.book.find("ORDER1")
        assert entry is not None
        environment = {
            f"LITTLE_PAY_{name.upper()}": str(value) for name, value in sandbox.credentials.items()
        }
        environment |= {"LITTLE_PAY_BASE_URL": url, "PUBLIC_KEY": sandbox.public_key}
        orders = len(ledger)
        with two_workers(environment) as base_url:
            async with one_client_for_each(base_url) as (waiter, other):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait, waiter)
                    await ledger.until(orders + 2)  # its watch and its wait have their polls
                    entry.status = "COMPLETED"
                    body, headers = sandbox.signed_callback("ORDER1")
                    answer = await other.post(PATH, content=body, headers=headers)
                    assert answer.status_code == 200
                    assert answers == []  # the callback does not reach it...
                    entry.wake()  # ... but its own poll does
                assert answers[0].json()["status"] == "COMPLETED"
                first, second = [(await http.get("/seen")).json() for http in (waiter, other)]
    assert first == {"pid": first["pid"], "delivered": [], "settled": ["ORDER1"]}
    assert second == {"pid": second["pid"], "delivered": [False], "settled": []}
    assert first["pid"] != second["pid"]
