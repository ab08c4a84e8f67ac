"""What goes on beside the requests of a sandbox that has no block around it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast


class LooseTasks:
    """Tasks of asyncio's event loop in which they were started, whichever that is.

    For test fixtures: some test runners begin and end fixtures in tasks of their own, and a task
    group has to be left in the task that entered it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start_soon(self, func: Callable[..., Awaitable[Any]], /, *args: Any) -> None:
        """Start a task in the event loop that is running."""
        work = cast("Coroutine[Any, Any, Any]", func(*args))
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """End them all, if their event loop goes on."""
        for task in tuple(self._tasks):
            if not task.get_loop().is_closed():
                task.cancel()
