"""One payment from its intent to its end, under one deadline, and never asked for twice.

Rules of this file:

- Nothing that may have reached Little Pay is sent again: the status says what became of it.
- Only an answer that says so shows that there was no attempt, and that the payer may be asked.
- Once the payer may have been asked, an error of the waiting is an `OutcomeUnknownError`, for it
  says nothing of the payment; but a deadline that passes is a `SettlementTimeoutError`.
"""

import contextlib
import logging
import math
from typing import Protocol

import anyio
import attrs

from little_pay_async import _wire
from little_pay_async._calling import Calls
from little_pay_async._errors import (
    InvalidInputError,
    LittlePayError,
    OutcomeUnknownError,
    SettlementTimeoutError,
)
from little_pay_async._models import Payment, PaymentStatus, Provider, Settlement
from little_pay_async._msisdn import Msisdn
from little_pay_async._observing import Observation

logger = logging.getLogger("little_pay_async.http")


class Wait(Protocol):
    """How the end of a payment is waited for: `AsyncLittlePay.wait`."""

    async def __call__(self, key: str, *, timeout: float | None) -> Payment: ...


@attrs.frozen(kw_only=True)
class Collector:
    """Collects one payment.

    Attributes:
        calls: What sends.
        wait: What waits for the end.
        create: The call of create intent; each error is about its key.
        provider: Who shall collect.
        mobile: Whom from.
        deadline: When to give up, in `anyio.current_time()`.
        observation: Who looks on, if anybody.
    """

    calls: Calls
    wait: Wait
    create: _wire.Call
    provider: Provider
    mobile: Msisdn
    deadline: float
    observation: Observation | None = None

    async def collect(self) -> Payment:
        """Create, process and wait; return the final payment.

        Raises:
            SettlementTimeoutError: It was not final in time.
            OutcomeUnknownError: It may have been charged, and its status could not be told.
            LittlePayError: It was not charged.
        """
        key = _key_of(self.create)
        try:
            self.calls.session.check_open()
            # What the waiting needs is looked for before anything is sent.
            await self.calls.session.authorization(_wire.status(key))
            found = await self._create_or_find(key)
            if isinstance(found, Payment):
                return await self._settled(found, self.create)
            process = _wire.process(found, self.provider, self.mobile, held=False)
            return await self._process_and_settle(process)
        except LittlePayError as error:
            error.key = key
            raise

    async def _create_or_find(self, key: str) -> str | Payment:
        """Return the reference to process, or the payment if there is an attempt already."""
        unknown: OutcomeUnknownError | None = None
        try:
            return _wire.key_of(
                await self.calls.send(self.create, _wire.read_intent, latest=self.deadline)
            )
        except InvalidInputError:  # no reference, or none that could stand in a path
            pass
        except OutcomeUnknownError as error:
            unknown = error.with_traceback(None)
        try:
            found = await self.calls.send(
                _wire.status(key), _wire.read_payment, latest=self.deadline
            )
        except LittlePayError as error:
            if unknown is None:  # the intent exists, and nobody was asked to pay
                raise
            raise unknown from error
        if found.status.is_final or found.attempts:
            return found
        # Only an answer that says so shows that there is no attempt: the process shape says
        # nothing of attempts at all.
        if (
            found.reference is not None
            and found.status is PaymentStatus.PENDING
            and found.raw.get("attempts") == []
        ):
            with contextlib.suppress(InvalidInputError):
                return _wire.key_of(found.reference)
        raise unknown or self._told(
            OutcomeUnknownError(
                "collect: Little Pay gave the intent no usable reference, and its status does not "
                "show that there is no attempt: look at it in the merchant dashboard.",
                operation="create_intent",
            )
        )

    async def _process_and_settle(self, process: _wire.Call) -> Payment:
        unknown: OutcomeUnknownError | None = None
        payment: Payment | None = None
        try:
            payment = await self.calls.process(process, latest=self.deadline)
        except OutcomeUnknownError as error:
            unknown = error.with_traceback(None)
        return await self._settled(payment, process, unknown)

    async def _settled(
        self,
        payment: Payment | None,
        call: _wire.Call,
        unknown: OutcomeUnknownError | None = None,
    ) -> Payment:
        """Return the final payment. Money may move: if it can't be told, the outcome is unknown."""
        if payment is not None and payment.status.is_final:
            if self.observation is not None:  # a watch would tell of it, but there is none
                key = _key_of(call)
                self.observation.settled(
                    Settlement(key=key, payment=payment, error=None, elapsed=0.0, polls=0)
                )
            return payment
        left = self.deadline - anyio.current_time()
        timeout = None if left == math.inf else max(left, 0.001)
        try:
            return await self.wait(_key_of(call), timeout=timeout)
        except SettlementTimeoutError as error:
            error.__cause__ = error.__cause__ or unknown
            raise
        except LittlePayError as error:
            happened = "it was answered, and then its status could not be told"
            raise unknown or self._told(
                _wire.outcome_unknown(call, error, happened=happened)
            ) from error

    def _told(self, error: OutcomeUnknownError) -> OutcomeUnknownError:
        """Tell of an outcome that is unknown, although its request was answered."""
        logger.warning(
            "collect: outcome unknown",
            extra={
                "operation": error.operation,
                "key": _key_of(self.create),
                "error_type": type(error).__name__,
            },
        )
        if self.observation is not None:
            self.observation.outcome_unknown(error.operation)
        return error


def _key_of(call: _wire.Call) -> str:
    assert call.key is not None  # noqa: S101 - create intent and process always have one
    return call.key
