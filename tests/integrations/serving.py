"""The frameworks' real servers on real sockets, in the event loop of the test."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import httpx
import uvicorn
from aiohttp import web
from fastapi import FastAPI

from little_pay_async.callbacks import CallbackVerifier
from little_pay_async.integrations.aiohttp import callback_handler
from little_pay_async.integrations.fastapi import callback_router
from little_pay_async.sandbox import signing

from ..sandboxes import PATIENCE, PLAIN

PATH = "/callbacks/little-pay"
_DOCUMENTED = Path(__file__).parents[1] / "documented"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # how some versions say that the app did not start
            self.should_exit = True
        self.begun.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def on_uvicorn(app: Any, **settings: Any) -> AsyncIterator[str]:
    """Serve an ASGI app with its lifespan; leaving the block is what SIGTERM would be."""
    config = uvicorn.Config(app, log_config=None, lifespan="on", **settings)
    server = _Server(config)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = listener.getsockname()[1]
    task = asyncio.create_task(server.serve([listener]))
    try:
        await server.begun.wait()
        if not server.started:
            raise RuntimeError("the app did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        with anyio.CancelScope(shield=True):
            await task
        listener.close()


@contextlib.asynccontextmanager
async def on_aiohttp(app: web.Application, **settings: Any) -> AsyncIterator[str]:
    """Serve an aiohttp app; leaving the block is what SIGTERM would be."""
    runner = web.AppRunner(app, **settings)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _fastapi_route(on_callback: Any) -> AbstractAsyncContextManager[str]:
    app = FastAPI()
    app.include_router(callback_router(on_callback, verifier=verifier()), prefix=PATH)

    @app.get("/ping")
    async def ping() -> None: ...

    return on_uvicorn(app)


def _aiohttp_route(on_callback: Any) -> AbstractAsyncContextManager[str]:
    app = web.Application()
    app.router.add_post(PATH, callback_handler(on_callback, verifier=verifier()))

    async def ping(_: web.Request) -> web.Response:
        return web.Response()

    app.router.add_get("/ping", ping)
    # Seconds for which aiohttp goes on reading, and throws away, what it has answered already.
    return on_aiohttp(app, lingering_time=0.2)


ROUTES: dict[str, Callable[[Any], AbstractAsyncContextManager[str]]] = {
    "fastapi": _fastapi_route,
    "aiohttp": _aiohttp_route,
}
"""An app with the callback route at PATH and a page /ping, served."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def verifier() -> CallbackVerifier:
    return CallbackVerifier([signing.public_key()])


def client(base_url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=base_url, verify=PLAIN, timeout=PATIENCE, trust_env=False)


def documented(name: str) -> bytes:
    """Return a documented callback as Little Pay sends it: compact JSON."""
    text = (_DOCUMENTED / f"{name}.json").read_text(encoding="utf-8")
    return json.dumps(json.loads(text), separators=(",", ":")).encode()


def signed(body: bytes, *, ago: float = 0.0) -> dict[str, str]:
    return signing.signed(body, int(time.time() - ago))
