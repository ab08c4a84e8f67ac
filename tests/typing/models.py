"""What a user's type checker refuses of results and numbers. Checked, never run."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, assert_type

from little_pay_async import (
    BillingAddress,
    InvalidInputError,
    LittlePayError,
    Msisdn,
    Payment,
    PaymentStatus,
    Provider,
    Refund,
    SessionClosedError,
)


def results_are_made_by_keyword_and_stay_as_they_are(payment: Payment) -> None:
    payment.amount = Decimal(1)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] - frozen
    Refund(datetime.now(UTC), PaymentStatus.PENDING)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] - by keyword only
    BillingAddress(phone="+254712345678")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] - it is phone_number
    assert_type(payment.to_dict(), dict[str, Any])
    assert_type(payment.billing_address, BillingAddress | None)
    assert_type(payment.provider, Provider | None)


def enums_are_open_and_are_strings(payment: Payment) -> str:
    assert_type(PaymentStatus("REVERSED"), PaymentStatus)
    assert_type(Provider("FUTURE").is_known, bool)
    return payment.status


def numbers(msisdn: Msisdn) -> None:
    assert_type(Msisdn.parse("+254712345678"), Msisdn)
    assert_type(Msisdn.unchecked("25400000000"), Msisdn)
    assert_type(msisdn.likely_provider, Provider | None)
    Msisdn.parse(254712345678)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - no int


def errors_are_what_python_calls_them_too(
    closed: SessionClosedError, invalid: InvalidInputError
) -> tuple[RuntimeError, ValueError, LittlePayError]:
    return closed, invalid, invalid
