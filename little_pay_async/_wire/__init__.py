"""Requests out, envelopes in, errors decided: bytes and values only, no I/O.

`arguments` checks what callers give, `calls` makes requests of it, `answers` decides what an answer
means, `shapes` turns envelopes into models, `callbacks` what Little Pay posts to us. Nothing else
knows how Little Pay writes things, and no exception leaves here but `InvalidInputError` for a wrong
argument: what is wrong with an answer or a callback is returned.

`callbacks` is imported by itself, so that who is not called back does not load it.
"""

from little_pay_async._wire.answers import (
    MAX_BODY,
    Answer,
    judge,
    objection,
    outcome_unknown,
)
from little_pay_async._wire.arguments import (
    Key,
    check_keys,
    key_of,
    mobile_of,
    payable_provider,
)
from little_pay_async._wire.calls import (
    TOKEN_ID,
    Auth,
    Call,
    create_intent,
    made,
    other,
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
    "Key",
    "check_keys",
    "create_intent",
    "judge",
    "key_of",
    "made",
    "mobile_of",
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
