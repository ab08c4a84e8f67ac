"""A shop on FastAPI: order, pay, and be told of the outcome once, by callback or by poll.

    uvicorn --app-dir examples/fastapi_shop shop:app

One watch lives as long as the app. Orders are added to it, callbacks are delivered to it, and what
comes out of it is written down: whichever came first, and once. It is all that writes outcomes, so
an app that dies at any moment loses none: its orders are still PENDING, and watched again.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from orders import Orders
from playground import mobile_of, session_options, verifier
from pydantic import BaseModel, Field

from little_pay_async import (
    InvalidInputError,
    LittlePayError,
    OutcomeUnknownError,
    Provider,
    Watch,
)
from little_pay_async.callbacks import PaymentCallback, RefundCallback
from little_pay_async.integrations.fastapi import LittlePay, callback_router, little_pay_lifespan

SHOP_URL = os.environ.get("SHOP_URL", "http://127.0.0.1:8000")  # as Little Pay reaches it
PRICE = 50

log = logging.getLogger("uvicorn.error")
orders = Orders(os.environ.get("SHOP_DATABASE", "shop.sqlite3"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
    async with (
        session_options() as options,
        little_pay_lifespan(**options)(app) as state,
        state["little_pay"].watch() as watch,
        asyncio.TaskGroup() as tasks,
    ):
        for key in await asyncio.to_thread(orders.pending):
            watch.add(key)  # from before a restart
        app.state.watch = watch
        settling = tasks.create_task(settle_orders(watch))
        yield state
        settling.cancel()
        log.info("%d orders are pending, and watched again after the next start", len(watch))


async def settle_orders(watch: Watch) -> None:
    async for settlement in watch:
        if settlement.error is not None:  # it stays PENDING: somebody should look at it
            log.warning("order %s: %s", settlement.key, settlement.error)
        elif settlement.payment is not None:
            status = settlement.payment.status.value
            if await asyncio.to_thread(orders.end, settlement.key, status):
                log.info("order %s is %s after %.1f s", settlement.key, status, settlement.elapsed)


app = FastAPI(title="Tickets", lifespan=lifespan)


async def on_callback(callback: PaymentCallback | RefundCallback) -> None:
    app.state.watch.deliver(callback)


app.include_router(callback_router(on_callback, verifier=verifier), prefix="/callbacks/little-pay")


class NewOrder(BaseModel):
    tickets: Annotated[int, Field(gt=0, le=10)]
    mobile: str


@app.post("/orders", status_code=202)
async def order(new: NewOrder, pay: LittlePay) -> dict[str, str]:
    """Order tickets; the handset rings."""
    try:
        mobile = mobile_of(new.mobile)
    except InvalidInputError as error:
        raise HTTPException(422, error.what) from None
    key, amount = secrets.token_hex(5).upper(), new.tickets * PRICE
    await asyncio.to_thread(orders.add, key, new.tickets, amount)
    try:
        intent = await pay.create_intent(
            amount=amount,
            key=key,
            description=f"{new.tickets} tickets",
            callback_url=f"{SHOP_URL}/callbacks/little-pay",
        )
        app.state.watch.add(key)  # first: the callback may be quicker than the answer to process
        await pay.process(intent, Provider.MPESA, mobile)
    except OutcomeUnknownError:
        app.state.watch.add(key)  # the payer may have been asked: never twice, the watch finds out
    except LittlePayError as error:  # nobody was asked to pay
        await asyncio.to_thread(orders.end, key, "FAILED")
        raise HTTPException(502, f"The payment could not be started: {error.what}") from None
    return {"key": key}


@app.get("/orders/{key}")
def look(key: str) -> dict[str, object]:
    """Look at an order: PENDING, COMPLETED or FAILED."""
    found = orders.get(key)
    if found is None:
        raise HTTPException(404, "No such order")
    return found


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))
