"""What is wrong around a request, rather than in the answer to it."""

import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ..servers import full_backlog, refusing_port
from ..sessions import mobile


@contextlib.asynccontextmanager
async def nobody(tls: bool) -> AsyncIterator[str]:
    """Give a base URL at which nobody listens."""
    yield f"{'https' if tls else 'http'}://127.0.0.1:{refusing_port()}"


@contextlib.asynccontextmanager
async def never_accepted(tls: bool) -> AsyncIterator[str]:
    """Give a base URL at which connections are neither accepted nor refused."""
    async with full_backlog() as base_url:
        yield base_url.replace("http:", "https:") if tls else base_url


@contextlib.contextmanager
def no_such_host() -> Iterator[None]:
    """Have no name resolved, and no address either."""

    def fails(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", fails)
        yield


@contextlib.contextmanager
def no_file_left() -> Iterator[None]:
    """Have no more files or sockets opened in this process."""
    mobile()  # loads what it needs
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def resets(connection: Any) -> None:
    """Break a new connection."""
    await connection.reset()


async def speaks_no_tls(connection: Any) -> None:
    """Answer what is no request yet."""
    await connection.stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await connection.close()


async def never_speaks(connection: Any) -> None:
    """Listen, until the client has gone."""
    while await connection.stream.receive():
        pass
