"""What a task of taskiq's has: its worker, the time that is left, and a way back to the broker."""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import anyio
import anyio.to_thread
import attrs
from taskiq import AsyncBroker, Context, TaskiqDepends
from taskiq.exceptions import NoResultError
from taskiq.result_backends.dummy import DummyResultBackend

from little_pay_async import _settings
from little_pay_async._client import AsyncLittlePay
from little_pay_async._models import Settlement
from little_pay_async.integrations._stints import Stints

logger = logging.getLogger("little_pay_async.integrations")

OnSettled = Callable[[Settlement], object]
"""Takes a settlement; sync, async or returning an awaitable."""

_LAST_LOOK = 10.0  # seconds that a key still has when its time is over and its report has failed
_AFTER_A_FAILURE = 1.0  # seconds: it may be the broker that fails
_UNTIL = "little_pay_until"


def _fields(operation: str, error: Exception, task_id: str | None = None) -> dict[str, object]:
    return {"operation": operation, "task_id": task_id, "error_type": type(error).__name__}


@attrs.frozen
class Worker:
    """What a worker process has."""

    stints: Stints
    on_settled: OnSettled | None

    async def tell(self, settlement: Settlement) -> None:
        """Tell the hook. A sync one runs in a thread: it may block."""
        if self.on_settled is None:
            return
        if inspect.iscoroutinefunction(self.on_settled):
            await self.on_settled(settlement)
            return
        result = await anyio.to_thread.run_sync(self.on_settled, settlement)
        if inspect.isawaitable(result):
            await result

    async def do(self, stint: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do a stint. What goes wrong in it ends it, and no more: what is left is handed back."""
        try:
            # In a task of its own: anyio writes the task that cancels into each cancellation, and
            # taskiq's task, with all other tasks in its callbacks, takes long to be written.
            await asyncio.create_task(stint())
        except Exception as error:
            logger.exception(
                "payments can't be waited for: they are handed back", extra=_fields("stint", error)
            )
            await anyio.sleep(_AFTER_A_FAILURE)


def worker_of(context: Context = TaskiqDepends()) -> Worker:
    worker = getattr(context.state, "little_pay", None)
    if isinstance(worker, Worker):
        return worker
    raise RuntimeError("no Little Pay session: call setup(broker) where the broker is made")


def session_of(worker: Worker = TaskiqDepends(worker_of)) -> AsyncLittlePay:
    return worker.stints.session


async def has_result(broker: AsyncBroker, task_id: str) -> bool:
    if isinstance(broker.result_backend, DummyResultBackend):  # it always says that it has
        return False
    return await broker.result_backend.is_result_ready(task_id)


def time_left(context: Context, timeout: float | None) -> float | None:
    """Return how many seconds a task still has; the message keeps when that ends."""
    timeout = _settings.keys_timeout(timeout)
    if timeout is None:
        return None
    until = context.message.labels.get(_UNTIL)
    if until is None:
        context.message.labels[_UNTIL] = str(time.time() + timeout)
        return timeout
    return max(float(until) - time.time(), _LAST_LOOK)


async def hand_back(context: Context) -> NoReturn:
    """Send a task again as it is now, under its id, and end this copy of it without a result."""
    while True:
        try:
            await context.requeue()
        except NoResultError:
            break
        except Exception as error:
            logger.exception(
                "the broker is not to be reached: what was left is kept meanwhile",
                extra=_fields("hand_back", error, context.message.task_id),
            )
            await anyio.sleep(_AFTER_A_FAILURE)
    if context.is_ackable:
        try:
            await context.ack()  # taskiq's own may come after the broker's shutdown
        except Exception as error:
            logger.exception(
                "a task was handed back, but not acknowledged: it may come twice",
                extra=_fields("acknowledge", error, context.message.task_id),
            )
    raise NoResultError
