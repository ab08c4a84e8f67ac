"""Results and inputs: attrs classes, frozen, slotted, keyword-only, picklable; and open enums."""

import enum
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

import attrs

from little_pay_async import _json_schema, _masking
from little_pay_async._errors import LittlePayError


class _OpenEnum(enum.StrEnum):
    """An enum that keeps a string it does not know as a member of that value.

    Little Pay may say tomorrow what it does not say today; losing it would lose a payment.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or not value:
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member

    def __reduce_ex__(self, protocol: object) -> tuple[type[Self], tuple[str]]:
        """Pickle by value: some versions of Python 3.11 do it by a name that may not be known."""
        return type(self), (self._value_,)

    @property
    def is_known(self) -> bool:
        """Whether this library knows the value."""
        return self.name in type(self).__members__


class PaymentStatus(_OpenEnum):
    """Where a payment, an attempt or a refund stands.

    PENDING becomes COMPLETED or FAILED (API facts: Statuses). A string that is none of them is
    kept, with `is_known` False, and is never final.
    """

    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        """Whether it stays as it is: True for COMPLETED and FAILED only."""
        return self in _FINAL


_FINAL = frozenset({PaymentStatus.COMPLETED, PaymentStatus.FAILED})


class Provider(_OpenEnum):
    """Who moves the money. An unknown string is kept, with `is_known` False.

    CARDS shows up in statuses only: to take a card, send the payer to the intent's `checkout_url`.
    """

    MPESA = "MPESA"
    AIRTEL = "AIRTEL"
    MTN = "MTN"
    TIGOPESA = "TIGOPESA"
    CARDS = "CARDS"


def _plain(value: Any) -> Any:
    """Return `value` in the types that `json.dumps` takes."""
    match value:
        case enum.Enum():
            return value.value
        case Decimal():
            return str(value)
        case datetime():
            return value.isoformat()
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Result():
            return value.to_dict()
        case _:
            return value


_LEFT_OUT = frozenset({"raw", "access_token", "request_id"})


@attrs.frozen
class Result:
    """What every result can do."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it.

        Decimals and dates are strings, enums their values. What is not the payment's is left out:
        `raw`, the request's id and secrets.
        """
        return {
            field.name: _plain(getattr(self, field.name))
            for field in attrs.fields(type(self))
            if field.name not in _LEFT_OUT
        }

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Let FastAPI's routes and pydantic's models give one out, as `to_dict` has it."""
        return _json_schema.core_schema(cls, cls.to_dict)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> Any:
        return _json_schema.json_schema(cls, _LEFT_OUT)


def masked(mask: Any) -> Any:
    """Return what shows a field masked in `repr`."""
    return lambda value: repr(value if value is None else mask(value))


def request_id_field() -> Any:
    """Return the field for the id of the request; the same payment may come by many."""
    return attrs.field(default=None, eq=False)


def raw_field() -> Any:
    """Return the field for what came as it was received."""
    return attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class BillingAddress(Result):
    """A payer's address. E-mail address and phone number are masked in `repr`."""

    first_name: str | None = None
    last_name: str | None = None
    address1: str | None = None
    locality: str | None = None
    administrative_area: str | None = None
    postal_code: str | None = None
    country: str | None = None
    email: str | None = attrs.field(default=None, repr=masked(_masking.mask_email))
    phone_number: str | None = attrs.field(default=None, repr=masked(_masking.mask_digits))


@attrs.frozen(kw_only=True)
class PaymentIntent(Result):
    """What `create_intent` made (API facts: Create a payment intent).

    Attributes:
        date: When Little Pay answered, UTC.
        reference: Little Pay's id of it, by which it is processed and looked up.
        checkout_url: The hosted page to send a payer to instead of processing.
        message: What Little Pay says.
        request_id: By which Little Pay, or a proxy before it, finds the request, if the answer says
            one (Little Pay documents none: see `LittlePayError.request_id`); not compared.
        raw: The answer's `data` as received.
    """

    date: datetime
    reference: str | None = None
    checkout_url: str | None = None
    message: str | None = attrs.field(default=None, repr=masked(_masking.redact))
    request_id: str | None = request_id_field()
    raw: Mapping[str, Any] = raw_field()


@attrs.frozen(kw_only=True)
class Attempt(Result):
    """One try of a provider to collect a payment (API facts: Status)."""

    reference: str | None = None
    provider: Provider | None = None
    status: PaymentStatus | None = None


@attrs.frozen(kw_only=True)
class Payment(Result):
    """A payment as Little Pay told it, whichever of the two documented shapes the answer had.

    What an answer does not carry is None or (): nothing is guessed. A pickle holds everything,
    private parts too; a `repr` does not.

    Attributes:
        date: When Little Pay answered, UTC.
        status: Where the payment stands. FAILED is a result, not an exception.
        reference: Little Pay's id of the payment.
        key: The merchant's own id of it.
        amount: How much, with the digits that Little Pay sent.
        currency: ISO 4217.
        provider: Who moves the money.
        provider_reference: The provider's id of it.
        message: What Little Pay says to it.
        description: What the merchant called it.
        attempts: Every try, where it was asked for by merchant key; else at most one.
        billing_address: The payer's address, or None if there is nothing in it.
        details: What the provider added, as received; not in `repr`.
        step_up_url: Where a payer has to authenticate, for cards.
        access_token: Never in `repr`.
        request_id: As in `PaymentIntent`; not compared.
        raw: The answer's `data` as received; not in `repr`, not compared.
    """

    date: datetime
    status: PaymentStatus
    reference: str | None = None
    key: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    provider: Provider | None = None
    provider_reference: str | None = None
    message: str | None = attrs.field(default=None, repr=masked(_masking.redact))
    description: str | None = attrs.field(default=None, repr=masked(_masking.redact))
    attempts: tuple[Attempt, ...] = ()
    billing_address: BillingAddress | None = None
    details: Any = attrs.field(default=None, repr=False, hash=False)
    step_up_url: str | None = None
    access_token: str | None = attrs.field(default=None, repr=False)
    request_id: str | None = request_id_field()
    raw: Mapping[str, Any] = raw_field()

    def without_private_parts(self) -> Self:
        """Return it as an exception may carry it: without what names or authorises the payer."""
        return attrs.evolve(
            self,
            message=self.message and _masking.redact(self.message),
            description=self.description and _masking.redact(self.description),
            billing_address=None,
            details=None,
            step_up_url=None,
            access_token=None,
            raw={},
        )


@attrs.frozen(kw_only=True)
class Refund(Result):
    """What `refund` was answered (API facts: Refund). A PENDING one is followed by a callback."""

    date: datetime
    status: PaymentStatus
    message: str | None = attrs.field(default=None, repr=masked(_masking.redact))
    request_id: str | None = request_id_field()
    raw: Mapping[str, Any] = raw_field()


@attrs.frozen(kw_only=True)
class Envelope(Result):
    """An answer of an endpoint that the library does not know. `data` is not in `repr`."""

    date: datetime
    data: Mapping[str, Any] = attrs.field(repr=False)
    request_id: str | None = request_id_field()


@attrs.frozen(kw_only=True)
class Settlement(Result):
    """How a watched key ended.

    Attributes:
        key: The key as it was given to the watch.
        payment: The last thing that Little Pay said of it, or None.
        error: None exactly if `payment` is final.
        elapsed: Seconds since the key was added.
        polls: Requests spent on it.
    """

    key: str
    payment: Payment | None
    error: LittlePayError | None
    elapsed: float
    polls: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it; the error as its text."""
        return {
            "key": self.key,
            "payment": self.payment and self.payment.to_dict(),
            "error": self.error and str(self.error),
            "elapsed": self.elapsed,
            "polls": self.polls,
        }


@attrs.frozen(kw_only=True)
class WatchStatistics(Result):
    """How a watch is getting on.

    Attributes:
        keys: Distinct keys added so far.
        settled: Those of them that have ended, with a final payment or an error.
        in_flight: Polls under way.
        requests: Requests sent, the retries included.
        retries: Those of them that were sent again after an error.
    """

    keys: int
    settled: int
    in_flight: int
    requests: int
    retries: int
