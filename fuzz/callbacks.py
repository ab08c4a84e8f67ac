r"""Any bytes as a callback: forged they are refused, well signed they are a callback or none.

The data is read as `NAME: VALUE\n...\n\nBODY`. No header of it can be a signature by our key, which
is new in each process.
"""

import json
import pickle
import zlib

from little_pay_async import CallbackError, InvalidSignatureError
from little_pay_async.callbacks import (
    MAX_BODY,
    CallbackVerifier,
    PaymentCallback,
    RefundCallback,
)
from little_pay_async.sandbox import signing

NOW = 1738590586
VERIFIER = CallbackVerifier(public_keys=[signing.public_key()])


def check(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    lines = [line.partition(": ") for line in head.decode("latin-1").split("\n")]
    check_forged(body, {name: value for name, _, value in lines})
    headers = signing.signed(body, NOW)
    check_signed(body, headers)
    place = zlib.crc32(data) % (len(body) + 1)
    check_forged(body[:place] + b" " + body[place:], headers)
    check_forged(body, {**headers, "X-LittlePay-Timestamp": f"{NOW}0"})
    check_forged(body, {**headers, **{name: value for name, _, value in lines}})


def check_forged(body: bytes, headers: dict[str, str]) -> None:
    try:
        VERIFIER.verify(body, headers, now=NOW)
    except InvalidSignatureError as error:
        check_error(error)
        return
    except CallbackError as error:
        check_error(error)
    # It is believed: then nothing is changed that is signed.
    signed = signing.signed(body, NOW)
    assert all(headers[name] == signed[name] for name in signed if name.startswith("X-"))


def check_signed(body: bytes, headers: dict[str, str]) -> None:
    try:
        callback = VERIFIER.verify(body, headers, now=NOW)
    except CallbackError as error:
        check_error(error)
        believed = not isinstance(error, InvalidSignatureError)
        assert believed == (len(body) <= MAX_BODY)
        return
    assert isinstance(callback, PaymentCallback | RefundCallback)
    json.dumps(callback.to_dict(), allow_nan=False)
    assert pickle.loads(pickle.dumps(callback)) == callback  # noqa: S301 - our own
    assert repr(callback)


def check_error(error: CallbackError) -> None:
    assert error.__context__ is None  # it could quote what came
    assert pickle.loads(pickle.dumps(error)).args == error.args  # noqa: S301 - our own
