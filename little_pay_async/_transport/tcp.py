"""Connecting over TCP to whichever address of a host answers first (Happy Eyeballs, RFC 8305).

`loop.create_connection` does so too, under asyncio alone, but loses a socket that is connected in
the very step in which it is cancelled: that stays open until it is collected as garbage.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

# A peer that is gone without a word is noticed after a minute and a half.
KEEPALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]
_PATIENCE = 0.25  # seconds until the next address is tried too

_Address = tuple[int, int, int, str, Any]
"""As `getaddrinfo` has it: family, type, protocol, name, and what to connect to."""


async def connect(make: Callable[[], P], host: str, port: int) -> P:
    """Return a protocol that is connected.

    Cancellation closes what there is.

    Raises:
        OSError: There is no connection to be had.
        UnicodeError: It is no name of a host.
    """
    loop = asyncio.get_running_loop()
    # uvloop tries one address after the other, and up to its version 0.22 closes the descriptor of
    # somebody else where it is given a socket and cancelled.
    if _is_address(host) or not isinstance(loop, asyncio.BaseEventLoop):
        _, protocol = await loop.create_connection(make, host, port)
        return protocol
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    connected = await _first(_in_turn(addresses))
    _, protocol = await loop.create_connection(make, sock=connected)
    return protocol


async def _first(addresses: Sequence[_Address]) -> socket.socket:
    """Try them one after the other, without waiting for long; return what connects first."""
    if len(addresses) == 1:
        return await _connect(addresses[0])
    tries: dict[asyncio.Task[socket.socket], None] = {}  # in their order
    left = list(reversed(addresses))
    try:
        while True:
            if left:
                tries[asyncio.create_task(_connect(left.pop()))] = None
            done, _ = await asyncio.wait(
                [one for one in tries if not one.done()],
                timeout=_PATIENCE if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for one in done:
                if one.exception() is None:
                    del tries[one]
                    return one.result()
            if not left and all(one.done() for one in tries):
                return next(iter(tries)).result()  # which raises
    finally:
        for one in tries:
            one.cancel()
            one.add_done_callback(_close)


async def _connect(address: _Address) -> socket.socket:
    family, kind, protocol, _, where = address
    one = socket.socket(family, kind, protocol)
    try:
        one.setblocking(False)  # noqa: FBT003 - it takes no keyword
        await asyncio.get_running_loop().sock_connect(one, where)
    except BaseException:
        one.close()
        raise
    return one


def _close(one: asyncio.Task[socket.socket]) -> None:
    """Close what was connected when nobody wanted it any more."""
    if not one.cancelled() and one.exception() is None:
        one.result().close()


def _in_turn(addresses: Sequence[_Address]) -> list[_Address]:
    """Let the families take turns: where one of them does not work, none of its addresses does."""
    by_family: dict[int, list[_Address]] = {}
    for address in addresses:
        by_family.setdefault(address[0], []).append(address)
    return [one for one in chain(*zip_longest(*by_family.values())) if one is not None]


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
