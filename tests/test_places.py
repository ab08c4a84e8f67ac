"""How places are shared out: `Places`, without a loop or a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async._watch import Places


class Watcher:
    """Wants so many places, at most `limit` at once."""

    def __init__(self, places: Places, *, wants: int = 0, limit: int = 99) -> None:
        self.queued = False
        self.wants = wants
        self.limit = limit
        self.has = 0
        self.got = 0
        self._places = places

    def fill(self) -> None:
        while self._wants_one() and self._places.take(self):
            self._begin()

    def use_place(self) -> bool:
        if not self._wants_one():
            return False
        self._begin()
        if self._wants_one():
            self._places.queue(self)
        return True

    def end_one(self) -> None:
        self.has -= 1
        self._places.give_back()
        self.fill()

    def _wants_one(self) -> bool:
        return self.wants > 0 and self.has < self.limit

    def _begin(self) -> None:
        self.wants -= 1
        self.has += 1
        self.got += 1


def free(places: Places) -> int:
    return int(repr(places).split()[1])


@pytest.mark.parametrize(("total", "there_are"), [(3, 3), (1, 1), (0, 1), (-5, 1)])
def test_there_is_at_least_one_place(total: int, there_are: int) -> None:
    places = Places(total)
    assert places.total == there_are
    watcher = Watcher(places, wants=9)
    watcher.fill()
    assert watcher.has == there_are


def test_a_free_place_is_taken_and_given_back() -> None:
    places = Places(2)
    watcher = Watcher(places, wants=2)
    watcher.fill()
    assert free(places) == 0
    watcher.end_one()
    watcher.end_one()
    assert free(places) == 2
    assert repr(places) == "<Places 2 of 2 free, 0 watches wait>"


def test_who_finds_no_place_waits_once() -> None:
    places = Places(1)
    first, second = Watcher(places, wants=1), Watcher(places, wants=5)
    first.fill()
    for _ in range(3):
        second.fill()
    assert repr(places) == "<Places 0 of 1 free, 1 watches wait>"
    assert places.wanted_by_others(first)
    assert not places.wanted_by_others(second)


def test_places_are_given_out_in_turn() -> None:
    places = Places(1)
    watchers = [Watcher(places, wants=wants) for wants in (100, 10, 10)]
    for watcher in watchers:
        watcher.fill()
    order = []
    for _ in range(30):
        [holder] = [watcher for watcher in watchers if watcher.has]
        order.append(watchers.index(holder))
        holder.end_one()
    assert order == [0] + [0, 1, 2] * 9 + [0, 1]  # the first one was in the queue before the others


def test_who_wants_none_any_more_is_passed_over() -> None:
    places = Places(1)
    first, second, third = (Watcher(places, wants=1) for _ in range(3))
    for watcher in (first, second, third):
        watcher.fill()
    second.wants = 0  # it has left
    first.end_one()
    assert (second.has, third.has, second.queued) == (0, 1, False)
    third.end_one()
    assert free(places) == 1


@given(
    total=st.integers(1, 5),
    limits=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    data=st.data(),
)
def test_no_place_is_lost_or_given_twice(
    total: int, limits: list[int], data: st.DataObject
) -> None:
    places = Places(total)
    watchers = [Watcher(places, limit=limit) for limit in limits]
    for _ in range(data.draw(st.integers(0, 40))):
        watcher = data.draw(st.sampled_from(watchers))
        if watcher.has and data.draw(st.booleans()):
            watcher.end_one()
        elif data.draw(st.booleans()):
            watcher.wants = 0
        else:
            watcher.wants += data.draw(st.integers(1, 5))
            watcher.fill()
        taken = sum(watcher.has for watcher in watchers)
        assert taken + free(places) == total
        assert all(watcher.has <= watcher.limit for watcher in watchers)
        idle = [watcher for watcher in watchers if watcher.wants and watcher.has < watcher.limit]
        assert not (idle and free(places)), "a place is free and somebody wants it"
    for watcher in watchers:
        watcher.wants = 0
    while busy := [watcher for watcher in watchers if watcher.has]:
        busy[0].end_one()
    assert free(places) == total
