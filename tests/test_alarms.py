"""Many waits and few timers: by a clock of the test's own."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from little_pay_async._transport import alarms as alarms_module
from little_pay_async._transport.alarms import Alarms


class Timer:
    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """Has a clock and timers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.made = 0
        self._timers: list[Timer] = []

    @property
    def timers(self) -> list[Timer]:
        return [timer for timer in self._timers if not timer.is_cancelled]

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[..., None], *arguments: Any) -> Timer:
        self.made += 1
        self._timers.append(Timer(when, lambda: call(*arguments)))
        return self._timers[-1]

    def go_on_to(self, now: float) -> None:
        while due := [timer for timer in self.timers if timer.when <= now]:
            first = min(due, key=lambda timer: timer.when)
            self._timers.remove(first)
            self.now = max(self.now, first.when)
            first.call()
        self.now = now


class Waiter:
    """Stands in for a future."""

    def __init__(self) -> None:
        self.result: bool | None = None

    def done(self) -> bool:
        return self.result is not None

    def set_result(self, result: bool) -> None:
        assert self.result is None
        self.result = result


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(alarms_module, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    return loop


@pytest.fixture
def alarms(loop: Loop) -> Any:
    return Alarms()


def test_each_wait_ends_at_its_own_time_by_one_timer(alarms: Any, loop: Loop) -> None:
    waiters = [Waiter() for _ in range(5)]
    for second, waiter in enumerate(waiters):
        loop.go_on_to(second)
        alarms.set(waiter, 30)
        assert len(loop.timers) == 1
    for second in range(5):
        loop.go_on_to(second + 29.9)
        assert waiters[second].result is None
        loop.go_on_to(second + 30)
        assert waiters[second].result is False
    assert loop.timers == []
    assert not alarms._waits
    assert not alarms._timers


def test_a_wait_that_has_ended_rings_no_more(alarms: Any, loop: Loop) -> None:
    ended, other = Waiter(), Waiter()
    alarms.set(ended, 30)
    loop.go_on_to(10)
    alarms.set(other, 30)
    alarms.cancel(ended, 30)
    loop.go_on_to(39)
    assert (ended.result, other.result) == (None, None)
    loop.go_on_to(40)
    assert (ended.result, other.result) == (None, False)


def test_the_last_wait_takes_the_timer_with_it(alarms: Any, loop: Loop) -> None:
    for _ in range(3):
        waiter = Waiter()
        alarms.set(waiter, 30)
        assert len(loop.timers) == 1
        alarms.cancel(waiter, 30)
        assert loop.timers == []
        alarms.cancel(waiter, 30)  # as who was late does
    assert not alarms._waits


def test_waits_of_other_lengths_have_timers_of_their_own(alarms: Any, loop: Loop) -> None:
    long, short = Waiter(), Waiter()
    alarms.set(long, 30)
    alarms.set(short, 1)
    loop.go_on_to(1)
    assert (long.result, short.result) == (None, False)
    alarms.cancel(short, 1)
    loop.go_on_to(30)
    assert long.result is False


def test_what_has_come_just_in_time_stays(alarms: Any, loop: Loop) -> None:
    waiter, other = Waiter(), Waiter()
    alarms.set(waiter, 30)
    alarms.set(other, 30)
    waiter.set_result(True)  # it has had no turn yet to end its wait
    loop.go_on_to(30)
    assert (waiter.result, other.result) == (True, False)


def test_a_timer_that_rings_too_early_ends_nothing(alarms: Any, loop: Loop) -> None:
    """Loops round: uvloop to milliseconds."""
    waiter = Waiter()
    alarms.set(waiter, 30)
    [timer] = loop.timers
    loop.now = 29.9996
    timer.cancel()
    timer.call()
    assert waiter.result is None
    loop.go_on_to(30)
    assert waiter.result is False


def test_thousands_of_waits_take_few_timers(alarms: Any, loop: Loop) -> None:
    for number in range(5000):
        loop.go_on_to(number / 1000)
        alarms.set(Waiter(), 30)
    assert loop.made == 1
    for waiter in list(alarms._waits[30])[:4999]:
        alarms.cancel(waiter, 30)
    loop.go_on_to(34.9)
    assert loop.made == 2
