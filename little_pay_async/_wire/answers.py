"""What an answer means: the result, or which error. The only place that decides it.

Rules of this file:

- A 2xx is a result only if it is the documented envelope with what the operation needs in it.
- A money request whose answer leaves open whether it took effect is an `OutcomeUnknownError`;
  everything that a 4xx says clearly keeps its own type.
- Errors are returned, not raised: no traceback shall pass a frame that holds an answer's bytes.
- What an error shows of an answer is short and redacted.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import attrs

from little_pay_async import _errors
from little_pay_async._errors import LittlePayError
from little_pay_async._masking import Secret, redact
from little_pay_async._models import Envelope
from little_pay_async._wire.calls import Call
from little_pay_async._wire.request_ids import REQUEST_ID_HEADERS, request_id, shown_id
from little_pay_async._wire.shapes import NotTheEnvelopeError, decode, read_envelope

T = TypeVar("T")

MAX_BODY = 1024 * 1024
"""Bytes of a body that are read at the most; Little Pay's answers have a few hundred."""

_EXCERPT = 300
_IN_A_LINE = 120
_READ = 8 * _EXCERPT  # what an excerpt is made of: redacting makes it shorter
_SHOWN_HEADERS = ("date", "retry-after", *REQUEST_ID_HEADERS)
_STATUS_ERRORS: dict[int, type[_errors.APIStatusError]] = {
    400: _errors.BadRequestError,
    401: _errors.AuthenticationError,
    403: _errors.PermissionDeniedError,
    404: _errors.NotFoundError,
    409: _errors.ConflictError,
    422: _errors.BadRequestError,
    429: _errors.RateLimitError,
}
_NO_JSON = re.compile(r"(?!application/(?:[\w.+-]+\+)?json\s*(?:;|$))", re.IGNORECASE)


@attrs.define
class Answer:
    """Status, headers and body of a response. Only status and size are in its `repr`.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case; several of one name joined by ", ".
        body: What came, whole or up to the end of the stream.
        delimited: Did the answer say where its body ends? If not, it ends with the stream, and
            nobody can tell a whole one from one that was cut short.
        refusal: Why the transport refused it, if it did.
    """

    status: int
    headers: dict[str, str] = attrs.field(repr=False)
    body: bytearray = attrs.field(factory=bytearray, repr=lambda body: f"{len(body)} bytes")
    delimited: bool = True
    refusal: str | None = attrs.field(default=None, repr=False)


def objection(answer: Answer) -> str | None:
    """Return why an answer is refused by its status and headers alone, or None."""
    headers = answer.headers
    encoding = headers.get("content-encoding")
    transfer = headers.get("transfer-encoding")
    length = headers.get("content-length", "")
    if encoding and encoding.strip().lower() not in {"", "identity"}:
        return "it is compressed, although only identity was asked for"
    if transfer is not None and transfer.strip().lower() != "chunked":
        return "its Transfer-Encoding is not just chunked"
    if transfer is not None and length:
        return "it has both a Content-Length and a Transfer-Encoding"
    if "," in length:
        return "it has several lengths"
    if length.isascii() and length.isdigit() and (len(length) > 15 or int(length) > MAX_BODY):
        return f"it is longer than {MAX_BODY} bytes"
    if len(answer.body) > MAX_BODY:
        return f"it is longer than {MAX_BODY} bytes"
    if answer.status < 200 or answer.status == HTTPStatus.NO_CONTENT:
        return f"status {answer.status} carries no answer"
    return None


def judge(
    call: Call,
    answer: Answer,
    read: Callable[[Envelope], T],
    *,
    secrets: Iterable[Secret],
    now: float,
) -> T | LittlePayError:
    """Return the result that `answer` is to `call`, or the error that it is.

    Args:
        call: What was asked.
        answer: What came.
        read: Makes the result of the envelope; one of this room's `read_...` functions.
        secrets: What must not be shown, should the answer echo it.
        now: Seconds since the epoch, for a `Retry-After` that is a date.
    """
    error: LittlePayError
    refusal = answer.refusal or objection(answer)
    if refusal is not None:
        error = _unexpected(call, answer, refusal, secrets, refused=True)
    elif 300 <= answer.status < 400:
        error = _unexpected(call, answer, "redirects are never followed", secrets, refused=True)
    elif 400 <= answer.status < 600:
        error = _status_error(call, answer, secrets, now)
        if call.moves_money and (answer.status >= 500 or answer.status == 408):
            return _left_open(call, error, answer, secrets)
        return error
    elif answer.status >= 600:
        error = _unexpected(call, answer, "HTTP has no such status", secrets, refused=True)
    else:
        found = _result(call, answer, read, secrets)
        if not isinstance(found, LittlePayError):
            return found
        error = found
    return _left_open(call, error, answer, secrets) if call.moves_money else error


def _left_open(
    call: Call, error: LittlePayError, answer: Answer, secrets: Iterable[Secret]
) -> _errors.OutcomeUnknownError:
    error.left_open = True
    return outcome_unknown(call, error, request_id(answer.headers, secrets))


def outcome_unknown(
    call: Call,
    cause: LittlePayError,
    request_id: str | None = None,
    *,
    happened: str = "it was sent, and no clear answer came",
) -> _errors.OutcomeUnknownError:
    """Return the error for a money request that may have taken effect, with what led to it."""
    what = {
        "create_intent": "The payment intent may exist",
        "process": "The payer's handset may be ringing",
        "refund": "The refund may be made",
    }.get(call.operation, "The request may have taken effect")
    error = _errors.OutcomeUnknownError(
        f"{call.operation}: {what}: {happened}: "
        f"{type(cause).__name__}: {cause.args[0].removeprefix(f'{call.operation}: ')}",
        operation=call.operation,
        key=call.key,
        request_id=request_id,
    )
    error.__cause__ = cause
    return error


def _result(
    call: Call, answer: Answer, read: Callable[[Envelope], T], secrets: Iterable[Secret]
) -> T | LittlePayError:
    content_type = answer.headers.get("content-type", "")
    if content_type and _NO_JSON.match(content_type.strip()):
        return _unexpected(call, answer, "its Content-Type is not JSON", secrets)
    try:
        return read(read_envelope(answer.body, request_id(answer.headers, secrets), secrets))
    except NotTheEnvelopeError as error:
        problem = str(error)
    if not answer.delimited:
        return _errors.APIConnectionError(
            f"{call.operation}: the connection ended before a whole answer had come.",
            sent=True,
            key=call.key,
        )
    return _unexpected(call, answer, problem, secrets)


def _unexpected(
    call: Call, answer: Answer, problem: str, secrets: Iterable[Secret], *, refused: bool = False
) -> _errors.UnexpectedResponseError:
    excerpt = _excerpt(answer, secrets)
    came = f"HTTP {answer.status}" if answer.status else "something came"
    return _errors.UnexpectedResponseError(
        f"{call.operation}: {came}, but not an answer of Little Pay's: {problem}. "
        f"It begins: {_beginning(excerpt)!r}.",
        status_code=answer.status,
        body=excerpt,
        refused=refused,
        headers=_shown_headers(answer, secrets),
        request_id=request_id(answer.headers, secrets),
        key=call.key,
    )


def _status_error(
    call: Call, answer: Answer, secrets: Iterable[Secret], now: float
) -> _errors.APIStatusError:
    status = answer.status
    message = _shown(_message(answer.body), secrets) or _phrase(status)
    default = _errors.ServerError if status >= 500 else _errors.APIStatusError
    return _STATUS_ERRORS.get(status, default)(
        f"{call.operation}: HTTP {status}: {_beginning(message)}",
        status_code=status,
        message=message,
        body=_excerpt(answer, secrets),
        retry_after=_retry_after(answer.headers, now),
        headers=_shown_headers(answer, secrets),
        request_id=request_id(answer.headers, secrets),
        key=call.key,
    )


def _beginning(text: str) -> str:
    """Return as much of a text as goes into a log line."""
    return text if len(text) <= _IN_A_LINE else f"{text[:_IN_A_LINE]}..."


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no standard status"


def _message(body: bytearray) -> str:
    """Return what an error body says, at `data.message` or at `message` (API facts: Envelope)."""
    try:
        document = decode(body)
    except NotTheEnvelopeError:
        return ""
    for place in (document.get("data"), document) if isinstance(document, dict) else ():
        message = place.get("message") if isinstance(place, dict) else None
        if isinstance(message, str) and message:
            return message
    return ""


def _excerpt(answer: Answer, secrets: Iterable[Secret]) -> str:
    # Four bytes a character at the most.
    return _shown(answer.body[: 5 * _READ].decode("utf-8", errors="replace"), secrets)


def _shown(text: str, secrets: Iterable[Secret]) -> str:
    """Return the beginning of a text, redacted."""
    # Redacted before it is cut, for a cut through a secret would leave a part of it; and where
    # the text goes on, without the end that the first cut may have gone through.
    secrets = tuple(secrets)
    shown = redact(text[:_READ], secrets)
    if len(text) > _READ:
        longest = max((len(secret.reveal()) for secret in secrets), default=0)
        shown = shown[: -max(32, 6 * longest)]  # \u0041 is the longest way to write a character
    return shown[:_EXCERPT]


def _shown_headers(answer: Answer, secrets: Iterable[Secret]) -> dict[str, str]:
    headers = answer.headers
    return {
        name: shown_id(headers[name], secrets)
        if name in REQUEST_ID_HEADERS
        else _shown(headers[name], secrets)
        for name in _SHOWN_HEADERS
        if name in headers
    }


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # More is never as well, and not the phone number that it may be.
        return min(float(text[:15]), 999_999_999.0)
    try:
        date = parsedate_to_datetime(text[:40])
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
