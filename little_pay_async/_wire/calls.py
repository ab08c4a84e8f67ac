"""Requests out: arguments checked, then method, path and body of one call.

A wrong argument is an `InvalidInputError` that names it and says what would be right, and never
repeats a value that could be a secret or a phone number.
"""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from math import isfinite
from typing import Any, Literal, ParamSpec
from urllib.parse import quote, urlsplit

import attrs
import msgspec

from little_pay_async._errors import InvalidInputError
from little_pay_async._models import BillingAddress, Payment, PaymentIntent, Provider
from little_pay_async._msisdn import Msisdn
from little_pay_async._wire.shapes import ADDRESS_FIELDS

# Stands in a path for the token id, which is a credential: whoever sends the call fills it in.
TOKEN_ID = "{token_id}"  # noqa: S105

Auth = Literal["api_key", "basic"]

_encoder = msgspec.json.Encoder(decimal_format="number")
_AMOUNT = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,10})?")
_LONGEST_KEY = 255  # Little Pay documents none; this one fits into every URL
_LONGEST_PATH = 8000
_LONGEST_LIFE = timedelta(days=366)
_CURRENCY = re.compile(r"[A-Z]{3}")
_MERCHANT_KEY = re.compile(r"[A-Za-z0-9]+")
_METHOD = re.compile(r"[A-Z]+")
# No control characters, spaces, backslashes or fragments; the query is the caller's.
_PATH = re.compile(r"/[A-Za-z0-9\-._~%!$&'()*+,;=:@/?]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # which UTF-8 can't say
_FIELD_NAME = re.compile(r"[A-Za-z_]{1,40}")


@attrs.frozen(kw_only=True)
class Call:
    """One request to Little Pay, less credentials and host.

    Attributes:
        operation: The name of the operation, as `OutcomeUnknownError.operation` has it.
        method: The HTTP method.
        path: Path and query, percent-encoded, perhaps with `TOKEN_ID` in it.
        auth: Which credential goes with it, if any.
        body: The JSON to send. It may hold a phone number, so it is not in `repr`.
        key: What an error of it is about.
        held: Does the server hold it until the payment settles?
    """

    operation: str
    method: str
    path: str
    auth: Auth | None = None
    body: bytes | None = attrs.field(default=None, repr=False)
    key: str | None = None
    held: bool = False

    @property
    def moves_money(self) -> bool:
        """Whether sending it twice could charge or refund twice."""
        return self.method != "GET"


def create_intent(
    *,
    amount: int | Decimal | str,
    key: str,
    description: str,
    callback_url: str,
    currency: str,
    expires_in: timedelta | None,
    return_url: str | None,
    billing_address: BillingAddress | Mapping[str, str | None] | None,
    custom_data: Any,
    metadata: Mapping[str, Any] | None,
) -> Call:
    """Return the call of create intent (API facts: Create a payment intent)."""
    if not isinstance(key, str) or len(key) > _LONGEST_KEY or not _MERCHANT_KEY.fullmatch(key):
        raise InvalidInputError(
            "key: your own id of the payment must be a str of ASCII letters and digits only "
            "(8 to 12 are recommended)"
        )
    if not _says_something(description):
        raise InvalidInputError("description: give a str that says what is paid for")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise InvalidInputError("currency: give a three-letter ISO 4217 code such as 'KES'")
    fields: dict[str, Any] = {
        "amount": _amount(amount),
        "currency": currency,
        "description": description,
        "callbackUrl": _url("callback_url", callback_url),
        "key": key,
    }
    if expires_in is not None:
        fields["expiresAt"] = _minutes(expires_in)
    if return_url is not None:
        fields["returnUrl"] = _url("return_url", return_url)
    payload: dict[str, Any] = {}
    if billing_address is not None:
        payload["billingAddress"] = _address(billing_address)
    if custom_data is not None:
        payload["customData"] = _json("custom_data", custom_data)
    if payload:
        fields["payload"] = payload
    if metadata is not None:
        if not isinstance(metadata, Mapping):
            raise InvalidInputError("metadata: give a mapping of names to JSON values")
        fields["metadata"] = _json("metadata", metadata)
    return Call(
        operation="create_intent",
        method="POST",
        path=f"/api/payments/{TOKEN_ID}/pay",
        auth="basic",
        body=_encoder.encode(fields),
        key=key,
    )


def process(reference: str, provider: Provider, mobile: Msisdn, *, held: bool) -> Call:
    """Return the call of process (API facts: Process)."""
    return Call(
        operation="process",
        method="POST",
        path=f"/pay/{_segment(reference)}/process{'?longPoll=true' if held else ''}",
        body=_encoder.encode({"type": provider.value, "payment": {"mobile": str(mobile)}}),
        key=reference,
        held=held,
    )


def status(key: str, *, held: bool = False) -> Call:
    """Return the call of payment status (API facts: Status, Long poll)."""
    return Call(
        operation="status",
        method="GET",
        path=f"/api/payments-v2/{_segment(key)}{'?longPoll=true' if held else ''}",
        auth="api_key",
        key=key,
        held=held,
    )


def refund(
    key: str, amount: int | Decimal | str, *, reason: str | None, callback_url: str | None
) -> Call:
    """Return the call of refund (API facts: Refund)."""
    fields: dict[str, Any] = {"amount": _amount(amount)}
    if callback_url is not None:
        fields["callbackUrl"] = _url("callback_url", callback_url)
    if reason is not None:
        if not _says_something(reason):
            raise InvalidInputError("reason: give a str that says why, or None")
        fields["reason"] = reason
    return Call(
        operation="refund",
        method="POST",
        path=f"/api/refund/{_segment(key)}",
        auth="api_key",
        body=_encoder.encode(fields),
        key=key,
    )


def other(method: str, path: str, *, json: Any, auth: Auth | None) -> Call:
    """Return the call of an endpoint that the library does not know."""
    if not isinstance(method, str) or not _METHOD.fullmatch(method.upper()):
        raise InvalidInputError("method: give an HTTP method such as 'GET' or 'POST'")
    if (
        not isinstance(path, str)
        or len(path) > _LONGEST_PATH
        or not _PATH.fullmatch(path)
        or {".", ".."} & set(path.partition("?")[0].lower().replace("%2e", ".").split("/"))
    ):
        raise InvalidInputError(
            "path: give a percent-encoded path from the host's root, such as "
            "'/api/payments-v2/ORDER42', without dot segments and without a host"
        )
    if auth not in ("api_key", "basic", None):  # no set: it may be unhashable
        raise InvalidInputError("auth: give 'api_key', 'basic' or None")
    return Call(
        operation="request",
        method=method.upper(),
        path=path,
        auth=auth,
        body=None if json is None else _encoder.encode(_json("json", json)),
    )


P = ParamSpec("P")


def made(make: Callable[P, Call], *args: P.args, **kwargs: P.kwargs) -> Call | InvalidInputError:
    """Return the call that `make` makes, or the error that it raises.

    Without the frames of `make`, which hold what a caller may want kept private.
    """
    try:
        return make(*args, **kwargs)
    except InvalidInputError as error:
        return error.with_traceback(None)


def key_of(key: str | PaymentIntent | Payment, argument: str = "key") -> str:
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


def payable_provider(provider: Provider | str) -> Provider:
    """Return the provider to process with.

    A `Provider` that this library does not know is let through if it was made on purpose; a plain
    string must be one that it knows, because it is a typing mistake far more often.

    Raises:
        InvalidInputError: No payer's handset rings for it.
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


def _segment(key: str) -> str:
    return quote(key_of(key), safe="")


def _says_something(text: object) -> bool:
    return isinstance(text, str) and _is_text(text) and bool(text.strip())


def _amount(amount: int | Decimal | str) -> msgspec.Raw:
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


def _minutes(expires_in: timedelta) -> int:
    if not isinstance(expires_in, timedelta) or not timedelta() < expires_in <= _LONGEST_LIFE:
        raise InvalidInputError(
            "expires_in: give a timedelta above zero and of a year at most (it goes out in minutes)"
        )
    return -(-expires_in // timedelta(minutes=1))


def _url(argument: str, url: str) -> str:
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


def _address(address: BillingAddress | Mapping[str, str | None]) -> dict[str, str]:
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


def _json(argument: str, value: Any, depth: int = 0) -> Any:
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
                str.__str__(name): _json(argument, item, depth + 1) for name, item in value.items()
            }
        case list() | tuple():
            return [_json(argument, item, depth + 1) for item in value]
        case _:
            raise InvalidInputError(
                f"{argument}: JSON has no {type(value).__name__} of this kind: give dicts with str "
                "names, lists, str, finite numbers, bool and None"
            )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _SURROGATE.search(value)
