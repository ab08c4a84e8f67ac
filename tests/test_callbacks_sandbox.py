"""From the sandbox's signature over a real socket to a verified callback, and into a watch."""

import contextlib
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from little_pay_async import (
    AsyncLittlePay,
    CallbackError,
    InvalidSignatureError,
    PaymentStatus,
    StaleCallbackError,
)
from little_pay_async.callbacks import CallbackVerifier, PaymentCallback, RefundCallback
from little_pay_async.sandbox import Sandbox

from .servers import Exchange, ScriptedServer, response
from .signers import BODY, NOW, TIMESTAMP, VERIFIER, signed

pytestmark = pytest.mark.anyio


class Shop:
    """What an app does with callbacks: verified ones are kept and answered 200, others 400."""

    def __init__(self, verifier: CallbackVerifier) -> None:
        self.verifier = verifier
        self.verified: list[PaymentCallback | RefundCallback] = []
        self.refused: list[type[CallbackError]] = []

    async def __call__(self, exchange: Exchange) -> None:
        headers = httpx.Headers(exchange.request.headers)
        try:
            self.verified.append(self.verifier.verify(exchange.request.body, headers))
        except CallbackError as error:
            self.refused.append(type(error))
            await exchange.send(response(b"", "400 Bad Request"))
        else:
            await exchange.send(response(b""))


@contextlib.asynccontextmanager
async def a_payment(sandbox: Sandbox) -> AsyncIterator[AsyncLittlePay]:
    """A session with the sandbox, which has an intent of the key ORDER42."""
    async with AsyncLittlePay(**sandbox.credentials, transport=sandbox.transport) as pay:
        await pay.create_intent(
            amount=1, key="ORDER42", description="1 ticket", callback_url="https://shop.example"
        )
        yield pay


async def until_answered(sandbox: Sandbox, number: int) -> list[int | None]:
    """The statuses with which the shop answered, in order."""
    while len(sandbox.callbacks) < number:
        await anyio.lowlevel.checkpoint()
    return [posted.answer for posted in sandbox.callbacks]


@pytest.mark.asyncio_only  # what the sandbox is served with runs on no other
async def test_a_payment_and_its_refund_over_real_sockets() -> None:
    sandbox = Sandbox(refund_status="PENDING")
    shop = Shop(CallbackVerifier([sandbox.public_key]))
    async with (
        ScriptedServer(shop) as server,
        sandbox,
        sandbox.serve() as url,
        AsyncLittlePay(**sandbox.credentials, base_url=url) as pay,
    ):
        intent = await pay.create_intent(
            amount="1.10",
            key="ORDER42",
            description="2 tickets",
            callback_url=f"{server.base_url}/callbacks",
            billing_address={"phone_number": "254712345678"},
            custom_data={"seats": ["4A", "4B"]},
        )
        await pay.process(intent, "MPESA", "+254712345678")
        sandbox.settle("ORDER42", "COMPLETED")
        assert await until_answered(sandbox, 1) == [200]
        await pay.refund("ORDER42", "0.10", reason="late", callback_url=server.base_url)
        sandbox.settle_refund("ORDER42", "FAILED", "No such account")
        assert await until_answered(sandbox, 2) == [200, 200]
        truth = await pay.status("ORDER42")

    payment, refund = shop.verified
    assert isinstance(payment, PaymentCallback)
    assert payment.to_dict() == {
        "date": payment.date.isoformat(),
        "status": "COMPLETED",
        "reference": intent.reference,
        "key": "ORDER42",
        "amount": "1.10",
        "currency": "KES",
        "provider": "MPESA",
        "billing_address": truth.to_dict()["billing_address"],
        "custom_data": {"seats": ["4A", "4B"]},
    }
    assert payment.billing_address
    assert isinstance(refund, RefundCallback)
    assert refund.to_dict() == {
        "date": refund.date.isoformat(),
        "status": "FAILED",
        "message": "No such account",
        "amount": "0.10",
        "reason": "late",
        "reference": intent.reference,
        "key": "ORDER42",
    }


async def test_forged_and_stale_ones_over_a_real_socket() -> None:
    sandbox = Sandbox()
    shop = Shop(CallbackVerifier([sandbox.public_key]))
    async with ScriptedServer(shop) as server, sandbox, a_payment(sandbox):
        sandbox.settle("ORDER42", "COMPLETED")
        body, headers = sandbox.signed_callback("ORDER42")
        stale, old_headers = sandbox.signed_callback("ORDER42", now=NOW)
        async with httpx.AsyncClient() as attacker:
            for content, said in [
                (body, headers),
                (body.replace(b'"amount":1,', b'"amount":9,'), headers),
                (body, headers | {TIMESTAMP: old_headers[TIMESTAMP]}),
                (stale, old_headers),
                (body, headers | signed(body, headers["X-LittlePay-Timestamp"])),
                (body, {}),
            ]:
                await attacker.post(server.base_url, content=content, headers=said)
    assert [found.key for found in shop.verified] == ["ORDER42"]
    forged = InvalidSignatureError
    assert shop.refused == [forged, forged, StaleCallbackError, forged, forged]


async def test_a_watch_takes_it() -> None:
    async with Sandbox() as sandbox, a_payment(sandbox) as pay:
        # The sandbox's own says PENDING to the end: it is the callback that settles it.
        callback = VERIFIER.verify(BODY, signed(), now=NOW)
        async with pay.watch(["ORDER42"]) as watch:
            assert watch.deliver(callback) is True
            assert watch.deliver(callback) is False
            settlement = await anext(watch)
    assert settlement.key == "ORDER42"
    assert settlement.payment is not None
    assert settlement.payment.status is PaymentStatus.COMPLETED
    assert settlement.payment.raw == callback.raw
