"""Faults of connections: none, one that breaks, one that is slow."""

from ..servers import answers_well, closes, is_silent, resets, response
from . import circumstances
from .meanings import (
    FOUND_DEAD,
    HARMLESS,
    LOST,
    NOT_IN_TIME,
    NOT_TRUSTED,
    SENSELESS,
    SILENT,
    SILENT_ONCE,
    UNSENT,
    once_only,
)
from .row import Row, rows_of
from .scripts import (
    LINE,
    answers_and_leaves,
    chunks,
    cut,
    drips,
    on_the_first_connection,
    promises_less_than_it_sends,
    resets_within,
    until_the_end,
)

ROWS = [
    Row(
        fault="no connection",
        name="nobody listens where Little Pay should be",
        place=circumstances.nobody,
        meaning=UNSENT,
    ),
    Row(
        fault="no connection",
        name="nobody listens at first, and a moment later somebody does",
        interruption="away at first",
        meaning=once_only(UNSENT),
    ),
    Row(
        fault="no connection",
        name="the host name is not found",
        around=circumstances.no_such_host,
        meaning=UNSENT,
    ),
    Row(
        fault="no connection",
        name="the connection is not accepted in time",
        place=circumstances.never_accepted,
        meaning=NOT_IN_TIME,
    ),
    Row(
        fault="no connection",
        name="the connection is reset in the TLS handshake",
        greeting=circumstances.resets,
        only="tls",
        meaning=UNSENT,
    ),
    Row(
        fault="no connection",
        name="the TLS handshake never ends",
        greeting=circumstances.never_speaks,
        only="tls",
        meaning=NOT_IN_TIME,
    ),
    Row(
        fault="no connection",
        name="this process has no open file left (EMFILE)",
        around=circumstances.no_file_left,
        meaning=UNSENT,
    ),
    *[
        Row(
            fault="a server that can't be trusted",
            name=f"the certificate is {what}",
            certificate=certificate,
            only="tls",
            meaning=NOT_TRUSTED,
        )
        for what, certificate in (
            ("expired", "expired"),
            ("another host's", "wrong host"),
            ("of an unknown authority", "unknown authority"),
        )
    ],
    Row(
        fault="a server that can't be trusted",
        name="there is no TLS where TLS was asked for",
        greeting=circumstances.speaks_no_tls,
        only="tls",
        meaning=NOT_TRUSTED,
    ),
    *rows_of(
        "the connection breaks after the request",
        ("reset without an answer", resets, LOST),
        ("closed without an answer", closes, LOST),
        ("reset within the answer", resets_within, LOST),
        ("closed within the status line", cut(0.02), LOST),
        ("closed within the headers", cut(0.1), LOST),
        ("reset without an answer, once", resets, once_only(LOST)),
        ("closed without an answer, once", closes, once_only(LOST)),
    ),
    Row(
        fault="an idle connection that has died",
        name="the server had closed it",
        before=answers_and_leaves,
        meaning=HARMLESS,
    ),
    Row(
        fault="an idle connection that has died",
        name="the server closes it when the next request comes",
        before=answers_well,
        script=closes,
        strikes=on_the_first_connection,
        meaning=FOUND_DEAD,
    ),
    *rows_of(
        "a body that is not whole",
        ("closed within the body", cut(0.9), LOST),
        ("all but the last byte of the body", cut(0.9999), LOST),
        ("Content-Length is less than the body", promises_less_than_it_sends, SENSELESS),
        ("chunks without their end", chunks(b""), LOST),
        ("closed within a chunk", chunks(b"5\r\nab"), LOST),
        ("a chunk whose size is no number", chunks(b"zz\r\n"), LOST),
        ("no length: closed before the last byte", until_the_end(1), LOST),
    ),
    *rows_of(
        "a body that is not whole",
        ("no length: closed after a whole envelope", until_the_end(0), HARMLESS),
        only="plain",
    ),
    *rows_of(
        "slow, or silent",
        ("silence: nothing comes back, half-open TCP for instance", is_silent, SILENT),
        ("headers that drip and never end", drips(LINE, b"X: y\r\n"), SILENT),
        ("a body that drips and never ends", drips(response(length=100_000), b" "), SILENT),
        ("silence, once", is_silent, SILENT_ONCE),
    ),
]
