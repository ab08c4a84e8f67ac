"""Tests of a shop, as a user writes them for pytest-asyncio's strict mode."""

import asyncio
import time

import pytest

from little_pay_async import AsyncLittlePay, Msisdn, PaymentStatus, SettlementTimeoutError
from little_pay_async.callbacks import CallbackVerifier, PaymentCallback
from little_pay_async.sandbox import Sandbox

TWO_MINUTES = 120.0
NUMBER = "+254712345678"


async def ring(pay: AsyncLittlePay, key: str = "ORDER42", mobile: Msisdn | str = NUMBER) -> None:
    intent = await pay.create_intent(
        amount=100, key=key, description="2 tickets", callback_url="https://shop.example/paid"
    )
    await pay.process(intent, "MPESA", mobile)


@pytest.mark.asyncio
async def test_paid(little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox) -> None:
    await ring(little_pay)
    little_pay_sandbox.settle("ORDER42", "COMPLETED")
    assert (await little_pay.wait("ORDER42")).status is PaymentStatus.COMPLETED
    assert little_pay_sandbox.count("process") == 1


@pytest.mark.asyncio
async def test_sandbox_is_new_for_each_test(little_pay_sandbox: Sandbox) -> None:
    assert little_pay_sandbox.requests == []


@pytest.mark.asyncio
async def test_two_minutes_cost_none(
    little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox
) -> None:
    began = time.monotonic()
    await ring(little_pay)
    waiting = asyncio.create_task(little_pay.wait("ORDER42"))
    await little_pay_sandbox.advance(TWO_MINUTES)
    assert not waiting.done()
    held = [request for request in little_pay_sandbox.requests if request.held]
    assert len(held) == 2  # a hold is a minute; asked again, it is held again
    little_pay_sandbox.settle("ORDER42", "COMPLETED")
    assert (await waiting).status is PaymentStatus.COMPLETED
    assert time.monotonic() - began < TWO_MINUTES / 4


@pytest.mark.asyncio
async def test_nobody_answers(little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox) -> None:
    await ring(little_pay)
    waiting = asyncio.create_task(little_pay.wait("ORDER42", timeout=TWO_MINUTES))
    await little_pay_sandbox.advance(TWO_MINUTES - 1)
    assert not waiting.done()
    await little_pay_sandbox.advance(2)
    with pytest.raises(SettlementTimeoutError):
        await waiting


@pytest.mark.asyncio
async def test_magic_number_in_its_time(
    little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox
) -> None:
    await ring(little_pay, mobile=Msisdn.unchecked("254700000005"))
    await little_pay_sandbox.advance(4.5)
    assert (await little_pay.status("ORDER42")).status is PaymentStatus.PENDING
    await little_pay_sandbox.advance(1)
    assert (await little_pay.status("ORDER42")).status is PaymentStatus.COMPLETED


@pytest.mark.asyncio
async def test_signed_callback(little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox) -> None:
    await ring(little_pay)
    little_pay_sandbox.settle("ORDER42", "COMPLETED")
    body, headers = little_pay_sandbox.signed_callback("ORDER42")
    callback = CallbackVerifier([little_pay_sandbox.public_key]).verify(body, headers)
    assert isinstance(callback, PaymentCallback)
    assert (callback.key, callback.status) == ("ORDER42", PaymentStatus.COMPLETED)


@pytest.mark.asyncio
async def test_left_while_it_rings(little_pay: AsyncLittlePay) -> None:
    await ring(little_pay, mobile=Msisdn.unchecked("254700000005"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(little_pay.wait("ORDER42"), 0.01)


def test_without_an_event_loop(little_pay: AsyncLittlePay, little_pay_sandbox: Sandbox) -> None:
    async def buy() -> PaymentStatus:
        await ring(little_pay, mobile=Msisdn.unchecked("254700000001"))
        return (await little_pay.wait("ORDER42")).status

    assert asyncio.run(buy()) is PaymentStatus.COMPLETED
    assert little_pay_sandbox.count("process") == 1
