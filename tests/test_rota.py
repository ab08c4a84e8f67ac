"""Which key is looked at, and when: pacing, turns, shares and cost, all in virtual time."""

import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest

import little_pay_async._watch
from little_pay_async._errors import APITimeoutError, LittlePayError, SettlementTimeoutError
from little_pay_async._models import Payment, PaymentStatus
from little_pay_async._retry import RetryBudget, RetryPolicy
from little_pay_async._watch import Places

from .scripted_polls import (
    COMPLETED,
    Answer,
    Callback,
    Gated,
    Held,
    Server,
    all_free,
    answer,
    broken,
    gaps,
    highest,
    in_virtual_time,
    lowest,
    named,
    no_envelope,
    payment,
    refused,
    silence,
    watch_over,
)

# Pacing


@in_virtual_time
async def test_the_end_of_a_hold_is_followed_by_the_next_at_once() -> None:
    server = Server()
    async with watch_over(server, ["A"], hold=90.0, timeout=None):
        await anyio.sleep(1_000.0)
    assert {asked.hold for asked in server.asked} == {90.0}
    assert gaps(server.times("A")) == [pytest.approx(90.0)] * 11


@pytest.mark.parametrize("outcome", [payment("A"), answer(502), answer(504)], ids=named)
@in_virtual_time
@pytest.mark.threat("T11")
async def test_a_hold_that_the_server_ended_is_followed_by_the_next_at_once(
    outcome: Payment | LittlePayError,
) -> None:
    server = Server(always=Held(30.0, outcome))
    async with watch_over(server, ["A"], timeout=None):
        await anyio.sleep(301.0)
    assert gaps(server.times("A")) == [pytest.approx(30.0)] * 10


@pytest.mark.parametrize("uniform", [lowest, highest])
@pytest.mark.parametrize("outcome", [payment("A"), answer(502), answer(504), silence()], ids=named)
@in_virtual_time
async def test_a_server_that_does_not_hold_is_asked_more_and_more_rarely(
    outcome: Payment | LittlePayError, uniform: Callable[[float, float], float]
) -> None:
    server = Server(always=outcome)
    async with watch_over(
        server, ["A"], timeout=None, retries=RetryPolicy(uniform=uniform)
    ) as watch:
        await anyio.sleep(600.0)
        assert watch.statistics().retries == 0  # the end of a hold is none
    apart = gaps(server.times("A"))
    most = 1.25 if uniform is highest else 1.0
    assert apart[:3] == pytest.approx([most, 1.5 * most, 2.25 * most])
    assert apart == sorted(apart)
    assert min(apart) >= 1.0
    assert apart[-5:] == pytest.approx([24.0 * most] * 5)
    assert max(apart) <= 30.0


@in_virtual_time
async def test_a_poll_that_outlives_its_hold_is_let_go_and_followed_by_the_next() -> None:
    """It drips: each byte comes in time, the answer never."""
    server = Server(always=Held(10_000.0, payment("A")))
    async with watch_over(server, ["A", "B"], hold=90.0, timeout=300.0) as watch:
        settled = [settlement async for settlement in watch]
    assert gaps(server.times("A"))[:2] == [pytest.approx(120.0)] * 2  # the scripts' `longest`
    assert gaps(server.times("B"))[:2] == [pytest.approx(120.0)] * 2
    for settlement in settled:
        assert isinstance(settlement.error, SettlementTimeoutError)
        assert isinstance(settlement.error.__cause__, APITimeoutError)


@in_virtual_time
async def test_a_key_settled_in_the_step_in_which_its_poll_ends_costs_no_other_key_its_turn() -> (
    None
):
    gate = anyio.Event()
    server = Server({"A": [Gated(gate, payment("A"))]}, always=Held(5.0, payment("B", COMPLETED)))
    async with watch_over(server, ["A", "B"], places=Places(1), hold=90.0, timeout=60.0) as watch:
        await server.until(lambda server: server.parked["A"])
        gate.set()
        watch.deliver(Callback(key="A"))
        settled = {settlement.key: settlement.error async for settlement in watch}
    assert settled == {"A": None, "B": None}
    assert len(server.times("B")) == 1


@in_virtual_time
async def test_pacing_is_jittered() -> None:
    server = Server(always=payment("A"))
    keys = [f"K{number}" for number in range(20)]
    async with watch_over(server, keys, timeout=None):
        await anyio.sleep(300.0)
    assert len({round(server.times(key)[1], 6) for key in keys}) == 20
    assert all(min(gaps(server.times(key))) >= 1.0 for key in keys)


@in_virtual_time
async def test_a_slow_answer_counts_towards_the_pause() -> None:
    server = Server(always=Held(0.6, payment("A")))
    async with watch_over(server, ["A"], timeout=None, retries=RetryPolicy(uniform=lowest)):
        await anyio.sleep(20.0)
    assert gaps(server.times("A"))[:3] == pytest.approx([1.0, 1.5, 2.25])


@in_virtual_time
async def test_a_server_that_holds_again_is_asked_at_once_again() -> None:
    script: list[Answer] = [payment("A")] * 4 + [Held(40.0, payment("A"))] * 2 + [payment("A")] * 2
    server = Server({"A": script})
    async with watch_over(server, ["A"], timeout=None, retries=RetryPolicy(uniform=lowest)):
        await anyio.sleep(120.0)
    assert gaps(server.times("A"))[:8] == pytest.approx([1.0, 1.5, 2.25, 3.375, 40, 40, 1, 1.5])


@in_virtual_time
async def test_a_server_that_holds_for_seconds_is_asked_at_once_again_after_a_bad_time() -> None:
    script: list[Answer] = [payment("A")] * 20 + [Held(6.0, payment("A"))] * 50
    server = Server({"A": script})
    async with watch_over(server, ["A"], timeout=None, retries=RetryPolicy(uniform=lowest)):
        await anyio.sleep(500.0)
    assert gaps(server.times("A"))[25:40] == pytest.approx([6.0] * 15)


@in_virtual_time
async def test_a_hold_below_a_second_is_no_busy_loop() -> None:
    server = Server()
    async with watch_over(server, ["A"], hold=0.01, timeout=None):
        await anyio.sleep(60.0)
    assert min(gaps(server.times("A"))) >= 1.0


@pytest.mark.parametrize("code", [502, 504])
@in_virtual_time
@pytest.mark.threat("T11")
async def test_a_proxy_that_says_when_to_ask_again_is_not_asked_sooner(code: int) -> None:
    server = Server({"A": [answer(code, retry_after=40.0)]})
    async with watch_over(server, ["A"], timeout=None):
        await anyio.sleep(60.0)
    assert server.times("A")[1] >= 40.0


@in_virtual_time
async def test_a_payment_that_settles_while_its_key_is_paused_is_seen_after_the_pause() -> None:
    server = Server({"A": [payment("A")] * 3})
    async with watch_over(server, ["A"]) as watch:
        server.settle("A")
        settlement = await anext(watch)
    assert settlement.elapsed <= 1.25 * (1 + 1.5 + 2.25) + 0.001


@in_virtual_time
async def test_a_callback_ends_a_pause() -> None:
    server = Server(always=payment("A"))
    async with watch_over(server, ["A"]) as watch:
        await anyio.sleep(300.0)
        assert watch.deliver(Callback(key="A"))
        assert (await anext(watch)).elapsed == pytest.approx(300.0)
        asked = len(server.asked)
        await anyio.sleep(300.0)
    assert len(server.asked) == asked


@in_virtual_time
@pytest.mark.threat("T26")
async def test_connections_lost_together_are_not_made_again_in_one_moment() -> None:
    keys = [f"K{number}" for number in range(2_000)]
    server = Server({key: [Held(45.0, broken())] for key in keys})
    async with watch_over(server, keys, places=Places(2_000), timeout=None):
        await anyio.sleep(89.0)
    again = sorted(server.times(key)[1] - server.times(key)[0] - 45.0 for key in keys)
    assert again[0] >= 0.0
    assert again[-1] <= 4.0  # 2,000 keys at 500 a second
    in_a_second = [sum(second <= after < second + 1 for after in again) for second in range(4)]
    assert max(in_a_second) < 700


@in_virtual_time
async def test_a_single_lost_connection_is_made_again_soon() -> None:
    server = Server({"A": [Held(45.0, broken())]})
    async with watch_over(server, ["A"], retries=RetryPolicy(uniform=highest)):
        await anyio.sleep(60.0)
    assert gaps(server.times("A")) == pytest.approx([45.5])


@pytest.mark.parametrize("asked", [5.0, 121.0, 900.0])
@pytest.mark.parametrize("code", [429, 503])
@in_virtual_time
async def test_a_key_is_parked_until_the_server_wants_to_be_asked(code: int, asked: float) -> None:
    server = Server({"A": [answer(code, retry_after=asked)]})
    async with watch_over(server, ["A", "B"]) as watch:
        server.settle("B")
        assert (await anext(watch)).elapsed == 0.0  # the other key is not
        server.settle("A")
        settlement = await anext(watch)
    assert settlement.error is None
    [pause] = gaps(server.times("A"))
    assert asked <= pause <= asked + 0.5


@in_virtual_time
async def test_a_key_that_fails_is_asked_more_and_more_rarely() -> None:
    server = Server(always=answer(500))
    policy = RetryPolicy(uniform=highest)
    async with watch_over(server, ["A"], timeout=None, retries=policy):
        await anyio.sleep(200.0)
    assert gaps(server.times("A"))[:8] == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])


@in_virtual_time
async def test_an_empty_budget_makes_pauses_long() -> None:
    server = Server(always=answer(500))
    policy = RetryPolicy(budget=RetryBudget(capacity=10.0), uniform=lowest)
    async with watch_over(server, ["A"], timeout=None, retries=policy) as watch:
        await anyio.sleep(100.0)
        assert watch.statistics().retries == len(server.asked) - 1
    assert gaps(server.times("A")) == pytest.approx([0.0, 0.0, 15, 15, 15, 15, 15, 15])


@in_virtual_time
async def test_an_answer_gives_back_to_the_budget() -> None:
    """One that is still PENDING does, for the server is well."""
    server = Server({"A": [answer(500), *[Held(5.0, payment("A"))] * 5, answer(500)]})
    policy = RetryPolicy(budget=RetryBudget(capacity=5.0), uniform=lowest)
    async with watch_over(server, ["A"], timeout=None, retries=policy):
        await anyio.sleep(60.0)
    assert gaps(server.times("A")) == pytest.approx([0, 5, 5, 5, 5, 5, 0])


@pytest.mark.parametrize(
    ("outcome", "most"),
    [
        (payment("A"), 160),
        (payment("A", PaymentStatus("ON_ITS_WAY")), 160),
        (answer(502), 160),
        (silence(), 160),
        (broken(), 160),
        (answer(500), 500),
        (answer(503, retry_after=0.0), 500),
        (refused(), 500),
        (no_envelope(), 3),
    ],
    ids=named,
)
@in_virtual_time
@pytest.mark.threat("T26")
async def test_an_hour_of_instant_answers_is_no_busy_loop(
    outcome: Payment | LittlePayError, most: int
) -> None:
    server = Server(always=outcome)
    async with watch_over(server, ["A"], timeout=None):
        await anyio.sleep(3_600.0)
    assert 3 <= len(server.asked) <= most


# More keys than places


@in_virtual_time
async def test_no_more_polls_than_max_in_flight() -> None:
    server = Server(always=Held(3.0, payment("A")))
    keys = [f"K{number}" for number in range(40)]
    async with watch_over(server, keys, limit=7) as watch:
        await anyio.sleep(60.0)
        assert watch.statistics().in_flight == server.parked.total() == 7
    assert server.most_parked == 7


@in_virtual_time
async def test_no_more_polls_than_places() -> None:
    server, places = Server(), Places(4)
    async with watch_over(server, [f"K{number}" for number in range(9)], places=places, limit=9):
        await anyio.sleep(60.0)
    assert server.most_parked == 4


@pytest.mark.parametrize(
    ("keys", "limit", "hold", "shortened"),
    [(5, 5, 90.0, 90.0), (50, 5, 90.0, 9.0), (450, 5, 90.0, 1.0), (1000, 5, 90.0, 1.0)],
)
@in_virtual_time
async def test_every_key_is_looked_at_in_turn(
    keys: int, limit: int, hold: float, shortened: float
) -> None:
    server = Server()
    names = [f"K{number}" for number in range(keys)]
    turn = max(hold, keys / limit * 1.0)
    async with watch_over(server, names, limit=limit, hold=hold, timeout=None):
        await anyio.sleep(3 * turn + 0.5)
    assert {round(asked.hold, 9) for asked in server.asked} == {shortened}
    looked_at = Counter(asked.key for asked in server.asked)
    assert set(looked_at) == set(names)
    assert max(looked_at.values()) - min(looked_at.values()) <= 1  # none starves
    longest = max(gap for name in names for gap in gaps(server.times(name)))
    assert longest <= turn + shortened + 0.001


@pytest.mark.parametrize("keys", [50, 600])
@in_virtual_time
async def test_a_settled_payment_is_reported_within_a_turn(keys: int) -> None:
    server = Server()
    names = [f"K{number}" for number in range(keys)]
    turn = max(90.0, keys / 5 * 1.0)
    async with watch_over(server, names, limit=5, timeout=None) as watch:
        await anyio.sleep(2.3 * turn)
        for name in (names[0], names[keys // 2], names[-1]):
            settled = anyio.current_time()
            server.settle(name)
            assert (await anext(watch)).key == name
            assert anyio.current_time() - settled <= turn + 0.001


@in_virtual_time
async def test_a_short_hold_is_not_made_longer_by_a_crowd() -> None:
    server = Server()
    async with watch_over(server, [f"K{number}" for number in range(50)], limit=5, hold=0.5):
        await anyio.sleep(20.0)
    assert {asked.hold for asked in server.asked} == {0.5}


@in_virtual_time
async def test_holds_grow_again_when_the_crowd_is_gone() -> None:
    server = Server()
    names = [f"K{number}" for number in range(20)]
    async with watch_over(server, names, limit=2, hold=90.0, timeout=None) as watch:
        await anyio.sleep(30.0)
        for name in names[2:]:
            server.settle(name)
        got = [await anext(watch) for _ in range(18)]
        await anyio.sleep(200.0)
    assert len(got) == 18
    assert server.asked[-1].hold == 90.0


@in_virtual_time
async def test_paused_keys_leave_their_places_to_others() -> None:
    server = Server({"A": [answer(429, retry_after=300.0)]})
    async with watch_over(server, ["A", "B"], limit=1, timeout=None) as watch:
        await anyio.sleep(10.0)
        assert server.parked["B"] == 1
        server.settle("A")
        assert (await anext(watch)).elapsed == pytest.approx(345.0, abs=45.0)


@in_virtual_time
async def test_an_error_that_lasts_disturbs_no_other_key() -> None:
    server = Server({"A": [answer(500)] * 10_000})
    names = ["A", *(f"K{number}" for number in range(9))]
    async with watch_over(server, names, limit=2, hold=90.0, timeout=None):
        await anyio.sleep(900.0)
    longest = max(gap for name in names[1:] for gap in gaps(server.times(name)))
    assert longest <= 91.0


@in_virtual_time
async def test_a_key_added_late_is_looked_at_at_once_if_there_is_a_place() -> None:
    server = Server()
    async with watch_over(server, ["A"], limit=2) as watch:
        await anyio.sleep(33.0)
        watch.add("B")
        await anyio.sleep(0.001)
        assert server.parked["B"] == 1


@in_virtual_time
async def test_two_watches_share_the_places_fairly() -> None:
    """The big one was first and has all places; the small one gets its share of each turn."""
    places = Places(4)
    big, small = Server(), Server()
    async with watch_over(big, [f"B{number}" for number in range(400)], places=places):
        await anyio.sleep(50.0)
        begun = anyio.current_time()
        async with watch_over(small, [f"S{number}" for number in range(4)], places=places):
            await anyio.sleep(200.0)
            since = [asked for asked in big.asked if asked.when > begun]
            assert small.asked[0].when - begun <= 1.0
            assert {asked.key for asked in small.asked} == {"S0", "S1", "S2", "S3"}
            assert 0.8 <= len(since) / len(small.asked) <= 1.25
            assert {asked.hold for asked in small.asked} == {1.0}
        assert big.parked.total() > 0
        left = anyio.current_time()
        await anyio.sleep(50.0)
        after = [asked for asked in big.asked if asked.when > left]
        assert 190 <= len(after) <= 210  # all four places are the big one's again
    assert all_free(places)


@in_virtual_time
async def test_three_watches_share_two_places() -> None:
    places = Places(2)
    servers = [Server(), Server(), Server()]
    async with anyio.create_task_group() as tasks:

        async def stay(server: Server) -> None:
            async with watch_over(server, ["A", "B"], places=places, timeout=None):
                await anyio.sleep_forever()

        for server in servers:
            tasks.start_soon(stay, server)
        await anyio.sleep(3_000.0)
        tasks.cancel_scope.cancel()
    assert all_free(places)
    counts = [len(server.asked) for server in servers]
    assert min(counts) >= 0.8 * max(counts)
    for server in servers:
        for key in ("A", "B"):
            assert max(gaps(server.times(key))) <= 181.0


@in_virtual_time
async def test_a_watch_that_leaves_gives_its_places_to_the_others() -> None:
    places = Places(1)
    server, other = Server(), Server()
    async with watch_over(server, ["A"], places=places):
        await anyio.sleep(1.0)
        async with watch_over(other, ["B"], places=places):
            await anyio.sleep(0.5)
            assert other.asked == []
            await anyio.sleep(100.0)
        await anyio.sleep(1.0)
        assert server.parked["A"] == 1
    assert all_free(places)


# What it costs


@in_virtual_time
async def test_a_watch_that_stays_open_keeps_no_timers_of_what_has_settled() -> None:
    server = Server()
    watch = watch_over(server, timeout=1800.0)
    async with watch:
        for number in range(2_000):
            watch.add(f"K{number}")
            await anyio.sleep(0.1)
            assert watch.deliver(Callback(key=f"K{number}"))
            assert (await anext(watch)).key == f"K{number}"
        timers = len(watch._rota._clock)
    assert timers < 150


ROOM = str(Path(little_pay_async._watch.__file__).parent)


async def lines_run(work: Callable[[], Awaitable[None]]) -> int:
    """Count the lines of the room that are run, each turn of a loop included."""
    count = 0

    def step(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return step

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        return step if frame.f_code.co_filename.startswith(ROOM) else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        await work()
    finally:
        sys.settrace(before)
    return count


async def settle_many(keys: int, *, by: str) -> None:
    names = [f"K{number}" for number in range(keys)]
    scripts: dict[str, list[Answer]] = {
        "polls": [Held(0.5, payment("A")), answer(503), Held(5.0, payment("A", COMPLETED))],
        "errors": [Held(0.5, payment("A")), answer(404)],
        "callbacks": [payment("A", reference="REF")],
        "timeouts": [],
    }
    server = Server({name: list(scripts[by]) for name in names})
    async with watch_over(server, names, limit=50, timeout=120.0) as watch:
        if by == "callbacks":
            await anyio.sleep(60.0)
            assert all(watch.deliver(Callback(key=name)) for name in names)
        settled = 0
        async for settlement in watch:
            settled += 1
            assert len(watch) == keys - settled
            if by == "timeouts":
                assert isinstance(settlement.error, SettlementTimeoutError)
    assert settled == keys


@pytest.mark.parametrize("by", ["polls", "errors", "callbacks", "timeouts"])
@in_virtual_time
async def test_the_cost_of_a_key_does_not_grow_with_their_number(by: str) -> None:
    few = await lines_run(partial(settle_many, 100, by=by)) / 100
    many = await lines_run(partial(settle_many, 1_000, by=by)) / 1_000
    assert 10 < many <= few * 1.3
