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
# A UUID, or as many digits together, at the least with two letters among them: no phone number,
# though one in ten of them has nine digits in a row and would be taken for one.
_UUID = re.compile(
    r"(?=[0-9-]*[a-f][0-9-]*[a-f])[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}",
    re.IGNORECASE,
)


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
    if _UUID.fullmatch(text):  # quickly, for each of thousands of polls may have one
        small = text.lower()
        if not any(secret.reveal().lower() in small for secret in secrets):
            return text
    # Redacted before it is cut, for a cut through a secret would leave a part of it.
    shown = redact(_UNPRINTABLE.sub(" ", text[: 8 * _LONGEST]), secrets).strip()
    return shown[:_LONGEST] if len(text) <= 8 * _LONGEST else ""
