"""aiohttp's server: a session for the app's life, and a handler for verified callbacks.

    from aiohttp import web
    from little_pay_async.integrations.aiohttp import (
        LITTLE_PAY, callback_handler, little_pay_context
    )

    app = web.Application()
    app.cleanup_ctx.append(little_pay_context())
    app.router.add_post("/callbacks/little-pay", callback_handler(on_callback))

    async def payment(request: web.Request) -> web.Response:
        found = await request.app[LITTLE_PAY].status(request.match_info["key"])
        return web.json_response(found.to_dict())

It needs the extra `aiohttp`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Unpack

try:
    from aiohttp import web
    from aiohttp.http_exceptions import BadHttpMessage
except ModuleNotFoundError as _missing:
    raise ImportError(
        "little_pay_async.integrations.aiohttp needs aiohttp: "
        "run pip install 'little-pay-async[aiohttp]'",
        name=_missing.name,
    ) from _missing

from little_pay_async._client import AsyncLittlePay
from little_pay_async.callbacks import CallbackVerifier
from little_pay_async.integrations._opening import Opening, SessionOptions
from little_pay_async.integrations._receiving import (
    REFUSED,
    TOO_LONG,
    Body,
    OnCallback,
    Receiver,
    is_too_long,
)

__all__ = ["LITTLE_PAY", "callback_handler", "little_pay_context"]

LITTLE_PAY = web.AppKey("LITTLE_PAY", AsyncLittlePay)
"""Where the app keeps its session: `request.app[LITTLE_PAY]`; `request.config_dict[LITTLE_PAY]` in
an app that is part of another."""


def little_pay_context(
    **session_options: Unpack[SessionOptions],
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return what opens a session when the app starts and closes it when it ends.

    `app.cleanup_ctx.append(little_pay_context())`, before whatever uses the session: contexts end
    in the opposite order. Each start makes a new session.

    Args:
        **session_options: What `AsyncLittlePay` takes. Credentials come from the environment.

    Raises:
        ConfigurationError: When the app starts: a setting is wrong, `api_key` is missing, or some
            but not all of `client_id`, `client_secret` and `token_id` are.
    """
    opening = Opening(session_options)
    del session_options

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with opening.session() as pay:
            app[LITTLE_PAY] = pay
            yield

    return context


def callback_handler(
    on_callback: OnCallback, *, verifier: CallbackVerifier | None = None
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler for Little Pay's callbacks.

    `app.router.add_post("/callbacks/little-pay", callback_handler(on_callback))`. It reads the raw
    body, 64 KiB of it at the most, and answers 200 after `on_callback` returned, 400 to what is
    forged or stale without saying which, 413 to what is longer, and 500 if `on_callback` raised,
    which is logged.

    Args:
        on_callback: Takes the verified callback, of a payment or a refund. A sync one runs in a
            worker thread. The same callback may come again.
        verifier: For other public keys or another tolerance.
    """
    receiver = Receiver(on_callback, verifier)

    async def little_pay_callback(request: web.Request) -> web.Response:
        body = await _body_of(request)
        if isinstance(body, Body):
            return web.Response(status=await receiver.answer(body, request.headers))
        unread = web.Response(status=body)
        unread.force_close()
        return unread

    return little_pay_callback


async def _body_of(request: web.Request) -> Body | int:
    """Return the body, or the status code to answer without it."""
    if is_too_long(request.content_length):
        return TOO_LONG
    body = Body()
    try:
        while part := await request.content.readany():
            if not body.add(part):
                return TOO_LONG
            del part  # no frame that waits holds it
    except (ConnectionError, BadHttpMessage, web.RequestPayloadError):
        return REFUSED  # its sender has left, or it is no HTTP
    return body
