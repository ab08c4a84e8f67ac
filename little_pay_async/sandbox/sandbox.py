"""`Sandbox`: a Little Pay in this process, through a transport or on a socket."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.abc
import httpx
from starlette.requests import Request

from little_pay_async.sandbox import signing
from little_pay_async.sandbox.app import encode, make_app
from little_pay_async.sandbox.background import LooseTasks
from little_pay_async.sandbox.book import Book, Entry, Refund
from little_pay_async.sandbox.callbacks import PostedCallback, is_posted_to, post
from little_pay_async.sandbox.credentials import Credentials, made_up
from little_pay_async.sandbox.in_process import InProcessTransport
from little_pay_async.sandbox.outcomes import Outcome
from little_pay_async.sandbox.passing import pass_time
from little_pay_async.sandbox.received import Received
from little_pay_async.sandbox.serving import File, serving
from little_pay_async.sandbox.shapes import callback_shape, refund_callback_shape
from little_pay_async.sandbox.weather import Weather, weather_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Sandbox:
    """A local Little Pay, for tests and to play with. It moves no money.

    Use it as `async with Sandbox() as sandbox:`, on asyncio or trio, and reach it through
    `sandbox.transport`, or through a socket with `async with sandbox.serve() as url:`. Payments of
    magic phone numbers (`OUTCOMES`) end by themselves, all others when `settle` says so, and what
    is still PENDING when its intent expires has FAILED. A payment that has ended can't be processed
    again (409), as a merchant key can't be used again (409): Little Pay documents neither.

    It posts the callbacks of payments and refunds that `settle`, `settle_refund` or a magic number
    has ended, once each, and to loopback addresses only: no traffic leaves this machine, whatever
    the examples' callback URLs are. Leaving the block ends what is still ringing or being posted.

    Args:
        hold: Seconds that a long poll is held at the most.
        weather: How it misbehaves; may be set at any time.
        refund_status: The status of refunds; may be set at any time. What is "PENDING" ends with
            `settle_refund`.
        merchant: Who is paid, as handsets on its page show it.

    Attributes:
        credentials: What `AsyncLittlePay` takes to be let in.
        requests: All requests that have come, in order.
        callbacks: All callbacks that have been posted, with what came of them, in order.
        weather: How it misbehaves, or None.
        hold: Seconds that a long poll is held at the most.
        refund_status: The status of refunds.
        merchant: Who is paid.
        app: The ASGI app, to be served while the block is open.
    """

    def __init__(
        self,
        *,
        hold: float = 60.0,
        weather: Weather | None = None,
        refund_status: str = "COMPLETED",
        merchant: str = "Your shop",
    ) -> None:
        self.credentials: Credentials = made_up()
        self.hold: float = hold
        self.weather: Weather | None = weather
        self.refund_status: str = refund_status
        self.merchant: str = merchant
        self.requests: list[Received] = []
        self.callbacks: list[PostedCallback] = []
        self.book: Book = Book()
        self.app: ASGIApp = make_app(self)
        self._tasks: anyio.abc.TaskGroup | LooseTasks | None = None
        self._block: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = self._block = anyio.create_task_group()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block, self._block, self._tasks = self._block, None, None
        if block is not None:
            block.cancel_scope.cancel()
            # Not told of the block's exception, which it would wrap in a group.
            await block.__aexit__(None, None, None)

    @classmethod
    @contextlib.contextmanager
    def without_block(cls) -> Iterator[Self]:
        """Give a sandbox for fixtures that run in no event loop, or in a task of their own.

        It is open from the start, on asyncio, and works in the event loop of whoever asks it.
        """
        sandbox = cls()
        sandbox._tasks = tasks = LooseTasks()
        try:
            yield sandbox
        finally:
            sandbox._tasks = None
            tasks.cancel()

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """What to give to `AsyncLittlePay(transport=...)`: requests come here, without a socket."""
        return InProcessTransport(self.app)

    @property
    def public_key(self) -> str:
        """The public key of `signed_callback`, as PEM; for a `CallbackVerifier`."""
        return signing.public_key()

    async def advance(self, seconds: float) -> None:
        """Let time pass at once, for everything in this event loop, and let it all be done.

        Holds run out, magic numbers answer, intents expire, timeouts and pauses of sessions end,
        and so do the timers of the app that is tested: each at its time and in its turn. What
        waits for other processes or threads holds time up for some milliseconds only. Signed
        callbacks, whose time is that of the wall, are as fresh as ever.

        Args:
            seconds: How many.

        Raises:
            RuntimeError: The event loop is neither asyncio's own nor trio's with a
                `trio.testing.MockClock`.
        """
        await pass_time(seconds)

    def settle(self, key: str, status: str, message: str = "Settled by the sandbox") -> None:
        """Give a payment a status, as its provider would: held polls are answered at once.

        Args:
            key: Its reference or merchant key.
            status: "COMPLETED", "FAILED", or what no client knows.
            message: What Little Pay says then.

        Raises:
            KeyError: There is no such payment.
        """
        entry = self._entry(key)
        self.book.settle(entry, status, message)
        if entry.final and self._tasks is not None and is_posted_to(entry.callback_url):
            body, headers = self.signed_callback(entry.reference)
            self._tasks.start_soon(self._post, entry.key, entry.callback_url, body, headers)

    def settle_refund(self, key: str, status: str, message: str = "Settled by the sandbox") -> None:
        """Give the latest refund of a payment a status; its callback is posted, if it has one.

        Args:
            key: The payment's reference or merchant key.
            status: "COMPLETED", "FAILED", or what no client knows.
            message: What Little Pay says then.

        Raises:
            KeyError: There is no such payment, or no refund of it.
        """
        entry, refund = self._refund(key)
        refund.status, refund.message = status, message
        url = refund.callback_url
        if url is not None and self._tasks is not None and is_posted_to(url):
            body, headers = self.signed_refund_callback(entry.reference)
            self._tasks.start_soon(self._post, entry.key, url, body, headers)

    def signed_callback(
        self, key: str, *, now: float | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of the callback of a payment, signed with `public_key`'s key.

        Args:
            key: Its reference or merchant key.
            now: Seconds since the epoch that it claims to be sent at; now, if left out.

        Raises:
            KeyError: There is no such payment.
        """
        return _signed(callback_shape(self._entry(key)), now)

    def signed_refund_callback(
        self, key: str, *, now: float | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of the callback of a payment's latest refund, signed likewise.

        Args:
            key: The payment's reference or merchant key.
            now: Seconds since the epoch that it claims to be sent at; now, if left out.

        Raises:
            KeyError: There is no such payment, or no refund of it.
        """
        return _signed(refund_callback_shape(*self._refund(key)), now)

    def count(self, operation: str) -> int:
        """Return how many requests of an operation have come."""
        return sum(received.operation == operation for received in self.requests)

    @contextlib.asynccontextmanager
    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl_certfile: File | None = None,
        ssl_keyfile: File | None = None,
    ) -> AsyncIterator[str]:
        """Serve it on a socket, on asyncio's event loop; gives its base URL.

        Leaving the block answers what is held, closes all connections and takes about 0.3 s.

        Args:
            host: Where to listen; loopback unless you know better: it is a sandbox.
            port: 0 for any that is free.
            ssl_certfile: A certificate to serve https with.
            ssl_keyfile: Its key, if that is in a file of its own.

        Raises:
            OSError: The address can't be listened on, or a file not be read.
            RuntimeError: The event loop is not asyncio's, or the sandbox's own block is not open.
        """
        self._opened()
        async with serving(
            self.app,
            host,
            port,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            let_go=self._let_go,
        ) as url:
            yield url

    # The rest is for the app.

    def note(self, operation: str, request: Request, body: Mapping[str, Any] | None) -> None:
        """Put a request into `requests`."""
        creates = operation == "create_intent"
        key = (body or {}).get("key") if creates else request.path_params["name"]
        self.requests.append(
            Received(
                operation=operation,
                method=request.method,
                path="/api/payments/-/pay" if creates else request.url.path,
                key=key if isinstance(key, str) else None,
                held=request.query_params.get("longPoll") == "true",
                body=body,
            )
        )

    def weather_for(self, operation: str, name: str | None) -> Weather | None:
        """Return what goes wrong with this request about a payment, if anything."""
        if self.weather is not None and self.weather.strikes(operation):
            return self.weather
        entry = self.book.find(name) if name else None
        return weather_of(entry.key) if entry else None

    def ring(self, entry: Entry, outcome: Outcome) -> None:
        """Have a payer do what their number stands for."""
        tasks = self._opened()
        if outcome.status is not None:
            tasks.start_soon(self._pick_up, entry, outcome.status, outcome)

    def _opened(self) -> anyio.abc.TaskGroup | LooseTasks:
        if self._tasks is None:
            raise RuntimeError("A sandbox must be open: async with Sandbox() as sandbox")
        return self._tasks

    async def _pick_up(self, entry: Entry, status: str, outcome: Outcome) -> None:
        await anyio.sleep(outcome.after)
        if not entry.final:
            self.settle(entry.reference, status, outcome.message)

    async def _post(self, key: str, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.callbacks.append(await post(key, url, body, headers))

    def _entry(self, key: str) -> Entry:
        entry = self.book.find(key)
        if entry is None:
            raise KeyError(key)
        return entry

    def _refund(self, key: str) -> tuple[Entry, Refund]:
        entry = self._entry(key)
        if not entry.refunds:
            raise KeyError(key)
        return entry, entry.refunds[-1]

    def _let_go(self) -> None:
        """Answer all that is held: a server can't stop while it waits."""
        for entry in self.book:
            entry.wake()


def _signed(callback: Mapping[str, Any], now: float | None) -> tuple[bytes, dict[str, str]]:
    body = encode(callback)
    return body, signing.signed(body, int(time.time() if now is None else now))
