"""Three payments at three providers: one completes, one fails, one is paid back."""

from decimal import Decimal
from typing import Protocol

import anyio
import attrs

from little_pay_async._cli.outcomes import named
from little_pay_async._client import AsyncLittlePay
from little_pay_async._errors import LittlePayError
from little_pay_async._models import Payment, PaymentStatus, Provider
from little_pay_async._msisdn import Msisdn

# Nothing is posted there: the sandbox posts to loopback addresses alone.
CALLBACK_URL = "https://shop.example/callbacks/little-pay"


@attrs.define(kw_only=True)
class Purchase:
    """One payment.

    Attributes:
        key: The merchant key.
        what: What is paid for.
        expected: What it should come to.
        to_refund: Is it to be paid back then?
        doing: What is being done for it at the moment.
        payment: What Little Pay said of it last.
        refund: What became of paying it back.
        took: Seconds from its first request to its last answer.
        error: What went wrong.
    """

    key: str
    what: str
    provider: Provider
    mobile: Msisdn
    currency: str
    amount: Decimal
    expected: PaymentStatus = PaymentStatus.COMPLETED
    to_refund: bool = False
    doing: str = ""
    payment: Payment | None = None
    refund: PaymentStatus | None = None
    took: float | None = None
    error: str | None = None

    @property
    def as_expected(self) -> bool:
        """Whether it came out as it should."""
        return (
            self.error is None
            and self.payment is not None
            and self.payment.status is self.expected
            and self.refund is (PaymentStatus.COMPLETED if self.to_refund else None)
        )


class Audience(Protocol):
    """Who is told."""

    def changed(self, purchase: Purchase) -> None:
        """Show what a purchase has come to."""


def purchases_to_make() -> list[Purchase]:
    """Return the three, nothing sent yet."""
    return [
        Purchase(
            key="DEMOTICKETS",
            what="Tickets",
            provider=Provider.MPESA,
            mobile=Msisdn.unchecked("254700000001"),
            currency="KES",
            amount=Decimal(3500),
        ),
        Purchase(
            key="DEMOBASKET",
            what="Groceries",
            provider=Provider.AIRTEL,
            mobile=Msisdn.unchecked("254700000002"),
            currency="KES",
            amount=Decimal("1249.50"),
            expected=PaymentStatus.FAILED,
        ),
        Purchase(
            key="DEMOBUS",
            what="Bus to Kumasi",
            provider=Provider.MTN,
            mobile=Msisdn.unchecked("233000000001"),
            currency="GHS",
            amount=Decimal("85.10"),
            to_refund=True,
        ),
    ]


async def buy(pay: AsyncLittlePay, purchase: Purchase, audience: Audience) -> None:
    """Pay for one, and have it paid back if that is to be."""
    began = anyio.current_time()

    def say(doing: str) -> None:
        purchase.doing = doing
        purchase.took = anyio.current_time() - began
        audience.changed(purchase)

    try:
        say("creating the intent")
        intent = await pay.create_intent(
            amount=purchase.amount,
            currency=purchase.currency,
            key=purchase.key,
            description=purchase.what,
            callback_url=CALLBACK_URL,
        )
        purchase.payment = await pay.process(intent, purchase.provider, purchase.mobile)
        say("the handset rings")
        purchase.payment = await pay.wait(intent, timeout=30.0)
        if purchase.to_refund and purchase.payment.status is PaymentStatus.COMPLETED:
            say("paying back")
            refund = await pay.refund(intent, purchase.amount, reason="The bus is full")
            purchase.refund = refund.status
    except LittlePayError as error:
        purchase.error = named(error)
    say("")
