"""A watch for the app's life, fed by callbacks and polls: each payment settles once."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from little_pay_async import AsyncLittlePay, Settlement, Watch
from little_pay_async.sandbox import Sandbox, Weather, signing

from ..sandboxes import Ledger, waiting
from .serving import PATH, client
from .shops import SHOPS, ordered

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest) -> Any:
    return SHOPS[request.param]


class Desk:
    """What an app does: a watch as long as it lives, and callbacks delivered to it."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.watch: Watch
        self.settled: list[Settlement] = []
        self.delivered: list[bool] = []
        self.pending: tuple[str, ...] = ()
        self._news = anyio.Event()

    @contextlib.asynccontextmanager
    async def open(self, pay: AsyncLittlePay) -> AsyncIterator[None]:
        async with pay.watch() as self.watch, anyio.create_task_group() as tasks:
            for key in self.keys:
                self.watch.add(key)
            tasks.start_soon(self._settle)
            yield
            tasks.cancel_scope.cancel()
        self.pending = self.watch.pending

    async def on_callback(self, callback: Any) -> None:
        self.delivered.append(self.watch.deliver(callback))

    async def until(self, number: int) -> None:
        while len(self.settled) < number:
            await self._news.wait()

    async def _settle(self) -> None:
        async for settlement in self.watch:
            self.settled.append(settlement)
            self._news.set()
            self._news = anyio.Event()


@contextlib.asynccontextmanager
async def opened(shop: Any, desk: Desk) -> AsyncIterator[tuple[Sandbox, Ledger, str]]:
    """Give a sandbox that knows the desk's payments, its ledger, and the shop that watches them."""
    async with Sandbox() as sandbox, sandbox.serve() as url:
        sandbox.requests = ledger = Ledger()
        async with AsyncLittlePay(**sandbox.credentials, base_url=url) as pay:
            for key in desk.keys:
                await ordered(pay, key)
        orders = len(ledger)
        async with shop(url, on_callback=desk.on_callback, around=desk.open) as base_url:
            await ledger.until(orders + len(desk.keys))  # each has its poll
            yield sandbox, ledger, base_url


async def call_back(shop: str, body: bytes, headers: dict[str, str]) -> int:
    async with client(shop) as http:
        return (await http.post(PATH, content=body, headers=headers)).status_code


async def test_the_callback_comes_first(shop: Any) -> None:
    desk = Desk("ORDER1")
    async with opened(shop, desk) as (sandbox, _, base_url):
        entry = sandbox.book.find("ORDER1")
        assert entry is not None
        entry.status = "COMPLETED"  # but its held poll is not answered
        assert await call_back(base_url, *sandbox.signed_callback("ORDER1")) == 200
        await desk.until(1)
        assert desk.delivered == [True]
        # The poll that was parked is let go, so that no second answer can come.
        while waiting(sandbox, "ORDER1"):
            await anyio.lowlevel.checkpoint()
        assert await call_back(base_url, *sandbox.signed_callback("ORDER1")) == 200
        assert desk.delivered == [True, False]
    (settlement,) = desk.settled
    assert settlement.payment is not None
    assert settlement.payment.status.value == "COMPLETED"
    assert settlement.polls == 1
    assert desk.pending == ()


async def test_the_poll_comes_first(shop: Any) -> None:
    desk = Desk("ORDER1")
    async with opened(shop, desk) as (sandbox, _, base_url):
        sandbox.settle("ORDER1", "FAILED", "The payer declined")
        await desk.until(1)
        assert await call_back(base_url, *sandbox.signed_callback("ORDER1")) == 200
    assert desk.delivered == [False]
    (settlement,) = desk.settled
    assert settlement.payment is not None
    assert settlement.payment.message == "The payer declined"


async def test_both_come_at_once(shop: Any) -> None:
    keys = [f"ORDER{number}" for number in range(20)]
    desk = Desk(*keys)
    async with opened(shop, desk) as (sandbox, _, base_url), anyio.create_task_group() as tasks:
        for key in keys:
            sandbox.settle(key, "COMPLETED")
            tasks.start_soon(call_back, base_url, *sandbox.signed_callback(key))
        await desk.until(len(keys))
    assert sorted(settlement.key for settlement in desk.settled) == sorted(keys)
    assert len(desk.delivered) == len(keys)
    assert all(settlement.error is None for settlement in desk.settled)


async def test_a_forged_callback_settles_nothing(shop: Any) -> None:
    desk = Desk("ORDER1")
    async with opened(shop, desk) as (sandbox, _, base_url):
        entry = sandbox.book.find("ORDER1")
        assert entry is not None
        entry.status = "COMPLETED"
        body, headers = sandbox.signed_callback("ORDER1")
        entry.status = "PENDING"
        altered = body.replace(b'"amount":100', b'"amount":1')
        assert altered != body
        assert await call_back(base_url, altered, headers) == 400
        late = signing.signed(body, int(time.time()) - 3600)
        assert await call_back(base_url, body, late) == 400
        assert desk.delivered == []
        assert desk.settled == []
        assert desk.watch.pending == ("ORDER1",)
        sandbox.settle("ORDER1", "FAILED")
        await desk.until(1)
    (settlement,) = desk.settled
    assert settlement.payment is not None
    assert settlement.payment.status.value == "FAILED"


async def test_a_callback_before_process_returned(shop: Any) -> None:
    """The payer was quick, and the answer to process is late: the watch must know the key first."""
    desk = Desk()
    async with Sandbox() as sandbox, sandbox.serve() as url:
        called_back = anyio.Event()

        async def on_callback(callback: Any) -> None:
            await desk.on_callback(callback)
            called_back.set()

        async def checkout(pay: AsyncLittlePay, key: str) -> Any:
            desk.watch.add(key)
            await ordered(pay, key, base_url)
            assert called_back.is_set()
            return "ordered"

        async with shop(
            url, on_callback=on_callback, around=desk.open, checkout=checkout
        ) as base_url:
            sandbox.weather = Weather(kind="slow", operation="process", seconds=1.0)
            sandbox.requests = ledger = Ledger()
            async with client(base_url) as http, anyio.create_task_group() as tasks:
                tasks.start_soon(http.get, "/checkout/ORDER1")
                while sandbox.count("process") == 0:
                    await ledger.until(len(ledger) + 1)
                await anyio.lowlevel.checkpoint()
                sandbox.settle("ORDER1", "COMPLETED")
    assert [settlement.key for settlement in desk.settled] == ["ORDER1"]


async def test_a_graceful_shutdown_reports_what_is_pending(shop: Any) -> None:
    keys = [f"ORDER{number}" for number in range(10)]
    desk = Desk(*keys)
    async with opened(shop, desk) as (sandbox, _, _base_url):
        for key in keys[:3]:
            sandbox.settle(key, "COMPLETED")
        await desk.until(3)
        began = time.monotonic()
    assert time.monotonic() - began < 8
    assert sorted(settlement.key for settlement in desk.settled) == keys[:3]
    assert desk.pending == tuple(keys[3:])


async def test_what_was_pending_is_resumed_by_the_next_start(shop: Any) -> None:
    keys = [f"ORDER{number}" for number in range(5)]
    first = Desk(*keys)
    async with Sandbox() as sandbox, sandbox.serve() as url:
        sandbox.requests = ledger = Ledger()
        async with AsyncLittlePay(**sandbox.credentials, base_url=url) as pay:
            for key in keys:
                await ordered(pay, key)
        async with shop(url, on_callback=first.on_callback, around=first.open):
            await ledger.until(3 * len(keys))
            sandbox.settle(keys[0], "COMPLETED")
            await first.until(1)
        sandbox.settle(keys[1], "COMPLETED")  # while the app is down: nobody takes the callback
        second = Desk(*first.pending)
        async with shop(url, on_callback=second.on_callback, around=second.open):
            for key in keys[2:]:
                sandbox.settle(key, "COMPLETED")
            await second.until(4)
    settled = [settlement.key for settlement in first.settled + second.settled]
    assert sorted(settled) == keys


async def test_deliver_from_a_thread_is_an_error_and_loses_nothing(
    shop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A sync on_callback runs in a worker thread, and a watch belongs to its event loop."""
    desk = Desk("ORDER1")

    def on_callback(callback: Any) -> None:
        for use in (lambda: desk.watch.add("X"), desk.watch.close):
            with pytest.raises(RuntimeError, match="async def"):
                use()
        desk.watch.deliver(callback)

    async with Sandbox() as sandbox, sandbox.serve() as url:
        async with AsyncLittlePay(**sandbox.credentials, base_url=url) as pay:
            await ordered(pay, "ORDER1")
        async with shop(url, on_callback=on_callback, around=desk.open) as base_url:
            entry = sandbox.book.find("ORDER1")
            assert entry is not None
            entry.status = "COMPLETED"
            assert await call_back(base_url, *sandbox.signed_callback("ORDER1")) == 500
            entry.wake()
            await desk.until(1)
    assert [settlement.key for settlement in desk.settled] == ["ORDER1"]
    assert "in the thread of its event loop only" in caplog.text
