"""The errors of the library, all of them.

    LittlePayError
    ├── ConfigurationError        a setting or a credential is missing or wrong
    ├── SessionClosedError        closed, or used from another event loop or after a fork
    ├── InvalidInputError         an argument was refused before anything was sent
    ├── APIConnectionError        no whole answer came; `.sent` says whether a byte may have left
    │   └── APITimeoutError       ... because time ran out
    ├── APIStatusError            an answer with an error status
    │   ├── BadRequestError       400, 422
    │   ├── AuthenticationError   401
    │   ├── PermissionDeniedError 403
    │   ├── NotFoundError         404
    │   ├── ConflictError         409
    │   ├── RateLimitError        429
    │   └── ServerError           5xx
    ├── UnexpectedResponseError   an answer that is not the documented envelope
    ├── OutcomeUnknownError       a money request that may have taken effect
    ├── SettlementTimeoutError    a payment that was not final in time
    └── CallbackError             a callback that is none
        ├── InvalidSignatureError
        └── StaleCallbackError

All can be pickled. None holds a credential, an access token or an unmasked phone number in `str`,
`repr`, `args` or its pickle.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from little_pay_async._models import Payment


class LittlePayError(Exception):
    """Whatever this library raises.

    Attributes:
        key: The merchant key or reference of the payment that it is about, or None.
    """

    key: str | None

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with `args` alone: it fails for keyword-only arguments.
        return _restore, (type(self), self.args, self._state())

    def _state(self) -> dict[str, Any]:
        return dict(self.__dict__)


def _restore(
    cls: type[LittlePayError], args: tuple[Any, ...], state: dict[str, Any]
) -> LittlePayError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class ConfigurationError(LittlePayError):
    """A setting is wrong, or a credential that is needed is missing; nothing was sent."""


class SessionClosedError(LittlePayError, RuntimeError):
    """The session is closed, belongs to another event loop, or was carried over a fork.

    Make a new session there. An operation that was under way when the session was closed ends with
    this error too; of a money request that may have left, `OutcomeUnknownError` tells instead.
    """


class InvalidInputError(LittlePayError, ValueError):
    """An argument was refused before anything was sent; the message names it and what is right."""


class APIConnectionError(LittlePayError):
    """No whole answer came: no connection, or one that broke.

    Attributes:
        sent: May any byte of the request have left? If False, Little Pay knows nothing of it.
        tls: The TLS handshake failed (certificate, host name, protocol): asking again won't help.
        tries: How often the request was tried.
    """

    def __init__(
        self, message: str, *, sent: bool, tls: bool = False, tries: int = 1, key: str | None = None
    ) -> None:
        super().__init__(message, key=key)
        self.sent = sent
        self.tls = tls
        self.tries = tries


class APITimeoutError(APIConnectionError):
    """No whole answer came in time."""


class APIStatusError(LittlePayError):
    """Little Pay answered with an error status. It says nothing about a payment's outcome.

    Attributes:
        status_code: The HTTP status.
        message: What the answer says, redacted, or the status's standard phrase.
        body: The beginning of the answer's body, redacted.
        retry_after: Seconds after which to ask again, if the answer said so.
        headers: Those of the answer's headers that help support (date, retry-after, request ids).
        tries: How often the request was tried.
    """

    def __init__(
        self,
        text: str,
        *,
        status_code: int,
        message: str,
        body: str = "",
        retry_after: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        tries: int = 1,
        key: str | None = None,
    ) -> None:
        super().__init__(text, key=key)
        self.status_code = status_code
        self.message = message
        self.body = body
        self.retry_after = retry_after
        self.headers: dict[str, str] = dict(headers)
        self.tries = tries


class BadRequestError(APIStatusError):
    """400 or 422: Little Pay refused what was sent."""


class AuthenticationError(APIStatusError):
    """401: the credential was refused."""


class PermissionDeniedError(APIStatusError):
    """403: the credential does not allow this."""


class NotFoundError(APIStatusError):
    """404: Little Pay knows no such payment, or not yet. It does not mean unpaid."""


class ConflictError(APIStatusError):
    """409: it contradicts what Little Pay has already, a merchant key used twice for instance."""


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` says how long to wait, if the answer did."""


class ServerError(APIStatusError):
    """5xx: Little Pay, or a proxy in front of it, failed."""


class UnexpectedResponseError(LittlePayError):
    """An answer that is not the documented envelope: HTML, a redirect, broken JSON, other HTTP.

    Attributes:
        status_code: The HTTP status.
        body: The beginning of the answer's body, redacted.
        refused: The answer breaks a rule of HTTP or of this library; asking again won't help.
        headers: Those of the answer's headers that help support (date, retry-after, request ids).
        tries: How often the request was tried.
    """

    def __init__(
        self,
        text: str,
        *,
        status_code: int,
        body: str = "",
        refused: bool = False,
        headers: Mapping[str, str] = MappingProxyType({}),
        tries: int = 1,
        key: str | None = None,
    ) -> None:
        super().__init__(text, key=key)
        self.status_code = status_code
        self.body = body
        self.refused = refused
        self.headers: dict[str, str] = dict(headers)
        self.tries = tries


class OutcomeUnknownError(LittlePayError):
    """A money request that may have taken effect: it was sent, and no clear answer came.

    Never send it again by hand: a payer could be asked to pay twice. Ask `status` for the truth.

    Attributes:
        operation: "create_intent", "process", "refund" or "request".
        key: What to ask `status` with, where it is known.
        tries: How often the request was tried; all but the last never left.
    """

    def __init__(
        self, message: str, *, operation: str, key: str | None = None, tries: int = 1
    ) -> None:
        super().__init__(message, key=key)
        self.operation = operation
        self.tries = tries


class SettlementTimeoutError(LittlePayError):
    """A payment was neither COMPLETED nor FAILED in time. It may still become either.

    Attributes:
        key: The key that was waited for.
        last: The last `Payment` seen, or None. A pickle of the error keeps it without `raw`,
            `details`, access token and billing address.
    """

    def __init__(self, message: str, *, key: str | None, last: "Payment | None" = None) -> None:
        super().__init__(message, key=key)
        self.last = last

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"last": self.last and self.last.without_private_parts()}


class CallbackError(LittlePayError):
    """A callback is well signed, but no callback of Little Pay's."""


class InvalidSignatureError(CallbackError):
    """A callback is forged, was altered, or is malformed."""


class StaleCallbackError(CallbackError):
    """A callback is well signed, but its time is too far from now."""
