"""What a user's type checker sees of the public names. Checked by mypy and pyright, never run."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import assert_type

import httpx

from little_pay_async import (
    APIStatusError,
    AsyncLittlePay,
    Attempt,
    Envelope,
    LittlePayError,
    Msisdn,
    OutcomeUnknownError,
    Payment,
    PaymentIntent,
    PaymentStatus,
    Provider,
    Refund,
    Settlement,
    SettlementTimeoutError,
    Watch,
    WatchStatistics,
)
from little_pay_async.callbacks import (
    LITTLE_PAY_PUBLIC_KEY,
    CallbackVerifier,
    PaymentCallback,
    RefundCallback,
)


async def secret_from_a_vault() -> str:
    return "secret"


async def sessions() -> None:
    async with AsyncLittlePay() as pay:
        assert_type(pay, AsyncLittlePay)
        assert_type(pay.http, httpx.AsyncClient)
        assert_type(pay.with_options(timeout=None, hold=10, max_retries=0), AsyncLittlePay)
    AsyncLittlePay(api_key=secret_from_a_vault, client_secret=lambda: "secret", timeout=None)
    AsyncLittlePay(
        timeout=httpx.Timeout(5), transport=httpx.MockTransport(lambda _: httpx.Response(200))
    )
    AsyncLittlePay("key")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] - by keyword only


async def one_payment(pay: AsyncLittlePay) -> None:
    intent = await pay.create_intent(
        amount=Decimal("1.10"),
        key="ORDER42",
        description="2 tickets",
        callback_url="https://shop.example/callbacks",
        expires_in=timedelta(minutes=5),
        billing_address={"email": "payer@example.com"},
    )
    assert_type(intent, PaymentIntent)
    assert_type(intent.reference, str | None)
    assert_type(await pay.process(intent, Provider.MPESA, "+254712345678"), Payment)
    assert_type(await pay.process("ref", "MPESA", Msisdn.parse("0712345678", "KE")), Payment)
    assert_type(await pay.status(intent), Payment)
    assert_type(await pay.long_poll("ORDER42", hold=5), Payment)
    payment = await pay.wait("ORDER42", timeout=None)
    assert_type(payment.status, PaymentStatus)
    assert_type(payment.status.is_final, bool)
    assert_type(payment.amount, Decimal | None)
    assert_type(payment.date, datetime)
    assert_type(payment.attempts, tuple[Attempt, ...])
    assert_type(await pay.refund(payment, "1.10", reason="returned"), Refund)
    assert_type(await pay.request("GET", "/api/other", auth=None), Envelope)
    await pay.create_intent(amount=1.1, key="K", description="", callback_url="")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - no floats for money


async def many_payments(pay: AsyncLittlePay, keys: AsyncIterator[str]) -> None:
    for key, found in (await pay.check(["A", "B"])).items():
        assert_type(key, str)
        assert_type(found, Payment | LittlePayError)
    async with pay.watch(keys, timeout=300, max_in_flight=10) as watch:
        assert_type(watch, Watch)
        async for settlement in watch:
            assert_type(settlement, Settlement)
            assert_type(settlement.payment, Payment | None)
            assert_type(settlement.error, LittlePayError | None)
        assert_type(watch.pending, tuple[str, ...])
        assert_type(watch.statistics(), WatchStatistics)
        watch.add("C")
        watch.close()


async def errors(pay: AsyncLittlePay) -> None:
    try:
        await pay.wait("ORDER42")
    except SettlementTimeoutError as error:
        assert_type(error.key, str | None)
    except APIStatusError as error:
        assert_type(error.status_code, int)
        assert_type(error.retry_after, float | None)
    except OutcomeUnknownError as error:
        assert_type(error.operation, str)


def callbacks(body: bytes, headers: Mapping[str, str], watch: Watch) -> None:
    verifier = CallbackVerifier((LITTLE_PAY_PUBLIC_KEY, b"PEM"), tolerance=60)
    callback = verifier.verify(body, headers)
    assert_type(callback, PaymentCallback | RefundCallback)
    assert_type(verifier.verify(body, httpx.Headers(), now=1), PaymentCallback | RefundCallback)
    assert_type(watch.deliver(callback), bool)
    assert_type(callback.status, PaymentStatus)
    assert_type(callback.amount, Decimal | None)
    if isinstance(callback, PaymentCallback):
        assert_type(callback.provider, Provider | None)
    else:
        assert_type(callback.reason, str | None)
    verifier.verify(body.decode(), headers)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
