"""`Sandbox`: a Little Pay in this process, through a transport or on a socket."""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, TypedDict
from urllib.parse import urlsplit

import anyio
import anyio.abc
import attrs
import httpx
import msgspec
from starlette.requests import Request

from little_pay_async.sandbox import signing
from little_pay_async.sandbox.app import make_app, timestamp
from little_pay_async.sandbox.book import Book, Entry
from little_pay_async.sandbox.in_process import InProcessTransport
from little_pay_async.sandbox.outcomes import Outcome
from little_pay_async.sandbox.serving import serving
from little_pay_async.sandbox.weather import Kind, Weather

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_encode = msgspec.json.Encoder(decimal_format="number").encode


@attrs.frozen
class Received:
    """A request that reached the sandbox.

    Attributes:
        operation: "create_intent", "process", "status" or "refund".
        method: The HTTP method.
        path: The path, with "-" for the token id.
        held: Was it asked to be held?
        body: The JSON that came, as it was decoded. Not in `repr`: it may hold a phone number.
    """

    operation: str
    method: str
    path: str
    held: bool
    body: Mapping[str, Any] | None = attrs.field(repr=False)


class Credentials(TypedDict):
    """What `AsyncLittlePay` takes to be let in; made up, and the same in every sandbox."""

    api_key: str
    client_id: str
    client_secret: str
    token_id: str


class Sandbox:
    """A local Little Pay, for tests and to play with. It moves no money.

    Use it as `async with Sandbox() as sandbox:`, on asyncio or trio, and reach it through
    `sandbox.transport`, or through a socket with `async with sandbox.serve() as url:`. Payments of
    magic phone numbers (`OUTCOMES`) end by themselves, all others when `settle` says so.

    It posts callbacks to loopback addresses only, so that the documented examples send nothing to
    anybody.

    Args:
        hold: Seconds that a long poll is held at the most.
        weather: How it misbehaves; may be set at any time.

    Attributes:
        credentials: What `AsyncLittlePay` takes to be let in.
        requests: All requests that have come, in order.
        weather: How it misbehaves, or None.
        hold: Seconds that a long poll is held at the most.
        app: The ASGI app.
    """

    def __init__(self, *, hold: float = 60.0, weather: Weather | None = None) -> None:
        self.credentials = Credentials(
            api_key="sandbox-api-key",
            client_id="sandbox-client",
            client_secret="sandbox-client-secret",  # noqa: S106 - made up
            token_id="sandbox-token",  # noqa: S106
        )
        self.hold = hold
        self.weather = weather
        self.requests: list[Received] = []
        self.book = Book()
        self.app = make_app(self)
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """What to give to `AsyncLittlePay(transport=...)`: requests come here, without a socket."""
        return InProcessTransport(self.app)

    @property
    def public_key(self) -> str:
        """The public key of `signed_callback`, as PEM; for a `CallbackVerifier`."""
        return signing.public_key()

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
        if entry.final and self._tasks and urlsplit(entry.callback_url).hostname in _LOOPBACK:
            self._tasks.start_soon(self._post_callback, entry)

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
        entry = self._entry(key)
        body = _encode(
            {
                "reference": entry.reference,
                "status": entry.status,
                "payload": dict(entry.payload),
                "amount": entry.amount,
                "key": entry.key,
                "currency": entry.currency,
                "provider": entry.provider,
                "date": timestamp(),
            }
        )
        return body, signing.signed(body, int(time.time() if now is None else now))

    def count(self, operation: str) -> int:
        """Return how many requests of an operation have come."""
        return sum(received.operation == operation for received in self.requests)

    @contextlib.asynccontextmanager
    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
    ) -> AsyncIterator[str]:
        """Serve it on a socket, on asyncio's event loop; gives its base URL.

        Args:
            host: Where to listen; loopback unless you know better: it is a sandbox.
            port: 0 for any that is free.
            ssl_certfile: A certificate to serve https with.
            ssl_keyfile: Its key, if that is in a file of its own.
        """
        async with serving(
            self.app,
            host,
            port,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            let_go=self._let_go,
        ) as url:
            yield url

    def note(self, operation: str, request: Request, body: Mapping[str, Any] | None) -> None:
        """Put a request into `requests`."""
        path = "/api/payments/-/pay" if operation == "create_intent" else request.url.path
        held = request.query_params.get("longPoll") == "true"
        self.requests.append(Received(operation, request.method, path, held, body))

    def weather_for(self, operation: str) -> Kind | None:
        """Return what goes wrong with this request of an operation, if anything."""
        if self.weather is not None and self.weather.strikes(operation):
            return self.weather.kind
        return None

    def ring(self, entry: Entry, outcome: Outcome) -> None:
        """Have a payer do what their number stands for."""
        if outcome.status is not None and self._tasks is not None:
            self._tasks.start_soon(self._answer_handset, entry, outcome.status, outcome)

    async def _answer_handset(self, entry: Entry, status: str, outcome: Outcome) -> None:
        await anyio.sleep(outcome.after)
        if not entry.final:
            self.settle(entry.reference, status, outcome.message)

    async def _post_callback(self, entry: Entry) -> None:
        body, headers = self.signed_callback(entry.reference)
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            # Nobody has to listen; the payment's status says the same.
            with contextlib.suppress(httpx.HTTPError):
                await client.post(entry.callback_url, content=body, headers=headers)

    def _entry(self, key: str) -> Entry:
        entry = self.book.find(key)
        if entry is None:
            raise KeyError(key)
        return entry

    def _let_go(self) -> None:
        """Answer all that is held: a server can't stop while it waits."""
        for entry in self.book:
            entry.wake()
