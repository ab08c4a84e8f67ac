"""Polls answered by script, for the tests of `_watch`, and clocks that jump.

What depends on time runs in virtual time, on asyncio and on trio: when nothing is left to do but
wait, the clock jumps to the next timer.
"""

import asyncio
import inspect
import itertools
import logging
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import attrs
import pytest
import trio.testing

from little_pay_async._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    LittlePayError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)
from little_pay_async._models import Payment, PaymentStatus, Provider, Settlement, WatchStatistics
from little_pay_async._retry import RetryPolicy
from little_pay_async._watch import Places, Rota, Watch

PENDING, COMPLETED, FAILED = PaymentStatus.PENDING, PaymentStatus.COMPLETED, PaymentStatus.FAILED
DATE = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)


# Virtual time


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock jumps to the next timer as soon as nothing else is to do."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(JumpingSelector(self))

    def time(self) -> float:
        return self.now


class JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("everything waits for ever")
            self._loop.now += max(0.0, timeout)
        return events


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on asyncio and on trio with clocks that jump."""

    def run(loop: str, **arguments: object) -> None:
        call = partial(test, **arguments)
        if loop == "asyncio":
            anyio.run(call, backend=loop, backend_options={"loop_factory": JumpingLoop})
        else:  # older anyio does not hand options on to trio
            trio.run(call, clock=trio.testing.MockClock(autojump_threshold=0))

    signature = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), loop], return_annotation=None
    )
    run.__name__, run.__module__ = test.__name__, test.__module__
    run.pytestmark = getattr(test, "pytestmark", [])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop", ["asyncio", "trio"])(run)


# What polls are answered


def payment(key: str, status: PaymentStatus = PENDING, *, reference: str | None = None) -> Payment:
    return Payment(date=DATE, status=status, key=key, reference=reference)


def silence() -> APITimeoutError:
    return APITimeoutError("silence", sent=True)


def refused() -> APIConnectionError:
    return APIConnectionError("refused", sent=False)


def broken() -> APIConnectionError:
    return APIConnectionError("end of stream", sent=True)


def answer(code: int, *, retry_after: float | None = None) -> APIStatusError:
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


def no_envelope(*, refused: bool = False) -> UnexpectedResponseError:
    return UnexpectedResponseError("HTML", status_code=200, refused=refused)


def named(value: object) -> str | None:
    """Return a test's id for an outcome; None, for pytest's own, if it is none."""
    match value:
        case Payment():
            return value.status
        case APIStatusError():
            asked = "" if value.retry_after is None else f"-retry-after-{value.retry_after:g}"
            return f"{value.status_code}{asked}"
        case LittlePayError():
            return f"{type(value).__name__}-{value}"
        case _:
            return None


class Held(NamedTuple):
    """An answer that comes after so many seconds."""

    seconds: float
    outcome: "Payment | Exception | Raised"


class Gated(NamedTuple):
    """An answer that comes after an event."""

    gate: anyio.Event
    outcome: "Payment | Exception | Raised"


class Raised(NamedTuple):
    """An error of the library that is raised instead of returned; others always are."""

    error: LittlePayError


class Asked(NamedTuple):
    """A poll that was begun."""

    when: float
    key: str
    hold: float


Answer = Payment | Exception | Raised | Held | Gated


class Server:
    """Answers polls: by script, then with `always`; without one it holds until `settle`."""

    def __init__(
        self, scripts: dict[str, list[Answer]] | None = None, *, always: Answer | None = None
    ) -> None:
        self.scripts = scripts or {}
        self.always = always
        self.asked: list[Asked] = []
        self.parked: Counter[str] = Counter()
        self.most_parked = 0
        self._payments: dict[str, Payment] = {}
        self._settled: dict[str, anyio.Event] = {}
        self._news = anyio.Event()

    def settle(self, key: str, status: PaymentStatus = COMPLETED) -> None:
        self._payments[key] = payment(key, status)
        self._settled.setdefault(key, anyio.Event()).set()

    def times(self, key: str) -> list[float]:
        return [asked.when for asked in self.asked if asked.key == key]

    async def until(self, condition: Callable[["Server"], object]) -> None:
        while not condition(self):
            await self._news.wait()

    def open_poll(self, key: str) -> "ScriptedPoll":
        return ScriptedPoll(self, key)

    async def answer(self, key: str, hold: float) -> Payment | LittlePayError:
        self.asked.append(Asked(anyio.current_time(), key, hold))
        self._park(key, 1)
        try:
            return await self._answer(key, hold)
        finally:
            self._park(key, -1)

    async def _answer(self, key: str, hold: float) -> Payment | LittlePayError:
        script = self.scripts.get(key)
        said = script.pop(0) if script else self.always
        if said is None:
            with anyio.move_on_after(hold):
                await self._settled.setdefault(key, anyio.Event()).wait()
            return self._payments.get(key) or silence()
        match said:
            case Held():
                await anyio.sleep(said.seconds)
                said = said.outcome
            case Gated():
                await said.gate.wait()
                said = said.outcome
            case _:
                await anyio.lowlevel.checkpoint()
        if isinstance(said, Payment | LittlePayError):
            return said
        raise said.error if isinstance(said, Raised) else said

    def _park(self, key: str, more: int) -> None:
        self.parked[key] += more
        self.most_parked = max(self.most_parked, self.parked.total())
        self._news.set()
        self._news = anyio.Event()


class ScriptedPoll:
    def __init__(self, server: Server, key: str) -> None:
        self.requests = 0
        self._server = server
        self._key = key

    async def poll(self, hold: float) -> Payment | LittlePayError:
        self.requests += 1
        return await self._server.answer(self._key, hold)

    def longest(self, hold: float) -> float:
        return hold + 30.0


def zero(low: float, high: float) -> float:
    return 0.0


def lowest(low: float, high: float) -> float:
    return low


def highest(low: float, high: float) -> float:
    return high


def watch_over(
    server: Server,
    keys: Any = None,
    *,
    timeout: float | None = 1800.0,
    places: Places | None = None,
    limit: int | None = None,
    hold: float = 90.0,
    retries: RetryPolicy | None = None,
    max_retries: int = 2,
) -> Watch:
    places = places or Places(100)
    rota = Rota(
        open_poll=server.open_poll,
        places=places,
        retries=retries or RetryPolicy(),
        max_retries=max_retries,
        hold=hold,
        limit=limit or places.total,
    )
    return Watch(keys, timeout=timeout, rota=rota)


async def all_of(watch: Watch) -> list[Settlement]:
    async with watch:
        return [settlement async for settlement in watch]


async def only(watch: Watch) -> Settlement:
    [settlement] = await all_of(watch)
    return settlement


def all_free(places: Places) -> bool:
    return repr(places) == f"<Places {places.total} of {places.total} free, 0 watches wait>" and (
        places.keys == 0
    )


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def stats(**numbers: int) -> WatchStatistics:
    nothing = dict.fromkeys(("keys", "settled", "in_flight", "requests", "retries"), 0)
    return WatchStatistics(**(nothing | numbers))


def logged_by_us(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Leave out what asyncio's debug mode says of a slow machine."""
    return [record for record in caplog.records if record.name.startswith("little_pay_async")]


# Callbacks


@attrs.frozen(kw_only=True)
class Callback:
    status: PaymentStatus = COMPLETED
    reference: str | None = None
    key: str | None = None
    amount: Decimal | None = Decimal("100.50")
    currency: str | None = "KES"
    provider: Provider | None = Provider.MPESA
    date: datetime = DATE
    billing_address: None = None
    raw: Any = attrs.field(factory=lambda: {"status": "COMPLETED"})


@attrs.frozen(kw_only=True)
class RefundCallback:
    status: PaymentStatus = COMPLETED
    reference: str | None = None
    key: str | None = None
    amount: Decimal | None = None
    message: str | None = None
    reason: str | None = None
    date: datetime = DATE
    raw: Any = None
