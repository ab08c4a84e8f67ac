"""Tests of a shop, as a user writes them for the pytest plugin that comes with anyio."""

import time
from collections.abc import AsyncIterator

import anyio
import pytest

from little_pay_async import AsyncLittlePay, Msisdn, PaymentStatus
from little_pay_async.sandbox import Sandbox

pytestmark = pytest.mark.anyio
TWO_MINUTES = 120.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    if request.param == "asyncio":
        return "asyncio"
    testing = pytest.importorskip("trio.testing")
    return ("trio", {"clock": testing.MockClock(rate=1)})


@pytest.fixture
async def ringing(little_pay: AsyncLittlePay) -> AsyncIterator[str]:
    intent = await little_pay.create_intent(
        amount=100, key="ORDER42", description="2 tickets", callback_url="https://shop.example/paid"
    )
    await little_pay.process(intent, "MPESA", Msisdn.unchecked("254700000003"))
    yield "ORDER42"
    await little_pay.status("ORDER42")  # it is closed after this


async def test_paid(ringing: str, little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox) -> None:
    little_pay_sandbox.settle(ringing, "COMPLETED")
    assert (await little_pay.wait(ringing)).status is PaymentStatus.COMPLETED


async def test_two_minutes_cost_none(
    ringing: str, little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox
) -> None:
    began = time.monotonic()
    settled = []

    async def wait() -> None:
        settled.append(await little_pay.wait(ringing))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await little_pay_sandbox.advance(TWO_MINUTES)
        assert settled == []
        little_pay_sandbox.settle(ringing, "COMPLETED")
    assert settled[0].status is PaymentStatus.COMPLETED
    assert time.monotonic() - began < TWO_MINUTES / 4


async def test_half_an_hour(
    ringing: str, little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox
) -> None:
    await little_pay_sandbox.advance(1_801)
    payment = await little_pay.status(ringing)
    assert payment.status is PaymentStatus.FAILED  # the intent has expired
