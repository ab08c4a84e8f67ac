r"""Any answer to any call is a result or an error of the library's, and says nothing secret.

The data is read as `STATUS\nname: value\n...\n\nBODY`.
"""

import json
import pickle
from collections.abc import Callable
from typing import Any

import little_pay_async as lp
from little_pay_async import _wire
from little_pay_async._masking import Secret

SECRET = "made-up-key-7f3a"  # noqa: S105 - made up
NUMBER = "254712345678"
CALLS: list[tuple[_wire.Call, Callable[[lp.Envelope], Any], type]] = [
    (_wire.status("ORDER42"), _wire.read_payment, lp.Payment),
    (
        _wire.create_intent(
            amount=100,
            key="ORDER42",
            description="2 tickets",
            callback_url="https://shop.example/callbacks",
            currency="KES",
            expires_in=None,
            return_url=None,
            billing_address=None,
            custom_data=None,
            metadata=None,
        ),
        _wire.read_intent,
        lp.PaymentIntent,
    ),
    (
        _wire.process("REF1", lp.Provider.MPESA, lp.Msisdn.unchecked(NUMBER), held=False),
        _wire.read_payment,
        lp.Payment,
    ),
    (_wire.refund("ORDER42", 1, reason=None, callback_url=None), _wire.read_refund, lp.Refund),
    (_wire.other("POST", "/new", json=None, auth=None), lambda envelope: envelope, lp.Envelope),
]


def check(data: bytes) -> None:
    status, headers, body = parsed(data)
    for delimited in (True, False):
        for call, read, kind in CALLS:
            outcome = judge(call, _wire.Answer(status, headers, bytearray(body), delimited), read)
            if isinstance(outcome, lp.LittlePayError):
                check_error(call, status, outcome)
            else:
                assert 200 <= status < 300
                assert type(outcome) is kind
                check_result(outcome)


def judge(call: _wire.Call, answer: _wire.Answer, read: Callable[[lp.Envelope], Any]) -> Any:
    secrets = [Secret(SECRET), Secret("/+=\\secret")]
    return _wire.judge(call, answer, read, secrets=secrets, now=1709816400.0)


def check_error(call: _wire.Call, status: int, error: lp.LittlePayError) -> None:
    clear = 400 <= status < 500 and status != 408
    if call.moves_money and not isinstance(error, lp.OutcomeUnknownError):
        assert clear
    assert error.__traceback__ is None  # which would hold the answer's bytes
    shown = f"{error!s} {error!r} {error.args!r} {vars(error)!r} {error.__cause__!r}"
    assert SECRET.lower() not in shown.lower()
    assert NUMBER not in shown
    assert pickle.loads(pickle.dumps(error)).args == error.args  # noqa: S301 - our own


def check_result(result: Any) -> None:
    json.dumps(result.to_dict(), allow_nan=False)
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - our own
    shown = repr(result)
    token = getattr(result, "access_token", None)
    assert token is None or f"access_token={token!r}" not in shown


def parsed(data: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = data.partition(b"\n\n")
    status, *lines = head.decode("latin-1").split("\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    number = int(status) if status.isascii() and status.isdigit() and len(status) < 4 else 200
    return number, headers, body
