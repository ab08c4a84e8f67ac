"""A watch against a model of it: whatever happens in whatever order, no key is lost or told twice.

The watch lives on an asyncio loop that runs only when told to, and whose clock moves only then.
"""

import asyncio
import logging
import math
import selectors
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from little_pay_async._errors import (
    APIConnectionError,
    APIStatusError,
    LittlePayError,
    SettlementTimeoutError,
    UnexpectedResponseError,
)
from little_pay_async._models import Payment, PaymentStatus, WatchStatistics
from little_pay_async._retry import RetryPolicy
from little_pay_async._watch import Places

from .scripted_polls import (
    COMPLETED,
    FAILED,
    PENDING,
    Callback,
    all_free,
    answer,
    broken,
    no_envelope,
    payment,
    refused,
    silence,
    watch_over,
)

T = TypeVar("T")

TIMEOUT = 10_000.0
LIMIT = 2
MAX_RETRIES = 2


class SteppedLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that stands still but while it is told to advance."""

    def __init__(self) -> None:
        self.now = 0.0
        self.until = 0.0
        super().__init__(SteppedSelector(self))

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float = 0.0) -> None:
        """Do everything that is due until then."""
        self.until = self.now + seconds
        self.run_forever()


class SteppedSelector(selectors.DefaultSelector):
    def __init__(self, loop: SteppedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self._loop
        if timeout is None or loop.now + timeout > loop.until:
            loop.now = loop.until
            loop.stop()
        else:
            loop.now += timeout
        return super().select(0)


class ParkedPoll:
    """A poll that waits until the machine answers it."""

    def __init__(self, machine: "WatchMachine", key: str) -> None:
        self.requests = 0
        self._machine = machine
        self._key = key

    async def poll(self, hold: float) -> Payment | LittlePayError:  # noqa: ARG002 - as long as it takes
        machine = self._machine
        self.requests += 1
        machine.polls[self._key] += 1
        machine.retries += self._key in machine.to_retry
        machine.to_retry.discard(self._key)
        assert self._key not in machine.parked, "polled twice at once"
        machine.parked[self._key] = machine.loop.create_future()
        try:
            return await machine.parked[self._key]
        finally:
            del machine.parked[self._key]

    def longest(self, hold: float) -> float:  # noqa: ARG002 - whatever it is
        return math.inf


class PollOpener:
    def __init__(self, machine: "WatchMachine") -> None:
        self.open_poll = lambda key: ParkedPoll(machine, key)


@attrs.frozen
class Expected:
    """A settlement that is to come. An error is expected as itself, a timeout as its class."""

    key: str
    payment: Payment | None
    error: LittlePayError | type[SettlementTimeoutError] | None
    elapsed: float
    polls: int


class Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - their number will do
        self.count += 1


class BodyError(Exception):
    pass


KEYS = st.sampled_from([f"K{number}" for number in range(8)])
REFERENCES = st.sampled_from([f"R{number}" for number in range(4)])
NAMES = KEYS | REFERENCES  # a payment may be watched under its reference too
ANSWERS: st.SearchStrategy[Callable[[str], Payment | LittlePayError]] = st.one_of(
    st.sampled_from([PENDING, COMPLETED, FAILED, PaymentStatus("REVERSED")]).flatmap(
        lambda status: (st.none() | REFERENCES).map(
            lambda reference: lambda key: payment(key, status, reference=reference)
        )
    ),
    st.sampled_from([refused, silence, broken, no_envelope]).map(lambda make: lambda _: make()),
    st.sampled_from([404, 403, 429, 500, 502, 503]).map(lambda code: lambda _: answer(code)),
    st.just(lambda _: answer(429, retry_after=150.0)),
)


class WatchMachine(RuleBasedStateMachine):
    """Drives a watch and keeps account of what it must say."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SteppedLoop()
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.places = Places(3)
        # What polls see
        self.parked: dict[str, asyncio.Future[Payment | LittlePayError]] = {}
        self.polls: Counter[str] = Counter()
        self.to_retry: set[str] = set()
        self.retries = 0
        # The model
        self.added: dict[str, float] = {}
        self.open: dict[str, None] = {}
        self.first: dict[str, PaymentStatus] = {}
        self.last: dict[str, Payment] = {}
        self.senseless: Counter[str] = Counter()
        self.keys_of: dict[str, dict[str, None]] = {}
        self.expected: deque[Expected] = deque()
        self.handed_out: list[str] = []
        self.failure: LittlePayError | None = None
        self.closed = False
        self.open_ended = True
        self.left = False
        self.contradictions = 0
        self.warnings = Warnings()
        logging.getLogger("little_pay_async.watch").addHandler(self.warnings)

    # Driving

    @initialize(keys=st.none() | st.lists(NAMES, max_size=12), early=st.lists(NAMES, max_size=2))
    def enter(self, keys: list[str] | None, early: list[str]) -> None:
        self.watch = watch_over(
            PollOpener(self),  # type: ignore[arg-type]
            keys,
            timeout=TIMEOUT,
            places=self.places,
            limit=LIMIT,
            retries=RetryPolicy(uniform=lambda low, high: (low + high) / 2),
            max_retries=MAX_RETRIES,
        )
        for key in early:
            self.add(key)
        self.leaving = self.loop.create_future()
        self.host = self.loop.create_task(self.stay())
        self.loop.advance()
        self.open_ended = keys is None
        for key in keys or []:
            self.expect_added(key)

    async def stay(self) -> None:
        async with self.watch:
            await self.leaving

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        async def inside() -> T:
            return function(*arguments)

        task = self.loop.create_task(inside())
        self.loop.advance()
        return task.result()

    @rule(key=NAMES)
    def add(self, key: str) -> None:
        if self.closed or self.left:
            try:
                self.call(self.watch.add, key)
            except RuntimeError:
                return
            raise AssertionError("added to a closed watch")
        self.call(self.watch.add, key)
        self.expect_added(key)

    @precondition(lambda self: self.parked)
    @rule(data=st.data(), make=ANSWERS)
    def answer(self, data: st.DataObject, make: Callable[[str], Payment | LittlePayError]) -> None:
        self.settle_by_poll(data.draw(st.sampled_from(sorted(self.parked))), make)

    @precondition(lambda self: self.parked)
    @rule(make=ANSWERS)
    def answer_all(self, make: Callable[[str], Payment | LittlePayError]) -> None:
        for key in list(self.parked):
            if key in self.parked:
                self.settle_by_poll(key, make)

    def settle_by_poll(self, key: str, make: Callable[[str], Payment | LittlePayError]) -> None:
        outcome = make(key)
        polls = self.polls[key]
        self.parked[key].set_result(outcome)
        self.expect_answer(key, outcome, polls)
        self.loop.advance()

    @precondition(lambda self: self.parked and not self.failure)
    @rule(data=st.data())
    def answer_hopelessly(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.parked)))
        self.failure = answer(401)
        self.parked[key].set_result(self.failure)
        self.loop.advance()
        assert not self.parked

    @rule(
        key=st.none() | KEYS,
        reference=st.none() | REFERENCES,
        status=st.sampled_from([COMPLETED, FAILED, PENDING]),
    )
    def deliver(self, key: str | None, reference: str | None, status: PaymentStatus) -> None:
        polls = self.polls.copy()
        callback = Callback(key=key, reference=reference, status=status)
        delivered = self.call(self.watch.deliver, callback)
        assert delivered is self.expect_delivered(callback, polls)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 5.0, 30.0, 120.0, 6_000.0]))
    def advance(self, seconds: float) -> None:
        begun = self.loop.now
        self.loop.advance(seconds)
        self.expect_timeouts(begun + seconds)

    @rule()
    def consume(self) -> None:
        """Read one settlement; where there is none, the wait for it is cancelled."""
        task = self.loop.create_task(anext(self.watch))  # type: ignore[arg-type]
        self.loop.advance()
        if self.expected:
            expected, got = self.expected.popleft(), task.result()
            assert (got.key, got.payment, got.polls) == (
                expected.key,
                expected.payment,
                expected.polls,
            )
            if isinstance(expected.error, type):
                assert type(got.error) is expected.error
            else:
                assert got.error is expected.error
            assert abs(got.elapsed - expected.elapsed) < 1e-6
            assert (got.error is None) is bool(got.payment and got.payment.status.is_final)
            self.handed_out.append(got.key)
        elif self.failure is not None:
            assert task.exception() is self.failure
        elif self.left or (not self.open and (self.closed or not self.open_ended)):
            assert isinstance(task.exception(), StopAsyncIteration)
            self.closed = True
        else:
            assert not task.done()
            task.cancel()
            self.loop.advance()
            assert task.cancelled()

    @rule()
    def close(self) -> None:
        self.call(self.watch.close)
        self.closed = True

    @precondition(lambda self: not self.left)
    @rule(how=st.sampled_from(["quietly", "exception", "cancellation"]))
    def leave(self, how: str) -> None:
        error = BodyError()
        if how == "quietly":
            self.leaving.set_result(None)
        elif how == "exception":
            self.leaving.set_exception(error)
        else:
            self.host.cancel()
        self.left = True
        self.loop.advance()
        assert self.host.done()
        if how == "cancellation":
            assert self.host.cancelled()
        else:
            assert self.host.exception() is (error if how == "exception" else None)
        assert not self.parked
        assert not asyncio.all_tasks(self.loop)
        assert all_free(self.places)

    # The model

    def expect_added(self, key: str) -> None:
        if key not in self.added:
            self.added[key] = self.loop.now
            self.open[key] = None

    def expect_settled(
        self,
        key: str,
        error: LittlePayError | type[SettlementTimeoutError] | None,
        *,
        polls: int,
        when: float | None = None,
    ) -> None:
        del self.open[key]
        self.to_retry.discard(key)
        elapsed = (self.loop.now if when is None else when) - self.added[key]
        last = self.last.get(key)
        self.expected.append(Expected(key, last, error, elapsed, polls))
        if error is None and last is not None:
            self.first[key] = last.status

    def expect_answer(self, key: str, outcome: Payment | LittlePayError, polls: int) -> None:
        match outcome:
            case Payment():
                self.last[key] = outcome
                self.senseless[key] = 0
                if outcome.reference:
                    self.keys_of.setdefault(outcome.reference, {})[key] = None
                if outcome.status.is_final:
                    self.expect_settled(key, None, polls=polls)
            case UnexpectedResponseError() if self.senseless[key] == MAX_RETRIES:
                self.expect_settled(key, outcome, polls=polls)
            case UnexpectedResponseError():
                self.senseless[key] += 1
                self.to_retry.add(key)
            case APIStatusError(status_code=403 | 404):
                self.expect_settled(key, outcome, polls=polls)
            case APIStatusError(status_code=502) | APIConnectionError(sent=True):
                pass  # the end of a hold
            case _:
                self.to_retry.add(key)

    def expect_delivered(self, callback: Callback, polls: Counter[str]) -> bool:
        if self.left or not callback.status.is_final:
            return False
        names = dict.fromkeys(name for name in (callback.key, callback.reference) if name)
        if callback.reference:
            names |= self.keys_of.get(callback.reference, {})
        self.contradictions += sum(
            self.first.get(name, callback.status) != callback.status for name in names
        )
        found = [name for name in names if name in self.open]
        for name in found:
            self.last[name] = Payment(
                date=callback.date,
                status=callback.status,
                reference=callback.reference,
                key=callback.key,
                amount=callback.amount,
                currency=callback.currency,
                provider=callback.provider,
            )
            self.expect_settled(name, None, polls=polls[name])
        return bool(found)

    def expect_timeouts(self, now: float) -> None:
        if self.left:
            return
        late = [key for key in self.open if self.added[key] + TIMEOUT <= now]
        for key in sorted(late, key=lambda key: self.added[key]):
            self.expect_settled(
                key,
                SettlementTimeoutError,
                polls=self.polls[key],
                when=self.added[key] + TIMEOUT,
            )

    # What always holds

    @invariant()
    def accounts_agree(self) -> None:
        if not hasattr(self, "watch"):
            return
        unread = [expected.key for expected in self.expected]
        pending = tuple(key for key in self.added if key not in self.handed_out)
        assert self.watch.pending == pending
        assert sorted(pending) == sorted([*self.open, *unread])
        assert len(self.watch) == len(pending)
        assert self.watch.statistics() == WatchStatistics(
            keys=len(self.added),
            settled=len(self.added) - len(self.open),
            in_flight=len(self.parked),
            requests=self.polls.total(),
            retries=self.retries,
        )
        assert len(self.parked) <= LIMIT
        assert set(self.parked) <= set(self.open)
        assert len(self.handed_out) == len(set(self.handed_out))
        assert self.warnings.count == self.contradictions
        assert not self.problems

    def teardown(self) -> None:
        try:
            if hasattr(self, "watch"):
                self.settle_the_rest()
        finally:
            logging.getLogger("little_pay_async.watch").removeHandler(self.warnings)
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.advance()
            self.loop.close()

    def settle_the_rest(self) -> None:
        if not self.left and self.failure is None:
            self.close()
            for _ in range(len(self.added) + 8):  # turns in which none of them may starve
                for key in list(self.parked):
                    self.settle_by_poll(key, lambda key: payment(key, COMPLETED))
                if not self.open:
                    break
                self.advance(40.0)
            assert not self.open
        if not self.left:
            self.leave("quietly")
        while self.expected:
            self.consume()
        self.accounts_agree()
        if self.failure is None:
            self.consume()  # nothing but the end


TestWatch = WatchMachine.TestCase
TestWatch.settings = settings(max_examples=150, stateful_step_count=40)
