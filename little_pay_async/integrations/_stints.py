"""Watching by stints: what has not settled by the end of one is left for whoever comes next."""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator

import anyio

from little_pay_async import _settings
from little_pay_async._client import AsyncLittlePay
from little_pay_async._errors import ConfigurationError, LittlePayError
from little_pay_async._models import Settlement
from little_pay_async._watch import Watch

logger = logging.getLogger("little_pay_async.integrations")

Report = Callable[[Settlement], Awaitable[None]]

_LONGEST = 60.0
_PER_IDLE_TIMEOUT = 3  # a stint that ends late, by a slow report, is still no dead worker's


def length_of(stint: float | None, idle_timeout: float | None) -> float:
    """Return how many seconds a stint takes.

    Args:
        stint: What the caller wants, if anything.
        idle_timeout: Seconds after which the broker gives a task to another worker, if known.

    Raises:
        ConfigurationError: It is no number of seconds, or tasks of the living would be given away.
    """
    most = float("inf") if idle_timeout is None else idle_timeout / _PER_IDLE_TIMEOUT
    if stint is None:
        return min(_LONGEST, most)
    if _settings.seconds("stint", stint, ConfigurationError) > most:
        raise ConfigurationError(
            f"stint: give {most:g} s at the most, a third of the broker's idle_timeout: what takes "
            "longer than that is given to another worker too"
        )
    return stint


class Stints:
    """A session, and the watches of one worker on it. For the event loop that it runs on.

    Args:
        session: Closed by `stop`.
        length: Seconds that a watch takes at the most.
    """

    def __init__(self, session: AsyncLittlePay, length: float) -> None:
        self.session = session
        self.length = length
        self._waits: set[anyio.CancelScope] = set()
        self._at_work = 0
        self._none_at_work: anyio.Event | None = None
        self._stopping = False

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Have `stop` wait for the end of this block."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            if not self._at_work and self._none_at_work is not None:
                self._none_at_work.set()

    async def stop(self) -> None:
        """End all watches now, wait until what they leave is handed on, and close the session."""
        self._stopping = True
        for wait in tuple(self._waits):
            wait.cancel()
        try:
            if self._at_work:
                self._none_at_work = anyio.Event()
                await self._none_at_work.wait()
        finally:
            await self.session.aclose()

    async def watch(self, keys: Iterable[str], report: Report, *, timeout: float | None) -> None:
        """Watch keys for a stint. What has not been reported then is left for another.

        That is a key that has not settled, one whose `report` raised, and any if what happened
        concerns all keys alike, a credential that is refused, say: that may be put right meanwhile.
        If there are such keys, the stint takes all its time.

        Args:
            keys: Distinct ones.
            report: Gets each settlement, one after the other. It is not cancelled by the stint's
                end.
            timeout: Seconds after which a key that has not settled is reported as such.
        """
        left = dict.fromkeys(keys)
        began = anyio.current_time()
        end = began + self.length
        try:
            async with self.session.watch(list(left), timeout=timeout) as watch:
                while (settlement := await self._next(watch, end)) is not None:
                    if await _is_reported(report, settlement):
                        del left[settlement.key]
        except LittlePayError as error:
            logger.warning(
                "%d payments can't be asked for: %s",
                len(left),
                error,
                extra={
                    "operation": "watch",
                    "pending": len(left),
                    "error_type": type(error).__name__,
                },
            )
            if timeout is not None and timeout <= self.length:
                await self._pause(began + timeout)
                left = await self._given_up(left, report, error)
        if left:
            await self._pause(end)

    async def _given_up(
        self, keys: Iterable[str], report: Report, error: LittlePayError
    ) -> dict[str, None]:
        """Report all keys by the error that stood until their time was over."""
        return {
            key: None
            for key in keys
            if self._stopping
            or not await _is_reported(
                report, Settlement(key=key, payment=None, error=error, elapsed=0.0, polls=0)
            )
        }

    async def _next(self, watch: Watch, end: float) -> Settlement | None:
        """Return the next settlement; None if there is none before the end, or no more at all."""
        with self._wait_until(end):
            return await anext(watch, None)
        return None

    async def _pause(self, until: float) -> None:
        with self._wait_until(until):
            await anyio.sleep_forever()

    @contextlib.contextmanager
    def _wait_until(self, end: float) -> Iterator[None]:
        """Wait in this block until then, or until `stop`."""
        with anyio.CancelScope(deadline=end) as scope:
            if self._stopping:
                scope.cancel()
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)


async def _is_reported(report: Report, settlement: Settlement) -> bool:
    try:
        await report(settlement)
    except Exception as error:
        logger.exception(
            "a settlement could not be reported: the payment is asked for again",
            extra={
                "operation": "report",
                "key": settlement.key,
                "error_type": type(error).__name__,
            },
        )
        return False
    return True
