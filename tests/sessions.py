"""Sessions for tests, by canaries for credentials, and the four operations."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from little_pay_async import AsyncLittlePay, Msisdn
from little_pay_async._retry import RetryPolicy

from .canaries import CREDENTIALS, MOBILE
from .servers import ScriptedServer, client_tls

INTENT: dict[str, Any] = {
    "amount": 100,
    "key": "ORDER42",
    "description": "2 tickets",
    "callback_url": "https://shop.example/callbacks",
}
COLLECT: dict[str, Any] = INTENT | {"provider": "MPESA", "mobile": f"+{MOBILE}"}

Operation = Callable[[AsyncLittlePay], Awaitable[object]]
MONEY: dict[str, Operation] = {
    "process": lambda pay: pay.process("REF1", "MPESA", f"+{MOBILE}"),
    "refund": lambda pay: pay.refund("ORDER42", 100, reason="returned"),
    "create_intent": lambda pay: pay.create_intent(
        **INTENT, billing_address={"phone_number": f"+{MOBILE}"}
    ),
}
OPERATIONS: dict[str, Operation] = {"status": lambda pay: pay.status("ORDER42"), **MONEY}


def without_pauses(pay: AsyncLittlePay) -> list[float]:
    """Have retries made at once, and return the list in which their pauses are noted."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    pay._session.retries = RetryPolicy(uniform=lambda _least, _most: 0.0, sleep=sleep)
    return pauses


def new_session(server: ScriptedServer | str, **options: Any) -> AsyncLittlePay:
    """Return a session with a server on loopback, which retries without pauses."""
    base_url = server if isinstance(server, str) else server.base_url
    if not options.keys() & {"transport", "http_client"}:
        options = {"ssl_context": client_tls()} | options
    pay = AsyncLittlePay(**(CREDENTIALS | {"base_url": base_url} | options))
    without_pauses(pay)
    return pay


@contextlib.asynccontextmanager
async def session(server: ScriptedServer | str, **options: Any) -> AsyncIterator[AsyncLittlePay]:
    """Open such a session for a block."""
    async with new_session(server, **options) as pay:
        yield pay


def mobile() -> Msisdn:
    return Msisdn.parse(f"+{MOBILE}")
