"""What tests of the sandbox share: a ledger to wait on, and plain httpx as a visitor."""

import ssl
from collections.abc import Callable
from typing import Any

import anyio
import httpx

from little_pay_async.sandbox import Received, Sandbox

from .canaries import MOBILE

# httpx's own context would take 20 ms to make, for each client.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PATIENCE = 25.0  # seconds; httpx's own five are few on a machine with much to do
INTENT: dict[str, Any] = {
    "amount": 100,
    "currency": "KES",
    "description": "2 tickets",
    "callbackUrl": "https://shop.example/callbacks",
    "key": "ORDER42",
}


class Ledger(list[Received]):
    """The sandbox's list of requests, with a way to wait for them.

    A request is noted in the same step of the event loop in which its hold begins.
    """

    def __init__(self) -> None:
        super().__init__()
        self._news = anyio.Event()

    def append(self, received: Received) -> None:
        super().append(received)
        self._news.set()
        self._news = anyio.Event()

    async def until(self, number: int) -> None:
        """Wait until that many requests have come."""
        while len(self) < number:
            await self._news.wait()


class Visitor:
    """A client of the sandbox that knows nothing of this library."""

    def __init__(self, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
        self.sandbox = sandbox
        self.http = http
        self.ledger = Ledger()
        sandbox.requests = self.ledger

    async def create(
        self,
        key: str = "ORDER42",
        *,
        auth: tuple[str, str] | None = None,
        token_id: str | None = None,
        without: str | None = None,
        **changes: Any,
    ) -> httpx.Response:
        made_up = self.sandbox.credentials
        body = INTENT | {"key": key} | changes
        if without is not None:
            del body[without]
        return await self.http.post(
            f"/api/payments/{token_id or made_up['token_id']}/pay",
            auth=auth or (made_up["client_id"], made_up["client_secret"]),
            json=body,
        )

    async def reference(self, key: str = "ORDER42", **changes: Any) -> str:
        """Create an intent and return its reference."""
        answer = await self.create(key, **changes)
        assert answer.status_code == 200, answer.text
        reference = answer.json()["data"]["reference"]
        assert isinstance(reference, str)
        return reference

    async def process(
        self, reference: str, mobile: str = MOBILE, provider: str = "MPESA", *, held: bool = False
    ) -> httpx.Response:
        body = {"type": provider, "payment": {"mobile": mobile}}
        return await self.http.post(f"/pay/{reference}/process{_query(held)}", json=body)

    async def status(
        self, key: str = "ORDER42", *, held: bool = False, api_key: str | None = None
    ) -> httpx.Response:
        headers = {"X-API-KEY": api_key or self.sandbox.credentials["api_key"]}
        return await self.http.get(f"/api/payments-v2/{key}{_query(held)}", headers=headers)

    async def refund(self, key: str = "ORDER42", **body: Any) -> httpx.Response:
        headers = {"X-API-KEY": self.sandbox.credentials["api_key"]}
        return await self.http.post(f"/api/refund/{key}", headers=headers, json=body)

    async def paid(self, key: str = "ORDER42", **changes: Any) -> str:
        """Create, process and settle a payment; return its reference."""
        reference = await self.reference(key, **changes)
        await self.process(reference)
        self.sandbox.settle(reference, "COMPLETED")
        return reference

    async def held(
        self, poll: Callable[[], Any], meanwhile: Callable[[], object], number: int = 1
    ) -> list[httpx.Response]:
        """Send polls, do something once all of them are held, and return their answers."""
        answers: list[httpx.Response] = []
        before = len(self.ledger)

        async def ask() -> None:
            answers.append(await poll())

        async with anyio.create_task_group() as tasks:
            for _ in range(number):
                tasks.start_soon(ask)
            await self.ledger.until(before + number)
            assert answers == []
            meanwhile()
        return answers


def in_process(sandbox: Sandbox) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://sandbox.test", transport=sandbox.transport)


def _query(held: bool) -> str:
    return "?longPoll=true" if held else ""


def waiting(sandbox: Sandbox, key: str) -> int:
    """Return how many polls of a payment are held."""
    entry = sandbox.book.find(key)
    assert entry is not None
    return entry.changed.statistics().tasks_waiting
