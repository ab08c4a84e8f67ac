"""How long payments took to settle, by provider, as a small histogram for people on a terminal."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from little_pay_async._cli.outcomes import Outcome, one_line

_MOST_ROWS = 8
_FINEST_STEP = 0.01  # seconds; below that it is the machine that is measured
_STRAGGLERS = 0.05  # of all, which do not widen the rows but share the last one
_MOST_COLUMNS = 8
_OTHERS = "others"
_NO_PROVIDER = "-"
_WIDTH_OF_A_COLUMN = (14, 28)  # the least and the most
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


@attrs.define
class Times:
    """What is kept of the outcomes of a watch.

    Attributes:
        by_provider: Seconds that each payment took which is final.
        errors: How many keys have not settled, by the kind of their error.
    """

    by_provider: dict[str, list[float]] = attrs.field(factory=dict)
    errors: Counter[str] = attrs.field(factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Note one outcome."""
        if outcome.error_kind is not None:
            self.errors[outcome.error_kind] += 1
        elif outcome.payment is not None and outcome.elapsed is not None:
            provider = outcome.payment.provider
            name = _NO_PROVIDER if provider is None else one_line(provider.value)
            self.by_provider.setdefault(name, []).append(outcome.elapsed)

    @property
    def settled(self) -> int:
        """How many are final."""
        return sum(map(len, self.by_provider.values()))


@attrs.frozen
class Rows:
    """Spans of time, all of them as long, that fit what was measured.

    Attributes:
        step: Seconds that each is long: 1, 2 or 5, or that times a power of ten.
        first: The first of them; row 3 of 5 s begins at 15 s.
        last: The last of them.
        open_ended: Does the last have no end?
    """

    step: float
    first: int
    last: int
    open_ended: bool

    @classmethod
    def fitting(cls, times: Iterable[float]) -> "Rows":
        """Return rows for these times, of which there must be one.

        They are as short as they can be without becoming too many. One payment in twenty does not
        count there: what took much longer than the others would leave these in a single row.
        """
        ordered = sorted(times)
        usual = ordered[math.ceil((1 - _STRAGGLERS) * len(ordered)) - 1]
        step = next(
            step
            for step in _steps()
            if _row_of(usual, step) - _row_of(ordered[0], step) < _MOST_ROWS
        )
        first, last = _row_of(ordered[0], step), _row_of(ordered[-1], step)
        open_ended = last - first >= _MOST_ROWS
        return cls(step, first, _row_of(usual, step) + 1 if open_ended else last, open_ended)

    def counted(self, times: Iterable[float]) -> list[int]:
        """Return how many of these times are in each row."""
        counts = Counter(min(_row_of(time, self.step), self.last) for time in times)
        return [counts[row] for row in range(self.first, self.last + 1)]

    def titles(self) -> Iterator[str]:
        """Yield what each row is called: 5-10 s holds 5 s, but not 10."""
        digits = max(0, -math.floor(math.log10(self.step)))
        for row in range(self.first, self.last + 1):
            begin, end = (f"{edge * self.step:,.{digits}f}" for edge in (row, row + 1))
            yield f"{begin}+ s" if self.open_ended and row == self.last else f"{begin}-{end} s"


def _steps() -> Iterator[float]:
    exponent = round(math.log10(_FINEST_STEP))
    while True:
        for factor in (1, 2, 5):
            yield factor * 10.0**exponent
        exponent += 1


def _row_of(time: float, step: float) -> int:
    return math.floor(round(time / step, 6))  # 0.3 / 0.1 is a little less than 3


@attrs.frozen
class Histogram:
    """The times to settle: a row for each span of time, a column for each provider.

    Each column has its own scale: its longest bar is as long as it is wide. As many stand side by
    side as the terminal has room for, the others below them. Errors are counted apart. There is
    nothing of it where fewer than two payments have settled.
    """

    times: Times

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.times.settled > 1:
            yield from self._tables(options)
        if self.times.errors and self.times.errors.total() + self.times.settled > 1:
            kinds = (f"{count:,} {kind}" for kind, count in self.times.errors.most_common())
            yield Text(f"not settled: {', '.join(kinds)}", "yellow")

    def _tables(self, options: ConsoleOptions) -> Iterator[Text | Table]:
        yield Text.assemble("\n", ("Time to settle, by provider", "bold"))
        providers = _the_largest(self.times.by_provider)
        rows = Rows.fitting(time for times in providers.values() for time in times)
        titles = list(rows.titles())
        room = options.max_width - max(map(len, titles)) - 1
        least, most = _WIDTH_OF_A_COLUMN
        side_by_side = max(1, min(len(providers), room // least))
        width = max(least, min(most, room // side_by_side)) - 1
        names = list(providers)
        for start in range(0, len(names), side_by_side):
            columns = [
                _column(name, providers[name], rows, width=width, ascii_only=options.ascii_only)
                for name in names[start : start + side_by_side]
            ]
            table = Table.grid(padding=(0, 1, 0, 0))
            table.add_column(justify="right", style="dim", no_wrap=True)
            for _ in columns:
                table.add_column(width=width, no_wrap=True, overflow="crop")
            for row in zip(("", *titles), *columns, strict=True):
                table.add_row(*row)
            yield table


def _column(
    name: str, times: Sequence[float], rows: Rows, *, width: int, ascii_only: bool
) -> list[Text]:
    number = f" {len(times):,}"
    head = Text(name[: width - len(number)], "bold")
    head.append(number, "not bold")
    head.append(f"\nmedian {_seconds(statistics.median(times))}", "not bold dim")
    counts = rows.counted(times)
    longest = width - len(f" {max(counts):,}")
    bars = (count / max(counts) * longest for count in counts)
    cells = (
        Text(_bar(bar, ascii_only=ascii_only), "cyan").append(f" {count:,}", "default")
        if count
        else Text()
        for count, bar in zip(counts, bars, strict=True)
    )
    return [head, *cells]


def _the_largest(by_provider: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return the providers, that of most payments first; those that are too many as one."""
    ordered = sorted(by_provider.items(), key=lambda item: (-len(item[1]), item[0]))
    if len(ordered) <= _MOST_COLUMNS:
        return dict(ordered)
    shown = dict(ordered[: _MOST_COLUMNS - 1])
    return shown | {_OTHERS: [time for _, times in ordered[_MOST_COLUMNS - 1 :] for time in times]}


def _seconds(time: float) -> str:
    digits = 2 if time < 0.995 else 1 if time < 9.95 else 0
    return f"{time:,.{digits}f} s"


def _bar(length: float, *, ascii_only: bool) -> str:
    """Return a bar of so many signs, and of something where it would be nothing."""
    if ascii_only:
        return "#" * max(1, round(length))
    whole, eighths = divmod(max(1, round(length * 8)), 8)
    return "█" * whole + _EIGHTHS[eighths]
