"""The examples run as their documents say: each in a process of its own, on a free port."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from little_pay_async.sandbox import Sandbox

from .integrations.serving import free_port
from .sandboxes import PATIENCE, PLAIN
from .test_documents import blocks

ROOT = Path(__file__).parent.parent
WITHOUT_CREDENTIALS = {
    name: value for name, value in os.environ.items() if not name.startswith("LITTLE_PAY_")
}


class Example:
    """An example that runs, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""

    def until(self, text: str) -> str:
        """Read what it says up to a line with that in it; return the line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}:\n{self.said}")

    def stop(self, signum: int = signal.SIGTERM) -> str:
        """End it, and return all that it said."""
        self.process.send_signal(signum)
        self.said += self.process.communicate(timeout=20)[0]
        if signum == signal.SIGTERM:
            assert "Traceback" not in self.said, self.said
        return self.said


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], begun: str) -> Iterator[Example]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", *command],
        cwd=ROOT,
        env=WITHOUT_CREDENTIALS | environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    example = Example(process)
    try:
        example.until(begun)
        yield example
        if process.poll() is None:
            example.stop()
    finally:
        process.kill()
        process.communicate()


def as_documented(document: str, port: str) -> list[list[str]]:
    """Return the commands of a document's end as a shell would split them, for another port."""
    shown = [line for block in blocks(document, "shell") for line in block.splitlines()]
    curls = [line for line in shown if line.startswith("curl")]
    assert len(curls) == 2
    own = re.search(r"http://127\.0\.0\.1:(\d+)", curls[0])
    assert own is not None
    return [shlex.split(line.replace(f":{own[1]}", f":{port}")) for line in curls]


def test_the_readme_has_the_commands_of_the_shop() -> None:
    shown = "".join(blocks("README.md", "shell"))
    for block in blocks("docs/fastapi.md", "shell")[1:]:
        for line in block.splitlines():
            assert line.removeprefix("pip install ") in shown


def run_shop(port: int, tmp_path: Path, **environment: str) -> Any:
    command = "uvicorn --app-dir examples/fastapi_shop shop:app"
    assert command in "".join(blocks("docs/fastapi.md", "shell"))
    return running(
        ["-m", *command.split(), "--port", str(port), "--no-access-log"],
        environment
        | {
            "SHOP_URL": f"http://127.0.0.1:{port}",
            "SHOP_DATABASE": str(tmp_path / "shop.sqlite3"),
        },
        "Uvicorn running on",
    )


def run(words: list[str]) -> Any:
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="the documents use curl")


@needs_curl
def test_the_shop_as_documented(tmp_path: Path) -> None:
    port = free_port()
    order, look = as_documented("docs/fastapi.md", str(port))
    with run_shop(port, tmp_path) as shop:
        key = run(order)["key"]
        shop.until(f"order {key} is COMPLETED")
        found = run([word.replace("KEY", key) for word in look])
        assert found == {"key": key, "tickets": 2, "amount": 100, "status": "COMPLETED"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=PLAIN) as http:
            assert "Pay with M-PESA" in http.get("/").text
            assert http.get("/orders/NONE").status_code == 404
            refused = http.post("/orders", json={"tickets": 11, "mobile": "1"})
            assert refused.status_code == 422
            declined = http.post("/orders", json={"tickets": 1, "mobile": "254700000002"}).json()
        shop.until(f"order {declined['key']} is FAILED")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_shops_orders_survive_a_restart(end: int, tmp_path: Path) -> None:
    anyio.run(partial(order_and_restart, end, tmp_path))


async def order_and_restart(end: int, tmp_path: Path) -> None:
    port = free_port()
    in_thread = anyio.to_thread.run_sync
    async with (
        Sandbox() as sandbox,
        sandbox.serve() as url,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", verify=PLAIN, timeout=PATIENCE, trust_env=False
        ) as http,
    ):
        environment = {
            f"LITTLE_PAY_{name.upper()}": str(value) for name, value in sandbox.credentials.items()
        }
        environment |= {"LITTLE_PAY_BASE_URL": url, "CALLBACK_PUBLIC_KEY": sandbox.public_key}
        shop = run_shop(port, tmp_path, **environment)
        first = await in_thread(shop.__enter__)
        keys = []
        for _ in range(3):
            made = await http.post("/orders", json={"tickets": 1, "mobile": "+254712345678"})
            keys.append(made.json()["key"])
        said = await in_thread(first.stop, end)
        if end == signal.SIGTERM:
            assert "3 orders are pending" in said
        await in_thread(shop.__exit__, None, None, None)

        sandbox.settle(keys[0], "COMPLETED")  # nobody takes its callback
        shop = run_shop(port, tmp_path, **environment)
        second = await in_thread(shop.__enter__)
        await in_thread(second.until, f"order {keys[0]} is COMPLETED")
        sandbox.settle(keys[1], "COMPLETED")
        await in_thread(second.until, f"order {keys[1]} is COMPLETED")
        sandbox.settle(keys[2], "FAILED")
        await in_thread(second.until, f"order {keys[2]} is FAILED")
        statuses = [(await http.get(f"/orders/{key}")).json()["status"] for key in keys]
        said = await in_thread(second.stop)
        await in_thread(shop.__exit__, None, None, None)
    assert statuses == ["COMPLETED", "COMPLETED", "FAILED"]
    assert "0 orders are pending" in said
    for key in keys:
        assert said.count(f"order {key} is") == 1
    assert sandbox.count("process") == len(keys)
    answers = {(callback.key, callback.answer) for callback in sandbox.callbacks}
    assert {(keys[1], 200), (keys[2], 200)} <= answers


@needs_curl
def test_the_aiohttp_service_as_documented() -> None:
    port = str(free_port())
    start, outcome = as_documented("docs/aiohttp.md", port)
    command = "python examples/aiohttp_service.py"
    assert command in "".join(blocks("docs/aiohttp.md", "shell"))
    with running(command.split()[1:], {"PORT": port}, "Running on") as service:
        key = run(start)["key"]
        found = run([word.replace("KEY", key) for word in outcome])
        assert found == {"status": "COMPLETED", "amount": "100"}
        service.until(f"called back: {key} COMPLETED")
