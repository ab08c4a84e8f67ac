"""What a callback route does, whatever the framework: the status code that it answers with."""

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio.to_thread

from little_pay_async._errors import CallbackError
from little_pay_async.callbacks import (
    MAX_BODY,
    CallbackVerifier,
    PaymentCallback,
    RefundCallback,
)

logger = logging.getLogger("little_pay_async.integrations")

OnCallback = Callable[[PaymentCallback | RefundCallback], object]
"""Takes a verified callback; sync, async or returning an awaitable."""

DONE = 200
REFUSED = 400
TOO_LONG = 413
FAILED = 500


class Body:
    """What has come of a request's body. Not in `repr`: it tells of a payer."""

    __slots__ = ("_came",)

    def __init__(self) -> None:
        self._came = bytearray()

    def add(self, part: bytes) -> bool:
        """Keep a part; False, and it is not kept, if that is more than is ever looked at."""
        fits = len(self._came) + len(part) <= MAX_BODY
        if fits:
            self._came += part
        return fits

    def reveal(self) -> bytes:
        """Return all that has come."""
        return bytes(self._came)


def is_too_long(content_length: int | None) -> bool:
    """Return whether a body of that announced length need not be read."""
    return content_length is not None and content_length > MAX_BODY


class Receiver:
    """Verifies callbacks and hands them over.

    Args:
        on_callback: Who gets them. What is not declared `async` runs in a worker thread: it may
            block, and the event loop goes on meanwhile.
        verifier: Who verifies them; one for Little Pay's own key if left out.
    """

    def __init__(self, on_callback: OnCallback, verifier: CallbackVerifier | None) -> None:
        self._on_callback = on_callback
        self._verifier = CallbackVerifier() if verifier is None else verifier
        self._in_thread = not _is_async(on_callback)

    async def answer(self, body: Body, headers: Mapping[str, str]) -> int:
        """Return the status code to answer with.

        Cancellation reaches an async `on_callback`; a sync one runs to its end first.
        """
        callback = self._verified(body, headers)
        if callback is None:
            return REFUSED
        try:
            if self._in_thread:
                result = await anyio.to_thread.run_sync(self._on_callback, callback)
            else:
                result = self._on_callback(callback)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            logger.exception(
                "on_callback raised: answered 500, so that Little Pay tries again",
                extra={
                    "operation": "callback",
                    "key": callback.key,
                    "status": callback.status.value,
                    "error_type": type(error).__name__,
                },
            )
            return FAILED
        return DONE

    def _verified(
        self, body: Body, headers: Mapping[str, str]
    ) -> PaymentCallback | RefundCallback | None:
        try:
            return self._verifier.verify(body.reveal(), headers)
        except CallbackError as error:
            # Whoever sent it is told neither what was wrong nor how near it came.
            kind = type(error).__name__
            logger.warning(
                "a callback was refused: %s",
                kind,
                extra={"operation": "callback", "error_type": kind},
            )
            return None


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - how it is defined, not whether it is
    )
