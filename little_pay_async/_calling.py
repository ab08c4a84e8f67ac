"""Calls and polls made within their limits: seconds for a try, for all tries, and for a hold."""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
import attrs
import httpx

from little_pay_async import _settings, _wire
from little_pay_async._errors import InvalidInputError, LittlePayError
from little_pay_async._models import Envelope, Payment
from little_pay_async._observing import Observation
from little_pay_async._retry import ends_a_hold
from little_pay_async._sending import Sender
from little_pay_async._session import Session
from little_pay_async._settings import UNSET, Timeout, TimeoutOrUnset

T = TypeVar("T")


@attrs.frozen
class Calls:
    """Makes the calls of a session, each within the limits that are set for all of them.

    Attributes:
        session: What sends them.
        timeout: For an ordinary call: seconds in all, or an `httpx.Timeout` for each try.
        hold: Seconds that a long poll may stay silent.
        max_retries: How often to send again what may be sent again.
    """

    session: Session
    timeout: Timeout
    hold: float
    max_retries: int

    async def send(
        self,
        call: _wire.Call | InvalidInputError,
        read: Callable[[Envelope], T],
        timeout: TimeoutOrUnset = UNSET,
        *,
        latest: float = math.inf,
        part_of: Observation | None = None,
    ) -> T:
        """Send one call, again where it may be, until `latest` at the most.

        Args:
            call: What to send; or why there is nothing to send.
            read: Makes the result of an answer.
            timeout: For this call; what is set for all of them if left out.
            latest: In `anyio.current_time()`.
            part_of: The operation that it is only a part of, if anybody looks on at that.

        Raises:
            LittlePayError: There is no result; or `call` is an error, and nothing was sent.
        """
        if isinstance(call, InvalidInputError):
            raise call
        if timeout is UNSET:
            limit, extra = self.timeout, self.hold if call.held else 0.0
        else:
            limit, extra = _settings.timeout_of("timeout", timeout, InvalidInputError), 0.0
        phases, total = _phases(limit, hold=self.hold if call.held else None)
        deadline = min(latest, anyio.current_time() + total + extra)
        sender = Sender(self.session, call, read)
        run = partial(
            self.session.retries.run,
            partial(sender.send, phases, deadline),
            moves_money=call.moves_money,
            max_retries=self.max_retries,
            deadline=deadline,
            operation=call.operation,
        )
        if part_of is not None or self.session.observer is None:
            return await run(observation=part_of)
        with self.session.observer.begin(call.operation, call) as observation:
            try:
                return await run(observation=observation)
            finally:
                observation.sent(sender.requests, sender.status_code)

    async def process(
        self, call: _wire.Call, timeout: TimeoutOrUnset = UNSET, *, latest: float = math.inf
    ) -> Payment:
        """Send a process; the payment has its reference even if the answer does not say it."""
        payment = await self.send(call, _wire.read_payment, timeout, latest=latest)
        return payment if payment.reference else attrs.evolve(payment, reference=call.key)

    async def long_poll(self, key: str, hold: float) -> Payment:
        """Ask by a held GET, and by a plain one where the hold ended without an answer."""
        call = _wire.status(key, held=True)
        if self.session.observer is None:
            return await self._long_poll(call, hold, None)
        with self.session.observer.begin("long_poll", call) as observation:
            return await self._long_poll(call, hold, observation)

    async def _long_poll(
        self, call: _wire.Call, hold: float, observation: Observation | None
    ) -> Payment:
        sender = Sender(self.session, call, _wire.read_payment)
        phases, total = _phases(self.timeout, hold=hold)

        async def once() -> Payment | LittlePayError | None:
            outcome = await sender.send(phases, anyio.current_time() + total + hold)
            over = isinstance(outcome, LittlePayError) and ends_a_hold(outcome)
            return None if over else outcome

        try:
            payment = await self.session.retries.run(
                once,
                moves_money=False,
                max_retries=self.max_retries,
                operation="long_poll",
                observation=observation,
            )
        finally:
            if observation is not None:
                observation.sent(sender.requests, sender.status_code)
        if payment is None:
            plain = attrs.evolve(call, path=call.path.partition("?")[0], held=False)
            return await self.send(plain, _wire.read_payment)
        return payment

    def open_poll(self, key: str) -> "KeyPoll":
        """Return the poll of one key, to be made in this event loop."""
        self.session.check_open()
        return KeyPoll(self.session, self.timeout, key)


class KeyPoll:
    """How one key is looked at: a held GET, built once and sent as often as it takes."""

    def __init__(self, session: Session, timeout: Timeout, key: str) -> None:
        self._sender = Sender(session, _wire.status(key, held=True), _wire.read_payment)
        self._timeout = timeout

    @property
    def requests(self) -> int:
        """How many requests that has taken so far."""
        return self._sender.requests

    def longest(self, hold: float) -> float:
        """Return after how many seconds a poll that is held so long must be let go."""
        return _phases(self._timeout, hold=hold)[1] + hold

    def poll(self, hold: float) -> Awaitable[Payment | LittlePayError]:
        """Ask once, by a request that the server may hold for that many seconds."""
        phases, _ = _phases(self._timeout, hold=hold)
        return self._sender.send_in_scope(phases)


def _phases(timeout: Timeout, *, hold: float | None) -> tuple[dict[str, float | None], float]:
    """Return how long each phase of a try may take, and all tries together."""
    phases: dict[str, float | None]
    if isinstance(timeout, httpx.Timeout):
        phases, total = timeout.as_dict(), math.inf
    else:
        phases = dict.fromkeys(["connect", "read", "write", "pool"], timeout)
        total = math.inf if timeout is None else timeout
    if hold is not None:
        phases["read"] = hold
    return phases, total
