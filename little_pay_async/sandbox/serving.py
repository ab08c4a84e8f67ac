"""An ASGI app on a real socket, by uvicorn in this event loop."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import attrs
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from little_pay_async.sandbox.app import ConnectionDropped

_BACKLOG = 4096  # thousands of clients may come at once
_SECONDS_TO_END = 2

File = str | os.PathLike[str]


@attrs.define(eq=False)
class _Connection:
    transport: asyncio.Transport
    request: anyio.CancelScope | None = None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, let_go: Callable[[], None]) -> None:
        super().__init__(config)
        self._let_go = let_go
        self.begun = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program that this server is a part of."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and tell that it has begun."""
        await super().startup(sockets)
        self.begun.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Have what is held answered before its connections are closed."""
        self._let_go()
        await super().shutdown(sockets)


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    ssl_certfile: File | None,
    ssl_keyfile: File | None,
    let_go: Callable[[], None],
) -> AsyncIterator[str]:
    """Serve `app` and give its base URL; `let_go` must end what it holds, at the end."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "A sandbox is served on asyncio's event loop only; elsewhere use sandbox.transport"
        ) from None
    connections: dict[tuple[str, int] | None, _Connection] = {}

    class Protocol(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.access_log = False  # of this server alone: the setting would silence all others

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            connections[self.client] = _Connection(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost = connections.pop(self.client, None)
            if lost is not None and lost.request is not None:
                lost.request.cancel()  # nobody is there to be answered

    async def app_on_socket(scope: Scope, receive: Receive, send: Send) -> None:
        connection = connections.get(scope["client"])
        if connection is None:
            return
        with anyio.CancelScope() as connection.request:
            try:
                await app(scope, receive, send)
            except ConnectionDropped:
                connection.transport.abort()
                # Until the server has noticed: else it would answer for the app.
                await anyio.sleep_forever()

    config = uvicorn.Config(
        app_on_socket,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,  # they would change the address by which a connection is known
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_SECONDS_TO_END,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )
    config.load()  # a certificate that can't be read is an error now, not in a task
    server = _Server(config, let_go)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    scheme, name = "https" if ssl_certfile else "http", f"[{host}]" if ":" in host else host
    url = f"{scheme}://{name}:{listener.getsockname()[1]}"
    task = asyncio.create_task(server.serve([listener]))
    task.add_done_callback(lambda _: server.begun.set())  # or has ended before it began
    try:
        yield url
    finally:
        with anyio.CancelScope(shield=True):
            await server.begun.wait()  # told to end before, uvicorn 0.32 leaves its sockets open
            server.should_exit = True
            await task
        listener.close()
