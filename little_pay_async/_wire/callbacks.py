"""Bodies of callbacks -> models, by the same reader and converter as answers. No envelope here.

Whether a body is signed is decided before it gets here. Two kinds of callback come to the same URL
and neither says which it is: it is told by the fields that only one of them has. A COMPLETED refund
taken for a COMPLETED payment would be goods sent for money given back, so that nothing is guessed.
"""

from collections.abc import Mapping
from typing import Any

from little_pay_async._callback_results import PaymentCallback, RefundCallback
from little_pay_async._errors import CallbackError
from little_pay_async._wire.shapes import (
    NotTheEnvelopeError,
    decode,
    first,
    section,
    structure,
)

_OF_A_PAYMENT = frozenset({"payload", "currency", "provider"})
_OF_A_REFUND = frozenset({"message", "reason"})


def read_callback(body: bytes) -> PaymentCallback | RefundCallback | CallbackError:
    """Return what a verified body says, or the error that it is."""
    try:
        said = _object(body)
        callback = _payment(said) if _is_of_a_payment(said) else _refund(said)
    except NotTheEnvelopeError as error:
        return CallbackError(f"Well signed, but no callback of Little Pay's: {error}.")
    if callback.key is None and callback.reference is None:
        return CallbackError("Well signed, but no callback of Little Pay's: it names no payment.")
    return callback


def _object(body: bytes) -> Mapping[str, Any]:
    said = decode(body)
    if not isinstance(said, dict):
        raise NotTheEnvelopeError("it is JSON, but not an object")
    return said


def _is_of_a_payment(said: Mapping[str, Any]) -> bool:
    """Return whether it is a payment's and not a refund's.

    One more field is never an error: where there are some of both, the kind that is there whole is
    it, and the other is not.

    Raises:
        NotTheEnvelopeError: It may be neither or both.
    """
    payment, refund = _OF_A_PAYMENT & said.keys(), _OF_A_REFUND & said.keys()
    if payment and refund:
        a_payment, a_refund = payment == _OF_A_PAYMENT, refund == _OF_A_REFUND
    else:
        a_payment, a_refund = bool(payment), bool(refund)
    if a_payment is a_refund:
        raise NotTheEnvelopeError("it can't be told whether it is a payment's or a refund's")
    return a_payment


def _payment(said: Mapping[str, Any]) -> PaymentCallback:
    payload = section(said, "payload")
    values = {
        "date": said.get("date"),
        "status": said.get("status"),
        "reference": said.get("reference"),
        "key": said.get("key"),
        "amount": said.get("amount"),
        "currency": said.get("currency"),
        "provider": said.get("provider"),
        "billing_address": payload.get("billingAddress"),
        "custom_data": first("customData", payload),
        "raw": said,
    }
    return structure(values, PaymentCallback, what="it")


def _refund(said: Mapping[str, Any]) -> RefundCallback:
    values = {
        "date": said.get("date"),
        "status": said.get("status"),
        "message": said.get("message"),
        "amount": said.get("amount"),
        "reason": said.get("reason"),
        "reference": said.get("reference"),
        "key": said.get("key"),
        "raw": said,
    }
    return structure(values, RefundCallback, what="it")
