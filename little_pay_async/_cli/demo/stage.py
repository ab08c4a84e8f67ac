"""Where the demo is shown: on a terminal, or as one JSON object a line."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import anyio
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from little_pay_async._cli.demo.crowd import Crowd
from little_pay_async._cli.demo.purchases import Purchase
from little_pay_async._cli.progress import LiveLine, counts
from little_pay_async._cli.report import colour_of, mark_of, print_json
from little_pay_async._masking import mask_digits
from little_pay_async._models import PaymentStatus
from little_pay_async._watch import Watch

_SECONDS_BETWEEN_LINES = 0.5


class Stage(Protocol):
    """Where it is shown."""

    def opened(self, url: str) -> None:
        """Show that the sandbox is there."""

    def purchases(self, purchases: list[Purchase]) -> AbstractContextManager[None]:
        """Show purchases while they go on."""
        ...

    def changed(self, purchase: Purchase) -> None:
        """Show what a purchase has come to."""

    def creating(self, crowd: Crowd) -> AbstractContextManager[None]:
        """Show the crowd while it is created."""
        ...

    def created(self, crowd: Crowd) -> None:
        """Show how many of the crowd have been created."""

    def watching(self) -> AbstractContextManager[None]:
        """Show the crowd while it is watched."""
        ...

    def watched(self, crowd: Crowd, watch: Watch) -> None:
        """Show how the watch of the crowd is getting on."""

    def ended(self, purchases: list[Purchase], crowd: Crowd, took: float, *, well: bool) -> None:
        """Show what came of it all."""


class TerminalStage:
    """For people."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._line: LiveLine | None = None
        self._purchases: list[Purchase] = []

    def opened(self, url: str) -> None:
        """Print where the sandbox is."""
        self._console.print(
            f"[bold]little-pay demo[/], with a sandbox at {url}\n"
            "[dim]No account, no money, no network beyond this machine.[/]\n"
        )

    @contextmanager
    def purchases(self, purchases: list[Purchase]) -> Iterator[None]:
        """Draw them while they go on."""
        self._purchases = purchases
        self._console.print("[bold]Three payments[/], awaited one by one")
        with Live(console=self._console, auto_refresh=False) as self._live:
            yield

    def changed(self, purchase: Purchase) -> None:  # noqa: ARG002 - all are drawn
        """Draw them anew."""
        if self._live is not None:
            self._live.update(Group(*map(_doing, self._purchases)), refresh=True)

    @contextmanager
    def creating(self, crowd: Crowd) -> Iterator[None]:
        """Draw a bar."""
        self._console.print(f"\n[bold]{crowd.size:,} payments[/], pending at once, in one watch")
        with LiveLine(self._console, "creating", keep=True) as self._line:
            yield

    def created(self, crowd: Crowd) -> None:
        """Draw the bar."""
        if self._line is not None:
            self._line.show(crowd.created, crowd.size)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Draw a bar."""
        with LiveLine(self._console, "watching", keep=True) as self._line:
            yield

    def watched(self, crowd: Crowd, watch: Watch) -> None:
        """Draw the bar."""
        if self._line is not None:
            self._line.show_watch(watch, crowd.tally)

    def ended(self, purchases: list[Purchase], crowd: Crowd, took: float, *, well: bool) -> None:
        """Print the table."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for name in ("Payment", "Provider", "Amount", "Outcome", "Took"):
            table.add_column(name, justify="right" if name in {"Amount", "Took"} else "left")
        for purchase in purchases:
            provider, amount = purchase.provider.value, _amount(purchase)
            table.add_row(purchase.what, provider, amount, _marked(purchase), _took(purchase.took))
        table.add_section()
        table.add_row(
            f"{crowd.size:,} at once",
            "",
            "",
            Text.from_markup(
                f"{_settled(crowd)}\n{counts(crowd.tally)}, {crowd.held:,} held at once"
            ),
            _took(crowd.took),
        )
        self._console.print("", table, "", sep="\n")
        self._console.print(
            f"[green]Everything came out as expected[/], the failures too, in {took:.1f} s."
            if well
            else f"[red]Not everything came out as expected[/], in {took:.1f} s."
        )


class JsonStage:
    """For programs, and for logs: each object has a `text` for people too."""

    def __init__(self) -> None:
        self._printed = 0.0

    def opened(self, url: str) -> None:
        """Print where the sandbox is."""
        print_json({"event": "sandbox", "text": f"sandbox at {url}", "url": url})

    def purchases(self, purchases: list[Purchase]) -> AbstractContextManager[None]:  # noqa: ARG002 - as in Stage
        """Print nothing."""
        return nullcontext()

    def changed(self, purchase: Purchase) -> None:
        """Print it."""
        doing = purchase.doing or _outcome(purchase).plain
        print_json({"event": "payment", "text": f"{purchase.what}: {doing}"} | _fields(purchase))

    def creating(self, crowd: Crowd) -> AbstractContextManager[None]:  # noqa: ARG002 - as in Stage
        """Print nothing."""
        return nullcontext()

    def created(self, crowd: Crowd) -> None:
        """Print the number now and then."""
        if self._is_time():
            text = f"{crowd.created:,} of {crowd.size:,} created"
            print_json({"event": "created", "text": text, "created": crowd.created})

    def watching(self) -> AbstractContextManager[None]:
        """Print nothing."""
        return nullcontext()

    def watched(self, crowd: Crowd, watch: Watch) -> None:  # noqa: ARG002 - as in Stage
        """Print the numbers now and then."""
        if self._is_time():
            statistics = watch.statistics()
            text = f"{statistics.settled:,} of {statistics.keys:,} settled"
            print_json({"event": "watching", "text": text} | statistics.to_dict())

    def ended(self, purchases: list[Purchase], crowd: Crowd, took: float, *, well: bool) -> None:
        """Print a line for each, and one for all."""
        for purchase in purchases:
            text = f"{purchase.what}: {_outcome(purchase).plain}"
            print_json({"event": "outcome", "text": text} | _fields(purchase))
        print_json(
            {
                "event": "outcome",
                "text": _settled(crowd),
                "keys": crowd.size,
                "settled": crowd.settled,
                "completed": crowd.tally.completed,
                "failed": crowd.tally.failed,
                "held": crowd.held,
                "elapsed": round(crowd.took, 3),
            }
        )
        text = "everything" if well else "not everything"
        text = f"{text} came out as expected, in {took:.1f} s"
        print_json({"event": "end", "text": text, "as_expected": well, "elapsed": round(took, 3)})

    def _is_time(self) -> bool:
        now = anyio.current_time()
        if now - self._printed < _SECONDS_BETWEEN_LINES:
            return False
        self._printed = now
        return True


def _settled(crowd: Crowd) -> str:
    return f"{crowd.settled:,} of {crowd.size:,} settled"


def _amount(purchase: Purchase) -> str:
    return f"{purchase.currency} {purchase.amount:,}"


def _took(took: float | None) -> str:
    return "" if took is None else f"{took:.1f} s"


def _doing(purchase: Purchase) -> Text:
    line = Text(
        f"  {purchase.provider.value:<7} {mask_digits(str(purchase.mobile))}  "
        f"{_amount(purchase):>12}  {purchase.what:<13} "
    )
    return line.append(purchase.doing, "yellow") if purchase.doing else line + _marked(purchase)


def _marked(purchase: Purchase) -> Text:
    status = purchase.payment.status if purchase.payment and not purchase.error else None
    return Text(f"{mark_of(status)} ", colour_of(status)) + _outcome(purchase)


def _outcome(purchase: Purchase) -> Text:
    """Return what came of a purchase."""
    if purchase.error is not None or purchase.payment is None:
        return Text(purchase.error or "not created", "yellow")
    status = purchase.payment.status
    text = Text(status.value, colour_of(status))
    if status is PaymentStatus.FAILED and purchase.payment.message:
        text.append(f": {purchase.payment.message}")
    if purchase.refund is PaymentStatus.COMPLETED:
        text.append(", refunded", "cyan")
    elif purchase.refund is not None:
        text.append(f", refund {purchase.refund.value}", "yellow")
    return text


def _fields(purchase: Purchase) -> dict[str, Any]:
    return {
        "key": purchase.key,
        "provider": purchase.provider.value,
        "amount": str(purchase.amount),
        "currency": purchase.currency,
        "status": purchase.payment and purchase.payment.status.value,
        "refund": purchase.refund and purchase.refund.value,
        "error": purchase.error,
        "elapsed": None if purchase.took is None else round(purchase.took, 3),
    }
