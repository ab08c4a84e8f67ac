"""What a watch reads of a verified callback: how one is verified it does not know."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, TypeGuard

from little_pay_async._models import BillingAddress, Payment, PaymentStatus, Provider


class PaymentCallback(Protocol):
    """What `Watch.deliver` reads of a verified callback."""

    @property
    def status(self) -> PaymentStatus: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def key(self) -> str | None: ...
    @property
    def amount(self) -> Decimal | None: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def provider(self) -> Provider | None: ...
    @property
    def date(self) -> datetime: ...
    @property
    def billing_address(self) -> BillingAddress | None: ...
    @property
    def raw(self) -> Any: ...


class RefundCallback(Protocol):
    """What tells a refund's callback from a payment's: it has a reason."""

    @property
    def reason(self) -> str | None: ...


def is_payments(callback: PaymentCallback | RefundCallback) -> TypeGuard[PaymentCallback]:
    """Return whether it tells of a payment: a refund's says nothing about that."""
    return not hasattr(callback, "reason")


def payment_of(callback: PaymentCallback) -> Payment:
    """Return the payment that a callback tells of."""
    return Payment(
        date=callback.date,
        status=callback.status,
        reference=callback.reference,
        key=callback.key,
        amount=callback.amount,
        currency=callback.currency,
        provider=callback.provider,
        billing_address=callback.billing_address,
        raw=callback.raw,
    )
