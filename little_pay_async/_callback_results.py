"""What callbacks become: attrs classes as all results are. Public in `callbacks`."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs

from little_pay_async import _masking
from little_pay_async._models import (
    BillingAddress,
    PaymentStatus,
    Provider,
    Result,
    masked,
    raw_field,
)


@attrs.frozen(kw_only=True)
class PaymentCallback(Result):
    """What Little Pay called back to say of a payment (API facts: Callbacks).

    It may come twice, late, or before `process` has returned, and says nothing of later changes.
    At least one of `reference` and `key` is there.

    Attributes:
        date: When it happened, UTC, as Little Pay says.
        status: COMPLETED or FAILED; anything else is kept, and not final.
        reference: Little Pay's id of the payment.
        key: The merchant's own id of it.
        amount: How much, with the digits that Little Pay sent.
        currency: ISO 4217.
        provider: Who moved the money.
        billing_address: The payer's address, or None if there is nothing in it.
        custom_data: What the merchant gave to `create_intent`; not in `repr`.
        raw: The body as received; not in `repr`, not compared.
    """

    date: datetime
    status: PaymentStatus
    reference: str | None = None
    key: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    provider: Provider | None = None
    billing_address: BillingAddress | None = None
    custom_data: Any = attrs.field(default=None, repr=False, hash=False)
    raw: Mapping[str, Any] = raw_field()


@attrs.frozen(kw_only=True)
class RefundCallback(Result):
    """What Little Pay called back to say of a refund (API facts: Refund).

    Its status is the refund's, not the payment's. At least one of `reference` and `key` is there.

    Attributes:
        date: When it happened, UTC, as Little Pay says.
        status: COMPLETED or FAILED; anything else is kept, and not final.
        message: What Little Pay says to it.
        amount: How much, with the digits that Little Pay sent.
        reason: Why, as the merchant gave it to `refund`.
        reference: Little Pay's id of the payment.
        key: The merchant's own id of the payment.
        raw: The body as received; not in `repr`, not compared.
    """

    date: datetime
    status: PaymentStatus
    message: str | None = attrs.field(default=None, repr=masked(_masking.redact))
    amount: Decimal | None = None
    reason: str | None = attrs.field(default=None, repr=masked(_masking.redact))
    reference: str | None = None
    key: str | None = None
    raw: Mapping[str, Any] = raw_field()
