"""Time limits that are over at once where the pool is closed."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import httpcore


class Bounds:
    """Limits the waits of a pool's requests."""

    def __init__(self) -> None:
        self._bounds: set[asyncio.Timeout] = set()
        self.closed = False

    @contextlib.asynccontextmanager
    async def within(self, limit: float | None, late: Exception) -> AsyncIterator[None]:
        """Raise `late` after so many seconds.

        Args:
            limit: In seconds; None or infinity for none.
            late: What is raised then.

        Raises:
            httpcore.ConnectError: The pool is closed, or was closed meanwhile.
        """
        self.check_open()
        bound = asyncio.timeout(None if limit == math.inf else limit)
        try:
            async with bound:
                self._bounds.add(bound)
                try:
                    yield
                finally:
                    self._bounds.discard(bound)
        except TimeoutError:
            if not bound.expired():
                raise  # the system's own: ETIMEDOUT
            self.check_open()
            raise late from None

    def check_open(self) -> None:
        """Let nobody go on where the pool is closed.

        Raises:
            httpcore.ConnectError: It is.
        """
        if self.closed:
            raise httpcore.ConnectError("the transport is closed") from None

    def close(self) -> None:
        """End all waits that are under way, and begin none any more."""
        self.closed = True
        for bound in self._bounds:
            if not bound.expired():  # its task has been told, and has had no turn yet
                bound.reschedule(0.0)
