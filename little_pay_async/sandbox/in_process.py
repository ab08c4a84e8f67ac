"""Requests straight to the sandbox's app, without a socket."""

import httpx
from starlette.types import ASGIApp

from little_pay_async.sandbox.app import ConnectionDropped


class InProcessTransport(httpx.AsyncBaseTransport):
    """What has another target on the wire than in its URL (a token id) has it here too."""

    def __init__(self, app: ASGIApp) -> None:
        self._asgi = httpx.ASGITransport(app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request; cancellation ends the app's work on it."""
        target = request.extensions.get("target")
        if target is not None:
            request = httpx.Request(
                request.method,
                request.url.copy_with(raw_path=target),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        try:
            return await self._asgi.handle_async_request(request)
        except ConnectionDropped:
            pass
        raise httpx.RemoteProtocolError(
            "Server disconnected without sending a response.", request=request
        )
