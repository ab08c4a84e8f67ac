"""A payment service on aiohttp: start a payment, wait for its outcome, be called back.

    python examples/aiohttp_service.py

Where no LITTLE_PAY_API_KEY is set, it plays with a sandbox in its process, which moves no money.
"""

import os
import secrets
from collections.abc import AsyncIterator

from aiohttp import web

from little_pay_async import (
    InvalidInputError,
    LittlePayError,
    Msisdn,
    OutcomeUnknownError,
    Provider,
    SettlementTimeoutError,
)
from little_pay_async.callbacks import CallbackVerifier, PaymentCallback, RefundCallback
from little_pay_async.integrations.aiohttp import LITTLE_PAY, callback_handler, little_pay_context
from little_pay_async.sandbox import Sandbox

PORT = int(os.environ.get("PORT", "8080"))
URL = os.environ.get("SERVICE_URL", f"http://127.0.0.1:{PORT}")  # as Little Pay reaches it
CALLBACKS = "/callbacks/little-pay"
SECONDS_TO_WAIT = 25

sandbox = None if os.environ.get("LITTLE_PAY_API_KEY") else Sandbox()
verifier = CallbackVerifier([sandbox.public_key]) if sandbox else None  # None: Little Pay's own key
mobile_of = Msisdn.unchecked if sandbox else Msisdn.parse  # magic numbers are no valid ones

routes = web.RouteTableDef()


@routes.post("/payments")
async def start(request: web.Request) -> web.Response:
    """Ring a handset: {"amount": "100", "mobile": "254700000001"}."""
    asked = await request.json()
    pay, key = request.app[LITTLE_PAY], secrets.token_hex(5).upper()
    try:
        mobile = mobile_of(str(asked.get("mobile")))
        intent = await pay.create_intent(
            amount=asked.get("amount"),
            key=key,
            description="A payment",
            callback_url=f"{URL}{CALLBACKS}",
        )
        await pay.process(intent, Provider.MPESA, mobile)
    except InvalidInputError as error:
        return web.json_response({"error": error.what}, status=422)
    except OutcomeUnknownError:
        pass  # the payer may have been asked: never twice. Its outcome tells.
    except LittlePayError as error:  # nobody was asked to pay
        return web.json_response({"error": error.what}, status=502)
    return web.json_response({"key": key}, status=202)


@routes.get("/payments/{key}")
async def outcome(request: web.Request) -> web.Response:
    """Wait for a payment's outcome for a while; 202 where it is still PENDING: ask again."""
    try:
        payment = await request.app[LITTLE_PAY].wait(
            request.match_info["key"], timeout=SECONDS_TO_WAIT
        )
    except SettlementTimeoutError:
        return web.json_response({"status": "PENDING"}, status=202)
    except LittlePayError as error:
        return web.json_response({"error": error.what}, status=502)
    return web.json_response({"status": payment.status, "amount": str(payment.amount)})


async def on_callback(callback: PaymentCallback | RefundCallback) -> None:
    """Write it down before this returns: it is answered 200 then, and may not come again."""
    print("called back:", callback.key, callback.status.value, flush=True)


async def playground(_: web.Application) -> AsyncIterator[None]:
    """Serve the sandbox, and have the session talk to it."""
    if sandbox is None:
        yield
        return
    async with sandbox, sandbox.serve() as url:
        os.environ["LITTLE_PAY_BASE_URL"] = url
        for name, value in sandbox.credentials.items():
            os.environ[f"LITTLE_PAY_{name.upper()}"] = str(value)
        print(f"No LITTLE_PAY_API_KEY: a sandbox that moves no money is at {url}", flush=True)
        yield


app = web.Application()
app.add_routes(routes)
app.router.add_post(CALLBACKS, callback_handler(on_callback, verifier=verifier))
app.cleanup_ctx.append(playground)
app.cleanup_ctx.append(little_pay_context())  # reads the environment when the app starts

if __name__ == "__main__":
    # Who waits for an outcome when it is told to stop has five seconds, and asks again.
    web.run_app(app, host="127.0.0.1", port=PORT, shutdown_timeout=5)
