"""Requests out, envelopes in, errors decided: bytes and values only, no I/O.

`calls` makes requests of arguments, `answers` decides what an answer means, `shapes` turns
envelopes into models. Nothing else knows how Little Pay writes things, and no exception leaves
here but `InvalidInputError` for a wrong argument: what is wrong with an answer is returned.
"""

from little_pay_async._wire.answers import (
    MAX_BODY,
    Answer,
    judge,
    objection,
    outcome_unknown,
)
from little_pay_async._wire.calls import (
    TOKEN_ID,
    Auth,
    Call,
    create_intent,
    key_of,
    made,
    other,
    payable_provider,
    process,
    refund,
    status,
)
from little_pay_async._wire.shapes import read_envelope, read_intent, read_payment, read_refund

__all__ = [
    "MAX_BODY",
    "TOKEN_ID",
    "Answer",
    "Auth",
    "Call",
    "create_intent",
    "judge",
    "key_of",
    "made",
    "objection",
    "other",
    "outcome_unknown",
    "payable_provider",
    "process",
    "read_envelope",
    "read_intent",
    "read_payment",
    "read_refund",
    "refund",
    "status",
]
