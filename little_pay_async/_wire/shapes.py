"""Envelopes and what is in them: JSON -> models, through the library's one cattrs converter.

Rules of this file. Money keeps its digits. An empty string is None. A field that nobody reads is
never an error; one that is read and has the wrong type makes the answer none of Little Pay's.
"""

import contextlib
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache, partial
from typing import Any, TypeVar, cast

import cattrs
import msgspec
from attrs import fields
from cattrs.gen import make_dict_structure_fn, override

from little_pay_async._masking import Secret, redact
from little_pay_async._models import (
    Attempt,
    BillingAddress,
    Envelope,
    Payment,
    PaymentIntent,
    PaymentStatus,
    Provider,
    Refund,
)

T = TypeVar("T")

# More digits than any currency needs, few enough that arithmetic with an amount stays cheap:
# Decimal("1e400") is a valid number, and int() of it a long wait.
_AMOUNT_DIGITS = 30
_NUMERIC = (int, str, Decimal)
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")


# What keeps reading any answer within milliseconds, and what is made of it fit for json.dumps and
# pickle. Little Pay's answers have about 30 values, five levels deep.
_MOST_VALUES = 10_000
_MOST_LEVELS = 100


def _exact(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent past what Decimal knows; nobody reads such a number
        return text


_decoder = msgspec.json.Decoder(float_hook=_exact)


class NotTheEnvelopeError(Exception):
    """Bytes that are not what is documented; says what is wrong without quoting them."""


def decode(body: bytes | bytearray) -> Any:
    """Return what JSON says, its numbers with all their digits.

    Raises:
        NotTheEnvelopeError: It is no JSON, or more of it than any answer has.
    """
    if body.count(b",") > _MOST_VALUES:
        raise NotTheEnvelopeError(f"it has more than {_MOST_VALUES} values")
    try:
        document = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotTheEnvelopeError("it is not JSON") from None
    if body.count(b"[") + body.count(b"{") > _MOST_LEVELS and _is_too_deep(document):
        raise NotTheEnvelopeError(f"it is nested more than {_MOST_LEVELS} levels deep")
    return document


def _is_too_deep(document: Any) -> bool:
    level = [document]
    for _ in range(_MOST_LEVELS + 1):
        level = [
            item
            for box in level
            if isinstance(box, dict | list)
            for item in (box.values() if isinstance(box, dict) else box)
        ]
    return bool(level)


def read_envelope(
    body: bytes | bytearray, request_id: str | None = None, secrets: Iterable[Secret] = ()
) -> Envelope:
    """Return the envelope in `body`; its message, which is shown, without the secrets.

    Raises:
        NotTheEnvelopeError: There is none.
    """
    document = decode(body)
    if not isinstance(document, dict):
        raise NotTheEnvelopeError("it is JSON, but not an object")
    data = document.get("data")
    if not isinstance(data, dict):
        raise NotTheEnvelopeError("it has no `data` object")
    try:
        date = _date(document.get("date"))
    except (ValueError, OverflowError):  # the year 1 east of Greenwich
        raise NotTheEnvelopeError("its `date` is no ISO-8601 time") from None
    message = data.get("message")
    if isinstance(message, str) and any(secret.reveal() in message for secret in secrets):
        data = {**data, "message": redact(message, secrets)}
    return Envelope(date=date, data=data, request_id=request_id)


def read_payment(envelope: Envelope) -> Payment:
    """Return the payment in either documented shape, that of process or that of status."""
    data = envelope.data
    meta, payload, payment = (section(data, name) for name in ("meta", "payload", "payment"))
    return structure(
        {
            "date": envelope.date,
            "status": data.get("status"),
            "reference": first("reference", data, meta),
            "key": data.get("key"),
            "amount": first("amount", data, meta),
            "currency": first("currency", data, meta),
            "provider": first("provider", payment, meta),
            "provider_reference": meta.get("providerReference"),
            "message": data.get("message"),
            "description": first("description", data, meta),
            "attempts": data.get("attempts"),
            "billing_address": payload.get("billingAddress"),
            "details": first("details", payment),
            "step_up_url": meta.get("stepUpUrl"),
            "access_token": meta.get("accessToken"),
            "request_id": envelope.request_id,
            "raw": data,
        },
        Payment,
    )


def read_intent(envelope: Envelope) -> PaymentIntent:
    """Return the payment intent that an answer to create intent tells of."""
    data = envelope.data
    return structure(
        {
            "date": envelope.date,
            "reference": data.get("reference"),
            "checkout_url": data.get("checkoutUrl"),
            "message": data.get("message"),
            "request_id": envelope.request_id,
            "raw": data,
        },
        PaymentIntent,
    )


def read_refund(envelope: Envelope) -> Refund:
    """Return the refund that an answer to refund tells of."""
    data = envelope.data
    return structure(
        {
            "date": envelope.date,
            "status": data.get("status"),
            "message": data.get("message"),
            "request_id": envelope.request_id,
            "raw": data,
        },
        Refund,
    )


def section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object of that name; an empty one if there is nothing.

    Raises:
        NotTheEnvelopeError: It is no object.
    """
    found = data.get(name)
    if found is None or found == "":
        return {}
    if not isinstance(found, dict):
        raise NotTheEnvelopeError(f"its `{name}` is no object")
    return found


def first(name: str, *places: Mapping[str, Any]) -> Any:
    """Return the first value of that name that says something."""
    for place in places:
        value = place.get(name)
        if value is not None and value != "":
            return value
    return None


def structure(values: Mapping[str, Any], cls: type[T], *, what: str = "its `data`") -> T:
    """Return the model that `values` make.

    Raises:
        NotTheEnvelopeError: They do not fit; says which of `what`, without quoting them.
    """
    # cattrs has no base class for what its hooks raise, and whatever it is, the answer is at fault.
    with contextlib.suppress(Exception):
        said = {name: value for name, value in values.items() if value is not None}
        return cast("T", _hook(cast("type", cls))(said, cls))
    # Only now the slow way, to say which field it is.
    try:
        return _converter(explaining=True).structure(values, cls)
    except Exception as problem:  # noqa: BLE001
        where = "; ".join(cattrs.transform_error(problem)).replace("$.", "")
    raise NotTheEnvelopeError(f"{what} does not fit: {where}")


def _date(value: Any, _: Any = None) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("no time")
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(value: Any, _: Any = None) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):  # an id written as a number
        return str(value)
    raise ValueError("no string")


def _amount(value: Any, _: Any = None) -> Decimal | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("no number")
    if isinstance(value, bool) or not isinstance(value, _NUMERIC):
        raise ValueError("no number")
    amount = Decimal(value)
    digits = amount.as_tuple()
    exponent = digits.exponent
    if (
        not isinstance(exponent, int)
        or len(digits.digits) > _AMOUNT_DIGITS
        or abs(exponent) > _AMOUNT_DIGITS
    ):
        raise ValueError("no amount of money")
    return amount


def _enum_or_none(cls: Callable[[str], T]) -> Callable[[Any, Any], T | None]:
    def hook(value: Any, _: Any) -> T | None:
        text = _text(value)
        return None if text is None else cls(text)

    return hook


def _list_of_attempts(converter: cattrs.Converter) -> Callable[[Any, Any], tuple[Attempt, ...]]:
    def hook(value: Any, _: Any) -> tuple[Attempt, ...]:
        if value is None or value == "":
            return ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ValueError("no list of objects")
        return tuple([converter.structure(item, Attempt) for item in value])

    return hook


def _address_or_none(converter: cattrs.Converter) -> Callable[[Any, Any], BillingAddress | None]:
    def hook(value: Any, _: Any) -> BillingAddress | None:
        if value is None or value == "":
            return None
        if not isinstance(value, dict):
            raise ValueError("no object")
        if not any(value.values()):  # as documented: every field is there, and empty
            return None
        address = converter.structure(value, BillingAddress)
        return None if address == BillingAddress() else address

    return hook


@cache
def _hook(cls: type) -> Callable[[Any, Any], Any]:
    return _converter(explaining=False).get_structure_hook(cls)


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


ADDRESS_FIELDS = {field.name: _camel_case(field.name) for field in fields(BillingAddress)}


@cache
def _converter(*, explaining: bool) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=explaining)
    # Hooks by predicate on the annotation itself: cattrs resolves unions before types.
    hooks: list[tuple[object, Callable[[Any, Any], object]]] = [
        (str | None, _text),
        (Decimal | None, _amount),
        (Provider | None, _enum_or_none(Provider)),
        (PaymentStatus | None, _enum_or_none(PaymentStatus)),
        (BillingAddress | None, _address_or_none(converter)),
        (tuple[Attempt, ...], _list_of_attempts(converter)),
        (datetime, _date),
        (Mapping[str, Any], lambda value, _: value),
    ]
    for annotation, hook in hooks:
        converter.register_structure_hook_func(partial(operator.eq, annotation), hook)
    renamed: Any = {name: override(rename=wire) for name, wire in ADDRESS_FIELDS.items()}
    converter.register_structure_hook(
        BillingAddress, make_dict_structure_fn(BillingAddress, converter, **renamed)
    )
    return converter
