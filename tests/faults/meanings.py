"""What a fault means: which outcome each kind of operation has to come to.

The rules are the library's promises, written down a second time and independently of its code.
"""

import enum
from typing import Any

import attrs

from little_pay_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidInputError,
    LittlePayError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SessionClosedError,
    SettlementTimeoutError,
    UnexpectedResponseError,
)

TRIES = 3  # one, and two more: the default
MOST_POLLS = 40  # in WAITED seconds: a key that goes wrong is asked for more and more rarely
TIMEOUT = 30.0  # seconds: the session's defaults
HOLD = 90.0
WAITED = 200.0
COLLECTED = 400.0


class CancelledError(LittlePayError):
    """Stands for cancellation, which is no error of the library's."""


class Kind(enum.Enum):
    """Operations to which a fault means the same."""

    GET = enum.auto()
    LONG_POLL = enum.auto()
    MONEY = enum.auto()
    WAIT = enum.auto()
    COLLECT = enum.auto()
    COLLECT_PROCESS = enum.auto()  # its process alone is struck
    COLLECT_WAIT = enum.auto()  # its GETs alone are struck


@attrs.frozen(kw_only=True)
class Outcome:
    """What an operation comes to.

    Attributes:
        error: What is raised; None for the right answer.
        least: How many requests arrive at the least.
        most: How many at the most.
        tries: What the error says of it.
        cause: The kind of the error's cause.
        sent: What the connection error among them says.
        tls: The same.
        lasts: Seconds that it takes at the least.
    """

    error: type[LittlePayError] | None = None
    least: int = 1
    most: int = 1
    tries: int | None = None
    cause: type[LittlePayError] | None = None
    sent: bool | None = None
    tls: bool = False
    lasts: float = 0.0


@attrs.frozen(kw_only=True)
class Meaning:
    """What a fault means.

    Attributes:
        error: What a GET raises in the end; None where a fault hurts nobody.
        tries: How often a GET is sent.
        arrives: Does the request arrive at all?
        sent: Of a connection error: may it have left?
        tls: Of a connection error: is it TLS that failed?
        money: What a request that moves money raises.
        ends_hold: Is it what may end a long poll, and says nothing?
        lasting: Do `wait` and `watch` outlive it?
        again: It strikes but once, and the next request is answered well.
        lasts: Seconds before a GET is sent again, at the least.
        exceptions: Outcomes that do not follow from all that.
    """

    error: type[LittlePayError] | None = None
    tries: int = TRIES
    arrives: bool = True
    sent: bool | None = None
    tls: bool = False
    money: type[LittlePayError] | None = OutcomeUnknownError
    ends_hold: bool = False
    lasting: bool = False
    again: bool = False
    lasts: float = 0.0
    exceptions: dict[Kind, Outcome] = attrs.field(factory=dict)

    def outcome(self, kind: Kind) -> Outcome:
        """Return what operations of a kind come to."""
        if kind in self.exceptions:
            return self.exceptions[kind]
        if self.error is None:
            return _WELL[kind]
        if self.again:
            return self._in_the_end_well(kind)
        match kind:
            case Kind.GET:
                return self._get(0)
            case Kind.LONG_POLL:
                return self._get(1 if self.ends_hold else 0)
            case Kind.MONEY:
                return self._money(0)
            case Kind.WAIT:
                return self._wait(0)
            case _:
                return self._collect(kind)

    def _collect(self, kind: Kind) -> Outcome:
        may_be_known = self.money is not OutcomeUnknownError or not self.arrives
        match kind:
            case Kind.COLLECT_PROCESS if may_be_known:
                return self._money(1)
            case Kind.COLLECT_PROCESS:  # it waits, and never sends it again
                return Outcome(least=3, most=3)
            case Kind.COLLECT if may_be_known:
                return self._money(0)
            case Kind.COLLECT_WAIT if self.lasting:
                return self._wait(2)
            case _:  # a create is followed by a look at the status, which fails too
                before = 1 if kind is Kind.COLLECT else 2
                sent = before + self.tries
                return self._with_cause(OutcomeUnknownError, least=sent, most=sent)

    def _get(self, before: int) -> Outcome:
        number = before + self.tries if self.arrives else 0
        return Outcome(
            error=self.error,
            least=number,
            most=number,
            tries=self.tries,
            sent=self.sent,
            tls=self.tls,
        )

    def _money(self, before: int) -> Outcome:
        if self.money is OutcomeUnknownError and self.arrives:
            return self._with_cause(OutcomeUnknownError, least=before + 1, most=before + 1, tries=1)
        number = before + self.arrives
        error = self.money if self.arrives else self.error
        tries = 1 if self.arrives else self.tries
        return Outcome(
            error=error, least=number, most=number, tries=tries, sent=self.sent, tls=self.tls
        )

    def _wait(self, before: int) -> Outcome:
        if not self.lasting:
            return self._get(before)
        least, most = (before + 1, before + MOST_POLLS) if self.arrives else (before, before)
        return self._with_cause(SettlementTimeoutError, least=least, most=most, lasts=WAITED)

    def _with_cause(self, error: type[LittlePayError], **more: Any) -> Outcome:
        return Outcome(error=error, cause=self.error, sent=self.sent, tls=self.tls, **more)

    def _in_the_end_well(self, kind: Kind) -> Outcome:
        if not self.arrives:
            return attrs.evolve(_WELL[kind], lasts=self.lasts)
        match kind:
            case Kind.MONEY:
                return self._money(0)
            case Kind.COLLECT | Kind.COLLECT_PROCESS if self.money is not OutcomeUnknownError:
                return self._money(kind is Kind.COLLECT_PROCESS)
            case Kind.COLLECT:  # an intent that is found COMPLETED
                return Outcome(least=2, most=2)
            case Kind.COLLECT_PROCESS:
                return Outcome(least=3, most=3)
            case Kind.COLLECT_WAIT:
                return Outcome(least=4, most=4, lasts=self.lasts)
            case _:
                return Outcome(least=2, most=2, lasts=self.lasts)


_WELL = {kind: Outcome() for kind in Kind} | {
    kind: Outcome(least=3, most=3)
    for kind in (Kind.COLLECT, Kind.COLLECT_PROCESS, Kind.COLLECT_WAIT)
}


def clear(error: type[LittlePayError], **more: Any) -> Meaning:
    """Little Pay said no, and no answer could be clearer."""
    return Meaning(error=error, tries=1, money=error, **more)


HARMLESS = Meaning()
UNSENT = Meaning(error=APIConnectionError, arrives=False, sent=False, lasting=True)
NOT_TRUSTED = Meaning(error=APIConnectionError, arrives=False, sent=False, tls=True, tries=1)
LOST = Meaning(error=APIConnectionError, sent=True, ends_hold=True, lasting=True)
SILENT = Meaning(error=APITimeoutError, sent=True, ends_hold=True, lasting=True, tries=1)
SENSELESS = Meaning(error=UnexpectedResponseError)
REFUSED = Meaning(error=UnexpectedResponseError, tries=1)
FAILED = Meaning(error=ServerError, lasting=True)
PROXY_FAILED = Meaning(error=ServerError, ends_hold=True, lasting=True)
TIMED_OUT = Meaning(error=APIStatusError, lasting=True)
LIMITED = Meaning(error=RateLimitError, money=RateLimitError, lasting=True)
BAD_REQUEST = clear(BadRequestError)
NOT_ALLOWED = clear(AuthenticationError)
FORBIDDEN = clear(PermissionDeniedError)
NOT_FOUND = clear(NotFoundError)
CONFLICT = clear(ConflictError)
OTHER_4XX = clear(APIStatusError)
NOT_HERE = Meaning(error=SessionClosedError, arrives=False, tries=1)
BAD_INPUT = Meaning(error=InvalidInputError, arrives=False, tries=1)


def once_only(meaning: Meaning, **more: Any) -> Meaning:
    """Return what a fault means that strikes but once."""
    return attrs.evolve(meaning, again=True, **more)


NOT_IN_TIME = attrs.evolve(
    UNSENT,
    error=APITimeoutError,
    tries=1,  # the time is over
    exceptions={
        # Of a held one there is more.
        kind: Outcome(error=APITimeoutError, least=0, most=0, sent=False)
        for kind in (Kind.LONG_POLL, Kind.MONEY)
    },
)
FOUND_DEAD = once_only(
    LOST,
    exceptions={
        Kind.MONEY: _WELL[Kind.MONEY],  # it never takes a connection that was used before
        Kind.COLLECT: Outcome(least=3, most=4),
        Kind.COLLECT_PROCESS: _WELL[Kind.COLLECT_PROCESS],
        Kind.COLLECT_WAIT: Outcome(least=3, most=4),
    },
)
SILENT_ONCE = once_only(SILENT, exceptions={Kind.GET: SILENT.outcome(Kind.GET)})  # its time is over
NOT_FINAL = Meaning(
    exceptions={
        kind: Outcome(
            error=SettlementTimeoutError,
            least=before + 5,
            most=before + MOST_POLLS,
            lasts=WAITED,
        )
        for kind, before in ((Kind.WAIT, 0), (Kind.COLLECT, 2), (Kind.COLLECT_WAIT, 2))
    }
)
FINAL_LATER = Meaning(
    exceptions={
        Kind.WAIT: Outcome(least=2, most=2, lasts=1.0),
        Kind.COLLECT: Outcome(least=3, most=3),
        Kind.COLLECT_WAIT: Outcome(least=4, most=4, lasts=1.0),
    }
)
# What h11, which reads what a leased connection brings, and httpcore call broken.
LOST_TO_H11 = LOST
CANCELLED = Meaning(
    error=CancelledError,
    tries=1,
    money=CancelledError,
    exceptions={Kind.COLLECT_WAIT: Outcome(error=CancelledError, least=3, most=3)},
)
CLOSED = Meaning(
    error=SessionClosedError,
    tries=1,
    exceptions={
        kind: Outcome(error=OutcomeUnknownError, cause=SessionClosedError, least=sent, most=sent)
        for kind, sent in ((Kind.COLLECT, 1), (Kind.COLLECT_PROCESS, 2))
    },
)
