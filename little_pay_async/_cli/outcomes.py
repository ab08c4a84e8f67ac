"""What became of the keys that were asked for, and which exit code says so."""

from typing import Any

import attrs

from little_pay_async._errors import (
    ConfigurationError,
    InvalidInputError,
    LittlePayError,
)
from little_pay_async._models import Payment, PaymentStatus, Settlement

ALL_COMPLETED = 0
ONE_FAILED = 1
USAGE = 2
"""Wrong arguments, or a credential that is missing."""
NOT_SETTLED = 3
"""One was not settled, is unknown, or could not be reached."""
INTERRUPTED = 130


def exit_code_of(error: LittlePayError) -> int:
    """Return the exit code after an error that ended a command."""
    return USAGE if isinstance(error, ConfigurationError | InvalidInputError) else NOT_SETTLED


def one_line(text: str) -> str:
    """Return `text` in one line, without what a terminal would take for orders."""
    return "".join(
        sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for sign in " ".join(text.split())
    )


@attrs.frozen(kw_only=True)
class Outcome:
    """How one key was found.

    Attributes:
        key: As it was given.
        payment: What Little Pay said of it last, or None.
        error: Why it is not settled, or None.
        elapsed: Seconds since it was asked for.
        polls: Requests spent on it; None if that is not known.
    """

    key: str
    payment: Payment | None = None
    error: LittlePayError | None = None
    elapsed: float | None = None
    polls: int | None = None

    @property
    def status(self) -> PaymentStatus | None:
        """What Little Pay said last of how it stands, or None."""
        return None if self.payment is None else self.payment.status

    @property
    def error_kind(self) -> str | None:
        """The class of its error by name, or None."""
        return None if self.error is None else type(self.error).__name__

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is printed for programs."""
        return {
            "key": self.key,
            "status": self.status and self.status.value,
            "payment": self.payment and self.payment.to_dict(),
            "error": None if self.error is None else named(self.error),
            "elapsed": None if self.elapsed is None else round(self.elapsed, 3),
            "polls": self.polls,
        }


def outcome_of(settlement: Settlement) -> Outcome:
    """Return a settlement as it is shown."""
    return Outcome(
        key=settlement.key,
        payment=settlement.payment,
        error=settlement.error,
        elapsed=settlement.elapsed,
        polls=settlement.polls,
    )


def named(error: LittlePayError) -> str:
    """Return an error's kind and text in one line, and what the error behind it says."""
    return f"{type(error).__name__}: {one_line(str(error))}{_behind(error)}"


def briefly(error: LittlePayError) -> str:
    """Return the same without what to do about it: for a terminal full of them."""
    return f"{type(error).__name__}: {one_line(error.what)}{_behind(error)}"


def _behind(error: LittlePayError) -> str:
    cause = error.__cause__
    return f" (last error: {briefly(cause)})" if isinstance(cause, LittlePayError) else ""


@attrs.define
class Tally:
    """Counts outcomes."""

    completed: int = 0
    failed: int = 0
    not_settled: int = 0

    def count(self, outcome: Outcome) -> None:
        """Count one."""
        if outcome.error is not None or outcome.status is None or not outcome.status.is_final:
            self.not_settled += 1
        elif outcome.status is PaymentStatus.COMPLETED:
            self.completed += 1
        else:
            self.failed += 1

    @property
    def total(self) -> int:
        """How many were counted."""
        return self.completed + self.failed + self.not_settled

    @property
    def exit_code(self) -> int:
        """0, 1 or 3: not settled outweighs failed."""
        if self.not_settled:
            return NOT_SETTLED
        return ONE_FAILED if self.failed else ALL_COMPLETED
