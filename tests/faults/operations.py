"""Every operation of a session, each with one key."""

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from little_pay_async import (
    AsyncLittlePay,
    LittlePayError,
    Payment,
    PaymentIntent,
    Refund,
)

from ..servers import Arrived
from ..sessions import COLLECT, INTENT, MOBILE
from .meanings import COLLECTED, HOLD, TIMEOUT, WAITED, Kind

KEY = "ORDER42"
ANOTHER = "ORDER43"


@attrs.frozen
class Operation:
    """An operation.

    Attributes:
        kind: Which faults mean what to it.
        call: Makes it, of a key.
        right: What it returns if all goes well.
        longest: Seconds that it may take.
        struck: Which of its requests the fault strikes.
    """

    kind: Kind
    call: Callable[[AsyncLittlePay, str], Awaitable[object]]
    right: type
    longest: float = TIMEOUT
    struck: Callable[[Arrived], bool] = lambda _: True


async def _check(pay: AsyncLittlePay, key: str) -> Payment:
    found = await pay.check([key, ANOTHER])
    assert list(found) == [key, ANOTHER]
    return _alike(found[key], found[ANOTHER])


async def _watch(pay: AsyncLittlePay, key: str) -> Payment:
    async with pay.watch([key, ANOTHER], timeout=WAITED) as watch:
        settled = {settlement.key: settlement async for settlement in watch}
    assert settled.keys() == {key, ANOTHER}
    return _alike(*(each.error or each.payment for each in map(settled.get, (key, ANOTHER))))


def _alike(found: Payment | LittlePayError, other: Payment | LittlePayError) -> Payment:
    """Return what was found of a key; the other one's must be alike, unless a key is refused."""
    if isinstance(found, LittlePayError):
        raise found
    assert type(other) is Payment
    return found


def _collect(**more: Any) -> Operation:
    async def collect(pay: AsyncLittlePay, key: str) -> Payment:
        return await pay.collect(**(COLLECT | {"key": key}), timeout=COLLECTED)

    return Operation(call=collect, right=Payment, longest=COLLECTED, **more)


OPERATIONS = {
    "status": Operation(Kind.GET, lambda pay, key: pay.status(key), Payment),
    "check": Operation(Kind.GET, _check, Payment),
    "long_poll": Operation(
        Kind.LONG_POLL, lambda pay, key: pay.long_poll(key), Payment, 2 * TIMEOUT + HOLD
    ),
    "create_intent": Operation(
        Kind.MONEY,
        lambda pay, key: pay.create_intent(**(INTENT | {"key": key})),
        PaymentIntent,
    ),
    "process": Operation(
        Kind.MONEY, lambda pay, key: pay.process(key, "MPESA", f"+{MOBILE}"), Payment
    ),
    "process, held": Operation(
        Kind.MONEY,
        lambda pay, key: pay.process(key, "MPESA", f"+{MOBILE}", long_poll=True),
        Payment,
        TIMEOUT + HOLD,
    ),
    "refund": Operation(Kind.MONEY, lambda pay, key: pay.refund(key, 100), Refund),
    "wait": Operation(Kind.WAIT, lambda pay, key: pay.wait(key, timeout=WAITED), Payment, WAITED),
    "watch": Operation(Kind.WAIT, _watch, Payment, WAITED),
    "collect": _collect(kind=Kind.COLLECT),
    "collect, its process": _collect(
        kind=Kind.COLLECT_PROCESS, struck=lambda request: "/process" in request.target
    ),
    "collect, its waiting": _collect(
        kind=Kind.COLLECT_WAIT, struck=lambda request: request.method == "GET"
    ),
}
