"""The web frameworks as a type checker sees them. Never run."""

from collections.abc import Awaitable, Callable
from typing import assert_type

from aiohttp import web
from fastapi import APIRouter, FastAPI

from little_pay_async import AsyncLittlePay, Payment, PaymentStatus
from little_pay_async.callbacks import CallbackVerifier, PaymentCallback, RefundCallback
from little_pay_async.integrations.aiohttp import LITTLE_PAY, callback_handler, little_pay_context
from little_pay_async.integrations.fastapi import LittlePay, callback_router, little_pay_lifespan
from little_pay_async.integrations.otel import instrument, uninstrument


def sync(callback: PaymentCallback | RefundCallback) -> None:
    assert_type(callback.status, PaymentStatus)


async def not_sync(callback: PaymentCallback | RefundCallback) -> None:
    assert_type(callback.status, PaymentStatus)


def of_text(callback: str) -> None:
    assert_type(callback, str)


async def on_fastapi(pay: LittlePay) -> Payment:
    assert_type(pay, AsyncLittlePay)
    app = FastAPI(lifespan=little_pay_lifespan(api_key="a", hold=5, app_info=("shop", "1")))
    assert_type(callback_router(sync), APIRouter)
    app.include_router(callback_router(not_sync, verifier=CallbackVerifier()), prefix="/called")
    app.include_router(APIRouter(lifespan=little_pay_lifespan()))
    async with little_pay_lifespan()(app) as state:
        assert_type(state["little_pay"], AsyncLittlePay)
    little_pay_lifespan(key="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    callback_router(of_text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return await pay.status("ORDER42")


async def on_aiohttp(request: web.Request) -> None:
    app = web.Application()
    app.cleanup_ctx.append(little_pay_context(api_key="a", max_retries=0))
    handler = callback_handler(sync, verifier=CallbackVerifier())
    assert_type(handler, Callable[[web.Request], Awaitable[web.Response]])
    app.router.add_post("/called", handler)
    app.router.add_post("/called", callback_handler(not_sync))
    assert_type(request.app[LITTLE_PAY], AsyncLittlePay)
    assert_type(request.config_dict[LITTLE_PAY], AsyncLittlePay)
    little_pay_context(key="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def on_opentelemetry(pay: AsyncLittlePay) -> None:
    instrument(pay)
    instrument(pay, tracer_provider=None, meter_provider=None)
    uninstrument(pay)
    instrument(pay, tracer_provider="jaeger")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
