"""Which key is looked at, and when.

Rules of this file:

- A key is in one state at a time: ready (in the queue), being polled, paused (the clock has its
  time), or settled. Every step costs the same however many keys there are, but for the clock's log.
- As many keys are polled at once as there are places; the others wait in the queue, first come,
  first served. With more keys than places the holds get shorter, so that the queue moves.
- A poll that was held is followed by the next at once. A server that does not hold is asked more
  and more rarely; one that fails too, and a lost connection is not made again by all in one moment.
- No task of a rota raises: what can't go on is told to the watch, which raises it to its user.
"""

import contextvars
import math
from collections import deque
from collections.abc import Awaitable, Callable

import anyio.abc

from little_pay_async._errors import (
    APIConnectionError,
    APITimeoutError,
    LittlePayError,
    SettlementTimeoutError,
    UnexpectedResponseError,
)
from little_pay_async._models import Payment
from little_pay_async._observing import Observation
from little_pay_async._retry import HOPELESS, RetryPolicy, ends_a_hold, retry_after, tell_of_retry
from little_pay_async._watch.clock import Clock
from little_pay_async._watch.entry import FIRST_PACE, Entry, Poll
from little_pay_async._watch.places import Places

SHORTEST_HOLD = 1.0
SLOWEST_PACE = 24.0  # with its jitter 30 s
_PACE_GROWTH = 1.5
_PACE_JITTER = 1.25
_SURELY_HELD = 5.0
# After a loss of many connections at once, so many a second are made again.
_RECONNECTS_PER_SECOND = 500.0


class Rota:
    """Polls entries until they are settled.

    Args:
        open_poll: Makes the poll of a key.
        places: How many polls may be under way, shared with the session's other watches.
        retries: Whether and when to ask again after an error.
        max_retries: How often to ask again after an answer that makes no sense.
        hold: Seconds that a poll may be held.
        limit: How many polls of this rota may be under way.

    Attributes:
        keys: Entries not settled.
        in_flight: Polls under way.
        retried: How many polls followed an error.
    """

    _learn: Callable[[Entry], None]
    _settle: Callable[[Entry, LittlePayError | None], None]
    _fail: Callable[[Exception], None]

    def __init__(
        self,
        *,
        open_poll: Callable[[str], Poll],
        places: Places,
        retries: RetryPolicy,
        max_retries: int,
        hold: float,
        limit: int,
    ) -> None:
        self.open_poll: Callable[[str], Poll] = open_poll
        self.places: Places = places
        self.retries: RetryPolicy = retries
        self.max_retries: int = max_retries
        self.hold: float = hold
        self.limit: int = limit
        self.keys: int = 0
        self.in_flight: int = 0
        self.retried: int = 0
        self.queued: bool = False
        self._ready: deque[Entry] = deque()
        self._clock = Clock()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._operation = "watch"
        self._observation: Observation | None = None
        self._context: contextvars.Context | None = None

    def start(
        self,
        tasks: anyio.abc.TaskGroup,
        *,
        learn: Callable[[Entry], None],
        settle: Callable[[Entry, LittlePayError | None], None],
        fail: Callable[[Exception], None],
        operation: str = "watch",
        observation: Observation | None = None,
    ) -> None:
        """Begin: from now on, what is ready is polled.

        Args:
            tasks: Where polls run.
            learn: Told of each entry of which a poll brought something.
            settle: Told of each entry that has come to its end, with the error if it is one.
            fail: Told of what ends everything.
            operation: What the log calls it.
            observation: Who looks on, if anybody.
        """
        self._operation, self._observation = operation, observation
        self._context = contextvars.copy_context() if observation is None else observation.context
        self._tasks, self._learn, self._settle, self._fail = tasks, learn, settle, fail
        self._clock.start()
        self.places.keys += self.keys
        self.places.takers.add(self)
        tasks.start_soon(self._clock.run, self._on_time)
        self._fill()

    def stop(self) -> None:
        """Begin no poll any more."""
        if self._tasks is not None:
            self._tasks = None
            self.places.keys -= self.keys
            self.places.takers.discard(self)

    def end(self, failure: Exception) -> None:
        """Have the watch fail."""
        self._fail(failure)

    def add(self, entry: Entry) -> None:
        """Take in an entry and look at it as soon as there is a place."""
        self._count(1)
        if entry.deadline < math.inf:
            self._clock.set(entry.deadline, entry)
        self._ready.append(entry)
        self._fill()

    def remove(self, entry: Entry) -> None:
        """Take out an entry that is settled; the poll parked for it is let go."""
        entry.settled = True
        self._count(-1)
        entry.let_go()
        if entry.deadline < math.inf or entry.paused_until is not None:
            self._clock.forget()

    def _count(self, more: int) -> None:
        self.keys += more
        if self._tasks is not None:
            self.places.keys += more

    def use_place(self) -> bool:
        """Start a poll on a place that has become free; False if none is wanted any more."""
        if self._tasks is None or not self._wants_place():
            return False
        self._start_worker(self._tasks)
        if self._wants_place():
            self.places.queue(self)
        return True

    def _wants_place(self) -> bool:
        return bool(self._ready) and self.in_flight < self.limit

    def _fill(self) -> None:
        while self._tasks is not None and self._wants_place() and self.places.take(self):
            self._start_worker(self._tasks)

    def _start_worker(self, tasks: anyio.abc.TaskGroup) -> None:
        # The entry is taken here, not in the task: the task begins later, and until then the
        # queue must not look longer than it is.
        self.in_flight += 1
        if self._observation is not None:
            self._observation.parked(1)
        # In the context of the watch: who adds a key, or gives a place back, may be another's task.
        # A copy, since a task that begins at once may come by here in its turn.
        assert self._context is not None  # noqa: S101 - set at the start
        entry = self._ready.popleft()
        entry.worker = tasks.create_task(self._work(entry), context=self._context.copy())

    async def _work(self, entry: Entry | None) -> None:
        """Poll one ready entry after the other on one place, until a poll is let go."""
        try:
            while entry is not None:
                begun = self._clock.now()
                outcome: Payment | LittlePayError | None = None
                try:
                    if not entry.settled and self._tasks is not None:
                        outcome = await self._ask(entry, begun)
                except LittlePayError as error:
                    outcome = error
                except Exception as error:  # noqa: BLE001 - a hook of the caller's: theirs to see
                    self._fail(error)
                finally:
                    worker, entry.worker = entry.worker, None
                    self._end_poll(entry, outcome, begun)
                # Let go in the very step in which it ended: what waits next would be cancelled.
                if worker is None or worker.status is worker.Status.CANCELLING:
                    break
                entry = self._next_ready()
                if entry is not None:
                    entry.worker = worker
        finally:
            self.in_flight -= 1
            if self._observation is not None:
                self._observation.parked(-1)
            self.places.give_back()
            self._fill()

    def _next_ready(self) -> Entry | None:
        if self._ready and not self.places.wanted_by_others(self):
            return self._ready.popleft()
        return None

    def _ask(self, entry: Entry, now: float) -> Awaitable[Payment | LittlePayError]:
        """Begin a poll."""
        self.retried += entry.to_retry
        entry.to_retry = False
        hold = self._hold()
        if entry.poll is None:
            entry.poll = self.open_poll(entry.key)
        self._clock.bound(entry, now + entry.poll.longest(hold))
        return entry.poll.poll(hold)

    def _end_poll(
        self, entry: Entry, outcome: Payment | LittlePayError | None, begun: float
    ) -> None:
        """Take in what a poll brought, and have the entry polled again when it is time."""
        self._clock.unbound(entry)
        if entry.late:
            entry.late = False
            outcome = APITimeoutError("the poll had not ended in time", sent=True, key=entry.key)
        if outcome is None or entry.settled or self._tasks is None:
            return
        pause = self._take_in(entry, outcome, self._clock.now() - begun)
        if pause is None:
            return
        if pause > 0:
            entry.paused_until = self._clock.now() + pause
            self._clock.set(entry.paused_until, entry)
        else:
            self._ready.append(entry)

    def _hold(self) -> float:
        """Return the seconds to hold: fewer, the more keys share a place."""
        crowd = max(self.keys / self.limit, self.places.keys / self.places.total)
        if crowd <= 1:
            return self.hold
        return max(min(SHORTEST_HOLD, self.hold), self.hold / crowd)

    def _take_in(
        self, entry: Entry, outcome: Payment | LittlePayError, took: float
    ) -> float | None:
        """Note what a poll brought; return the pause before the next, or None if there is none."""
        if isinstance(outcome, Payment):
            self.retries.budget.give_back()
            entry.payment = outcome
            entry.failures = entry.senseless = 0
            self._learn(entry)
            if outcome.status.is_final:
                self._settle(entry, None)
                return None
            return self._pace(entry, took)
        entry.error = outcome
        if isinstance(outcome, HOPELESS):
            self._fail(outcome)
            return None
        if ends_a_hold(outcome):
            pause = max(self._pace(entry, took), retry_after(outcome) or 0.0)
            if isinstance(outcome, APIConnectionError) and not isinstance(outcome, APITimeoutError):
                pause += self.retries.uniform(0.0, max(0.5, self.keys / _RECONNECTS_PER_SECOND))
            return pause
        entry.failures += 1
        entry.senseless += isinstance(outcome, UnexpectedResponseError)
        pause_or_none = self.retries.pause_in_watch(
            outcome, entry.failures, entry.senseless, max_retries=self.max_retries
        )
        if pause_or_none is None:
            self._settle(entry, outcome)
        else:
            entry.to_retry = True
            tell_of_retry(
                outcome,
                operation=self._operation,
                key=entry.key,
                delay=pause_or_none,
                tries=entry.requests,
                observation=self._observation,
            )
        return pause_or_none

    def _pace(self, entry: Entry, took: float) -> float:
        """Return the pause after a poll that left the payment as it is."""
        if took >= min(entry.pace, _SURELY_HELD):
            entry.pace = FIRST_PACE
            return 0.0
        apart = self.retries.uniform(entry.pace, entry.pace * _PACE_JITTER)
        entry.pace = min(SLOWEST_PACE, entry.pace * _PACE_GROWTH)
        return apart - took

    def _on_time(self, entry: Entry, now: float) -> None:
        """End its pause or, if that is what has come, its time."""
        if now >= entry.deadline:
            error = SettlementTimeoutError(
                f"{entry.key}: neither COMPLETED nor FAILED within "
                f"{entry.deadline - entry.added:g} s; it may still become either: "
                "ask for its status, or watch it again",
                key=entry.key,
                last=entry.payment,
            )
            error.__cause__ = entry.error
            self._settle(entry, error)
        elif entry.paused_until is not None and now >= entry.paused_until:
            entry.paused_until = None
            self._ready.append(entry)
            self._fill()
