"""What one request holds while it is under way, and how it lets go of it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpcore

from little_pay_async._transport.guard import FOREIGN
from little_pay_async._transport.interface import ignore

Close = Callable[[], Awaitable[None]]


class Lease:
    """A request that has a place, and what it uses.

    Args:
        request: Whose it is.

    Attributes:
        scope: Of its sending, up to the response's headers.
        pool: Of httpcore's, for one connection; once there is one.
    """

    __slots__ = ("_connected", "_request", "_trace", "pool", "scope")

    def __init__(self, request: httpcore.Request) -> None:
        self.scope = anyio.CancelScope()
        self.pool: httpcore.AsyncConnectionPool | None = None
        self._connected: Close | None = None
        self._request = request
        self._trace = request.extensions.get("trace")

    def holds(self) -> list[Close]:
        """Return what closes all that it uses."""
        closes: list[Close] = []
        if self.pool is not None:
            closes.append(self.pool.aclose)
        if self._connected is not None:
            closes.append(self._connected)
        return closes

    def to_send(self) -> httpcore.Request:
        """Return the request as httpcore's pool is to have it.

        It tells of its connection: one that is cancelled in its TLS handshake is forgotten by
        httpcore, unclosed, and the trace extension is the public way to get hold of it.

        Its target is in its URL alone: httpcore sends the extension to a proxy, in a CONNECT too.
        """
        request = self._request
        extensions = {**request.extensions, "trace": self._note}
        extensions.pop("target", None)
        return httpcore.Request(
            request.method,
            request.url,
            headers=request.headers,
            content=request.stream,
            extensions=extensions,
        )

    # Not async: a frame that awaits would show what it is told, headers among it.
    def _note(self, name: str, info: dict[str, Any]) -> Coroutine[Any, Any, None]:
        if name.endswith(".connect_tcp.complete"):
            self._connected = info["return_value"].aclose
        following: Coroutine[Any, Any, None] = (self._trace or ignore)(name, dict(info))
        # What is left in `info` goes into httpcore's log: not what a server says, in headers or in
        # what breaks the protocol, for it may say a secret.
        if name.endswith(".receive_response_headers.complete"):
            info["return_value"] = None
        elif name.endswith(".failed"):
            info["exception"] = type(info["exception"])
        return following


def as_httpcore(error: BaseException) -> Exception | None:
    """Return what stands for an error that httpcore lets through, if it is one."""
    kind: type[Exception]
    if isinstance(error, FOREIGN):
        kind = httpcore.ReadError  # nobody knows whether it was sent
    elif type(error).__module__.startswith("h11."):
        kind = httpcore.LocalProtocolError  # a body that is not as long as its head says
    else:
        return None
    return kind(str(error) or type(error).__name__)


class LeasedStream:
    """A response's body. The lease ends when it is closed, or breaks off.

    Args:
        response: Whose body it is.
        end_lease: Told whether the body was read to its end.
    """

    def __init__(
        self, response: httpcore.Response, end_lease: Callable[[bool], Awaitable[None]]
    ) -> None:
        self._response = response
        self._end_lease = end_lease
        self._whole = False
        self._closed = False

    # No generator: its frame would hold the last part while it waits for the next.
    def __aiter__(self) -> AsyncIterator[bytes]:
        self._parts = aiter(self._response.stream)  # type: ignore[arg-type]
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._parts)
        except StopAsyncIteration:
            self._whole = True
            raise
        except BaseException as error:
            await self.aclose()
            problem = as_httpcore(error)
            if problem is None:
                raise
            raise problem from error

    async def aclose(self) -> None:
        """Close it; what was not read is lost, and its connection too."""
        if self._closed:
            return
        self._closed = True
        whole = False
        try:
            await self._response.aclose()
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
