"""The histogram of times to settle: which rows fit, who is in which, and how it is drawn."""

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from little_pay_async import (
    LittlePayError,
    NotFoundError,
    Payment,
    PaymentStatus,
    Provider,
    SettlementTimeoutError,
)
from little_pay_async._cli.histogram import Histogram, Rows, Times
from little_pay_async._cli.outcomes import Outcome

AT = datetime(2024, 5, 13, 8, 26, 18, tzinfo=UTC)
TIMES = st.lists(st.floats(min_value=0, max_value=100_000), min_size=1, max_size=200)


def titles_of(times: list[float]) -> list[str]:
    return list(Rows.fitting(times).titles())


@pytest.mark.parametrize(
    ("times", "titles"),
    [
        ([0.0], ["0.00-0.01 s"]),
        ([0.3], ["0.30-0.31 s"]),
        ([0.02, 0.021], ["0.02-0.03 s"]),
        ([0.1, 0.3], ["0.10-0.15 s", "0.15-0.20 s", "0.20-0.25 s", "0.25-0.30 s", "0.30-0.35 s"]),
        ([4.0, 9.5], ["4-5 s", "5-6 s", "6-7 s", "7-8 s", "8-9 s", "9-10 s"]),
        ([61.0, 88.0], ["60-65 s", "65-70 s", "70-75 s", "75-80 s", "80-85 s", "85-90 s"]),
        ([3.0, 1_799.0], ["0-500 s", "500-1,000 s", "1,000-1,500 s", "1,500-2,000 s"]),
    ],
)
def test_rows_are_1_2_or_5_long_and_no_longer_than_they_must(
    times: list[float], titles: list[str]
) -> None:
    assert titles_of(times) == titles


def test_stragglers_share_the_last_row() -> None:
    usual = [float(time) for time in range(19)]
    rows = Rows.fitting([*usual, 1_500.0])
    assert list(rows.titles())[-2:] == ["15-20 s", "20+ s"]
    assert rows.counted([*usual, 1_500.0])[-2:] == [4, 1]


@given(TIMES)
def test_each_time_is_in_one_row(times: list[float]) -> None:
    rows = Rows.fitting(times)
    counts = rows.counted(times)
    assert sum(counts) == len(times)
    assert 1 <= len(counts) <= 9
    assert len(counts) == len(list(rows.titles()))
    assert counts[0] > 0, "it begins with what took least"
    assert counts[-1] > 0, "it ends with what took longest"
    assert all(rows.counted([time]).count(1) == 1 for time in times)


@given(TIMES)
def test_a_row_holds_what_its_title_says(times: list[float]) -> None:
    rows = Rows.fitting(times)
    for time in times:
        title = list(rows.titles())[rows.counted([time]).index(1)].removesuffix(" s")
        begin, _, end = title.replace(",", "").rstrip("+").partition("-")
        assert float(begin) - 1e-4 <= time
        assert not end or time < float(end) + 1e-4


def settled(provider: str | None, *times: float, status: str = "COMPLETED") -> list[Outcome]:
    payment = Payment(
        date=AT,
        status=PaymentStatus(status),
        provider=None if provider is None else Provider(provider),
    )
    return [Outcome(key="ORDER42", payment=payment, elapsed=time, polls=1) for time in times]


NOT_FOUND = NotFoundError("it went wrong: badly", status_code=404, message="badly")
TOO_LATE = SettlementTimeoutError("it went wrong: badly", key="ORDER42")


def failed(error: LittlePayError) -> Outcome:
    return Outcome(key="ORDER42", error=error, elapsed=9.0, polls=3)


def drawn(*outcomes: Outcome, width: int = 80, encoding: str = "utf-8") -> str:
    times = Times()
    for outcome in outcomes:
        times.add(outcome)
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width)
    console.print(Histogram(times))
    file.seek(0)
    return file.read()


def test_a_column_for_each_provider_with_its_number_and_median() -> None:
    shown = drawn(
        *settled("MPESA", 1.0, 2.0, 3.0, 3.5),
        *settled("AIRTEL", 7.0, status="FAILED"),
        *settled(None, 1.5),
        *settled("FUTUREPESA", 2.5, 2.6),
    ).splitlines()
    assert [line.split() for line in shown[:4]] == [
        [],
        ["Time", "to", "settle,", "by", "provider"],
        ["MPESA", "4", "FUTUREPESA", "2", "-", "1", "AIRTEL", "1"],
        ["median", "2.5", "s", "median", "2.5", "s", "median", "1.5", "s", "median", "7.0", "s"],
    ]
    rows = {line.split("s ")[0].strip(): line for line in shown[4:]}
    assert list(rows) == ["1-2", "2-3", "3-4", "4-5", "5-6", "6-7", "7-8"]
    assert rows["3-4"].split()[-1] == "2"
    assert rows["5-6"].split() == ["5-6", "s"]
    # Each column has its own scale.
    fullest = rows["3-4"].count("█")
    assert fullest > 1
    assert rows["7-8"].count("█") == fullest
    assert rows["2-3"].count("█") == fullest + fullest // 2


def test_errors_are_counted_apart() -> None:
    outcomes = [failed(NOT_FOUND), *[failed(TOO_LATE)] * 2]
    shown = drawn(*settled("MPESA", 1.0, 2.0), *outcomes)
    assert "MPESA 2" in shown
    assert "9" not in shown, "how long it took until the error is no time to settle"
    assert shown.endswith("not settled: 2 SettlementTimeoutError, 1 NotFoundError\n")


@pytest.mark.parametrize("outcomes", [[], settled("MPESA", 1.0), [failed(NOT_FOUND)]])
def test_nothing_where_there_is_nothing_to_compare(outcomes: list[Outcome]) -> None:
    assert drawn(*outcomes).strip() == ""


def test_errors_alone_are_counted() -> None:
    assert drawn(*[failed(NOT_FOUND)] * 2) == "not settled: 2 NotFoundError\n"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_it_is_as_wide_as_the_terminal(width: int) -> None:
    providers = ["MPESA", "AIRTEL", "MTN", "TIGOPESA", "CARDS"]
    outcomes = [
        outcome
        for at, provider in enumerate(providers)
        for outcome in settled(provider, *range(10 * (at + 1)))
    ]
    shown = drawn(*outcomes, width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert all(provider[:6] in shown for provider in providers)


def test_ascii_where_the_encoding_has_no_blocks() -> None:
    shown = drawn(*settled("MPESA", *[1.0] * 1_000, 2.0), encoding="latin-1")
    long, short = shown.splitlines()[-2:]
    assert long.split()[-1] == "1,000"
    assert long.count("#") > 10
    assert short.split()[-2:] == ["#", "1"]
    assert shown.isascii()


def test_a_few_of_many_are_still_seen() -> None:
    assert "▏ 1" in drawn(*settled("MPESA", *[1.0] * 1_000, 2.0))


def test_what_a_terminal_would_take_for_orders_is_not_shown() -> None:
    shown = drawn(*settled("A\x1b[31m\nB[red]", 1.0, 2.0))
    assert "\x1b[31m" not in shown
    assert "[red]" in shown


def test_providers_that_are_too_many_are_one_column() -> None:
    outcomes = [o for n in range(20) for o in settled(f"P{n}", *[1.0] * (30 - n))]
    shown = drawn(*outcomes, width=200)
    assert "P6 24" in shown
    assert "P7 " not in shown
    assert f"others {sum(30 - n for n in range(7, 20))}" in shown
