"""What is kept idle, and for how long: by a clock of the test's own."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from little_pay_async._transport import idle as idle_module
from little_pay_async._transport.idle import IdleConnections

A, B = ((b"http", host, 80, "") for host in (b"a", b"b"))


class Loop:
    """Has a clock and one timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Any:
        timer = (when, call)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer))

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        return self.call_at(self.now + seconds, call)

    def go_on_to(self, now: float) -> None:
        while self.timers and min(self.timers)[0] <= now:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = now


class Fake:
    """Stands in for a connection."""

    def __init__(self, origin: object = A) -> None:
        self.origin = origin
        self.quiet = True
        self.ended = ""

    def is_quiet(self) -> bool:
        return self.quiet

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(idle_module, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    return loop


@pytest.fixture
def closed() -> list[int]:
    """Counts places that were freed."""
    return []


@pytest.fixture
def idle(loop: Loop, closed: list[int]) -> Any:
    return IdleConnections(most=3, seconds=60, on_close=lambda: closed.append(1))


def test_each_is_closed_when_it_has_been_idle_for_too_long(
    idle: Any, loop: Loop, closed: list[int]
) -> None:
    early, late, other = Fake(), Fake(), Fake(B)
    idle.keep(early)
    loop.go_on_to(20)
    idle.keep(late)
    loop.go_on_to(40)
    idle.keep(other)
    assert len(loop.timers) == 1
    for now, ended in ((59.9, ["", "", ""]), (60, ["closed", "", ""]), (79.9, ["closed", "", ""])):
        loop.go_on_to(now)
        assert [one.ended for one in (early, late, other)] == ended
        assert len(loop.timers) == 1
    loop.go_on_to(80)
    assert (late.ended, other.ended, len(idle), len(closed)) == ("closed", "", 1, 2)
    loop.go_on_to(100)
    assert (other.ended, len(idle), len(closed), loop.timers) == ("closed", 0, 3, [])
    idle.keep(again := Fake())
    loop.go_on_to(160)
    assert (again.ended, loop.timers) == ("closed", [])


def test_who_was_used_meanwhile_has_its_time_anew(idle: Any, loop: Loop) -> None:
    one = Fake()
    idle.keep(one)
    loop.go_on_to(50)
    assert idle.take(A) is one
    idle.keep(one)
    loop.go_on_to(109)
    assert (one.ended, len(idle)) == ("", 1)
    loop.go_on_to(110)
    assert one.ended == "closed"


def test_the_timer_stops_where_nothing_is_left(idle: Any, loop: Loop) -> None:
    one = Fake()
    idle.keep(one)
    assert idle.take(A) is one
    loop.go_on_to(60)
    assert loop.timers == []
    assert idle._since == {}


def test_the_last_one_is_taken_first_and_none_of_another_origin(idle: Any) -> None:
    first, second, other = Fake(), Fake(), Fake(B)
    for one in (first, second, other):
        idle.keep(one)
    assert [idle.take(A), idle.take(A), idle.take(A)] == [second, first, None]
    assert idle.take((b"https", b"b", 80, "")) is None
    assert idle.take(B) is other
    assert not idle


def test_who_has_said_something_is_not_taken(idle: Any, closed: list[int]) -> None:
    good, bad, worse = Fake(), Fake(), Fake()
    for one in (good, bad, worse):
        idle.keep(one)
    bad.quiet = worse.quiet = False
    assert idle.take(A) is good
    assert (bad.ended, worse.ended, good.ended) == ("aborted", "aborted", "")
    assert (len(closed), len(idle)) == (2, 0)


def test_those_idle_longest_make_room(idle: Any, loop: Loop, closed: list[int]) -> None:
    many = [Fake(A if number % 2 else B) for number in range(6)]
    for now, one in enumerate(many):
        loop.go_on_to(now)
        idle.keep(one)
    assert [one.ended for one in many] == ["closed"] * 3 + [""] * 3
    assert (len(idle), len(closed)) == (3, 3)
    assert idle.take_longest_idle() is many[3]
    assert (many[3].ended, len(idle), len(closed)) == ("", 2, 3)


def test_who_has_ended_is_removed_once(idle: Any) -> None:
    one, other = Fake(), Fake(B)
    idle.keep(one)
    assert idle.remove(one)
    assert not idle.remove(one)
    assert not idle.remove(other)
    assert len(idle) == 0


def test_closing_closes_all_and_the_timer(idle: Any, loop: Loop, closed: list[int]) -> None:
    idle.close()
    many = [Fake(), Fake(B), Fake()]
    for one in many:
        idle.keep(one)
    idle.close()
    assert {one.ended for one in many} == {"closed"}
    assert (len(idle), len(closed), loop.timers) == (0, 3, [])
