"""A FastAPI app for several worker processes, each with a watch of its own."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from fastapi import FastAPI

from little_pay_async import Payment, Watch
from little_pay_async.callbacks import CallbackVerifier
from little_pay_async.integrations.fastapi import LittlePay, callback_router, little_pay_lifespan

little_pay = little_pay_lifespan()  # credentials come from the environment
delivered: list[bool] = []
settled: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
    async with (
        little_pay(app) as state,
        state["little_pay"].watch() as watch,
        anyio.create_task_group() as tasks,
    ):
        app.state.watch = watch
        tasks.start_soon(settle, watch)
        yield state
        tasks.cancel_scope.cancel()


async def settle(watch: Watch) -> None:
    async for settlement in watch:
        settled.append(settlement.key)  # noqa: PERF401 - each as it comes


async def on_callback(callback: Any) -> None:
    delivered.append(app.state.watch.deliver(callback))


app = FastAPI(lifespan=lifespan)
verifier = CallbackVerifier([os.environ["PUBLIC_KEY"]])
app.include_router(callback_router(on_callback, verifier=verifier), prefix="/callbacks/little-pay")


@app.post("/watch/{key}")
async def watch_too(key: str) -> None:
    app.state.watch.add(key)


@app.get("/outcome/{key}")
async def outcome(key: str, pay: LittlePay) -> Payment:
    return await pay.wait(key, timeout=25)


@app.get("/seen")
async def seen() -> dict[str, Any]:
    return {"pid": os.getpid(), "delivered": delivered, "settled": settled}
