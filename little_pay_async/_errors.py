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

The text of each says in one line what happened (`what`), whether money may have moved (`money`),
what to do next (`advice`), and where there is more to read (`help`). Only the first is kept; the
others are put together when they are asked for, so that thousands of errors stay light.

All can be pickled. None holds a credential, an access token or an unmasked phone number in `str`,
`repr`, `args` or its pickle.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from little_pay_async._client import AsyncLittlePay
    from little_pay_async._models import Payment

# A path in the project, for the documentation has no address of its own yet.
_DOCUMENTATION = "docs/errors.md"
# What would make a second line of a log line, or colour a terminal.
_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_UNMOVED = "No money was moved by this."
_MAY_HAVE_MOVED = "Money may have moved."
_DO_NOT_REPEAT = "Do not send it again: ask for the payment's status."


class LittlePayError(Exception):
    """Whatever this library raises.

    Attributes:
        help: Where the documentation tells more of its kind.
        key: The merchant key or reference of the payment that it is about, or None.
        request_id: By which Little Pay, or a proxy before it, finds the request, if an answer came
            and had one. Little Pay documents no header for it: the first of `X-Request-ID`,
            `Request-ID`, `X-Correlation-ID`, `X-Amzn-RequestId` and `CF-Ray` is taken.
        left_open: It is what came of a money request that may have taken effect, and so the cause
            of an `OutcomeUnknownError`.
    """

    help: ClassVar[str] = _DOCUMENTATION
    key: str | None
    request_id: str | None = None
    left_open: bool = False

    _money: ClassVar[str] = "It does not say whether money moved."
    _advice: ClassVar[str] = "Ask for the payment's status before anything else."

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ == __name__:  # an application's own is helped by what ours says
            cls.help = f"{_DOCUMENTATION}#{cls.__name__.lower()}"

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key

    def __str__(self) -> str:
        return f"{self.what} {self.money} {self.advice} See {self.help}"

    @property
    def what(self) -> str:
        """What happened, in one line; the first part of the error's text."""
        text = _CONTROL.sub(" ", super().__str__()).strip().rstrip(".")
        told = f" (request id {self.request_id})" if self.request_id else ""
        return f"{text}{told}{'' if text.endswith(('?', '!')) and not told else '.'}"

    @property
    def money(self) -> str:
        """Whether money may have moved, for people to read: programs go by the kind of error."""
        return _MAY_HAVE_MOVED if self.left_open else self._money

    @property
    def advice(self) -> str:
        """What to do next."""
        return _DO_NOT_REPEAT if self.left_open else self._advice

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

    _money = _UNMOVED
    _advice = "Mend the setting that it names."


class SessionClosedError(LittlePayError, RuntimeError):
    """The session is closed, belongs to another event loop, or was carried over a fork.

    Make a new session there. An operation that was under way when the session was closed ends with
    this error too; of a money request that may have left, `OutcomeUnknownError` tells instead.
    """

    _money = _UNMOVED
    _advice = "Open a new session there; ask for the status of payments that are under way."


class InvalidInputError(LittlePayError, ValueError):
    """An argument was refused before anything was sent; the message names it and what is right."""

    _money = "Nothing was sent, so no money was moved by this."
    _advice = "Mend the argument that it names."


class APIConnectionError(LittlePayError):
    """No whole answer came: no connection, or one that broke.

    Attributes:
        sent: May any byte of the request have left? If False, Little Pay knows nothing of it.
        tls: The TLS handshake failed (certificate, host name, protocol): asking again won't help.
        tries: How often the request was tried.
    """

    _money = _UNMOVED
    _advice = "It may be tried again; it says nothing about the payment."

    def __init__(
        self, message: str, *, sent: bool, tls: bool = False, tries: int = 1, key: str | None = None
    ) -> None:
        super().__init__(message, key=key)
        self.sent = sent
        self.tls = tls
        self.tries = tries

    @property
    def money(self) -> str:
        """Whether money may have moved."""
        return super().money if self.sent else "Nothing was sent, so no money was moved by this."

    @property
    def advice(self) -> str:
        """What to do next."""
        if self.tls:
            return "Check certificates, host name and what is in between: again won't help."
        return super().advice


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

    _money = _UNMOVED
    _advice = "Do as its message says, and ask for the payment's status if in doubt."

    def __init__(
        self,
        text: str,
        *,
        status_code: int,
        message: str,
        body: str = "",
        retry_after: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        request_id: str | None = None,
        tries: int = 1,
        key: str | None = None,
    ) -> None:
        super().__init__(text, key=key)
        self.request_id = request_id
        self.status_code = status_code
        self.message = message
        self.body = body
        self.retry_after = retry_after
        self.headers: dict[str, str] = dict(headers)
        self.tries = tries


class BadRequestError(APIStatusError):
    """400 or 422: Little Pay refused what was sent."""

    _advice = "Mend what its message names."


class AuthenticationError(APIStatusError):
    """401: the credential was refused."""

    _advice = "Check that the credential is current and of the right environment."


class PermissionDeniedError(APIStatusError):
    """403: the credential does not allow this."""

    _advice = "Check in the merchant dashboard what the credential may do."


class NotFoundError(APIStatusError):
    """404: Little Pay knows no such payment, or not yet. It does not mean unpaid."""

    _advice = (
        "This does not mean that it is unpaid: check the key and the environment, or ask again in "
        "a moment."
    )


class ConflictError(APIStatusError):
    """409: it contradicts what Little Pay has already, a merchant key used twice for instance."""

    _money = "No money was moved by this, but an earlier request may have taken effect."
    _advice = "Ask for the status of the payment under that key."


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` says how long to wait, if the answer did."""

    @property
    def advice(self) -> str:
        """What to do next."""
        wait = "a while" if self.retry_after is None else f"{self.retry_after:g} s"
        return f"Wait {wait}, then try again."


class ServerError(APIStatusError):
    """5xx: Little Pay, or a proxy in front of it, failed."""

    _advice = "Try again later; it says nothing about the payment."


class UnexpectedResponseError(LittlePayError):
    """An answer that is not the documented envelope: HTML, a redirect, broken JSON, other HTTP.

    Attributes:
        status_code: The HTTP status.
        body: The beginning of the answer's body, redacted.
        refused: The answer breaks a rule of HTTP or of this library; asking again won't help.
        headers: Those of the answer's headers that help support (date, retry-after, request ids).
        tries: How often the request was tried.
    """

    _money = _UNMOVED
    _advice = (
        "Check the base_url and what is in between, or try again later; it says nothing about the "
        "payment."
    )

    def __init__(
        self,
        text: str,
        *,
        status_code: int,
        body: str = "",
        refused: bool = False,
        headers: Mapping[str, str] = MappingProxyType({}),
        request_id: str | None = None,
        tries: int = 1,
        key: str | None = None,
    ) -> None:
        super().__init__(text, key=key)
        self.request_id = request_id
        self.status_code = status_code
        self.body = body
        self.refused = refused
        self.headers: dict[str, str] = dict(headers)
        self.tries = tries


class OutcomeUnknownError(LittlePayError):
    """A money request that may have taken effect: it was sent, and no clear answer came.

    Never send it again by hand: a payer could be asked to pay twice. `resolve` asks for the truth.

    Attributes:
        operation: "create_intent", "process", "refund" or "request".
        key: What to ask `status` with, where it is known.
        tries: How often the request was tried; all but the last never left.
    """

    _money = _MAY_HAVE_MOVED

    def __init__(
        self,
        message: str,
        *,
        operation: str,
        key: str | None = None,
        request_id: str | None = None,
        tries: int = 1,
    ) -> None:
        super().__init__(message, key=key)
        self.request_id = request_id
        self.operation = operation
        self.tries = tries

    @property
    def advice(self) -> str:
        """What to do next."""
        how = (
            f"`await pay.status({self.key!r})` tells, or `await error.resolve(pay)`"
            if self._can_be_asked_for
            else "the merchant dashboard tells, or at times the payment's status"
        )
        return f"Do not send it again: {how}."

    @property
    def _can_be_asked_for(self) -> bool:
        return self.key is not None and self.operation in {"create_intent", "process"}

    async def resolve(self, pay: "AsyncLittlePay") -> "Payment":
        """Ask what became of it, by one `status` under its key. It never sends anything else.

        A payment is returned if it shows that the request took effect: for `process` if it is final
        or has an attempt, for `create_intent` whatever it is. What is not there, or not yet, may
        still be on its way, so that this raises `OutcomeUnknownError` again and never says that
        nothing was charged: ask again a moment later. The error may come from a pickle, of another
        process or session.

        `status` can't tell two attempts at the same payment apart: where it was processed before,
        a FAILED may be that of the earlier one.

        Args:
            pay: An open session with the same merchant's credentials.

        Raises:
            OutcomeUnknownError: It is still not known; its text says why. For a refund, and for
                what `request` sent, always, and nothing is asked: Little Pay documents no way to.
            InvalidInputError: `pay` is no session.
        """
        if self.key is None or not self._can_be_asked_for:
            raise self._still_unknown("Little Pay documents no way to ask for it") from self
        # Not by its class, which is made of what stands above errors.
        if not hasattr(pay, "status"):
            raise InvalidInputError(f"pay: give an AsyncLittlePay, not a {type(pay).__name__}")
        try:
            payment = await pay.status(self.key)
        except LittlePayError as error:
            raise self._still_unknown(f"{type(error).__name__} came of asking") from error
        if self.operation == "process" and not (payment.status.is_final or payment.attempts):
            raise self._still_unknown(f"the payment is {payment.status}, and shows no attempt")
        return payment

    def _still_unknown(self, why: str) -> "OutcomeUnknownError":
        return OutcomeUnknownError(
            f"{self.operation}: still not known what became of it: {why}",
            operation=self.operation,
            key=self.key,
            request_id=self.request_id,
            tries=self.tries,
        )


class SettlementTimeoutError(LittlePayError):
    """A payment was neither COMPLETED nor FAILED in time. It may still become either.

    Attributes:
        key: The key that was waited for.
        last: The last `Payment` seen, or None. A pickle of the error keeps it without `raw`,
            `details`, access token and billing address.
    """

    _money = "Money may have moved, or may still."
    _advice = "Do not charge again: ask for its status, or wait for it again."

    def __init__(self, message: str, *, key: str | None, last: "Payment | None" = None) -> None:
        super().__init__(message, key=key)
        self.last = last

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"last": self.last and self.last.without_private_parts()}


class CallbackError(LittlePayError):
    """A callback is well signed, but no callback of Little Pay's."""

    _money = "It says nothing about money."
    _advice = "Answer 400 and believe nothing of it; ask for the payment's status."


class InvalidSignatureError(CallbackError):
    """A callback is forged, was altered, or is malformed."""


class StaleCallbackError(CallbackError):
    """A callback is well signed, but its time is too far from now."""

    _advice = (
        "Answer 400 and believe nothing of it; check the clock, or ask for the payment's status."
    )
