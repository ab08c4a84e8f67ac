"""The id by which a server, or a proxy before it, knows a request.

Little Pay documents none; these are the headers that others use. What they say is a stranger's
text, which is shown: it is short, of one line, and redacted like the rest of an answer.
"""

import re
from collections.abc import Iterable, Mapping

from little_pay_async._masking import Secret, redact

REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "x-correlation-id",
    "x-amzn-requestid",
    "cf-ray",
)
"""In the order in which they are looked for."""

_LONGEST = 128
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_HEX = frozenset("0123456789abcdefABCDEF")


def request_id(headers: Mapping[str, str], secrets: Iterable[Secret]) -> str | None:
    """Return what an answer says that the request's id is, as it may be shown.

    Args:
        headers: Of the answer, their names in lower case.
        secrets: What must not be shown, should one echo it.
    """
    for name in REQUEST_ID_HEADERS:
        if name in headers:
            return shown_id(headers[name], secrets) or None
    return None


def shown_id(text: str, secrets: Iterable[Secret]) -> str:
    """Return an id as it may be shown."""
    if _is_uuid(text):  # quickly, for each of thousands of polls may have one
        small = text.lower()
        if not any(secret.reveal().lower() in small for secret in secrets):
            return text
    # Redacted before it is cut, for a cut through a secret would leave a part of it.
    shown = redact(_UNPRINTABLE.sub(" ", text[: 8 * _LONGEST]), secrets).strip()
    return shown[:_LONGEST] if len(text) <= 8 * _LONGEST else ""


def _is_uuid(text: str) -> bool:
    """Return whether it is a UUID, with its hyphens or without, and not of digits alone.

    One in ten has nine digits in a row, for which it would be masked as a phone number.
    """
    digits = text.replace("-", "")
    return (
        len(digits) == 32
        and len(text) in {32, 36}
        and (len(text) == 32 or all(text[place] == "-" for place in (8, 13, 18, 23)))
        and _HEX.issuperset(digits)
        and sum(map(str.isalpha, digits)) >= 2
    )
