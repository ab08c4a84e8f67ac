"""Any text as any argument makes a call that stays in its place, or is refused."""

import contextlib
import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from little_pay_async import InvalidInputError, Msisdn, Provider, _wire

INTENT: dict[str, Any] = {
    "amount": 100,
    "key": "ORDER42",
    "description": "2 tickets",
    "callback_url": "https://shop.example/callbacks",
    "currency": "KES",
    "expires_in": None,
    "return_url": None,
    "billing_address": None,
    "custom_data": None,
    "metadata": None,
}
MOBILE = Msisdn.unchecked("254712345678")
ON_THE_WIRE = re.compile(r"/[\x21-\x7e]*")


def intent(**changes: Any) -> _wire.Call:
    return _wire.create_intent(**{**INTENT, **changes})


def refund(key: str, amount: Any, **changes: Any) -> _wire.Call:
    return _wire.refund(key, amount, **{"reason": None, "callback_url": None, **changes})


MAKERS: list[Callable[[str], _wire.Call]] = [
    lambda text: _wire.status(_wire.key_of(text)),
    lambda text: _wire.status(_wire.key_of(text), held=True),
    lambda text: refund(_wire.key_of(text), 1),
    lambda text: refund("ORDER42", text),
    lambda text: refund("ORDER42", 1, reason=text),
    lambda text: refund("ORDER42", 1, callback_url=text),
    lambda text: _wire.process(_wire.key_of(text), Provider.MTN, MOBILE, held=False),
    lambda text: _wire.process("REF1", _wire.payable_provider(text), MOBILE, held=True),
    lambda text: intent(key=text),
    lambda text: intent(amount=text),
    lambda text: intent(description=text),
    lambda text: intent(callback_url=text),
    lambda text: intent(currency=text),
    lambda text: intent(return_url=text),
    lambda text: intent(billing_address={"first_name": text}),
    lambda text: intent(custom_data=text),
    lambda text: _wire.other(text, "/new", json=None, auth=None),
    lambda text: _wire.other("GET", text, json=None, auth=None),
    lambda text: _wire.other("POST", "/new", json=text, auth="basic"),
]
# Of what can be a name of something.
NAMING: list[Callable[[str], _wire.Call]] = [
    lambda text: intent(billing_address={text: "Ada"}),
    lambda text: intent(metadata={text: text}),
]


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for make in (*MAKERS, *NAMING):
        check_call(_wire.made(make, text))
    with contextlib.suppress(InvalidOperation):
        check_amount(Decimal(text))
    with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
        document = msgspec.json.decode(data, strict=True)
        check_call(_wire.made(_wire.other, "POST", "/new", json=document, auth=None))


def check_call(call: _wire.Call | InvalidInputError) -> None:
    if isinstance(call, InvalidInputError):
        assert call.__traceback__ is None  # whose frames hold what was given
        return
    assert ON_THE_WIRE.fullmatch(call.path)
    assert call.method.isascii()
    assert call.method.isalpha()
    assert call.moves_money or call.method == "GET"
    if call.body is not None:
        json.loads(call.body)


def check_amount(amount: Decimal) -> None:
    call = _wire.made(refund, "ORDER42", amount)
    check_call(call)
    if not isinstance(call, InvalidInputError):
        assert call.body is not None
        assert json.loads(call.body, parse_float=Decimal, parse_int=Decimal)["amount"] == amount
