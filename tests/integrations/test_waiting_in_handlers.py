"""Handlers that wait: for clients that leave, when the server stops, and for 500 at once."""

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anyio
import httpx
import pytest

from little_pay_async import AsyncLittlePay, PaymentStatus
from little_pay_async.sandbox import Sandbox

from ..sandboxes import Ledger, waiting
from .serving import client
from .shops import PAYS, SHOPS, on_aiohttps_server, ordered

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest) -> Any:
    return SHOPS[request.param]


@contextlib.asynccontextmanager
async def little_pay() -> AsyncIterator[tuple[Sandbox, Ledger, str, AsyncLittlePay]]:
    """Give a sandbox, its ledger, its address, and a session of our own with it."""
    async with Sandbox() as sandbox, sandbox.serve() as url:
        sandbox.requests = ledger = Ledger()
        async with AsyncLittlePay(**sandbox.credentials, base_url=url) as pay:
            yield sandbox, ledger, url, pay


class Waits:
    """A route that waits, and what became of each time that it did."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self._news = anyio.Event()

    async def __call__(self, pay: AsyncLittlePay, key: str) -> Any:
        try:
            payment = await pay.wait(key, timeout=25)
        except BaseException as error:
            self._note(type(error).__name__)
            raise
        self._note(payment.status.value)
        return payment.to_dict()

    def _note(self, end: str) -> None:
        self.ended.append(end)
        self._news.set()
        self._news = anyio.Event()

    async def until(self, number: int) -> None:
        while len(self.ended) < number:
            await self._news.wait()


async def leave_while_waiting(ledger: Ledger, shop: str, key: str) -> None:
    """Ask for an outcome, and hang up once the shop waits for it."""
    address = httpx.URL(shop)
    polls = len(ledger)
    async with await anyio.connect_tcp(address.host, address.port or 80) as stream:
        await stream.send(f"GET /outcome/{key} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        await ledger.until(polls + 1)


async def test_a_client_that_leaves_harms_nobody(
    shop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = Waits()
    async with little_pay() as (sandbox, ledger, url, pay):
        await ordered(pay, "ORDER1")
        async with shop(url, outcome=outcome) as base_url, client(base_url) as http:
            await leave_while_waiting(ledger, base_url, "ORDER1")
            assert outcome.ended == []
            assert waiting(sandbox, "ORDER1") == 1
            # Neither server ends a handler because its client left: it goes on.
            sandbox.settle("ORDER1", "COMPLETED")
            await outcome.until(1)
            assert outcome.ended == ["COMPLETED"]
            assert waiting(sandbox, "ORDER1") == 0
            assert (await http.get("/outcome/ORDER1")).json()["status"] == "COMPLETED"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_where_a_server_cancels_the_handler_the_poll_is_let_go() -> None:
    outcome = Waits()
    async with little_pay() as (sandbox, ledger, url, pay):
        await ordered(pay, "ORDER1")
        async with on_aiohttps_server(url, outcome=outcome, handler_cancellation=True) as base_url:
            await leave_while_waiting(ledger, base_url, "ORDER1")
            await outcome.until(1)
            assert outcome.ended == ["CancelledError"]
            async with client(base_url) as http:
                sandbox.settle("ORDER1", "COMPLETED")
                assert (await http.get("/outcome/ORDER1")).json()["status"] == "COMPLETED"


async def test_a_server_that_stops_ends_what_waits_and_loses_nothing(shop: Any) -> None:
    keys = [f"ORDER{number}" for number in range(5)]
    outcome = Waits()

    async def ask(base_url: str, key: str) -> None:
        async with client(base_url) as http:
            with contextlib.suppress(httpx.TransportError):
                assert (await http.get(f"/outcome/{key}")).status_code == 500

    async with little_pay() as (sandbox, ledger, url, pay), anyio.create_task_group() as tasks:
        for key in keys:
            await ordered(pay, key)
        polls = len(ledger)
        async with shop(url, outcome=outcome, grace=0.2) as base_url:
            for key in keys:
                tasks.start_soon(ask, base_url, key)
            await ledger.until(polls + len(keys))
            began = time.monotonic()
        assert time.monotonic() - began < 8
        assert Counter(outcome.ended) == {"CancelledError": len(keys)}
        # Nothing was sent for them but polls, and who asks again gets the outcome.
        assert sandbox.count("process") == sandbox.count("create_intent") == len(keys)
        async with shop(url, outcome=outcome) as base_url, client(base_url) as http:
            for key in keys:
                sandbox.settle(key, "COMPLETED")
                assert (await http.get(f"/outcome/{key}")).json()["status"] == "COMPLETED"


CHECKOUTS = 500


def test_500_checkouts_at_once(shop: Any, record_property: Any) -> None:
    # Not bounded as async tests are: it is much work, and who else uses the machine is not known.
    figure = anyio.run(buy_at_once, shop, backend_options={"use_uvloop": True})
    record_property("figure", figure)
    print(figure)  # noqa: T201 - pytest -rP shows it


async def buy_at_once(shop: Any) -> str:
    called_back: Counter[str] = Counter()
    all_called_back = anyio.Event()
    bought: dict[str, str] = {}
    keys = [f"ORDER{number}" for number in range(CHECKOUTS)]

    async def on_callback(callback: Any) -> None:
        called_back[callback.key] += callback.status is PaymentStatus.COMPLETED
        if len(called_back) == CHECKOUTS:
            all_called_back.set()

    async def checkout(pay: AsyncLittlePay, key: str) -> Any:
        reference = await ordered(pay, key, base_url, mobile=PAYS)
        return (await pay.wait(reference, timeout=100)).to_dict()

    async def buy(http: aiohttp.ClientSession, key: str) -> None:
        async with http.get(f"/checkout/{key}") as answer:
            bought[key] = (await answer.json())["status"]

    async with (
        Sandbox() as sandbox,
        sandbox.serve() as url,
        shop(url, on_callback=on_callback, checkout=checkout) as base_url,
        aiohttp.ClientSession(base_url, connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        began, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(buy, http, key)
        await all_called_back.wait()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert bought == dict.fromkeys(keys, "COMPLETED")
    assert called_back == dict.fromkeys(keys, 1)
    for operation in ("create_intent", "process"):
        assert sandbox.count(operation) == CHECKOUTS
    return f"{CHECKOUTS} checkouts at once: {seconds:.1f} s, {cpu:.1f} s of CPU"
