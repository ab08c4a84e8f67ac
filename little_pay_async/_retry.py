"""Who may send again, and when.

| operation     | again by itself                      | never by itself               |
|---------------|--------------------------------------|-------------------------------|
| a GET         | no connection, or a broken one;      | other 4xx, TLS,               |
|               | no envelope; 408, 429, 5xx           | refused answers               |
| anything else | only what was not sent               | everything that may have left |

Pauses have full jitter. All tries and pauses of a call lie within one deadline, and all calls of a
session share one budget, so that thousands of keys do not become a storm.
"""

import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from little_pay_async._errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    LittlePayError,
    RateLimitError,
    ServerError,
    SessionClosedError,
    UnexpectedResponseError,
)
from little_pay_async._observing import Observation

T = TypeVar("T")

logger = logging.getLogger("little_pay_async.retry")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 120.0
"""Seconds. A call that is told to wait longer fails instead; a watch waits."""

HOPELESS = (AuthenticationError, SessionClosedError, ConfigurationError)
"""What ends the calls for all keys alike."""

_REQUEST_TIMEOUT = 408


def may_send_again(error: LittlePayError, *, moves_money: bool) -> bool:
    """Return whether a request that ended with `error` may be sent again without asking."""
    match error:
        case APIConnectionError():
            return not error.tls and not (moves_money and error.sent)
        case RateLimitError() | ServerError():
            return not moves_money
        case APIStatusError():
            return not moves_money and error.status_code == _REQUEST_TIMEOUT
        case UnexpectedResponseError():
            return not moves_money and not error.refused
        case _:
            return False


def ends_a_hold(error: LittlePayError) -> bool:
    """Return whether `error` is how a long poll may end: it says nothing about the payment.

    That is silence, a stream that ended, or a proxy that lost patience (API facts: Long poll).
    """
    match error:
        case APIConnectionError():
            return error.sent and not error.tls
        case ServerError():
            return error.status_code in {502, 504}
        case _:
            return False


def retry_after(error: LittlePayError) -> float | None:
    """Return the seconds that an answer asked to wait, if it did."""
    return error.retry_after if isinstance(error, APIStatusError) else None


def tell_of_retry(
    error: LittlePayError,
    *,
    operation: str,
    key: str | None,
    delay: float,
    tries: int,
    observation: Observation | None,
) -> None:
    """Tell the log, and whoever looks on, that what failed will be sent again."""
    kind = type(error).__name__
    logger.info(
        "%s: sending again in %.2f s after %s",
        operation,
        delay,
        kind,
        extra={
            "operation": operation,
            "key": key,
            "error_type": kind,
            "status_code": error.status_code if isinstance(error, APIStatusError) else None,
            "tries": tries,
            "delay": delay,
        },
    )
    if observation is not None:
        observation.retried(error, key=key, delay=delay, tries=tries)


class RetryBudget:
    """A token bucket shared by a session: a retry costs, a success gives back.

    As in the AWS SDKs' standard mode. While all is well nobody notices it; while all is broken
    retries die out instead of multiplying the load.
    """

    def __init__(self, *, capacity: float = 500.0, cost: float = 5.0, refund: float = 1.0) -> None:
        self.capacity: float = capacity
        self.cost: float = cost
        self.refund: float = refund
        self.tokens: float = capacity

    def take(self) -> bool:
        """Pay for one retry; False if there is not enough left."""
        if self.tokens < self.cost:
            return False
        self.tokens -= self.cost
        return True

    def give_back(self) -> None:
        """Count a success."""
        self.tokens = min(self.capacity, self.tokens + self.refund)


class RetryPolicy:
    """Sends again what may be sent again.

    Args:
        budget: Shared by all calls of a session.
        uniform: Where jitter comes from; `random.uniform` but in tests.
        sleep: How to pause; `anyio.sleep` but in tests.
    """

    def __init__(
        self,
        *,
        budget: RetryBudget | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.budget: RetryBudget = budget or RetryBudget()
        self.uniform: Callable[[float, float], float] = uniform
        self.sleep: Callable[[float], Awaitable[None]] = sleep

    def pause(self, failures: int, error: LittlePayError) -> float:
        """Return the seconds to wait after that many failures in a row (1 or more).

        Full jitter over a bound that doubles; never sooner than an answer asked for.
        """
        bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
        return (retry_after(error) or 0.0) + self.uniform(0.0, bound)

    def pause_in_watch(
        self, error: LittlePayError, failures: int, senseless: int, *, max_retries: int
    ) -> float | None:
        """Return the seconds to wait before a watched key is asked for again.

        Lasting faults are outlived, so there is no bound on their number and none on how long an
        answer may ask to wait; while the budget is empty the pauses are long instead. Only an
        answer that makes no sense ends a key, after its retries.

        Args:
            error: What the key was answered.
            failures: How many errors there were since the last answer, this one included.
            senseless: How many of them were answers that make no sense.
            max_retries: How many of those may be followed by another try.

        Returns:
            None where asking again can't help.
        """
        if not may_send_again(error, moves_money=False):
            return None
        if isinstance(error, UnexpectedResponseError) and senseless > max_retries:
            return None
        pause = self.pause(failures, error)
        if not self.budget.take():
            pause += self.uniform(LONGEST_PAUSE / 2, LONGEST_PAUSE)
        return pause

    async def run(
        self,
        send: Callable[[], Awaitable[T | LittlePayError]],
        *,
        moves_money: bool,
        max_retries: int,
        deadline: float = math.inf,
        operation: str = "call",
        observation: Observation | None = None,
    ) -> T:
        """Return the result of `send`, sent up to `max_retries` times more.

        Args:
            send: Sends once and returns the result or the error.
            moves_money: Would sending twice move money twice?
            max_retries: How many tries may follow the first one.
            deadline: In `anyio.current_time()`; a pause that would pass it is not begun.
            operation: What the log calls it.
            observation: Told of each retry.

        Raises:
            LittlePayError: The last error.
        """
        tries = 1
        while True:
            outcome = await send()
            if not isinstance(outcome, LittlePayError):
                self.budget.give_back()
                return outcome
            if tries > max_retries or not may_send_again(outcome, moves_money=moves_money):
                raise outcome
            pause = self._pause_within(deadline, outcome, tries)
            if pause is None:
                raise outcome
            tell_of_retry(
                outcome,
                operation=operation,
                key=outcome.key,
                delay=pause,
                tries=tries,
                observation=observation,
            )
            await self.sleep(pause)
            tries += 1

    def _pause_within(self, deadline: float, error: LittlePayError, tries: int) -> float | None:
        """Pay for a retry and return the pause before it; None if it can't be made in time."""
        if (retry_after(error) or 0.0) > LONGEST_RETRY_AFTER:
            return None
        pause = self.pause(tries, error)
        if anyio.current_time() + pause >= deadline or not self.budget.take():
            return None
        return pause
