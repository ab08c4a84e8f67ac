"""What the sandbox signs, and where it posts it to."""

import base64
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from little_pay_async.sandbox import PostedCallback, Sandbox
from little_pay_async.sandbox.callbacks import is_posted_to

from .sandboxes import Visitor, in_process
from .servers import Exchange, ScriptedServer, documented, refusing_port, response

pytestmark = pytest.mark.anyio

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def visitor(sandbox: Sandbox) -> AsyncIterator[Visitor]:
    async with in_process(sandbox) as http:
        yield Visitor(sandbox, http)


@pytest.fixture
async def shop() -> AsyncIterator[ScriptedServer]:
    async def thanks(exchange: Exchange) -> None:
        await exchange.send(response(b"{}"))

    async with ScriptedServer(thanks) as shop:
        yield shop


def verify(sandbox: Sandbox, body: bytes, timestamp: str, signature: str) -> None:
    """Check a signature by the documented recipe.

    Raises:
        InvalidSignature: It is none.
    """
    key = serialization.load_pem_public_key(sandbox.public_key.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    key.verify(
        base64.b64decode(signature, validate=True),
        f"{timestamp}.".encode() + body,
        padding.PKCS1v15(),
        hashes.SHA256(),
    )


class TestSigned:
    async def test_payment(self, sandbox: Sandbox, visitor: Visitor) -> None:
        reference = await visitor.paid(amount=1)
        body, headers = sandbox.signed_callback("ORDER42")
        timestamp = headers["X-LittlePay-Timestamp"]
        verify(sandbox, body, timestamp, headers["X-LittlePay-Signature"])
        assert abs(int(timestamp) - time.time()) < 30
        said = json.loads(body)
        assert DATE.fullmatch(said["date"])
        expected = documented("payment-callback")
        expected |= {"key": "ORDER42", "reference": reference, "date": said["date"]}
        assert said == expected
        assert body == json.dumps(said, separators=(",", ":")).encode()  # compact

    async def test_refund(self, sandbox: Sandbox, visitor: Visitor) -> None:
        reference = await visitor.paid()
        await visitor.refund(amount=7, reason="Refund for order 123")
        body, headers = sandbox.signed_refund_callback(reference)
        verify(sandbox, body, headers["X-LittlePay-Timestamp"], headers["X-LittlePay-Signature"])
        said = json.loads(body)
        expected = documented("refund-callback")
        expected |= {"amount": 7, "key": "ORDER42", "reference": reference, "date": said["date"]}
        assert said == expected

    async def test_altered(self, sandbox: Sandbox, visitor: Visitor) -> None:
        await visitor.paid()
        body, headers = sandbox.signed_callback("ORDER42")
        altered = body.replace(b"COMPLETED", b"FAILED")
        assert altered != body
        stamp, signature = headers["X-LittlePay-Timestamp"], headers["X-LittlePay-Signature"]
        with pytest.raises(InvalidSignature):
            verify(sandbox, altered, stamp, signature)
        with pytest.raises(InvalidSignature):
            verify(sandbox, body, str(int(stamp) + 1), signature)

    async def test_at_another_time(self, sandbox: Sandbox, visitor: Visitor) -> None:
        await visitor.paid()
        await visitor.refund(amount=1)
        for body, headers in (
            sandbox.signed_callback("ORDER42", now=1000.9),
            sandbox.signed_refund_callback("ORDER42", now=1000.9),
        ):
            assert headers["X-LittlePay-Timestamp"] == "1000"
            verify(sandbox, body, "1000", headers["X-LittlePay-Signature"])

    async def test_one_key_for_the_process(self, sandbox: Sandbox) -> None:
        assert Sandbox().public_key == sandbox.public_key

    async def test_no_refund(self, sandbox: Sandbox, visitor: Visitor) -> None:
        await visitor.paid()
        with pytest.raises(KeyError, match="ORDER42"):
            sandbox.signed_refund_callback("ORDER42")


class TestPosted:
    async def until_noted(self, sandbox: Sandbox, number: int = 1) -> None:
        while len(sandbox.callbacks) < number:
            await anyio.lowlevel.checkpoint()

    @pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
    async def test_when_it_ends(
        self, sandbox: Sandbox, visitor: Visitor, shop: ScriptedServer, status: str
    ) -> None:
        url = f"{shop.base_url}/callbacks?shop=1"
        await visitor.create(callbackUrl=url)
        sandbox.settle("ORDER42", status)
        await shop.until_requests(1)
        (posted,) = shop.requests
        assert (posted.method, posted.target) == ("POST", "/callbacks?shop=1")
        assert posted.header("content-type") == "application/json"
        verify(
            sandbox,
            posted.body,
            posted.header("X-LittlePay-Timestamp") or "",
            posted.header("X-LittlePay-Signature") or "",
        )
        assert posted.json["status"] == status
        await self.until_noted(sandbox)
        assert sandbox.callbacks == [PostedCallback("ORDER42", url, answer=200)]

    async def test_of_a_refund(
        self, sandbox: Sandbox, visitor: Visitor, shop: ScriptedServer
    ) -> None:
        await visitor.paid()
        sandbox.refund_status = "PENDING"
        await visitor.refund(amount=5, callbackUrl=f"{shop.base_url}/refunds")
        sandbox.settle_refund("ORDER42", "FAILED", "No such account")
        await shop.until_requests(1)
        said = shop.requests[0].json
        assert (said["status"], said["message"], said["amount"]) == ("FAILED", "No such account", 5)

    async def test_says_what_was_when_it_was_settled(
        self, sandbox: Sandbox, visitor: Visitor, shop: ScriptedServer
    ) -> None:
        await visitor.create(callbackUrl=shop.base_url)
        sandbox.settle("ORDER42", "COMPLETED")
        sandbox.settle("ORDER42", "FAILED")
        await shop.until_requests(2)
        assert {posted.json["status"] for posted in shop.requests} == {"COMPLETED", "FAILED"}

    async def test_not_before_it_ends(
        self, sandbox: Sandbox, visitor: Visitor, shop: ScriptedServer
    ) -> None:
        await visitor.create("FIRST", callbackUrl=shop.base_url)
        await visitor.create("SECOND", callbackUrl=shop.base_url)
        sandbox.settle("FIRST", "UNDER_REVIEW")
        sandbox.settle("SECOND", "COMPLETED")
        await self.until_noted(sandbox)
        await anyio.wait_all_tasks_blocked()
        assert [posted.json["key"] for posted in shop.requests] == ["SECOND"]

    async def test_nobody_listens(self, sandbox: Sandbox, visitor: Visitor) -> None:
        url = f"http://127.0.0.1:{refusing_port()}/"
        await visitor.create(callbackUrl=url)
        sandbox.settle("ORDER42", "COMPLETED")
        await self.until_noted(sandbox)
        assert sandbox.callbacks == [PostedCallback("ORDER42", url, error="ConnectError")]

    async def test_an_error_is_noted(
        self, sandbox: Sandbox, visitor: Visitor, shop: ScriptedServer
    ) -> None:
        async def refuse(exchange: Exchange) -> None:
            await exchange.send(response(b"", "500 Oops"))

        shop.script = refuse
        await visitor.create(callbackUrl=shop.base_url)
        sandbox.settle("ORDER42", "COMPLETED")
        await self.until_noted(sandbox)
        assert [posted.answer for posted in sandbox.callbacks] == [500]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:99999999/", "ftp://localhost/"])
    async def test_no_address(self, sandbox: Sandbox, visitor: Visitor, url: str) -> None:
        await visitor.create(callbackUrl=url)
        sandbox.settle("ORDER42", "COMPLETED")
        await self.until_noted(sandbox)
        assert sandbox.callbacks[0].error

    async def test_nothing_leaves_this_machine(
        self, sandbox: Sandbox, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_client(**_: Any) -> httpx.AsyncClient:
            raise AssertionError("it posts")

        monkeypatch.setattr(httpx, "AsyncClient", no_client)
        await visitor.create(callbackUrl="https://shop.example/callbacks")
        sandbox.settle("ORDER42", "COMPLETED")
        await visitor.refund(amount=1, callbackUrl="https://shop.example/refunds")
        sandbox.settle_refund("ORDER42", "COMPLETED")
        await anyio.wait_all_tasks_blocked()
        assert sandbox.callbacks == []

    async def test_leaving_the_block_drops_it(self) -> None:
        async def silent(exchange: Exchange) -> None:
            await exchange.client_has_gone()

        with anyio.fail_after(5):
            async with ScriptedServer(silent) as shop:
                async with Sandbox() as sandbox, in_process(sandbox) as http:
                    await Visitor(sandbox, http).create(callbackUrl=shop.base_url)
                    sandbox.settle("ORDER42", "COMPLETED")
                    await shop.until_requests(1)
                await shop.until(lambda: shop.open == 0)


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://localhost:8000/cb", True),
        ("https://127.0.0.1/cb", True),
        ("http://[::1]:80/cb", True),
        ("http://LOCALHOST/cb", True),
        ("https://shop.example/cb", False),
        ("http://localhost.example/", False),
        ("http://127.0.0.1@shop.example/", False),
        ("http://shop.example/?127.0.0.1", False),
        ("http://[::1", False),
        ("/relative", False),
        ("", False),
        (None, False),
    ],
)
def test_where_callbacks_go(url: str | None, is_local: bool) -> None:
    assert is_posted_to(url) is is_local
