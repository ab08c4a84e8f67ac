"""Many keys, each asked for once, so many at a time."""

from collections.abc import Iterable

import anyio
import anyio.abc

from little_pay_async import _wire
from little_pay_async._calling import Calls
from little_pay_async._errors import InvalidInputError, LittlePayError
from little_pay_async._models import Payment
from little_pay_async._observing import Observation
from little_pay_async._retry import HOPELESS
from little_pay_async._wire import Key


def distinct(keys: Iterable[Key]) -> dict[str, LittlePayError | None]:
    """Return the distinct keys; a string that is none has its error already."""
    _wire.check_keys(keys)
    found: dict[str, LittlePayError | None] = {}
    for key in keys:
        try:
            found[_wire.key_of(key)] = None
        except InvalidInputError as error:
            if not isinstance(key, str):
                raise
            found[key] = error.with_traceback(None)
    return found


async def ask_for_each(
    keys: dict[str, LittlePayError | None],
    calls: Calls,
    *,
    at_once: int,
    observation: Observation | None = None,
) -> dict[str, Payment | LittlePayError]:
    """Return what is found for each key that has no error yet, and the errors of the others.

    Raises:
        LittlePayError: What makes every key hopeless.
        Exception: What a hook of the caller's raised.
    """
    results: dict[str, Payment | LittlePayError | None] = dict(keys)
    to_ask = iter([key for key, error in keys.items() if error is None])
    hopeless: list[Exception] = []

    async def ask(tasks: anyio.abc.TaskGroup) -> None:
        for key in to_ask:
            try:
                results[key] = await calls.send(
                    _wire.status(key), _wire.read_payment, part_of=observation
                )
            except Exception as error:  # noqa: BLE001 - a hook's too, raised below as it is
                if isinstance(error, LittlePayError) and not isinstance(error, HOPELESS):
                    # Kept for long, so without the frames that it passed.
                    results[key] = error.with_traceback(None)
                    if observation is not None:
                        observation.failed(key, error)
                else:
                    hopeless.append(error)
                    tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(min(at_once, len(results))):
            tasks.start_soon(ask, tasks)
    if hopeless:
        raise hopeless[0]
    return {key: found for key, found in results.items() if found is not None}
