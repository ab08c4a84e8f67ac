"""What one request holds while it is under way, and how it lets go of it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx

from little_pay_async._transport.guard import as_httpx, foreign

Close = Callable[[], Awaitable[None]]


class Lease:
    """A request that has a place, and what it uses.

    Attributes:
        scope: Of its sending, up to the response's headers.
        transport: Once there is one.
    """

    __slots__ = ("_connected", "_trace", "scope", "transport")

    def __init__(self, request: httpx.Request) -> None:
        self.scope = anyio.CancelScope()
        self.transport: httpx.AsyncHTTPTransport | None = None
        self._connected: Close | None = None
        self._trace = request.extensions.get("trace")

    def holds(self) -> list[Close]:
        """Return what closes all that it uses."""
        closes: list[Close] = []
        if self.transport is not None:
            closes.append(self.transport.aclose)
        if self._connected is not None:
            closes.append(self._connected)
        return closes

    def traced(self, request: httpx.Request) -> httpx.Request:
        """Return a copy of the request that tells of its connection.

        A connection that is cancelled in its TLS handshake is forgotten by httpcore, unclosed; the
        trace extension is the public way to get hold of it. A copy, for a caller may send the same
        request twice at once.
        """
        return httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "trace": self._note},
        )

    # Not async: a frame that awaits would show what it is told, headers among it.
    def _note(self, name: str, info: Mapping[str, Any]) -> Coroutine[Any, Any, None]:
        if name.endswith(".connect_tcp.complete"):
            self._connected = info["return_value"].aclose
        following: Coroutine[Any, Any, None] = (self._trace or ignore)(name, info)
        return following


async def ignore(name: str, info: Mapping[str, Any]) -> None:
    """Do nothing: where nobody else traces."""


class LeasedStream(httpx.AsyncByteStream):
    """A response's body. The lease ends when it is closed, or breaks off.

    Args:
        stream: The body.
        end_lease: Told whether the body was read to its end.
    """

    def __init__(
        self, stream: httpx.AsyncByteStream, end_lease: Callable[[bool], Awaitable[None]]
    ) -> None:
        self._stream = stream
        self._end_lease = end_lease
        self._whole = False
        self._closed = False

    # No generator: its frame would hold the last part while it waits for the next.
    def __aiter__(self) -> AsyncIterator[bytes]:
        self._parts = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._parts)
        except StopAsyncIteration:
            self._whole = True
            raise
        except BaseException as error:
            await self.aclose()
            if isinstance(error, Exception) and foreign(error):
                raise as_httpx(error) from error
            raise

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        whole = False
        try:
            await self._stream.aclose()
            whole = self._whole
        finally:
            await self._end_lease(whole)


async def close_all(closes: Sequence[Close]) -> None:
    """Close them all, even if cancelled by `Task.cancel`, which no shield keeps off."""
    if closes:
        with anyio.CancelScope(shield=True):
            async with AsyncExitStack() as stack:
                for close in reversed(closes):
                    stack.push_async_callback(close)
