"""The live line on a terminal: how many of how many, and how fast."""

from typing import Self

import anyio
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from little_pay_async._cli.outcomes import Tally
from little_pay_async._watch import Watch

TICK = 0.1
"""Seconds between two looks at how it is getting on."""


class LiveLine:
    """A bar with counts at the bottom of the terminal, there while it is entered.

    It is drawn by its methods alone, not by a thread: what it shows belongs to the event loop.
    However often they are called, it is drawn no more often than an eye can follow.
    """

    def __init__(self, console: Console, doing: str, *, keep: bool = False) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn(doing),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}"),
            console=console,
            auto_refresh=False,
            transient=not keep,
        )
        self._task = self._progress.add_task("", total=None, figures="")
        self._began = anyio.current_time()
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def show(self, done: int, total: int) -> None:
        """Draw how many are done."""
        if self._is_time(done, total):
            self._draw(done, total)

    def show_watch(self, watch: Watch, tally: Tally) -> None:
        """Draw how a watch is getting on."""
        done = tally.total
        total = done + len(watch)
        if self._is_time(done, total):
            took = anyio.current_time() - self._began
            self._draw(
                done,
                total,
                counts(tally),
                f"{watch.statistics().in_flight:,} held",
                f"{done / max(took, TICK):,.0f}/s",
                f"{took:.0f} s",
            )

    def _is_time(self, done: int, total: int) -> bool:
        """Return whether to draw again."""
        now = anyio.current_time()
        if now - self._drawn < TICK and done < total:
            return False
        self._drawn = now
        return True

    def _draw(self, done: int, total: int, *figures: str) -> None:
        self._progress.update(
            self._task,
            completed=done,
            total=total or None,
            figures="  ".join((f"{done:,} of {total:,}", *figures)),
            refresh=True,
        )


def counts(tally: Tally) -> str:
    """Return how many there are of each kind, in rich's markup."""
    text = f"[green]✓ {tally.completed:,}[/] [red]✗ {tally.failed:,}[/]"
    return f"{text} [yellow]? {tally.not_settled:,}[/]" if tally.not_settled else text
