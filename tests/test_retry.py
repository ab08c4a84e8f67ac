"""Who may send again, when, and how often: `_retry`, with neither a clock nor a socket."""

import logging
from collections.abc import Callable, Iterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CallbackError,
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    InvalidSignatureError,
    LittlePayError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SessionClosedError,
    SettlementTimeoutError,
    StaleCallbackError,
    UnexpectedResponseError,
)
from little_pay_async._retry import (
    FIRST_PAUSE,
    HOPELESS,
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    RetryBudget,
    RetryPolicy,
    ends_a_hold,
    may_send_again,
    retry_after,
)

from .scripted_polls import logged_by_us


def status_error(code: int, retry_after: float | None = None) -> APIStatusError:
    kinds: dict[int, type[APIStatusError]] = {
        400: BadRequestError,
        401: AuthenticationError,
        403: PermissionDeniedError,
        404: NotFoundError,
        409: ConflictError,
        422: BadRequestError,
        429: RateLimitError,
    }
    kind = ServerError if code >= 500 else kinds.get(code, APIStatusError)
    return kind("an answer", status_code=code, message="made up", retry_after=retry_after)


def refused_connection() -> APIConnectionError:
    return APIConnectionError("refused", sent=False)


def lost_connection() -> APIConnectionError:
    return APIConnectionError("reset", sent=True)


def no_envelope(*, refused: bool = False) -> UnexpectedResponseError:
    return UnexpectedResponseError("HTML", status_code=200, refused=refused)


# Error; may a GET be sent again; may a request that moves money; does a long poll end like that?
TABLE: list[tuple[LittlePayError, bool, bool, bool]] = [
    (refused_connection(), True, True, False),
    (APITimeoutError("connect timeout", sent=False), True, True, False),
    (lost_connection(), True, False, True),
    (APITimeoutError("read timeout", sent=True), True, False, True),
    (APIConnectionError("expired certificate", sent=False, tls=True), False, False, False),
    (APIConnectionError("certificate refused", sent=True, tls=True), False, False, False),
    (status_error(400), False, False, False),
    (status_error(401), False, False, False),
    (status_error(403), False, False, False),
    (status_error(404), False, False, False),
    (status_error(408), True, False, False),
    (status_error(409), False, False, False),
    (status_error(418), False, False, False),
    (status_error(422), False, False, False),
    (status_error(429), True, False, False),
    (status_error(500), True, False, False),
    (status_error(502), True, False, True),
    (status_error(503), True, False, False),
    (status_error(504), True, False, True),
    (status_error(599), True, False, False),
    (no_envelope(), True, False, False),
    (no_envelope(refused=True), False, False, False),
    (OutcomeUnknownError("lost", operation="process"), False, False, False),
    (ConfigurationError("no key"), False, False, False),
    (SessionClosedError("closed"), False, False, False),
    (InvalidInputError("no key"), False, False, False),
    (SettlementTimeoutError("not in time", key="ORDER1"), False, False, False),
    (CallbackError("none"), False, False, False),
    (InvalidSignatureError("forged"), False, False, False),
    (StaleCallbackError("old"), False, False, False),
]


def name_of(error: object) -> str:
    if not isinstance(error, LittlePayError):
        return str(error)
    code = getattr(error, "status_code", "")
    return f"{type(error).__name__}{code}-{error}".replace(" ", "-")


@pytest.mark.parametrize(("error", "get", "money", "hold_over"), TABLE, ids=name_of)
@pytest.mark.threat("T12")
def test_who_may_send_again(error: LittlePayError, get: bool, money: bool, hold_over: bool) -> None:
    assert may_send_again(error, moves_money=False) is get
    assert may_send_again(error, moves_money=True) is money
    assert ends_a_hold(error) is hold_over


def test_the_table_knows_every_error() -> None:
    def leaves(kind: type[LittlePayError]) -> Iterator[type[LittlePayError]]:
        yield kind
        for sub in kind.__subclasses__():
            yield from leaves(sub)

    ours = {kind for kind in leaves(LittlePayError) if kind.__module__.startswith("little_pay")}
    assert ours - {LittlePayError} == {type(error) for error, *_ in TABLE}


def test_what_ends_a_hold_is_never_what_asking_again_cannot_heal() -> None:
    for error, get, _, hold_over in TABLE:
        assert get or not hold_over, error


def test_what_is_hopeless_is_never_sent_again() -> None:
    hopeless = [error for error, *_ in TABLE if isinstance(error, HOPELESS)]
    assert {type(error) for error in hopeless} == set(HOPELESS)
    assert not any(may_send_again(error, moves_money=False) for error in hopeless)


def test_only_answers_ask_to_wait() -> None:
    assert retry_after(status_error(503, retry_after=7.0)) == 7.0
    assert retry_after(status_error(503)) is None
    assert retry_after(refused_connection()) is None
    assert retry_after(no_envelope()) is None


# Pauses


def lowest(low: float, high: float) -> float:
    return low


def highest(low: float, high: float) -> float:
    return high


@pytest.mark.parametrize(
    ("failures", "longest"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 16.0), (7, 30.0), (8, 30.0)],
)
def test_the_bound_of_the_jitter_doubles_up_to_a_cap(failures: int, longest: float) -> None:
    assert RetryPolicy(uniform=highest).pause(failures, refused_connection()) == longest
    assert RetryPolicy(uniform=lowest).pause(failures, refused_connection()) == 0.0


@given(
    failures=st.integers(1, 10**9),
    part=st.floats(0.0, 1.0),
    asked=st.none() | st.floats(0.0, 10_000.0),
)
def test_a_pause_is_jittered_in_full_and_never_sooner_than_asked(
    failures: int, part: float, asked: float | None
) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return low + part * (high - low)

    pause = RetryPolicy(uniform=uniform).pause(failures, status_error(503, retry_after=asked))

    [(low, high)] = drawn
    assert low == 0.0
    assert FIRST_PAUSE <= high <= LONGEST_PAUSE
    assert high == min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (min(failures, 20) - 1))
    assert (asked or 0.0) <= pause <= (asked or 0.0) + high


def test_jitter_is_random_by_itself() -> None:
    policy = RetryPolicy()
    pauses = [policy.pause(3, refused_connection()) for _ in range(100)]
    assert len(set(pauses)) > 90
    assert all(0.0 <= pause <= 2.0 for pause in pauses)


# The budget


def test_the_budget_is_used_up_and_filled_up() -> None:
    budget = RetryBudget(capacity=10.0, cost=5.0, refund=1.0)

    assert [budget.take() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.give_back()
    assert not budget.take()  # 4 of 5
    budget.give_back()
    assert budget.take()
    assert budget.tokens == 0.0


def test_the_budget_never_overflows() -> None:
    budget = RetryBudget(capacity=10.0, cost=5.0, refund=1.0)
    for _ in range(100):
        budget.give_back()
    assert [budget.take() for _ in range(3)] == [True, True, False]


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 50), st.integers(1, 9))
def test_the_budget_stays_within_its_bounds(takes: list[bool], capacity: int, cost: int) -> None:
    budget = RetryBudget(capacity=capacity, cost=cost)
    taken = 0
    for take in takes:
        if take:
            taken += budget.take()
        else:
            budget.give_back()
        assert 0 <= budget.tokens <= capacity
    assert taken * cost <= capacity + takes.count(False)


# Running


class Sent:
    """Sends by script, and pauses without sleeping."""

    def __init__(self, *outcomes: str | LittlePayError) -> None:
        self.outcomes = list(outcomes)
        self.tries = 0
        self.pauses: list[float] = []

    async def send(self) -> str | LittlePayError:
        self.tries += 1
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def policy(
        self,
        budget: RetryBudget | None = None,
        uniform: Callable[[float, float], float] = highest,
    ) -> RetryPolicy:
        return RetryPolicy(budget=budget or RetryBudget(), uniform=uniform, sleep=self.sleep)


@pytest.mark.anyio
async def test_a_success_is_returned_at_once() -> None:
    sent = Sent("paid")
    assert await sent.policy().run(sent.send, moves_money=False, max_retries=2) == "paid"
    assert (sent.tries, sent.pauses) == (1, [])


@pytest.mark.anyio
async def test_a_get_is_sent_again_after_growing_pauses() -> None:
    sent = Sent(lost_connection(), status_error(500), no_envelope(), "paid")
    assert await sent.policy().run(sent.send, moves_money=False, max_retries=3) == "paid"
    assert (sent.tries, sent.pauses) == (4, [0.5, 1.0, 2.0])


@pytest.mark.anyio
@pytest.mark.parametrize("max_retries", [0, 1, 2, 5])
async def test_no_more_retries_than_allowed(max_retries: int) -> None:
    last = status_error(500)
    sent = Sent(*(lost_connection() for _ in range(max_retries)), last)
    with pytest.raises(LittlePayError) as caught:
        await sent.policy().run(sent.send, moves_money=False, max_retries=max_retries)
    assert caught.value is last
    assert (sent.tries, len(sent.pauses)) == (max_retries + 1, max_retries)


@pytest.mark.anyio
@pytest.mark.parametrize(("error", "get", "money", "_hold_over"), TABLE, ids=name_of)
@pytest.mark.parametrize("moves_money", [False, True], ids=["GET", "money"])
async def test_each_error_is_retried_or_raised(
    error: LittlePayError, get: bool, money: bool, _hold_over: bool, moves_money: bool
) -> None:
    sent = Sent(error, "paid")
    policy = sent.policy()
    if money if moves_money else get:
        assert await policy.run(sent.send, moves_money=moves_money, max_retries=1) == "paid"
        assert sent.tries == 2
    else:
        with pytest.raises(type(error)) as caught:
            await policy.run(sent.send, moves_money=moves_money, max_retries=1)
        assert caught.value is error
        assert (sent.tries, sent.pauses) == (1, [])
        assert policy.budget.tokens == policy.budget.capacity


@pytest.mark.anyio
@pytest.mark.threat("T12")
async def test_what_may_have_left_meanwhile_is_not_sent_again() -> None:
    lost = lost_connection()
    sent = Sent(refused_connection(), lost, "paid twice")
    with pytest.raises(APIConnectionError) as caught:
        await sent.policy().run(sent.send, moves_money=True, max_retries=5)
    assert caught.value is lost
    assert sent.tries == 2


@pytest.mark.anyio
@pytest.mark.parametrize("uniform", [lowest, highest])
@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("asked", [0.0, 1.5, LONGEST_RETRY_AFTER])
async def test_an_answer_that_asks_to_wait_is_never_asked_sooner(
    uniform: Callable[[float, float], float], code: int, asked: float
) -> None:
    sent = Sent(status_error(code, retry_after=asked), "paid")
    policy = sent.policy(uniform=uniform)
    assert await policy.run(sent.send, moves_money=False, max_retries=2) == "paid"
    [pause] = sent.pauses
    assert asked <= pause <= asked + FIRST_PAUSE


@pytest.mark.anyio
async def test_a_call_does_not_wait_longer_than_two_minutes() -> None:
    asked = status_error(429, retry_after=LONGEST_RETRY_AFTER + 0.001)
    sent = Sent(asked, "paid")
    policy = sent.policy()
    with pytest.raises(RateLimitError) as caught:
        await policy.run(sent.send, moves_money=False, max_retries=2)
    assert caught.value.retry_after == LONGEST_RETRY_AFTER + 0.001
    assert (sent.tries, sent.pauses) == (1, [])
    assert policy.budget.tokens == policy.budget.capacity


@pytest.mark.anyio
async def test_a_pause_that_would_pass_the_deadline_is_not_begun() -> None:
    asked = status_error(503, retry_after=60.0)
    sent = Sent(asked, "paid")
    with pytest.raises(ServerError) as caught:
        await sent.policy().run(
            sent.send, moves_money=False, max_retries=2, deadline=anyio.current_time() + 60.0
        )
    assert caught.value.retry_after == 60.0
    assert (sent.tries, sent.pauses) == (1, [])


@pytest.mark.anyio
async def test_a_retry_that_is_not_made_costs_nothing() -> None:
    sent = Sent(status_error(503, retry_after=60.0))
    policy = sent.policy()
    for _ in range(3):
        with pytest.raises(ServerError):
            await policy.run(
                sent.send, moves_money=False, max_retries=2, deadline=anyio.current_time() + 1.0
            )
    assert policy.budget.tokens == policy.budget.capacity


@pytest.mark.anyio
async def test_a_pause_within_the_deadline_is_made() -> None:
    sent = Sent(status_error(503, retry_after=60.0), "paid")
    deadline = anyio.current_time() + 600.0
    outcome = await sent.policy().run(
        sent.send, moves_money=False, max_retries=2, deadline=deadline
    )
    assert outcome == "paid"
    assert sent.pauses == [60.5]


@pytest.mark.anyio
@pytest.mark.threat("T26")
async def test_calls_share_one_budget() -> None:
    budget = RetryBudget(capacity=10.0, cost=5.0, refund=1.0)
    first, second = Sent(status_error(500)), Sent(status_error(500))
    for sent in (first, second):
        with pytest.raises(ServerError):
            await sent.policy(budget).run(sent.send, moves_money=False, max_retries=2)
    assert (first.tries, second.tries) == (3, 1)  # the first one took it all
    assert budget.tokens == 0.0


@pytest.mark.anyio
async def test_a_success_gives_back() -> None:
    budget = RetryBudget(capacity=10.0, cost=5.0, refund=1.0)
    sent = Sent(status_error(500), "paid")
    await sent.policy(budget).run(sent.send, moves_money=False, max_retries=2)
    assert budget.tokens == 6.0  # 10 - 5 + 1


@pytest.mark.anyio
@pytest.mark.threat("T26")
async def test_while_all_is_broken_retries_die_out() -> None:
    budget = RetryBudget()
    sent = Sent(refused_connection())
    calls = 1_000
    for _ in range(calls):
        with pytest.raises(APIConnectionError):
            await sent.policy(budget).run(sent.send, moves_money=False, max_retries=2)
    assert sent.tries == calls + budget.capacity / budget.cost


@pytest.mark.anyio
async def test_what_send_raises_comes_out() -> None:
    async def send() -> LittlePayError:
        raise SessionClosedError("closed")

    with pytest.raises(SessionClosedError):
        await RetryPolicy().run(send, moves_money=False, max_retries=5)


@pytest.mark.anyio
async def test_a_pause_can_be_cancelled() -> None:
    paused = anyio.Event()
    tries = 0

    async def send() -> LittlePayError:
        nonlocal tries
        tries += 1
        return refused_connection()

    async def sleep(seconds: float) -> None:
        paused.set()
        await anyio.sleep_forever()

    policy = RetryPolicy(sleep=sleep)
    came_back = False

    async def call() -> None:
        nonlocal came_back
        await policy.run(send, moves_money=True, max_retries=5)
        came_back = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await paused.wait()
        tasks.cancel_scope.cancel()
    assert (tries, came_back) == (1, False)


@pytest.mark.anyio
async def test_each_retry_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    error = APIConnectionError("refused by 10.0.0.1", sent=False, key="ORDER1")
    sent = Sent(error, "paid")
    with caplog.at_level(logging.DEBUG, logger="little_pay_async"):
        await sent.policy().run(sent.send, moves_money=False, max_retries=2)
    [record] = logged_by_us(caplog)
    assert record.levelno == logging.INFO
    assert (record.__dict__["key"], record.__dict__["tries"]) == ("ORDER1", 1)
    assert record.__dict__["delay"] == 0.5
    assert "10.0.0.1" not in record.getMessage()  # the kind of the error alone


@pytest.mark.anyio
async def test_nothing_is_logged_where_nothing_is_sent_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = Sent(status_error(404))
    with caplog.at_level(logging.DEBUG, logger="little_pay_async"), pytest.raises(NotFoundError):
        await sent.policy().run(sent.send, moves_money=False, max_retries=2)
    assert logged_by_us(caplog) == []


# In a watch


@pytest.mark.parametrize(("error", "heals", "_money", "_hold_over"), TABLE, ids=name_of)
def test_a_watch_outlives_what_may_heal(
    error: LittlePayError, heals: bool, _money: bool, _hold_over: bool
) -> None:
    pause = RetryPolicy(uniform=highest).pause_in_watch(error, 1, 0, max_retries=2)
    assert pause == (0.5 if heals else None)


@pytest.mark.parametrize("error", [refused_connection(), lost_connection(), status_error(500)])
def test_a_watch_outlives_any_number_of_failures(error: LittlePayError) -> None:
    policy = RetryPolicy(uniform=highest)
    pauses = [policy.pause_in_watch(error, n, 0, max_retries=0) for n in (1, 2, 50, 10**6)]
    assert pauses == [0.5, 1.0, 30.0, 30.0]


@pytest.mark.parametrize("asked", [5.0, LONGEST_RETRY_AFTER + 1, 86_400.0])
@pytest.mark.parametrize("uniform", [lowest, highest])
def test_a_watch_waits_as_long_as_it_is_told(
    asked: float, uniform: Callable[[float, float], float]
) -> None:
    policy = RetryPolicy(uniform=uniform)
    pause = policy.pause_in_watch(status_error(429, retry_after=asked), 1, 0, max_retries=0)
    assert pause is not None
    assert asked <= pause <= asked + FIRST_PAUSE


@pytest.mark.parametrize("uniform", [lowest, highest])
def test_a_watch_without_budget_waits_long_instead(
    uniform: Callable[[float, float], float],
) -> None:
    policy = RetryPolicy(budget=RetryBudget(capacity=5.0), uniform=uniform)
    first = policy.pause_in_watch(refused_connection(), 1, 0, max_retries=0)
    second = policy.pause_in_watch(refused_connection(), 1, 0, max_retries=0)
    assert first is not None
    assert first <= FIRST_PAUSE
    assert second is not None
    assert LONGEST_PAUSE / 2 <= second <= LONGEST_PAUSE + FIRST_PAUSE


def test_no_retry_that_is_not_made_costs_a_watch_anything() -> None:
    policy = RetryPolicy()
    assert policy.pause_in_watch(status_error(404), 1, 0, max_retries=2) is None
    assert policy.pause_in_watch(no_envelope(), 3, 3, max_retries=2) is None
    assert policy.budget.tokens == policy.budget.capacity


@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_an_answer_that_makes_no_sense_has_its_retries_in_a_watch(max_retries: int) -> None:
    policy = RetryPolicy()
    given_up = [
        policy.pause_in_watch(no_envelope(), 9, senseless, max_retries=max_retries) is None
        for senseless in range(1, max_retries + 3)
    ]
    assert given_up == [False] * max_retries + [True, True]


def test_the_numbers_are_those_that_are_documented() -> None:
    assert (FIRST_PAUSE, LONGEST_PAUSE, LONGEST_RETRY_AFTER) == (0.5, 30.0, 120.0)
    policy = RetryPolicy()
    assert policy.budget.capacity / policy.budget.cost == 100  # retries that a session has to spare
