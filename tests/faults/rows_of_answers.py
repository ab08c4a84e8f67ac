"""Answers of other servers than Little Pay, and what Little Pay says itself."""

import attrs

from ..servers import payment
from .meanings import (
    BAD_REQUEST,
    CONFLICT,
    FAILED,
    FORBIDDEN,
    LIMITED,
    NOT_ALLOWED,
    NOT_FOUND,
    OTHER_4XX,
    PROXY_FAILED,
    REFUSED,
    SENSELESS,
    TIMED_OUT,
    once_only,
)
from .row import rows_of
from .scripts import (
    answers,
    asks_to_come_at,
    body,
    right_with_raw,
    status,
)

HTML = b"<html>It works!</html>"
DATE = b'"date": "2024-05-13T08:26:18.719Z"'
GETS = ("status", "check", "long_poll", "wait", "watch")

ROWS = [
    *rows_of(
        "an answer that is not Little Pay's",
        ("HTML", body(HTML, "text/html"), SENSELESS),
        ("HTML that is said to be JSON", body(HTML), SENSELESS),
        ("JSON that is said to be text", body(payment(), "text/plain"), SENSELESS),
        ("no body", body(b""), SENSELESS),
        ("JSON, but no envelope", body(b'{"status": "COMPLETED"}'), SENSELESS),
        ("data is null", body(b'{%s, "data": null}' % DATE), SENSELESS),
        ("data is a list", body(b'{%s, "data": []}' % DATE), SENSELESS),
        ("NaN", body(b'{%s, "data": {"status": "PENDING", "x": NaN}}' % DATE), SENSELESS),
        ("not UTF-8", body(payment().replace(b"COMPLETED", b"COMPL\xffTED", 1)), SENSELESS),
        ("nested 100,000 deep", body(b"[" * 100_000), SENSELESS),
        ("HTML, once", body(HTML, "text/html"), once_only(SENSELESS)),
    ),
    *rows_of(
        "an answer that is not Little Pay's",
        ("an amount of 1e400", right_with_raw(b'"amount": 1e400'), SENSELESS),
        operations=GETS,
    ),
    *rows_of(
        "a redirect",
        *[
            (f"HTTP {code}", status(f"{code} Elsewhere", {"Location": "/stolen"}), REFUSED)
            for code in (300, 301, 302, 303, 304, 307, 308)
        ],
    ),
    *rows_of(
        "Little Pay says no",
        *answers(
            ("400 Bad Request", BAD_REQUEST),
            ("401 Unauthorized", NOT_ALLOWED),
            ("403 Forbidden", FORBIDDEN),
            ("404 Not Found", NOT_FOUND),
            ("409 Conflict", CONFLICT),
            ("418 I'm a teapot", OTHER_4XX),
            ("422 Unprocessable Content", BAD_REQUEST),
        ),
    ),
    *rows_of(
        "too many requests, or come again later",
        *answers(("429 Too Many Requests", LIMITED)),
        (
            "HTTP 429 with Retry-After: 20, once",
            status("429 Too Many Requests", {"Retry-After": "20"}),
            once_only(LIMITED, lasts=20.0),
        ),
        (
            "HTTP 503 with Retry-After: 20, once",
            status("503 Service Unavailable", {"Retry-After": "20"}),
            once_only(FAILED, lasts=20.0),
        ),
        (
            "HTTP 503 with Retry-After: a date, once",
            asks_to_come_at,
            once_only(FAILED, lasts=17.0),
        ),
        (
            "HTTP 429 with Retry-After: 300",
            status("429 Too Many Requests", {"Retry-After": "300"}),
            attrs.evolve(LIMITED, tries=1),
        ),
    ),
    *rows_of(
        "Little Pay failed, or a proxy before it",
        *answers(
            ("408 Request Timeout", TIMED_OUT),
            ("500 Internal Server Error", FAILED),
            ("502 Bad Gateway", PROXY_FAILED),
            ("503 Service Unavailable", FAILED),
            ("504 Gateway Timeout", PROXY_FAILED),
            ("599 Made Up", FAILED),
        ),
        ("HTTP 500, once", status("500 Internal Server Error"), once_only(FAILED)),
        ("HTTP 502, once", status("502 Bad Gateway"), once_only(PROXY_FAILED)),
    ),
]
