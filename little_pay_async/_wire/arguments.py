"""What callers give, checked, and in the types that go on the wire.

A wrong argument is an `InvalidInputError` that names it and says what would be right, and never
repeats a value that could be a secret or a phone number.
"""

import re
from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

import msgspec

from little_pay_async import _msisdn
from little_pay_async._errors import InvalidInputError, LittlePayError
from little_pay_async._models import BillingAddress, Payment, PaymentIntent, Provider
from little_pay_async._msisdn import Msisdn
from little_pay_async._wire.shapes import ADDRESS_FIELDS

Key = str | PaymentIntent | Payment
"""What a payment is looked up by: a merchant key or a reference, or what has a reference."""

_AMOUNT = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,10})?")
_LONGEST_KEY = 255  # Little Pay documents none; this one fits into every URL
_LONGEST_LIFE = timedelta(days=366)
_MERCHANT_KEY = re.compile(r"[A-Za-z0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # which UTF-8 can't say
_FIELD_NAME = re.compile(r"[A-Za-z_]{1,40}")


def key_of(key: Key, argument: str = "key") -> str:
    """Return what to look a payment up by: the key itself, or the reference of what was given.

    Raises:
        InvalidInputError: It is no key, or has no reference.
    """
    if isinstance(key, PaymentIntent | Payment):
        if key.reference is None:
            raise InvalidInputError(
                f"{argument}: this {type(key).__name__} has no reference: give the merchant key"
            )
        key = key.reference
    if not isinstance(key, str):
        raise InvalidInputError(
            f"{argument}: give a str, a PaymentIntent or a Payment, not {type(key).__name__}"
        )
    if not key.strip() or len(key) > _LONGEST_KEY or _CONTROL.search(key) or key in {".", ".."}:
        raise InvalidInputError(
            f"{argument}: a merchant key or reference has 1 to {_LONGEST_KEY} characters, none of "
            "them a control character, and is not '.' or '..'"
        )
    return key


def check_keys(keys: object, *, or_async: bool = False) -> None:
    """Insist on an iterable of keys. A single key is none, although a str is iterable too.

    Raises:
        InvalidInputError: It is something else.
    """
    many = isinstance(keys, Iterable) or (or_async and isinstance(keys, AsyncIterable))
    if isinstance(keys, str | bytes | PaymentIntent | Payment) or not many:
        iterable = "iterable or async iterable" if or_async else "iterable"
        raise InvalidInputError(f"keys: give an {iterable} of keys, [key] for a single one")


def merchant_key(key: object) -> str:
    """Return a key as Little Pay takes it for a new payment."""
    if not isinstance(key, str) or len(key) > _LONGEST_KEY or not _MERCHANT_KEY.fullmatch(key):
        raise InvalidInputError(
            "key: your own id of the payment must be a str of ASCII letters and digits only "
            "(8 to 12 are recommended)"
        )
    return key


def payable_provider(provider: object) -> Provider:
    """Return the provider to process with.

    A `Provider` that this library does not know is let through if it was made on purpose; a plain
    string must be one that it knows, because it is a typing mistake far more often.

    Raises:
        InvalidInputError: No payer's handset rings for it. It may be the number, the wrong way
            round, so it is not shown.
    """
    names = "MPESA, AIRTEL, MTN or TIGOPESA"
    if not isinstance(provider, str) or not provider or _CONTROL.search(provider):
        raise InvalidInputError(f"provider: give a Provider or its name: {names}")
    if not isinstance(provider, Provider):
        provider = Provider(provider.upper())
        if not provider.is_known:
            raise InvalidInputError(f"provider: no such provider; known are {names}")
    if provider is Provider.CARDS:
        raise InvalidInputError(
            "provider: cards are not processed here: send the payer to the intent's checkout_url"
        )
    return provider


def mobile_of(mobile: object) -> Msisdn | LittlePayError:
    """Return the payer's number, or the error to raise, which does not show it."""
    if isinstance(mobile, Msisdn):
        return mobile
    digits = _msisdn.read(mobile)
    return digits if isinstance(digits, LittlePayError) else Msisdn.unchecked(digits)


def says_something(text: object) -> bool:
    """Whether it is text, and not blank."""
    return isinstance(text, str) and _is_text(text) and bool(text.strip())


def amount_of(amount: int | Decimal | str) -> msgspec.Raw:
    """Return an amount as the JSON number that has its digits."""
    hint = "give an int, a Decimal or a str of digits such as '1.10', above zero"
    if isinstance(amount, float):
        raise InvalidInputError(f"amount: a float does not keep the digits of money: {hint}")
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal | str):
        raise InvalidInputError(f"amount: no amount of money is a {type(amount).__name__}: {hint}")
    written = amount if isinstance(amount, str) else _digits(Decimal(amount))
    if not _AMOUNT.fullmatch(written):
        raise InvalidInputError(
            f"amount: not a finite, positive number of at most 20 digits and 10 decimals: {hint}"
        )
    value = Decimal(written)
    if value <= 0:
        raise InvalidInputError(f"amount: it must be above zero: {hint}")
    return msgspec.Raw(format(value, "f").encode("ascii"))


def _digits(amount: Decimal) -> str:
    if not amount.is_finite() or abs(amount.adjusted()) > 30:
        return ""
    return format(amount, "f")  # Decimal("1E+2") as 100; the bound keeps it short


def minutes_of(expires_in: timedelta) -> int:
    """Return a life time in whole minutes, rounded up."""
    if not isinstance(expires_in, timedelta) or not timedelta() < expires_in <= _LONGEST_LIFE:
        raise InvalidInputError(
            "expires_in: give a timedelta above zero and of a year at most (it goes out in minutes)"
        )
    return -(-expires_in // timedelta(minutes=1))


def url_of(argument: str, url: str) -> str:
    """Return an absolute URL as it is."""
    try:
        parts = urlsplit(url) if isinstance(url, str) and not _CONTROL.search(url) else None
        valid = parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid or " " in url:
        raise InvalidInputError(
            f"{argument}: give an absolute URL such as 'https://shop.example/callbacks'"
        )
    return url


def address_of(address: BillingAddress | Mapping[str, str | None]) -> dict[str, str]:
    """Return an address with the names that its fields have on the wire."""
    if isinstance(address, BillingAddress):
        values: Mapping[str, object] = {name: getattr(address, name) for name in ADDRESS_FIELDS}
    elif isinstance(address, Mapping):
        values = address
    else:
        raise InvalidInputError("billing_address: give a BillingAddress or a mapping of its fields")
    for name in values:
        if name not in ADDRESS_FIELDS:
            # Quoted if it may be a misspelt name, and not a payer's data in the wrong place.
            quotable = isinstance(name, str) and _FIELD_NAME.fullmatch(name)
            raise InvalidInputError(
                f"billing_address: no such field{f': {name}' if quotable else ''}; "
                f"it has {', '.join(ADDRESS_FIELDS)}"
            )
    wire: dict[str, str] = {}
    for name, value in values.items():
        if value is None:
            continue
        if not isinstance(value, str) or not _is_text(value):
            raise InvalidInputError(
                f"billing_address: {name} must be a str, of characters that UTF-8 has, or None"
            )
        wire[ADDRESS_FIELDS[name]] = value
    return wire


def json_of(argument: str, value: Any, depth: int = 0) -> Any:
    """Return `value` in plain types; refuse what JSON can't say, rather than send another thing."""
    if depth > 100:
        raise InvalidInputError(f"{argument}: it is nested more than 100 levels deep")
    match value:
        case None | bool():
            return value
        case str() if _is_text(value):
            return str.__str__(value)  # of an enum: its value
        case int() if -(2**63) <= value < 2**64:
            return int(value)
        case float() if isfinite(value):
            return float(value)
        case Decimal() if value.is_finite():
            return Decimal(value)
        case Mapping() if all(_is_text(name) for name in value):
            return {
                str.__str__(name): json_of(argument, item, depth + 1)
                for name, item in value.items()
            }
        case list() | tuple():
            return [json_of(argument, item, depth + 1) for item in value]
        case _:
            raise InvalidInputError(
                f"{argument}: JSON has no {type(value).__name__} of this kind: give dicts with str "
                "names, lists, str, finite numbers, bool and None"
            )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _SURROGATE.search(value)
