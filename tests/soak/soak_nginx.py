"""A proxy that loses patience before the hold is over: its 504 ends a hold, and nothing more."""

import asyncio
import itertools
import shutil
import time
from pathlib import Path

import attrs
import httpx
import pytest

from little_pay_async import AsyncLittlePay, Settlement

from ..servers import refusing_port
from ..sessions import CREDENTIALS
from .parked import parking, report

KEYS = 200
SECONDS = 12.0
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_read_timeout {patience}; }}
  }}
}}
"""


@attrs.define
class Watched:
    """What came of it: settlements, 504s, retries, tokens of the budget spent, times of polls."""

    settlements: list[Settlement] = attrs.field(factory=list)
    timeouts: int = 0
    retries: int = 0
    spent: float = 0.0
    polls: dict[str, list[float]] = attrs.field(factory=dict)


async def until_it_listens(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def watch_through(folder: Path, patience: str) -> Watched:
    watched = Watched()

    async def note(request: httpx.Request) -> None:
        watched.polls.setdefault(request.url.path, []).append(time.monotonic())

    async def count(response: httpx.Response) -> None:
        watched.timeouts += response.status_code == 504

    async with parking() as server:
        port = refusing_port()
        file = folder / "nginx.conf"
        file.write_text(
            CONFIGURATION.format(folder=folder, port=port, behind=server.port, patience=patience)
        )
        assert NGINX is not None
        nginx = await asyncio.create_subprocess_exec(NGINX, "-p", str(folder), "-c", str(file))
        try:
            await until_it_listens(port)
            pay = AsyncLittlePay(**CREDENTIALS, base_url=f"http://127.0.0.1:{port}")
            pay.http.event_hooks = {"request": [note], "response": [count]}
            budget = pay._session.retries.budget
            async with pay, pay.watch(f"K{number}" for number in range(KEYS)) as watch:
                await asyncio.sleep(SECONDS)
                server.settle()
                async with asyncio.timeout(60):
                    watched.settlements = [settlement async for settlement in watch]
                watched.retries = watch.statistics().retries
                watched.spent = budget.capacity - budget.tokens
        finally:
            nginx.terminate()
            await nginx.wait()
    return watched


@pytest.mark.skipif(NGINX is None, reason="there is no nginx here: apt-get install nginx-light")
@pytest.mark.parametrize("patience", ["2s", "300ms"])
def test_a_gateway_timeout_is_the_end_of_a_hold(patience: str, tmp_path: Path) -> None:
    watched = asyncio.run(watch_through(tmp_path, patience))
    settlements = watched.settlements
    assert len({one.key for one in settlements}) == len(settlements) == KEYS
    assert all(one.error is None for one in settlements)
    assert watched.timeouts >= KEYS
    assert watched.retries == 0
    assert watched.spent == 0
    polls = watched.polls.values()
    most = max(map(len, polls))
    shortest = min(after - before for times in polls for before, after in itertools.pairwise(times))
    assert shortest > 0.9  # a second, less what lies between its beginning and the hook
    text = (
        f"{KEYS} keys through nginx that gives up after {patience}: {watched.timeouts:,} times "
        f"504, all settled, no error, no retry paid for; at most {most} polls of a key in "
        f"{SECONDS:.0f} s, never less than {shortest:.2f} s apart"
    )
    report(f"nginx, {patience}", text)
