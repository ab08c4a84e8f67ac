"""What must never be shown: credentials, phone numbers and access tokens.

Everything that reaches a log line, a `repr` or an exception goes through here when it may hold one.
"""

import re
from collections.abc import Iterable
from typing import NoReturn, final

MASK = "***"

# Nine to fifteen digits (E.164 allows fifteen), grouped or not. It also hits other long numbers,
# which costs an excerpt a little and a payer nothing.
_PHONE_NUMBER = re.compile(r"(?<!\d)\+?\d(?:[ ().-]?\d){8,14}(?!\d)")
_ACCESS_TOKEN = re.compile(r'(access_?token["\']?\s*[:=]\s*["\']?)[^"\'\s,}&]+', re.IGNORECASE)


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
    for value in sorted({secret.reveal() for secret in secrets}, key=len, reverse=True):
        if value:
            text = text.replace(value, MASK)
    text = _ACCESS_TOKEN.sub(rf"\g<1>{MASK}", text)
    return _PHONE_NUMBER.sub(MASK, text)
