"""What `status` and `watch` print: lines for people on a terminal, JSON lines for programs."""

import json
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Protocol, Self

from rich.console import Console
from rich.text import Text

from little_pay_async._cli.histogram import Histogram, Times
from little_pay_async._cli.outcomes import Outcome, Tally, briefly, one_line
from little_pay_async._cli.progress import LiveLine
from little_pay_async._models import Payment, PaymentStatus
from little_pay_async._watch import Watch

_COLOURS = {PaymentStatus.COMPLETED: "green", PaymentStatus.FAILED: "red"}
_MARKS = {PaymentStatus.COMPLETED: "✓", PaymentStatus.FAILED: "✗"}


class Report(Protocol):
    """Where outcomes are shown."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...

    def found(self, outcome: Outcome) -> None:
        """Show one outcome."""

    def getting_on(self, watch: Watch, tally: Tally) -> None:
        """Show how a watch is getting on."""

    def pending(self, keys: Iterable[str]) -> None:
        """Show the keys that a watch that was broken off leaves behind."""

    def summary(self, tally: Tally, took: float) -> None:
        """Show what it came to, after that many seconds."""


def print_json(fields: dict[str, Any]) -> None:
    """Print one object in one line, at once."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class JsonLines:
    """One JSON object a line, on standard output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def found(self, outcome: Outcome) -> None:
        """Print it."""
        print_json(outcome.to_dict())

    def getting_on(self, watch: Watch, tally: Tally) -> None:
        """Print nothing: programs wait for the outcomes."""

    def pending(self, keys: Iterable[str]) -> None:
        """Print them as outcomes without a status."""
        for key in keys:
            error = "not settled when the watch was broken off"
            print_json(Outcome(key=key).to_dict() | {"error": error})

    def summary(self, tally: Tally, took: float) -> None:
        """Print nothing: programs count for themselves."""


class Lines:
    """One line an outcome on the terminal, and below them how a watch is getting on.

    Args:
        console: The terminal.
        live: Is there a watch to show?
    """

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._live = live
        self._line: LiveLine | None = None
        self._times = Times()
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        if self._live:
            self._line = self._exit.enter_context(LiveLine(self._console, "watching"))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    def found(self, outcome: Outcome) -> None:
        """Print it."""
        self._console.print(_line_of(outcome))
        if self._live:
            self._times.add(outcome)

    def getting_on(self, watch: Watch, tally: Tally) -> None:
        """Draw the live line."""
        if self._line is not None:
            self._line.show_watch(watch, tally)

    def pending(self, keys: Iterable[str]) -> None:
        """Print nothing here: they are on standard error."""

    def summary(self, tally: Tally, took: float) -> None:
        """Print how many there are of each kind, and how long those of a watch took."""
        self._console.print(Histogram(self._times))
        self._console.print(
            f"[green]{tally.completed:,} completed[/], [red]{tally.failed:,} failed[/], "
            f"[yellow]{tally.not_settled:,} not settled[/] in {took:.1f} s"
        )


def colour_of(status: PaymentStatus | None) -> str:
    """Return the colour for a status, or for what has none."""
    return _COLOURS.get(status, "yellow") if status is not None else "yellow"


def mark_of(status: PaymentStatus | None) -> str:
    """Return the sign for a status, or for what has none."""
    return _MARKS.get(status, "?") if status is not None else "?"


def _line_of(outcome: Outcome) -> Text:
    status = outcome.status
    line = Text.assemble(
        (mark_of(status), colour_of(status)),
        " ",
        (f"{one_line(outcome.key):<14}", "bold"),
        " ",
        (f"{one_line(status.value) if status is not None else 'UNKNOWN':<10}", colour_of(status)),
    )
    if outcome.payment is not None:
        line.append(f" {described(outcome.payment)}")
    if outcome.elapsed is not None:
        line.append(f"  {outcome.elapsed:.1f} s", "dim")
    if outcome.error is not None:
        line.append(f"  {briefly(outcome.error)}", "yellow")
    return line


def described(payment: Payment) -> str:
    """Return amount, provider and message of a payment, as far as it has them."""
    amount = None if payment.amount is None else f"{payment.amount:,}"
    parts = (payment.currency, amount, payment.provider and payment.provider.value, payment.message)
    return one_line(" ".join(part for part in parts if part))


def print_pending(keys: tuple[str, ...]) -> None:
    """Print on standard error what a watch that was broken off leaves, as `--from` takes it."""
    if not keys:
        return
    sys.stderr.write(
        f"# {len(keys):,} still pending: watch them again with these lines as --from FILE\n"
    )
    sys.stderr.writelines(f"{key}\n" for key in keys)
    sys.stderr.flush()
