"""Requests out: arguments checked, then method, path and body of one call.

Keys and references are checked already, by `key_of`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal, ParamSpec, TypeVar
from urllib.parse import quote

import attrs
import msgspec

from little_pay_async._errors import InvalidInputError
from little_pay_async._models import BillingAddress, Provider
from little_pay_async._msisdn import Msisdn
from little_pay_async._wire.arguments import (
    address_of,
    amount_of,
    json_of,
    merchant_key,
    minutes_of,
    says_something,
    url_of,
)

# Stands in a path for the token id, which is a credential: whoever sends the call fills it in.
TOKEN_ID = "{token_id}"  # noqa: S105

Auth = Literal["api_key", "basic"]

_encoder = msgspec.json.Encoder(decimal_format="number")
_LONGEST_PATH = 8000
_CURRENCY = re.compile(r"[A-Z]{3}")
_METHOD = re.compile(r"[A-Z]+")
# No control characters, spaces, backslashes or fragments; the query is the caller's.
_PATH = re.compile(r"/[A-Za-z0-9\-._~%!$&'()*+,;=:@/?]*")


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
        template: The path with placeholders instead of keys, if it is known; without a query.
        held: Does the server hold it until the payment settles?
    """

    operation: str
    method: str
    path: str
    auth: Auth | None = None
    body: bytes | None = attrs.field(default=None, repr=False)
    key: str | None = None
    template: str | None = None
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
    key = merchant_key(key)
    if not says_something(description):
        raise InvalidInputError("description: give a str that says what is paid for")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise InvalidInputError("currency: give a three-letter ISO 4217 code such as 'KES'")
    fields: dict[str, Any] = {
        "amount": amount_of(amount),
        "currency": currency,
        "description": description,
        "callbackUrl": url_of("callback_url", callback_url),
        "key": key,
    }
    if expires_in is not None:
        fields["expiresAt"] = minutes_of(expires_in)
    if return_url is not None:
        fields["returnUrl"] = url_of("return_url", return_url)
    payload: dict[str, Any] = {}
    if billing_address is not None:
        payload["billingAddress"] = address_of(billing_address)
    if custom_data is not None:
        payload["customData"] = json_of("custom_data", custom_data)
    if payload:
        fields["payload"] = payload
    if metadata is not None:
        if not isinstance(metadata, Mapping):
            raise InvalidInputError("metadata: give a mapping of names to JSON values")
        fields["metadata"] = json_of("metadata", metadata)
    return Call(
        operation="create_intent",
        method="POST",
        path=f"/api/payments/{TOKEN_ID}/pay",
        auth="basic",
        body=_encoder.encode(fields),
        key=key,
        template=f"/api/payments/{TOKEN_ID}/pay",
    )


def process(reference: str, provider: Provider, mobile: Msisdn, *, held: bool) -> Call:
    """Return the call of process (API facts: Process)."""
    return Call(
        operation="process",
        method="POST",
        path=f"/pay/{_segment(reference)}/process{'?longPoll=true' if held else ''}",
        body=_encoder.encode({"type": provider.value, "payment": {"mobile": str(mobile)}}),
        key=reference,
        template="/pay/{reference}/process",
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
        template="/api/payments-v2/{key}",
        held=held,
    )


def refund(
    key: str, amount: int | Decimal | str, *, reason: str | None, callback_url: str | None
) -> Call:
    """Return the call of refund (API facts: Refund)."""
    fields: dict[str, Any] = {"amount": amount_of(amount)}
    if callback_url is not None:
        fields["callbackUrl"] = url_of("callback_url", callback_url)
    if reason is not None:
        if not says_something(reason):
            raise InvalidInputError("reason: give a str that says why, or None")
        fields["reason"] = reason
    return Call(
        operation="refund",
        method="POST",
        path=f"/api/refund/{_segment(key)}",
        auth="api_key",
        body=_encoder.encode(fields),
        key=key,
        template="/api/refund/{key}",
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
        body=None if json is None else _encoder.encode(json_of("json", json)),
    )


P = ParamSpec("P")
T = TypeVar("T")


def made(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | InvalidInputError:
    """Return what `make` makes, or the error that it raises.

    Without the frames of `make`, which hold what a caller may want kept private.
    """
    try:
        return make(*args, **kwargs)
    except InvalidInputError as error:
        return error.with_traceback(None)


def _segment(key: str) -> str:
    """Return a key as one segment of a path. Quoting leaves "." and ".." alone: no key is those."""
    return quote(key, safe="")
