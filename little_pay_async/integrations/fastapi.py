"""FastAPI: a session for the app's life, a dependency, and a route for verified callbacks.

    from fastapi import FastAPI
    from little_pay_async.integrations.fastapi import (
        LittlePay, callback_router, little_pay_lifespan
    )

    app = FastAPI(lifespan=little_pay_lifespan())
    app.include_router(callback_router(on_callback), prefix="/callbacks/little-pay")

    @app.get("/payments/{key}")
    async def payment(pay: LittlePay, key: str) -> Payment:
        return await pay.status(key)

It needs the extra `fastapi`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, TypedDict, Unpack

import anyio

try:
    from fastapi import APIRouter, Depends, FastAPI, Request, Response
    from fastapi.encoders import ENCODERS_BY_TYPE
    from starlette.requests import ClientDisconnect, HTTPConnection
except ModuleNotFoundError as _missing:
    raise ImportError(
        "little_pay_async.integrations.fastapi needs FastAPI: "
        "run pip install 'little-pay-async[fastapi]'",
        name=_missing.name,
    ) from _missing

from little_pay_async._client import AsyncLittlePay
from little_pay_async._models import (
    Attempt,
    BillingAddress,
    Envelope,
    Payment,
    PaymentIntent,
    Refund,
    Settlement,
    WatchStatistics,
)
from little_pay_async.callbacks import CallbackVerifier, PaymentCallback, RefundCallback
from little_pay_async.integrations._opening import Opening, SessionOptions
from little_pay_async.integrations._receiving import (
    REFUSED,
    TOO_LONG,
    Body,
    OnCallback,
    Receiver,
    is_too_long,
)

__all__ = ["LittlePay", "callback_router", "little_pay_lifespan"]


_RESULTS = (
    Attempt,
    BillingAddress,
    Envelope,
    Payment,
    PaymentCallback,
    PaymentIntent,
    Refund,
    RefundCallback,
    Settlement,
    WatchStatistics,
)
# For routes that do not say what they return. Of those that do, FastAPI asks the class itself.
ENCODERS_BY_TYPE.update(dict.fromkeys(_RESULTS, lambda result: result.to_dict()))


class _State(TypedDict):
    little_pay: AsyncLittlePay


def little_pay_lifespan(
    **session_options: Unpack[SessionOptions],
) -> Callable[[FastAPI], AbstractAsyncContextManager[_State]]:
    """Return a lifespan that opens a session when the app starts and closes it when it ends.

    As the app's only one: `FastAPI(lifespan=little_pay_lifespan())`. Beside the app's own:
    `app.include_router(APIRouter(lifespan=little_pay_lifespan()))`. Inside the app's own, where
    the session is at hand:

        little_pay = little_pay_lifespan()

        @asynccontextmanager
        async def lifespan(app):
            async with little_pay(app) as state:
                pay = state["little_pay"]
                yield state  # or {**state, ...}

    Each start makes a new session: workers, reloads and event loops share none.

    Args:
        **session_options: What `AsyncLittlePay` takes. Credentials come from the environment.

    Raises:
        ConfigurationError: When the app starts: a setting is wrong, `api_key` is missing, or some
            but not all of `client_id`, `client_secret` and `token_id` are.
    """
    opening = Opening(session_options)
    del session_options

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[_State]:
        async with opening.session() as pay:
            # For a lifespan that yields no state, and for tests that enter the lifespan alone.
            first = not hasattr(app.state, "little_pay")
            if first:
                app.state.little_pay = pay
            try:
                yield {"little_pay": pay}
            finally:
                if first:
                    del app.state.little_pay

    return lifespan


async def _session(connection: HTTPConnection) -> AsyncLittlePay:
    for state in (connection.state, connection.app.state):
        pay = getattr(state, "little_pay", None)
        if isinstance(pay, AsyncLittlePay):
            return pay
    raise RuntimeError(
        "no Little Pay session: is little_pay_lifespan(...) part of the app's lifespan, and does a "
        "lifespan around it yield its state?"
    )


_LINGER = 1.0
_LINGER_BODY = 1024 * 1024

LittlePay = Annotated[AsyncLittlePay, Depends(_session)]
"""The app's session, as a dependency: `async def buy(pay: LittlePay)`. In websockets too."""


def callback_router(
    on_callback: OnCallback, *, verifier: CallbackVerifier | None = None
) -> APIRouter:
    """Return a router with the POST route for Little Pay's callbacks, at the prefix of your choice.

    `app.include_router(callback_router(on_callback), prefix="/callbacks/little-pay")`. Its name is
    `little_pay_callback`; it is not in the OpenAPI schema.

    It takes the raw body, 64 KiB of it at the most, and answers 200 after `on_callback` returned,
    400 to what is forged or stale without saying which, 413 to what is longer, and 500 if
    `on_callback` raised, which is logged.

    Args:
        on_callback: Takes the verified callback, of a payment or a refund. A sync one runs in a
            worker thread, as FastAPI's sync routes do. The same callback may come again.
        verifier: For other public keys or another tolerance.

    Raises:
        ConfigurationError: Never with the verifier left out.
    """
    receiver = Receiver(on_callback, verifier)
    router = APIRouter()

    @router.post("", include_in_schema=False)
    async def little_pay_callback(request: Request) -> Response:
        body = await _body_of(request)
        if isinstance(body, int):
            return Response(status_code=body, headers={"Connection": "close"})
        return Response(status_code=await receiver.answer(body, request.headers))

    return router


async def _body_of(request: Request) -> Body | int:
    """Return the body, or the status code to answer without it."""
    announced = request.headers.get("Content-Length", "")
    too_long = is_too_long(int(announced) if announced.isdecimal() else None)
    if too_long and "Expect" in request.headers:  # it waits for a word before it sends the body
        return TOO_LONG
    body, parts = Body(), request.stream()
    try:
        while not too_long:
            part = await anext(parts, None)
            if part is None:
                return body
            too_long = not body.add(part)
            del part  # no frame that waits holds it
        await _read_on(parts)
    except ClientDisconnect:
        return REFUSED
    return TOO_LONG


async def _read_on(parts: AsyncIterator[bytes]) -> None:
    """Read for a moment what is too long, and forget it.

    A connection that is closed with something unread is reset, and a reset overtakes the answer.
    """
    left = _LINGER_BODY
    with anyio.move_on_after(_LINGER):
        async for part in parts:
            left -= len(part)
            if left < 0:
                break
            del part
