"""The body of a response, as a pool's user reads it."""

from collections.abc import Callable
from typing import Any, Self

import httpcore

from little_pay_async._transport.connection import Connection
from little_pay_async._transport.http1 import ResponseReader
from little_pay_async._transport.interface import Trace, limit_of


class Body:
    """Bytes as they come. Its end, or closing it, frees the connection.

    Args:
        connection: By which it comes.
        reader: Of the response.
        request: Whose response it is.
        let_go: Takes back the connection.
    """

    __slots__ = ("_connection", "_let_go", "_reader", "_request")

    def __init__(
        self,
        connection: Connection,
        reader: ResponseReader,
        request: httpcore.Request,
        let_go: Callable[[Connection], None],
    ) -> None:
        self._connection: Connection | None = connection
        self._let_go = let_go
        self._reader = reader
        self._request = request

    def let_go(self) -> None:
        """Free the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._let_go(connection)

    # No generator: its frame would hold the last part while it waits for the next.
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        reader = self._reader
        while True:
            part = reader.take()
            if part:
                return part
            if reader.complete:
                self.let_go()
                raise StopAsyncIteration
            if self._connection is None:
                raise httpcore.ReadError("the response was closed before it was read")
            try:
                await self._connection.receive(limit_of(self._request, "read"))
            except BaseException:
                self.let_go()
                raise

    async def aclose(self) -> None:
        """Close it; what was not read is lost."""
        self.let_go()


class TracedBody(Body):
    """One that tells the request's trace what httpcore's would."""

    __slots__ = ("_told",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._told: set[str] = set()

    async def _tell(self, name: str, info: dict[str, Any]) -> None:
        if name not in self._told:
            self._told.add(name)
            trace: Trace = self._request.extensions["trace"]
            await trace(f"http11.{name}", info)

    async def __anext__(self) -> bytes:
        await self._tell("receive_response_body.started", {"request": self._request})
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            await self._tell("receive_response_body.complete", {"return_value": None})
            raise

    async def aclose(self) -> None:
        """Close it; what was not read is lost."""
        self.let_go()
        await self._tell("response_closed.started", {})
        await self._tell("response_closed.complete", {"return_value": None})
