"""How new connections come about.

Rules of this file:

- Not too many at once, so that handshakes leave the loop free for others; and not too fast after
  many were lost, so that a server that comes back is not run down.
- The limit on connecting counts from where it begins; the wait before it is one for the pool.
- TLS sessions are resumed: a server that comes back has less to do, and so have we. They are kept
  by origin, the name in the certificate included: a resumed handshake verifies nothing anew.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

import httpcore

from little_pay_async._transport.alarms import Alarms
from little_pay_async._transport.bounds import Bounds
from little_pay_async._transport.connection import Connection, Origin
from little_pay_async._transport.interface import Trace
from little_pay_async._transport.request import RequestWriter
from little_pay_async._transport.tcp import connect
from little_pay_async._transport.tls import Tls

_AT_ONCE = 128  # a handshake takes the client some 0.3 ms
_A_SECOND_AFTER_A_LOSS = 500.0
_LONGEST = 60.0  # seconds, TLS included: who never says a word must not stand in the way of others
_BUFFER = 64 * 1024
_SESSION_SECONDS = 300.0


class Connector:
    """Makes the connections of a pool.

    Args:
        ssl_context: Of all that are encrypted.
        bounds: The pool's.
        on_end: Told of each connection that has ended by itself.

    Attributes:
        made: Connections made so far.
    """

    def __init__(
        self, ssl_context: ssl.SSLContext, bounds: Bounds, on_end: Callable[[Connection], None]
    ) -> None:
        self.made = 0
        self._ssl_context = ssl_context
        self._bounds = bounds
        self._alarms = Alarms()
        self._buffer = memoryview(bytearray(_BUFFER))
        self._writer = RequestWriter()
        self._on_end = on_end
        self._sessions: dict[Origin, tuple[ssl.SSLSession, float]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._lost = 0
        self._next = 0.0

    def note_loss(self) -> None:
        """Remember that a connection was lost that is likely to be made again."""
        self._lost += 1

    async def connect(
        self, origin: Origin, limits: Mapping[str, float | None], trace: Trace | None
    ) -> Connection:
        """Return a new connection. Cancellation leaves none.

        Args:
            origin: What it is to lead to.
            limits: As in httpx's timeout extension.
            trace: As in httpx's extension.

        Raises:
            httpcore.PoolTimeout: Others were being made for longer than the pool limit.
            httpcore.ConnectTimeout: It took longer than the connect limit.
            httpcore.ConnectError: There is none to be had.
        """
        async with self._turn(limits.get("pool")):
            if trace is not None:
                await trace("lease.wait.complete", {})
            try:
                connection = await self._connect(origin, limits.get("connect"), trace)
            except Exception:
                self._lost += 1
                raise
            self.made += 1
            try:
                # In the very step in which it was made, for instance: nobody has ended it then.
                self._bounds.check_open()
            except BaseException:
                connection.abort()
                raise
            return connection

    @contextlib.asynccontextmanager
    async def _turn(self, limit: float | None) -> AsyncIterator[None]:
        """Wait until one more may be made."""
        loop = asyncio.get_running_loop()
        late = httpcore.PoolTimeout("no connection was begun in time")
        async with self._bounds.within(limit, late):
            if self._lost:
                self._lost -= 1
                now = loop.time()
                mine = max(now, self._next)
                self._next = mine + 1 / _A_SECOND_AFTER_A_LOSS
                if mine > now:
                    await asyncio.sleep(mine - now)
            await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    async def _connect(
        self, origin: Origin, limit: float | None, trace: Trace | None
    ) -> Connection:
        scheme, host, port, name = origin
        late = httpcore.ConnectTimeout("no connection in time")
        if trace is not None:
            where = {"host": host.decode("ascii", "replace"), "port": port, "timeout": limit}
            await trace("connection.connect_tcp.started", where)
        async with self._bounds.within(_LONGEST if limit is None else min(limit, _LONGEST), late):
            try:
                connection = await connect(self._maker(origin), host.decode("ascii"), port)
            except (OSError, UnicodeError) as error:
                raise httpcore.ConnectError(str(error) or type(error).__name__) from error
            try:
                if trace is not None:
                    await trace("connection.connect_tcp.complete", {"return_value": None})
                    if scheme == b"https":
                        what = {"server_hostname": name, "timeout": limit}
                        await trace("connection.start_tls.started", what)
                await connection.ready()
                if trace is not None and scheme == b"https":
                    await trace("connection.start_tls.complete", {"return_value": None})
            except BaseException:
                connection.abort()
                self._sessions.pop(origin, None)  # it may have failed of that
                raise
            return connection

    def _maker(self, origin: Origin) -> Callable[[], Connection]:
        """Return what makes the protocol of a new connection."""
        scheme, _, _, name = origin
        if scheme != b"https":
            return partial(self._connection, origin)
        now = asyncio.get_running_loop().time()
        known = self._sessions.get(origin)
        session = known[0] if known is not None and now - known[1] <= _SESSION_SECONDS else None

        def keep(tls: Tls) -> bool:
            """Keep a new session, unless another connection has brought one meanwhile."""
            if tls.is_resumed or self._sessions.get(origin) is not known:
                return True
            new = tls.session
            if new is not None:
                self._sessions[origin] = (new, now)
            return new is not None

        # Each time: who shares the context, as httpx does for HTTP/2, offers something else by it.
        self._ssl_context.set_alpn_protocols(["http/1.1"])
        try:
            tls = Tls(self._ssl_context, name, session)
        except (TypeError, ValueError) as error:
            raise httpcore.ConnectError(f"TLS can't ask for that name: {error}") from error
        return partial(self._connection, origin, tls, keep)

    def _connection(
        self, origin: Origin, tls: Tls | None = None, on_tls: Callable[[Tls], bool] | None = None
    ) -> Connection:
        return Connection(
            origin,
            alarms=self._alarms,
            buffer=self._buffer,
            writer=self._writer,
            on_end=self._on_end,
            tls=tls,
            on_tls=on_tls,
        )
