"""What a transport lets through of the layers beneath, as httpx's own errors."""

from collections.abc import AsyncIterator

import anyio
import httpx

# httpcore's come out of httpx's transports as httpx's; but not of others, and TLS errors while
# reading not even of those.
FOREIGN = (
    OSError,  # timeouts and TLS errors too
    anyio.BrokenResourceError,
    anyio.BusyResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


def foreign(error: Exception) -> bool:
    """Return whether an error is of a layer beneath httpx."""
    return isinstance(error, FOREIGN) or type(error).__module__.startswith("httpcore.")


def as_httpx(error: Exception) -> httpx.ReadError:
    """Return what stands for an error of a layer beneath: nobody knows whether it was sent."""
    return httpx.ReadError(str(error) or type(error).__name__)


class GuardedTransport(httpx.AsyncBaseTransport):
    """A caller's transport; what it lets through of the layers beneath is made httpx's.

    What it raises else is its own affair, a failed assertion in a test's handler for instance.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request by the caller's transport."""
        try:
            response = await self._transport.handle_async_request(request)
        except Exception as error:
            if not foreign(error):
                raise
            raise as_httpx(error) from error
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _GuardedStream(response.stream)
        return response

    async def aclose(self) -> None:
        """Close the caller's transport."""
        await self._transport.aclose()


class _GuardedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._parts = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._parts)
        except Exception as error:
            if not foreign(error):
                raise
            raise as_httpx(error) from error

    async def aclose(self) -> None:
        await self._stream.aclose()
