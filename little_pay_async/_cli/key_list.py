"""Keys from a file or standard input, one a line, as they come in."""

import contextlib
import math
import os
import threading
from collections.abc import AsyncGenerator

import anyio
import anyio.from_thread
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectSendStream

_CHUNK = 65_536


async def read_keys(descriptor: int) -> AsyncGenerator[str, None]:
    """Yield the keys that can be read from an open file, each as soon as its line has come.

    Blank lines and lines that begin with `#` are passed over. A thread reads: it works alike for
    files, pipes and terminals, and never holds up the event loop or, being a daemon, the exit.

    Raises:
        OSError: It can't be read.
    """
    send, receive = anyio.create_memory_object_stream[bytes | OSError](math.inf)
    threading.Thread(
        target=_read,
        args=(descriptor, send, anyio.lowlevel.current_token()),
        name="little-pay keys",
        daemon=True,
    ).start()
    rest = b""
    with send, receive:
        async for chunk in receive:
            if isinstance(chunk, OSError):
                raise chunk
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if key := _key(line):
                    yield key
    if key := _key(rest):
        yield key


def _key(line: bytes) -> str:
    # What is not UTF-8 becomes a key that Little Pay does not know, and that line's error alone.
    key = line.decode("utf-8-sig", errors="replace").strip()
    return "" if key.startswith("#") else key


def _read(
    descriptor: int,
    send: MemoryObjectSendStream[bytes | OSError],
    token: anyio.lowlevel.EventLoopToken,
) -> None:
    # Nobody listens any more once the watch has ended.
    with contextlib.suppress(
        anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.RunFinishedError
    ):
        try:
            while chunk := os.read(descriptor, _CHUNK):
                anyio.from_thread.run_sync(send.send_nowait, chunk, token=token)
        except OSError as error:
            # The last word: who hears it may end the event loop, and no other call would return.
            anyio.from_thread.run_sync(send.send_nowait, error, token=token)
        else:
            anyio.from_thread.run_sync(send.close, token=token)
