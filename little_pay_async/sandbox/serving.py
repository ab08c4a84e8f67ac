"""An ASGI app on a real socket, by uvicorn in this event loop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from little_pay_async.sandbox.app import ConnectionDropped

_BACKLOG = 4096


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program that this server is a part of."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    let_go: Callable[[], None],
) -> AsyncIterator[str]:
    """Serve `app` and give its base URL; `let_go` must end what it holds, at the end."""
    connections: dict[tuple[str, int], asyncio.Transport] = {}

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                connections[self.client] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            connections.pop(self.client or ("", 0), None)

    async def app_that_drops(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except ConnectionDropped:
            connections[scope["client"]].abort()
            await receive()  # until the server has noticed: else it would answer for the app

    server = _Server(
        uvicorn.Config(
            app_that_drops,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=2,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
    )
    logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    scheme, name = "https" if ssl_certfile else "http", f"[{host}]" if ":" in host else host
    url = f"{scheme}://{name}:{listener.getsockname()[1]}"
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield url
    finally:
        server.should_exit = True
        let_go()
        await task
        listener.close()
