"""The same small shop on either framework, served by its real server, with a real sandbox."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiohttp import web
from fastapi import FastAPI

from little_pay_async import AsyncLittlePay, Msisdn
from little_pay_async.integrations.aiohttp import LITTLE_PAY, callback_handler, little_pay_context
from little_pay_async.integrations.fastapi import LittlePay, callback_router, little_pay_lifespan
from little_pay_async.sandbox import Sandbox

from .serving import PATH, on_aiohttp, on_uvicorn, verifier

RINGS = Msisdn.unchecked("254712345678")  # until the sandbox is told to settle
PAYS = Msisdn.unchecked("254700000001")

Route = Callable[[AsyncLittlePay, str], Awaitable[Any]]
Around = Callable[[AsyncLittlePay], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def _nothing(_: AsyncLittlePay) -> AsyncIterator[None]:
    yield


async def _ignore(_: object) -> None: ...


def on_fastapi(
    url: str,
    *,
    on_callback: Any = _ignore,
    around: Around = _nothing,
    grace: float = 0.2,
    **routes: Route,
) -> AbstractAsyncContextManager[str]:
    """Serve `routes`, each as GET /its-name/{key}, over the sandbox at `url`.

    `around` lives within the session's life. After `grace` seconds the server ends what has not
    ended by itself.
    """
    little_pay = little_pay_lifespan(**Sandbox().credentials, base_url=url)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with little_pay(app) as state, around(state["little_pay"]):
            yield state

    app = FastAPI(lifespan=lifespan)
    app.include_router(callback_router(on_callback, verifier=verifier()), prefix=PATH)

    def add(name: str, route: Route) -> None:
        @app.get(f"/{name}/{{key}}")
        async def answer(key: str, pay: LittlePay) -> Any:
            return await route(pay, key)

    for name, route in routes.items():
        add(name, route)
    return on_uvicorn(app, timeout_graceful_shutdown=grace)


def on_aiohttps_server(
    url: str,
    *,
    on_callback: Any = _ignore,
    around: Around = _nothing,
    grace: float = 0.2,
    handler_cancellation: bool = False,
    **routes: Route,
) -> AbstractAsyncContextManager[str]:
    """Do the same."""
    app = web.Application()

    async def around_it(app: web.Application) -> AsyncIterator[None]:
        async with around(app[LITTLE_PAY]):
            yield

    app.cleanup_ctx.append(little_pay_context(**Sandbox().credentials, base_url=url))
    app.cleanup_ctx.append(around_it)
    app.router.add_post(PATH, callback_handler(on_callback, verifier=verifier()))

    def add(name: str, route: Route) -> None:
        async def answer(request: web.Request) -> web.Response:
            found = await route(request.app[LITTLE_PAY], request.match_info["key"])
            return web.json_response(found)

        app.router.add_get(f"/{name}/{{key}}", answer)

    for name, route in routes.items():
        add(name, route)
    return on_aiohttp(app, shutdown_timeout=grace, handler_cancellation=handler_cancellation)


SHOPS = {"fastapi": on_fastapi, "aiohttp": on_aiohttps_server}


async def ordered(
    pay: AsyncLittlePay, key: str, shop: str = "", *, mobile: Msisdn = RINGS, amount: int = 100
) -> str:
    """Make a payment whose callback goes to the shop at that address; return its reference."""
    callback_url = f"{shop}{PATH}" if shop else "https://shop.example/callbacks"
    intent = await pay.create_intent(
        amount=amount, key=key, description="2 tickets", callback_url=callback_url
    )
    await pay.process(intent, "MPESA", mobile)
    assert intent.reference is not None
    return intent.reference
