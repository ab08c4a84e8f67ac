"""The live line of a watch on a terminal: how many have settled, how fast, how many are held."""

from typing import Self

import anyio
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from little_pay_async._cli.outcomes import Tally
from little_pay_async._models import WatchStatistics

TICK = 0.1
"""Seconds between two looks at how it is getting on."""


class LiveLine:
    """A bar with counts, at the bottom of the terminal while it is entered, then gone.

    It is drawn by `show` alone, not by a thread: what it shows belongs to the event loop.
    """

    def __init__(self, console: Console, what: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn(what),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, figures="")
        self._began = anyio.current_time()
        self._shown = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def show(self, statistics: WatchStatistics, tally: Tally) -> None:
        """Draw it anew, but no more often than an eye can follow."""
        now = anyio.current_time()
        if now - self._shown < TICK:
            return
        self._shown = now
        took = now - self._began
        self._progress.update(
            self._task,
            completed=statistics.settled,
            total=statistics.keys or None,
            figures=_figures(statistics, tally, took),
            refresh=True,
        )


def _figures(statistics: WatchStatistics, tally: Tally, took: float) -> str:
    parts = [
        f"{statistics.settled:,} of {statistics.keys:,}",
        f"[green]✓ {tally.completed:,}[/] [red]✗ {tally.failed:,}[/]",
        f"{statistics.in_flight:,} held",
        f"{statistics.settled / max(took, TICK):,.0f}/s",
        f"{took:.0f} s",
    ]
    if tally.not_settled:
        parts[1] += f" [yellow]? {tally.not_settled:,}[/]"
    return "  ".join(parts)
