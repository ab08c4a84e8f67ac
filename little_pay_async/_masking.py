"""What must never be shown: credentials, phone numbers and access tokens.

Everything that reaches a log line, a `repr` or an exception goes through here when it may hold one.
"""

import re
from collections.abc import Iterable
from typing import NoReturn, final

MASK = "***"

# Nine digits or more, grouped or not. It also hits other long numbers, which costs an excerpt a
# little and a payer nothing.
_PHONE_NUMBER = re.compile(r"\+?\d(?:[ ().-]{0,3}\d){8,}")
# Its quotes may be escaped, once or more: JSON in JSON, JSON in HTML.
_QUOTES = r"(?:[\\\"']|&(?:quot|#\d+);)*"
_ACCESS_TOKEN = re.compile(
    rf"(access[_-]?token{_QUOTES}\s*[:=]\s*{_QUOTES})[^\\\"'\s,}}&]+", re.IGNORECASE
)


@final
class Secret:
    """A string that shows itself only to `reveal()`: masked in `repr` and `str`, never pickled.

    Error trackers send the `repr` of every local variable, so that a credential must not lie in
    one as a plain string.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        msg = "a secret is not pickled"
        raise TypeError(msg)


def mask_digits(digits: str) -> str:
    """Return a phone number with only its first three and last two digits left."""
    if len(digits) < 9:
        return MASK
    return f"{digits[:3]}{'*' * (len(digits) - 5)}{digits[-2:]}"


def mask_email(address: str) -> str:
    """Return an e-mail address with only its domain left."""
    return f"{MASK}@{address.rpartition('@')[2]}" if "@" in address else MASK


def redact(text: str, secrets: Iterable[Secret] = ()) -> str:
    """Return `text` without the given secrets, phone numbers and access tokens."""
    # The longest first: a secret that contains another one must not leave its rest behind.
    values = sorted({secret.reveal() for secret in secrets} - {""}, key=len, reverse=True)
    if values:
        text = re.sub("|".join(map(_as_written, values)), MASK, text, flags=re.IGNORECASE)
    text = _ACCESS_TOKEN.sub(rf"\g<1>{MASK}", text)
    return _PHONE_NUMBER.sub(MASK, text)


def _as_written(secret: str) -> str:
    """Return a pattern of a secret as a server may echo it: plain, in JSON, HTML or a URL."""
    return "".join(
        char
        if char.isascii() and char.isalnum()
        else rf"(?:\\{{0,8}}{re.escape(char)}|(?:\\{{1,8}}u00|%){ord(char):02x}|&#?\w{{1,8}};)"
        for char in secret
    )
