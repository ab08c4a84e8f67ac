"""Answers that are right and yet not the end, and what the shop does itself."""

from ..servers import is_silent
from .meanings import BAD_INPUT, CANCELLED, CLOSED, FINAL_LATER, HARMLESS, NOT_FINAL, NOT_HERE
from .row import Row, rows_of
from .scripts import (
    once,
    right_with,
    right_with_raw,
)

GETS = ("status", "check", "long_poll", "wait", "watch")

ROWS = [
    *rows_of(
        "a payment that is not final",
        ("PENDING, however often one asks", right_with(status="PENDING"), NOT_FINAL),
        shows="PENDING",
    ),
    *rows_of(
        "a payment that is not final",
        ("PENDING at once, COMPLETED when asked again", right_with(status="PENDING"), FINAL_LATER),
        strikes=once,
    ),
    *rows_of(
        "a payment that is not final",
        ("a status that this library does not know", right_with(status="REVERSED"), NOT_FINAL),
        shows="REVERSED",
    ),
    *rows_of(
        "things that nobody reads",
        ("a provider that this library does not know", right_with(provider="MADE-UP"), HARMLESS),
        (
            "unknown fields, 1e400 among them",
            right_with_raw(b'"x": [1e400, {"y": null}]'),
            HARMLESS,
        ),
    ),
    Row(
        fault="the caller goes away",
        name="cancelled while Little Pay is silent",
        script=is_silent,
        interruption="cancelled",
        meaning=CANCELLED,
    ),
    Row(
        fault="the caller goes away",
        name="the session is closed while Little Pay is silent",
        script=is_silent,
        interruption="closed",
        meaning=CLOSED,
    ),
    Row(
        fault="the caller goes away",
        name="the session is used from another event loop",
        interruption="elsewhere",
        meaning=NOT_HERE,
    ),
    *[
        Row(
            fault="a key that is none",
            name=f"a key with {what}",
            key=key,
            meaning=BAD_INPUT,
        )
        for what, key in (
            ("a line end", "A\r\nX-Api-Key: b"),
            ("NUL", "A\0B"),
            ("no characters", ""),
        )
    ],
    Row(
        fault="a key that is none",
        name="a key with / ? # % and .. in it",
        key="../A?b#c%2F",
        meaning=HARMLESS,
        operations=(*GETS, "process", "process, held", "refund"),
    ),
]
