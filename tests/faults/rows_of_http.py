"""Faults of HTTP: too much of it, broken, or none."""

from ..servers import answers_well, payment, response, sends
from .meanings import (
    HARMLESS,
    LOST_TO_H11,
    REFUSED,
    SILENT,
)
from .row import rows_of
from .scripts import (
    LINE,
    drips,
    floods,
    right_but,
    status,
    tells_more_when_idle,
)

TAIL = response(payment("FAILED", key="OTHER"))

ROWS = [
    *rows_of(
        "too much",
        ("a body announced as longer than 1 MiB", sends(response(length=1024 * 1024 + 1)), REFUSED),
        (
            "a body without an end",
            floods(
                LINE + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"
            ),
            REFUSED,
        ),
        ("101 lines of headers", right_but(head=b"X: y\r\n" * 99), REFUSED),
    ),
    *rows_of(
        "too much",
        ("a header of 48 MiB", floods(LINE + b"X: ", b"y" * 65536), REFUSED),
        ("headers without an end", floods(LINE, b"X: y\r\n" * 9999), REFUSED),
        (
            "a chunk extension without an end",
            floods(LINE + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536),
            REFUSED,
        ),
        (
            "a trailer without an end",
            floods(LINE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 9999),
            REFUSED,
        ),
        leasing=LOST_TO_H11,
    ),
    *rows_of(
        "compressed, although identity was asked for",
        ("Content-Encoding: gzip", right_but(head=b"Content-Encoding: gzip\r\n"), REFUSED),
        (
            "a Content-Encoding that nobody knows",
            right_but(head=b"Content-Encoding: made-up\r\n"),
            REFUSED,
        ),
    ),
    *rows_of(
        "HTTP that is broken, or that two readers could understand differently",
        ("HTTP/2.0", right_but(line=b"HTTP/2.0 200 OK\r\n"), REFUSED),
        (
            "Content-Length and Transfer-Encoding",
            right_but(head=b"Transfer-Encoding: chunked\r\n"),
            REFUSED,
        ),
    ),
    *rows_of(
        "HTTP that is broken, or that two readers could understand differently",
        ("no HTTP at all", sends(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", then_close=True), REFUSED),
        ("ICE/1.0", right_but(line=b"ICE/1.0 200 OK\r\n"), REFUSED),
        ("two lengths", right_but(head=b"Content-Length: 2\r\n"), REFUSED),
        (
            "Transfer-Encoding: gzip, chunked",
            sends(LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            REFUSED,
        ),
        ("NUL in a header", right_but(head=b"X: a\0b\r\n"), REFUSED),
        ("a bare CR in a header", right_but(head=b"X: a\rb\r\n"), REFUSED),
        leasing=LOST_TO_H11,
    ),
    *rows_of(
        "answers that are none",
        (
            "8 interim answers, then the right one",
            right_but(before=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 8),
            HARMLESS,
        ),
        ("204 No Content", sends(b"HTTP/1.1 204 No Content\r\n\r\n"), REFUSED),
        ("HTTP 600", status("600 Made Up"), REFUSED),
    ),
    *rows_of(
        "answers that are none",
        (
            "101 Switching Protocols",
            sends(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"
            ),
            REFUSED,
        ),
        leasing=LOST_TO_H11,
    ),
    *rows_of(
        "answers that are none",
        (
            "interim answers without an end",
            drips(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
            REFUSED,
        ),
        leasing=SILENT,
    ),
    *rows_of(
        "an answer that nobody asked for",
        ("a second answer, together with the first", right_but(after=TAIL), HARMLESS),
    ),
    *rows_of(
        "an answer that nobody asked for",
        ("an answer on an idle connection", answers_well, HARMLESS),
        before=tells_more_when_idle,
    ),
]
