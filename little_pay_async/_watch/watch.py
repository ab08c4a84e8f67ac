"""`Watch`: many keys at once, each reported the moment it settles."""

import logging
import math
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from types import TracebackType
from typing import Self

import anyio
import anyio.abc
import anyio.lowlevel

from little_pay_async import _wire
from little_pay_async._errors import InvalidInputError, LittlePayError
from little_pay_async._models import (
    PaymentStatus,
    Settlement,
    WatchStatistics,
)
from little_pay_async._observing import Observation, Observer
from little_pay_async._watch.callback import (
    PaymentCallback,
    RefundCallback,
    is_payments,
    payment_of,
)
from little_pay_async._watch.entry import Entry
from little_pay_async._watch.rota import Rota
from little_pay_async._wire import Key

logger = logging.getLogger("little_pay_async.watch")

_KEYS_BETWEEN_CHECKPOINTS = 500


class Watch:
    """Watches keys until they settle: an async context manager and async iterator.

    Made by `AsyncLittlePay.watch`. It yields one `Settlement` for each distinct key, in the order
    in which they settle, as soon as they do. Leaving the block, by cancellation too, lets go of
    every poll and leaves no task behind; `pending` then says what is to be resumed.

    All its methods are for the event loop that it runs on, not for other threads.
    """

    def __init__(
        self,
        keys: Iterable[Key] | AsyncIterable[Key] | None,
        *,
        timeout: float | None,
        rota: Rota,
        operation: str = "watch",
        observer: Observer | None = None,
    ) -> None:
        if keys is not None:
            _wire.check_keys(keys, or_async=True)
        self._source = keys
        self._timeout = math.inf if timeout is None else timeout
        self._rota = rota
        self._operation = operation
        self._observer = observer
        self._observation: Observation | None = None
        self._open: dict[str, Entry] = {}
        self._ended: dict[str, PaymentStatus | None] = {}
        self._not_reported: dict[str, None] = {}
        self._keys_of_reference: dict[str, dict[str, None]] = {}
        self._settlements: deque[Settlement] = deque()
        self._failure: Exception | None = None
        self._requests_of_ended = 0
        self._closed = False
        self._open_ended = keys is None  # ... until `close()`; else until the source is empty
        self._tasks: anyio.abc.TaskGroup | None = None
        self._left = False
        self._thread: int | None = None  # ... in which it was entered
        self._news: anyio.Event | None = None

    def __repr__(self) -> str:
        return f"<Watch {len(self._ended)} of {len(self._ended) + len(self._open)} keys settled>"

    def __len__(self) -> int:
        """The number of keys whose settlement has not been handed out yet."""
        return len(self._not_reported)

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._left:
            raise RuntimeError("a watch is entered once; make a new one with `pay.watch(...)`")
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        self._thread = threading.get_ident()
        if self._observer is not None:
            self._observation = self._observer.begin(self._operation)
        self._rota.start(
            tasks,
            learn=self._learn,
            settle=self._settle,
            fail=self._fail,
            operation=self._operation,
            observation=self._observation,
        )
        try:
            if isinstance(self._source, AsyncIterable):
                tasks.start_soon(self._take_from, self._source)
            elif self._source is not None:
                # Here, so that `pending` and `len()` are right from the first line of the block.
                await self._take_all(self._source)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks, self._tasks, self._left = self._tasks, None, True
        # Polls end with the group, not by scopes of their own too: up to its version 4.16 anyio
        # would then take back cancellations of the task that is here, which are not its own.
        self._rota.stop()
        if tasks is not None:
            tasks.cancel_scope.cancel()
            # Not told of `exc`: a task group would wrap it, and it concerns the caller alone.
            try:
                await tasks.__aexit__(None, None, None)
            finally:
                self._end_observation(exc)

    def _end_observation(self, exc: BaseException | None) -> None:
        if self._observation is None:
            return
        observation, self._observation = self._observation, None
        known = self.statistics()
        observation.counted(
            keys=known.keys, settled=known.settled, requests=known.requests, retries=known.retries
        )
        # What a caller's block raises is no failure of the watch; that it was cancelled is news.
        observation.end(self._failure if isinstance(exc, Exception | None) else exc)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Settlement:
        """Return the next settlement.

        Cancellation loses none: the next call returns it.

        Raises:
            LittlePayError: What makes every key hopeless: a credential refused after it was asked
                for again, or a session that was closed. `pending` tells what is left.
            Exception: What the source of the keys raised.
        """
        if self._tasks is None and not self._left:
            raise RuntimeError("enter the watch first: `async with pay.watch(...) as watch:`")
        await anyio.lowlevel.checkpoint()
        while not self._settlements:
            if self._failure is not None:
                raise self._failure
            if self._left or (not self._open and self._nothing_more_comes()):
                self._closed = True
                raise StopAsyncIteration
            self._news = self._news or anyio.Event()
            await self._news.wait()
        settlement = self._settlements.popleft()
        del self._not_reported[settlement.key]
        return settlement

    def add(self, key: Key) -> None:
        """Watch one more key; one that is watched already, or was, is passed over.

        Raises:
            InvalidInputError: It is no key.
            RuntimeError: The watch was closed, has ended, or is another thread's.
        """
        self._check_thread()
        if self._closed or self._left:
            raise RuntimeError("the watch is closed: no key can be added any more")
        self._add(_wire.key_of(key))

    def close(self) -> None:
        """Say that no more keys will be added: the iteration ends when all have settled.

        Raises:
            RuntimeError: The watch is another thread's.
        """
        self._check_thread()
        self._closed = True
        self._tell()

    def deliver(self, callback: PaymentCallback | RefundCallback) -> bool:
        """Settle a key at once by what a verified callback says; the poll parked for it is let go.

        It is found by key, by reference, and by a reference that a poll brought. Whichever comes
        first, callback or poll, wins; the other is dropped.

        Args:
            callback: From `CallbackVerifier.verify`: this method believes what it is given.

        Returns:
            False where there was nothing left to settle, for a refund's callback, and for a status
            that is not final.

        Raises:
            RuntimeError: The watch is another thread's.
        """
        self._check_thread()
        if not is_payments(callback):
            return False
        if self._left or not callback.status.is_final:
            return False
        names = dict.fromkeys(name for name in (callback.key, callback.reference) if name)
        names |= self._keys_of_reference.get(callback.reference or "", {})
        found = [self._open[name] for name in names if name in self._open]
        for name in names:
            self._check_against_first(name, callback.status)
        payment = payment_of(callback)
        for entry in found:
            entry.payment = payment
            self._settle(entry, None)
        return bool(found)

    @property
    def pending(self) -> tuple[str, ...]:
        """The keys whose settlement has not been handed out yet, in the order added.

        Also after the block was left: it is what to resume.
        """
        return tuple(self._not_reported)

    def statistics(self) -> WatchStatistics:
        """Return how it is getting on."""
        return WatchStatistics(
            keys=len(self._open) + len(self._ended),
            settled=len(self._ended),
            in_flight=self._rota.in_flight,
            requests=self._requests_of_ended + sum(entry.requests for entry in self._open.values()),
            retries=self._rota.retried,
        )

    def _check_thread(self) -> None:
        # Web frameworks run what is not async in worker threads, where all seems well for a while.
        if self._thread is not None and self._thread != threading.get_ident():
            raise RuntimeError(
                "a watch is used in the thread of its event loop only: do it in an `async def`, or "
                "through anyio.from_thread.run_sync"
            )

    def _add(self, key: str) -> None:
        if key in self._open or key in self._ended:
            return
        now = anyio.current_time()
        entry = Entry(key, added=now, deadline=now + self._timeout)
        self._open[key] = entry
        self._not_reported[key] = None
        self._rota.add(entry)

    def _take(self, key: Key) -> None:
        """Add a key of the source. A string that is no key is that key's error alone."""
        try:
            name = _wire.key_of(key)
        except InvalidInputError as error:
            if not isinstance(key, str):
                raise
            if key not in self._ended:
                self._not_reported[key] = None
                self._end(Entry(key, added=anyio.current_time(), deadline=math.inf), error)
        else:
            self._add(name)

    async def _take_all(self, source: Iterable[Key]) -> None:
        try:
            for number, key in enumerate(source, start=1):
                self._take(key)
                if number % _KEYS_BETWEEN_CHECKPOINTS == 0:
                    await anyio.lowlevel.checkpoint()
        except Exception as error:  # noqa: BLE001 - the source's: it comes out of the iteration
            self._fail(error)
        else:
            self._source_is_empty()

    async def _take_from(self, source: AsyncIterable[Key]) -> None:
        try:
            keys = aiter(source)
            try:
                async for key in keys:
                    self._take(key)
            finally:
                # What is no key ends it early; trio leaves no generator to the garbage collector.
                if isinstance(keys, AsyncGenerator):
                    await keys.aclose()
        except Exception as error:  # noqa: BLE001 - the source's: it comes out of the iteration
            self._fail(error)
        else:
            self._source_is_empty()

    def _nothing_more_comes(self) -> bool:
        return self._source is None and (self._closed or not self._open_ended)

    def _source_is_empty(self) -> None:
        self._source = None
        self._open_ended = False
        self._tell()

    def _learn(self, entry: Entry) -> None:
        """Note the reference that a poll brought, for a callback may come under it."""
        reference = entry.payment.reference if entry.payment is not None else None
        if reference is not None and reference != entry.key:
            self._keys_of_reference.setdefault(reference, {})[entry.key] = None

    def _check_against_first(self, key: str, status: PaymentStatus) -> None:
        first = self._ended.get(key)
        if first is not None and first != status:
            logger.warning(
                "a second, different final answer is dropped: %s after %s",
                status.value,
                first.value,
                extra={"key": key, "status": status.value, "first_status": first.value},
            )
            if self._observation is not None:
                self._observation.contradicted(key, first, status)

    def _settle(self, entry: Entry, error: LittlePayError | None) -> None:
        del self._open[entry.key]
        self._rota.remove(entry)
        self._end(entry, error)

    def _end(self, entry: Entry, error: LittlePayError | None) -> None:
        final = entry.payment is not None and entry.payment.status.is_final
        self._ended[entry.key] = entry.payment.status if final and entry.payment else None
        self._requests_of_ended += entry.requests
        settlement = Settlement(
            key=entry.key,
            payment=entry.payment,
            error=error,
            elapsed=anyio.current_time() - entry.added,
            polls=entry.requests,
        )
        self._settlements.append(settlement)
        if self._observation is not None:
            self._observation.settled(settlement)
        self._tell()

    def _fail(self, failure: Exception) -> None:
        if self._failure is None:
            self._failure = failure
        self._stop()
        self._tell()

    def _stop(self) -> None:
        self._rota.stop()
        for entry in self._open.values():
            entry.let_go()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None
