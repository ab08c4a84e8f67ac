"""Connections that nobody uses at the moment."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from little_pay_async._transport.connection import Connection, Origin


class IdleConnections:
    """Kept per origin, taken last in, first out; those that are idle for too long are closed.

    Args:
        most: How many may be kept.
        seconds: How long one may be idle.
        on_close: Called for each that is closed here.
    """

    def __init__(self, *, most: int, seconds: float, on_close: Callable[[], None]) -> None:
        self._most = most
        self._seconds = seconds
        self._on_close = on_close
        self._since: dict[Origin, OrderedDict[Connection, float]] = {}
        self._number = 0
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._number

    def take(self, origin: Origin) -> Connection | None:
        """Take out the connection to an origin that was used last, unless something came on it."""
        idle = self._since.get(origin)
        while idle:
            connection, _ = idle.popitem()
            self._number -= 1
            if connection.is_quiet():
                return connection
            connection.abort()
            self._on_close()
        return None

    def take_longest_idle(self) -> Connection:
        """Take out the connection that has been idle for the longest time."""
        idle = min(filter(None, self._since.values()), key=lambda idle: next(iter(idle.values())))
        connection, _ = idle.popitem(last=False)
        self._number -= 1
        return connection

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        loop = asyncio.get_running_loop()
        self._since.setdefault(connection.origin, OrderedDict())[connection] = loop.time()
        self._number += 1
        if self._number > self._most:
            self.take_longest_idle().close()
            self._on_close()
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._seconds, self._sweep)

    def remove(self, connection: Connection) -> bool:
        """Take out a connection that has ended; return whether it was one of these."""
        idle = self._since.get(connection.origin)
        if idle is None or connection not in idle:
            return False
        del idle[connection]
        self._number -= 1
        return True

    def close(self) -> None:
        """Close all of them."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._number:
            self.take_longest_idle().close()
            self._on_close()

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        earliest = loop.time() - self._seconds
        for origin, idle in tuple(self._since.items()):
            while idle and next(iter(idle.values())) <= earliest:
                connection, _ = idle.popitem(last=False)
                self._number -= 1
                connection.close()
                self._on_close()
            if not idle:
                del self._since[origin]
        if self._since:
            since = min(next(iter(idle.values())) for idle in self._since.values())
            self._sweeper = loop.call_at(since + self._seconds, self._sweep)
