"""taskiq: payments waited for by a fleet of workers, past the death of any of them.

    from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker
    from little_pay_async.integrations.taskiq import settle, settle_many, setup

    broker = RedisStreamBroker(url, idle_timeout=180_000, xread_count=1)
    broker = broker.with_result_backend(RedisAsyncResultBackend(url, result_ex_time=86_400))
    setup(broker, on_settled=on_settled)

    task = await settle.kiq("ORDER42")     # one payment, by whichever worker is free
    settling = await settle_many(keys)     # thousands: a task, and in it a watch, for each hundred
    await settling.progress()              # Progress(keys=5000, settled=1234)

A task watches for a stint, which is much shorter than the time after which the broker gives a
silent worker's tasks to another. Then it hands what has not settled back to the broker. So nothing
is taken over from the living, however long a payer takes. It needs the extra `taskiq`.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Unpack

import anyio
import attrs

try:
    from taskiq import (
        AsyncBroker,
        AsyncResultBackend,
        AsyncTaskiqTask,
        Context,
        TaskiqDepends,
        TaskiqEvents,
        TaskiqResult,
        TaskiqState,
    )
    from taskiq.brokers.shared_broker import AsyncSharedBroker
    from taskiq.depends.progress_tracker import TaskProgress, TaskState
    from taskiq.exceptions import NoResultError
except ModuleNotFoundError as _missing:
    raise ImportError(
        "little_pay_async.integrations.taskiq needs taskiq: "
        "run pip install 'little-pay-async[taskiq]'",
        name=_missing.name,
    ) from _missing

from little_pay_async import _settings
from little_pay_async._checking import distinct
from little_pay_async._client import AsyncLittlePay
from little_pay_async._errors import InvalidInputError
from little_pay_async._models import Settlement
from little_pay_async._wire import Key
from little_pay_async.integrations._opening import Opening, SessionOptions
from little_pay_async.integrations._stints import Stints, length_of
from little_pay_async.integrations._taskiq_worker import (
    OnSettled,
    Worker,
    hand_back,
    has_result,
    session_of,
    time_left,
    worker_of,
)

__all__ = ["LittlePay", "Progress", "Settling", "settle", "settle_many", "setup"]

_logger = logging.getLogger("little_pay_async.integrations")

_KEYS_IN_A_BATCH = 100
_BETWEEN_NOTES = 1.0

# Tasks that are of no broker yet: `setup` tells it which one they are sent with.
_tasks = AsyncSharedBroker()


def setup(
    broker: AsyncBroker,
    *,
    on_settled: OnSettled | None = None,
    stint: float | None = None,
    **session_options: Unpack[SessionOptions],
) -> None:
    """Give each worker of a broker a session, opened when it starts and closed when it ends.

    Call it once for a broker, where the broker is made: in the processes that send tasks too, for
    `settle` and `settle_many` go to the broker that was set up last. There nothing is opened.

    A worker that is told to stop (SIGTERM) waits for its tasks, as taskiq does: until the end of a
    stint at the most. With `taskiq worker --wait-tasks-timeout 1` they end at once, and what has
    not settled is handed back, for others to go on with.

    Args:
        broker: One that gives the tasks of a dead worker to another, as taskiq-redis's
            `RedisStreamBroker` does: of others, what a dead worker had is lost.
        on_settled: Gets the `Settlement` of each key, in the worker, before it goes to the result
            backend. A sync one runs in a worker thread. If it raises, the key is asked for again
            and it is called again: it may be called more than once for a key, by a worker's death
            too, so let it do nothing twice.
        stint: Seconds that a task watches at a stretch, a third of the broker's `idle_timeout` at
            the most. By default that third, or 60 if that is less.
        **session_options: What `AsyncLittlePay` takes. Credentials come from the environment.

    Raises:
        ConfigurationError: `stint` is too long. When a worker starts: a setting is wrong, `api_key`
            is missing, or some but not all of `client_id`, `client_secret` and `token_id` are.
    """
    idle_timeout = getattr(broker, "idle_timeout", None)  # milliseconds, of Redis streams
    length = length_of(stint, idle_timeout and idle_timeout / 1_000)
    opening = Opening(session_options)
    del session_options
    _tasks.default_broker(broker)
    calls: list[asyncio.Task[None]] = []

    async def start(state: TaskiqState) -> None:
        state.little_pay = Worker(Stints(opening.session(), length), on_settled)
        if idle_timeout is not None:
            calls.append(asyncio.create_task(_call(broker, every=length)))

    async def stop(state: TaskiqState) -> None:
        while calls:
            calls.pop().cancel()
        await state.little_pay.stints.stop()

    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, start)
    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, stop)


LittlePay = Annotated[AsyncLittlePay, TaskiqDepends(session_of)]
"""The worker's session, as a dependency of a task: `async def refund(key: str, pay: LittlePay)`.
For type checkers, to whom a task is called without it: `pay: LittlePay = TaskiqDepends()`."""


@_tasks.task(task_name="little_pay_async:settle", ack_type="when_saved")
async def settle(
    key: str,
    timeout: float | None = _settings.SETTLEMENT_TIMEOUT,
    context: Context = TaskiqDepends(),
    worker: Worker = TaskiqDepends(worker_of),
) -> dict[str, Any]:
    """Wait for a payment to settle: `task = await settle.kiq("ORDER42")`.

    Its result is the settlement (`Settlement.to_dict()`): a FAILED payment is one as well. If the
    key ends with an error, that is the task's error: `result.error`, whose type taskiq may not be
    able to restore, but for its text. If the worker dies, another goes on.

    Args:
        key: The merchant key or the reference.
        timeout: Seconds from when a worker takes it up first, or None: after them the error is a
            `SettlementTimeoutError`.
        context: taskiq's, as the next.
        worker: The worker that it runs in.
    """
    task_id = context.message.task_id
    seconds = time_left(context, timeout)
    left = {key}
    found: list[Settlement] = []

    async def stint() -> None:
        if await has_result(context.broker, task_id):
            left.clear()
        else:
            await worker.stints.watch(left, report, timeout=seconds)

    async def report(settlement: Settlement) -> None:
        if not await has_result(context.broker, task_id):
            await worker.tell(settlement)
            found.append(settlement)
        left.clear()

    with worker.stints.at_work():
        await worker.do(stint)
        if left:
            await hand_back(context)
    if not found:  # another worker was quicker
        raise NoResultError
    if found[0].error is not None:
        raise found[0].error
    return found[0].to_dict()


@attrs.frozen(kw_only=True)
class Progress:
    """How far a `settle_many` is.

    Attributes:
        keys: How many it has.
        settled: How many of them have been reported, about a second ago.
    """

    keys: int
    settled: int


@attrs.frozen(kw_only=True)
class Settling:
    """Keys that workers wait for.

    Attributes:
        run: Its name.
        tasks: For each distinct key what taskiq gives for a task: `await tasks[key].is_ready()`,
            `await tasks[key].wait_result()`. Its result is that of `settle`.
        batches: The tasks in which they are waited for. A result says that all keys of the batch
            have been reported: `await taskiq.gather(*settling.batches)`.
    """

    run: str
    tasks: Mapping[str, AsyncTaskiqTask[dict[str, Any]]] = attrs.field(repr=False)
    batches: tuple[AsyncTaskiqTask[int], ...] = attrs.field(repr=False)

    async def progress(self) -> Progress:
        """Ask the result backend how far the batches are.

        Raises:
            Exception: What the result backend raises. One that keeps no progress shows none.
        """
        notes = [await batch.get_progress() for batch in self.batches]
        settled = sum(note.meta["settled"] for note in notes if note is not None and note.meta)
        return Progress(keys=len(self.tasks), settled=settled)


async def settle_many(
    keys: Iterable[Key],
    *,
    run: str | None = None,
    timeout: float | None = _settings.SETTLEMENT_TIMEOUT,
    batch: int = _KEYS_IN_A_BATCH,
) -> Settling:
    """Have the workers wait for many payments. It returns as soon as they have been sent for.

    Each key is reported once, to `on_settled` and to the result backend, under a task id made of
    `run` and key. A worker that dies between two of its reports repeats none; what it was about to
    report is asked for again.

    Args:
        keys: Merchant keys, references, intents or payments, each distinct one once.
        run: A name for the lot. What has been reported in a run of the same name is not asked for
            again: give one, to be able to repeat a call that was interrupted, and to let a callback
            and a poll settle a key once: `settle_many([callback.key], run="orders")`.
        timeout: Seconds for each key, as `settle` has it.
        batch: How many keys one watch takes: one task, by one worker.

    Raises:
        InvalidInputError: An argument is wrong. A string that is no key is reported as an error.
        RuntimeError: `setup` was not called.
        SendTaskError: The broker was not to be reached; of taskiq. Batches may have been sent.
    """
    names = list(distinct(keys))
    timeout = _settings.keys_timeout(timeout)
    size = _settings.whole("batch", batch, 1, InvalidInputError)
    run = run or f"little-pay-{uuid.uuid4().hex}"
    kicker = _settle_batch.kicker()
    if kicker.broker is _tasks:
        raise RuntimeError("settle_many has no broker: call setup(broker) where the broker is made")
    backend: AsyncResultBackend[Any] = kicker.broker.result_backend
    return Settling(
        run=run,
        tasks=MappingProxyType(
            {name: AsyncTaskiqTask(_result_id(run, name), backend) for name in names}
        ),
        batches=tuple(
            [
                await _settle_batch.kiq(run=run, keys=part, total=len(part), timeout=timeout)
                for part in (names[at : at + size] for at in range(0, len(names), size))
            ]
        ),
    )


@_tasks.task(task_name="little_pay_async:settle_batch", ack_type="when_saved")
async def _settle_batch(
    *,
    run: str,
    keys: list[str],
    total: int,
    timeout: float | None,
    context: Context = TaskiqDepends(),
    worker: Worker = TaskiqDepends(worker_of),
) -> int:
    """Report all keys of a batch, in as many stints as it takes; return how many there were."""
    broker = context.broker
    backend: AsyncResultBackend[Any] = broker.result_backend
    seconds = time_left(context, timeout)
    left = dict.fromkeys(keys)
    noted = 0.0

    async def stint() -> None:
        for key in keys:
            if await has_result(broker, _result_id(run, key)):
                del left[key]
        await note()
        await worker.stints.watch(list(left), report, timeout=seconds)
        await note()

    async def report(settlement: Settlement) -> None:
        result_id = _result_id(run, settlement.key)
        if not await has_result(broker, result_id):  # by a worker that was only thought dead
            await worker.tell(settlement)
            await backend.set_result(result_id, _result(settlement, run))
        del left[settlement.key]
        if anyio.current_time() - noted >= _BETWEEN_NOTES:
            await note()

    async def note() -> None:
        nonlocal noted
        noted = anyio.current_time()
        meta = {"keys": total, "settled": total - len(left)}
        state = TaskState.STARTED if left else TaskState.SUCCESS
        await backend.set_progress(context.message.task_id, TaskProgress(state=state, meta=meta))

    with worker.stints.at_work():
        await worker.do(stint)
        if left:
            context.message.kwargs["keys"] = list(left)
            await hand_back(context)
    return total


@_tasks.task(task_name="little_pay_async:call", ack_type="when_received")
async def _called() -> None:
    """Do nothing: who gets it looks for what the dead have left, as the next function says."""


async def _call(broker: AsyncBroker, *, every: float) -> None:
    """Have workers look for what the dead have left.

    They look after they got a message, and in an otherwise quiet queue there is none.
    """
    kicker = _called.kicker().with_broker(broker).with_task_id("little-pay-call")
    while True:
        await anyio.sleep(every)
        try:
            await kicker.kiq()
        except Exception as error:
            _logger.exception(
                "the broker is not to be reached",
                extra={"operation": "call", "error_type": type(error).__name__},
            )


def _result_id(run: str, key: str) -> str:
    return f"{run}:{key}"


def _result(settlement: Settlement, run: str) -> TaskiqResult[dict[str, Any]]:
    return TaskiqResult(
        is_err=settlement.error is not None,
        error=settlement.error,
        return_value=settlement.to_dict(),
        execution_time=round(settlement.elapsed, 2),
        labels={"run": run},
    )
