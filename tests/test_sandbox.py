"""The sandbox, in process on every event loop and on a socket, as plain httpx sees it."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import attrs
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from little_pay_async import Msisdn
from little_pay_async.sandbox import (
    MAGIC_KEYS,
    OUTCOMES,
    Kind,
    Outcome,
    Sandbox,
    Weather,
    app,
    outcomes,
)
from little_pay_async.sandbox.serving import serving

from .sandboxes import INTENT, MOBILE, PATIENCE, PLAIN, Visitor, in_process, waiting
from .servers import documented

pytestmark = pytest.mark.anyio

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


class Door:
    """Where a server that outlives a test finds the test's own sandbox: starting one takes time."""

    url = ""
    sandbox: Sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.sandbox.app(scope, receive, send)


@pytest.fixture(scope="module")
async def door(anyio_backend: tuple[str, object]) -> AsyncIterator[Door]:
    door = Door()
    if anyio_backend[0] == "trio":
        yield door
        return
    async with serving(
        door, "127.0.0.1", 0, ssl_certfile=None, ssl_keyfile=None, let_go=lambda: None
    ) as door.url:
        yield door


@pytest.fixture(params=["in process", pytest.param("socket", marks=pytest.mark.asyncio_only)])
async def visitor(
    request: pytest.FixtureRequest, sandbox: Sandbox, door: Door
) -> AsyncIterator[Visitor]:
    door.sandbox = sandbox
    http = (
        httpx.AsyncClient(base_url=door.url, verify=PLAIN, timeout=PATIENCE)
        if request.param == "socket"
        else in_process(sandbox)
    )
    async with http:
        yield Visitor(sandbox, http)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have payers act at once."""

    def outcome_of(mobile: str, original: Any = app.outcome_of) -> Outcome:
        return attrs.evolve(original(mobile), after=0.0)

    monkeypatch.setattr(app, "outcome_of", outcome_of)


def shape(value: object) -> object:
    """Return the names in a JSON value, without what they stand for."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else None


def let_expire(sandbox: Sandbox, key: str) -> None:
    entry = sandbox.book.find(key)
    assert entry is not None
    entry.expires_at = anyio.current_time()


class TestShapes:
    async def test_create(self, visitor: Visitor) -> None:
        answer = await visitor.create()
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert shape(answer.json()) == shape(documented("create-intent-response"))
        assert DATE.fullmatch(answer.json()["date"])
        data = answer.json()["data"]
        assert data["message"] == "Request processed successfully"
        assert data["checkoutUrl"].endswith(f"/checkout/{data['reference']}")

    async def test_process(self, visitor: Visitor) -> None:
        answer = await visitor.process(await visitor.reference(description="x", amount=1))
        expected = documented("process-response-pending")["data"]
        expected["meta"]["description"] = "x"
        data = answer.json()["data"]
        assert data["meta"].pop("reference")
        del expected["meta"]["reference"]
        assert data == expected

    async def test_long_poll(self, visitor: Visitor) -> None:
        await visitor.paid()
        data = (await visitor.status(held=True)).json()["data"]
        assert shape(data) == shape(documented("long-poll-response-completed")["data"])
        assert data["status"] == "COMPLETED"

    async def test_status(self, visitor: Visitor) -> None:
        reference = await visitor.paid(amount=1)
        data = (await visitor.status(reference)).json()["data"]
        expected = documented("status-response-completed")["data"]
        expected |= {"reference": reference, "key": "ORDER42"}
        expected["attempts"][0]["reference"] = reference
        assert data == expected

    async def test_the_address_comes_back(self, visitor: Visitor) -> None:
        payload = {"billingAddress": {"email": "a@shop.example"}, "customData": {"seats": [1, 2]}}
        await visitor.create(payload=payload)
        address = (await visitor.status()).json()["data"]["payload"]["billingAddress"]
        expected = documented("status-response-completed")["data"]["payload"]["billingAddress"]
        assert address == expected | {"email": "a@shop.example"}
        body, _ = visitor.sandbox.signed_callback("ORDER42")
        assert json.loads(body)["payload"]["customData"] == {"seats": [1, 2]}

    async def test_refund(self, visitor: Visitor) -> None:
        await visitor.paid()
        answer = await visitor.refund(amount=1)
        assert answer.json()["data"] == documented("refund-response")["data"]

    @pytest.mark.parametrize("digits", ["1.10", "12345678901234567.89", "100", "0.30"])
    async def test_money_keeps_its_digits(self, visitor: Visitor, digits: str) -> None:
        made_up = visitor.sandbox.credentials
        content = json.dumps(INTENT | {"amount": "AMOUNT"}).replace('"AMOUNT"', digits)
        created = await visitor.http.post(
            f"/api/payments/{made_up['token_id']}/pay",
            auth=(made_up["client_id"], made_up["client_secret"]),
            content=content,
        )
        assert created.status_code == 200
        assert f'"amount":{digits},' in (await visitor.status()).text
        assert f'"amount":{digits},' in (await visitor.status(held=False)).text
        assert f'"amount":{digits},'.encode() in visitor.sandbox.signed_callback("ORDER42")[0]


class TestCreate:
    @pytest.mark.parametrize("auth", [("sandbox-client", "wrong"), ("", ""), ("é", "é")])
    async def test_wrong_secret(self, visitor: Visitor, auth: tuple[str, str]) -> None:
        answer = await visitor.create(auth=auth)
        assert (answer.status_code, shape(answer.json())) == (
            401,
            {"date": None, "data": {"message": None}},
        )
        assert (await visitor.status()).status_code == 404

    @pytest.mark.parametrize("header", [None, "Basic", "Basic %%%", "Basic /w==", "Bearer abc"])
    async def test_no_credentials(self, visitor: Visitor, header: str | None) -> None:
        headers = {"Authorization": header} if header else {}
        answer = await visitor.http.post(
            "/api/payments/sandbox-token/pay", json=INTENT, headers=headers
        )
        assert answer.status_code == 401

    async def test_wrong_token(self, visitor: Visitor) -> None:
        assert (await visitor.create(token_id="other")).status_code == 401

    @pytest.mark.parametrize("name", ["amount", "description", "callbackUrl", "key"])
    async def test_something_left_out(self, visitor: Visitor, name: str) -> None:
        answer = await visitor.create(without=name)
        assert answer.status_code == 400
        assert name in answer.json()["data"]["message"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("amount", 0),
            ("amount", -1),
            ("amount", "100"),
            ("amount", True),
            ("description", ""),
            ("key", "with space"),
            ("key", "ключ"),
            ("currency", 7),
            ("expiresAt", "soon"),
            ("expiresAt", 0),
            ("payload", [1]),
            ("returnUrl", 7),
        ],
    )
    async def test_something_wrong(self, visitor: Visitor, name: str, value: object) -> None:
        answer = await visitor.create(**{"key": "ORDER42", name: value})
        assert answer.status_code == 400
        assert name in answer.json()["data"]["message"]

    async def test_without_a_currency(self, visitor: Visitor) -> None:
        reference = await visitor.reference(without="currency")
        assert (await visitor.process(reference)).json()["data"]["meta"]["currency"] == "KES"

    async def test_a_key_is_used_once(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        assert (await visitor.create()).status_code == 409
        assert (await visitor.status()).json()["data"]["reference"] == reference

    @pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b"[" * 100_000, b"null"])
    async def test_no_json_object(self, visitor: Visitor, content: bytes) -> None:
        answer = await visitor.http.post("/api/payments/sandbox-token/pay", content=content)
        assert answer.status_code == 400
        assert visitor.sandbox.requests[0].body is None

    async def test_no_such_page(self, visitor: Visitor) -> None:
        assert (await visitor.http.get("/api/nothing")).status_code == 404
        assert (await visitor.http.get("/api/refund/ORDER42")).status_code == 405


class TestProcess:
    async def test_unknown_intent(self, visitor: Visitor) -> None:
        await visitor.create()
        assert (await visitor.process("nothing")).status_code == 404
        assert (await visitor.process("ORDER42")).status_code == 404  # not by merchant key

    @pytest.mark.parametrize("mobile", ["+254712345678", "", "12", "phone"])
    async def test_no_number(self, visitor: Visitor, mobile: str) -> None:
        answer = await visitor.process(await visitor.reference(), mobile)
        assert answer.status_code == 400
        assert (await visitor.status()).json()["data"]["attempts"] == []

    async def test_unknown_provider(self, visitor: Visitor) -> None:
        answer = await visitor.process(await visitor.reference(), provider="CARDS")
        assert answer.status_code == 400

    async def test_no_payment(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        answer = await visitor.http.post(f"/pay/{reference}/process", json={"type": "MPESA"})
        assert answer.status_code == 400

    @pytest.mark.parametrize("provider", ["MPESA", "AIRTEL", "MTN", "TIGOPESA"])
    async def test_providers(self, visitor: Visitor, provider: str) -> None:
        answer = await visitor.process(await visitor.reference(), provider=provider)
        assert answer.json()["data"]["meta"]["provider"] == provider

    async def test_twice_rings_twice(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        await visitor.process(reference, provider="MPESA")
        await visitor.process(reference, provider="AIRTEL")
        by_key = (await visitor.status()).json()["data"]["attempts"]
        by_reference = (await visitor.status(reference)).json()["data"]["attempts"]
        assert [attempt["provider"] for attempt in by_key] == ["MPESA", "AIRTEL"]
        assert [attempt["provider"] for attempt in by_reference] == ["AIRTEL"]
        assert visitor.sandbox.count("process") == 2

    async def test_once_it_has_ended(self, visitor: Visitor) -> None:
        assert (await visitor.process(await visitor.paid())).status_code == 409
        assert len((await visitor.status()).json()["data"]["attempts"]) == 1


class TestStatus:
    async def test_wrong_key(self, visitor: Visitor) -> None:
        await visitor.create()
        assert (await visitor.status(api_key="wrong")).status_code == 401
        assert (await visitor.status(api_key="wrong", held=True)).status_code == 401
        assert (await visitor.http.get("/api/payments-v2/ORDER42")).status_code == 401
        assert (await visitor.http.post("/api/refund/ORDER42")).status_code == 401

    async def test_unknown(self, visitor: Visitor) -> None:
        assert (await visitor.status("nothing")).status_code == 404
        assert (await visitor.status("nothing", held=True)).status_code == 404
        assert (await visitor.refund("nothing", amount=1)).status_code == 404

    async def test_before_it_rings(self, visitor: Visitor) -> None:
        await visitor.create()
        data = (await visitor.status()).json()["data"]
        assert (data["status"], data["payment"]["provider"], data["attempts"]) == (
            "PENDING",
            None,
            [],
        )


class TestHold:
    @pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "UNDER_REVIEW"])
    @pytest.mark.parametrize("by", ["reference", "merchant key"])
    async def test_until_settled(self, visitor: Visitor, status: str, by: str) -> None:
        reference = await visitor.reference()
        name = reference if by == "reference" else "ORDER42"
        answers = await visitor.held(
            lambda: visitor.status(name, held=True),
            lambda: visitor.sandbox.settle(name, status, "So it is"),
            number=3,
        )
        told = [(answer.json()["data"]["status"]) for answer in answers]
        assert told == [status] * 3
        assert answers[0].json()["data"]["message"] == "So it is"

    async def test_of_process(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        (answer,) = await visitor.held(
            lambda: visitor.process(reference, held=True),
            lambda: visitor.sandbox.settle(reference, "FAILED"),
        )
        assert answer.json()["data"]["status"] == "FAILED"
        assert (await visitor.status()).json()["data"]["attempts"][0]["status"] == "FAILED"

    async def test_another_payment_stays_held(self, visitor: Visitor) -> None:
        await visitor.create("FIRST")
        await visitor.create("SECOND")

        def settle() -> None:
            assert waiting(visitor.sandbox, "FIRST") == 1
            visitor.sandbox.settle("SECOND", "COMPLETED")
            assert waiting(visitor.sandbox, "FIRST") == 1
            visitor.sandbox.settle("FIRST", "COMPLETED")

        await visitor.held(lambda: visitor.status("FIRST", held=True), settle)

    async def test_runs_out(self, visitor: Visitor) -> None:
        await visitor.create()
        visitor.sandbox.hold = 0.01
        answer = await visitor.status(held=True)
        assert answer.json()["data"]["status"] == "PENDING"
        assert "meta" in answer.json()["data"]

    async def test_until_expiry(self, visitor: Visitor) -> None:
        reference = await visitor.reference(expiresAt=0.005)  # minutes
        await visitor.process(reference)
        data = (await visitor.status(held=True)).json()["data"]
        assert (data["status"], data["message"]) == ("FAILED", "The payment intent has expired")
        assert (await visitor.process(reference)).status_code == 409

    async def test_expired_when_asked(self, visitor: Visitor) -> None:
        await visitor.create()
        let_expire(visitor.sandbox, "ORDER42")
        assert (await visitor.status()).json()["data"]["status"] == "FAILED"

    async def test_what_is_settled_does_not_expire(self, visitor: Visitor) -> None:
        await visitor.create()
        let_expire(visitor.sandbox, "ORDER42")
        visitor.sandbox.settle("ORDER42", "COMPLETED")
        assert (await visitor.status()).json()["data"]["status"] == "COMPLETED"

    async def test_what_is_unknown_goes_on(self, visitor: Visitor) -> None:
        await visitor.create()
        visitor.sandbox.settle("ORDER42", "UNDER_REVIEW")
        (answer,) = await visitor.held(
            lambda: visitor.status(held=True),
            lambda: visitor.sandbox.settle("ORDER42", "COMPLETED"),
        )
        assert answer.json()["data"]["status"] == "COMPLETED"

    async def test_is_let_go_with_its_request(self, visitor: Visitor) -> None:
        await visitor.create()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: visitor.status(held=True))
            await visitor.ledger.until(2)
            assert waiting(visitor.sandbox, "ORDER42") == 1
            tasks.cancel_scope.cancel()
        while waiting(visitor.sandbox, "ORDER42"):  # on a socket, the news has to travel
            await anyio.lowlevel.checkpoint()
        assert (await visitor.status()).status_code == 200


class TestOutcomes:
    @pytest.mark.usefixtures("at_once")
    @pytest.mark.parametrize("country", ["254", "233"])
    @pytest.mark.parametrize("digits", [digits for digits in OUTCOMES if OUTCOMES[digits].status])
    async def test_ends_as_the_table_says(
        self, visitor: Visitor, digits: str, country: str
    ) -> None:
        reference = await visitor.reference()
        answer = await visitor.process(reference, f"{country}20{digits}", held=True)
        data = answer.json()["data"]
        assert (data["status"], data["message"]) == (
            OUTCOMES[digits].status,
            OUTCOMES[digits].message,
        )

    @pytest.mark.usefixtures("at_once")
    @pytest.mark.parametrize("mobile", [MOBILE, "254700000003"])
    async def test_waits(self, visitor: Visitor, mobile: str) -> None:
        await visitor.process(await visitor.reference(), mobile)
        visitor.sandbox.hold = 0.05
        assert (await visitor.status(held=True)).json()["data"]["status"] == "PENDING"

    @pytest.mark.usefixtures("at_once")
    @pytest.mark.parametrize("mobile", ["25400000000", "23300000000"])
    async def test_documented_placeholders_complete(self, visitor: Visitor, mobile: str) -> None:
        await visitor.process(await visitor.reference(), mobile)
        assert (await visitor.status(held=True)).json()["data"]["status"] == "COMPLETED"

    @pytest.mark.parametrize("by_hand", ["FAILED", None])
    async def test_settled_by_hand_first(self, sandbox: Sandbox, by_hand: str | None) -> None:
        entry = sandbox.book.add(INTENT, anyio.current_time())
        assert entry is not None
        sandbox.ring(entry, Outcome("COMPLETED", "Success", after=0.0))
        if by_hand is not None:
            sandbox.settle(entry.reference, by_hand)
        await anyio.wait_all_tasks_blocked()
        assert entry.status == (by_hand or "COMPLETED")


def test_the_slow_one_is_slow() -> None:
    slow = OUTCOMES["0000005"]
    assert slow.status == "COMPLETED"
    assert all(slow.after >= 5 * other.after for other in OUTCOMES.values() if other is not slow)


def test_the_table_in_words_is_the_table() -> None:
    assert outcomes.__doc__ is not None
    rows = re.findall(r"^\| (\d{7}) \| (\w+)[^|]*\| ?([\d.]*)", outcomes.__doc__, re.MULTILINE)
    assert rows == [
        (digits, each.status or "nothing", f"{each.after:g}" if each.status else "")
        for digits, each in OUTCOMES.items()
    ]


@pytest.mark.parametrize("digits", sorted(OUTCOMES.keys() - {"0000000"}))
def test_magic_numbers_are_valid(digits: str) -> None:
    assert str(Msisdn.parse(f"+25470{digits}")) == f"25470{digits}"


class TestRefund:
    async def test_only_what_was_paid(self, visitor: Visitor) -> None:
        await visitor.create(amount=3)
        assert (await visitor.refund(amount=1)).status_code == 400
        visitor.sandbox.settle("ORDER42", "FAILED")
        assert (await visitor.refund(amount=1)).status_code == 400

    async def test_not_more_than_was_paid(self, visitor: Visitor) -> None:
        await visitor.paid(amount=3)
        assert (await visitor.refund(amount=3.01)).status_code == 400
        assert (await visitor.refund(amount=2.5)).status_code == 200
        assert (await visitor.refund(amount=0.51)).status_code == 400
        assert (await visitor.refund(amount=0.5)).status_code == 200

    @pytest.mark.parametrize("amount", [None, 0, -1, "1"])
    async def test_no_amount(self, visitor: Visitor, amount: object) -> None:
        await visitor.paid()
        assert (await visitor.refund(amount=amount)).status_code == 400

    @pytest.mark.parametrize("name", ["reason", "callbackUrl"])
    async def test_no_string(self, visitor: Visitor, name: str) -> None:
        await visitor.paid()
        assert (await visitor.refund(amount=1, **{name: 7})).status_code == 400

    async def test_what_failed_can_be_tried_again(self, visitor: Visitor) -> None:
        await visitor.paid(amount=3)
        visitor.sandbox.refund_status = "FAILED"
        assert (await visitor.refund(amount=3)).json()["data"]["status"] == "FAILED"
        visitor.sandbox.refund_status = "PENDING"
        assert (await visitor.refund(amount=3)).json()["data"]["status"] == "PENDING"
        assert (await visitor.refund(amount=3)).status_code == 400
        visitor.sandbox.settle_refund("ORDER42", "FAILED")
        assert (await visitor.refund(amount=3)).status_code == 200

    async def test_by_reference(self, visitor: Visitor) -> None:
        reference = await visitor.paid()
        assert (await visitor.refund(reference, amount=1)).status_code == 200


class TestWeather:
    async def test_no_hold(self, visitor: Visitor) -> None:
        await visitor.create()
        visitor.sandbox.weather = Weather(kind=Kind.NO_HOLD)
        data = (await visitor.status(held=True)).json()["data"]
        assert (data["status"], "meta" in data) == ("PENDING", True)

    async def test_bad_gateway(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        visitor.sandbox.weather = Weather(kind="bad_gateway", times=1)
        answer = await visitor.process(reference)
        assert (answer.status_code, answer.text[:6]) == (502, "<html>")
        assert answer.headers["content-type"].startswith("text/html")
        assert (await visitor.status()).json()["data"]["attempts"] == []

    @pytest.mark.parametrize(("seconds", "header"), [(2.0, "2"), (0.1, "1"), (7, "7")])
    async def test_rate_limited(self, visitor: Visitor, seconds: float, header: str) -> None:
        visitor.sandbox.weather = Weather(kind=Kind.RATE_LIMITED, seconds=seconds)
        answer = await visitor.create()
        assert (answer.status_code, answer.headers["retry-after"]) == (429, header)
        visitor.sandbox.weather = None
        assert (await visitor.status()).status_code == 404

    async def test_dropped(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        visitor.sandbox.weather = Weather(kind="dropped", times=1)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await visitor.process(reference)
        assert len((await visitor.status()).json()["data"]["attempts"]) == 1

    @pytest.mark.parametrize("operation", ["process", "status"])
    async def test_dropped_while_held(self, visitor: Visitor, operation: str) -> None:
        reference = await visitor.reference()
        visitor.sandbox.weather = Weather(kind="dropped", times=1)
        work = visitor.process if operation == "process" else visitor.status
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await work(reference, held=True)
        assert visitor.sandbox.requests[-1].held
        assert (await visitor.status()).status_code == 200

    async def test_slow(self, visitor: Visitor) -> None:
        await visitor.create()
        visitor.sandbox.weather = Weather(kind="slow", seconds=0.05)
        began = anyio.current_time()
        assert (await visitor.status()).status_code == 200
        assert anyio.current_time() - began >= 0.04  # event loops round

    async def test_for_one_operation(self, visitor: Visitor) -> None:
        visitor.sandbox.weather = Weather(kind="bad_gateway", operation="status", times=2)
        assert (await visitor.create()).status_code == 200
        codes = [(await visitor.status()).status_code for _ in range(4)]
        assert codes == [502, 502, 200, 200]

    async def test_from_the_beginning(self) -> None:
        async with (
            Sandbox(weather=Weather(kind="bad_gateway"), hold=1, refund_status="FAILED") as sandbox,
            in_process(sandbox) as http,
        ):
            assert (await Visitor(sandbox, http).create()).status_code == 502
            assert (sandbox.hold, sandbox.refund_status) == (1, "FAILED")

    @pytest.mark.parametrize("by", ["reference", "merchant key"])
    async def test_by_key(self, visitor: Visitor, by: str) -> None:
        key = "WEATHERBADGATEWAY1"
        reference = await visitor.reference(key)
        name = reference if by == "reference" else key
        assert (await visitor.status(name)).status_code == 502
        assert (await visitor.process(reference)).status_code == 502
        await visitor.create("ORDER42")
        assert (await visitor.status("ORDER42")).status_code == 200

    def test_each_kind_has_its_key(self) -> None:
        assert sorted(MAGIC_KEYS.values()) == sorted(Kind)
        assert all(key.isalnum() for key in MAGIC_KEYS)

    def test_unknown_weather(self) -> None:
        with pytest.raises(ValueError, match="tornado"):
            Weather(kind="tornado")
        with pytest.raises(ValueError, match="fly"):
            Weather(kind="slow", operation="fly")


class TestRequests:
    async def test_are_noted(self, visitor: Visitor) -> None:
        reference = await visitor.paid()
        await visitor.status(held=True)
        await visitor.refund(amount=1)
        noted = visitor.sandbox.requests
        assert [
            (each.operation, each.method, each.path, each.key, each.held) for each in noted
        ] == [
            ("create_intent", "POST", "/api/payments/-/pay", "ORDER42", False),
            ("process", "POST", f"/pay/{reference}/process", reference, False),
            ("status", "GET", "/api/payments-v2/ORDER42", "ORDER42", True),
            ("refund", "POST", "/api/refund/ORDER42", "ORDER42", False),
        ]
        assert noted[1].body == {"type": "MPESA", "payment": {"mobile": MOBILE}}
        assert [visitor.sandbox.count(name) for name in ("process", "status", "other")] == [1, 1, 0]

    async def test_show_nothing_secret(self, visitor: Visitor) -> None:
        await visitor.reference(payload={"billingAddress": {"phoneNumber": f"+{MOBILE}"}})
        await visitor.paid("OTHER")
        shown = repr(visitor.sandbox.requests) + repr(list(visitor.sandbox.book))
        for secret in (MOBILE, *visitor.sandbox.credentials.values()):
            assert secret not in shown


async def test_unknown_keys(sandbox: Sandbox) -> None:
    for work in (
        lambda: sandbox.settle("nothing", "COMPLETED"),
        lambda: sandbox.settle_refund("nothing", "COMPLETED"),
        lambda: sandbox.signed_callback("nothing"),
        lambda: sandbox.signed_refund_callback("nothing"),
    ):
        with pytest.raises(KeyError, match="nothing"):
            work()


async def test_the_target_may_differ_from_the_url(sandbox: Sandbox) -> None:
    made_up = sandbox.credentials
    async with httpx.AsyncClient(transport=sandbox.transport) as http:
        answer = await http.post(
            "https://pay.little.africa/api/payments/-/pay",
            auth=(made_up["client_id"], made_up["client_secret"]),
            json=INTENT,
            extensions={"target": f"/api/payments/{made_up['token_id']}/pay".encode()},
        )
    assert answer.status_code == 200
    assert answer.request.url.path == "/api/payments/-/pay"
    assert sandbox.requests[0].body == INTENT


async def test_many_are_held_at_once(sandbox: Sandbox) -> None:
    async with in_process(sandbox) as http:
        visitor = Visitor(sandbox, http)
        await visitor.create()
        answers = await visitor.held(
            lambda: visitor.status(held=True),
            lambda: sandbox.settle("ORDER42", "COMPLETED"),
            number=300,
        )
    assert [answer.json()["data"]["status"] for answer in answers] == ["COMPLETED"] * 300
    assert waiting(sandbox, "ORDER42") == 0


class TestBlock:
    async def test_leaving_ends_what_is_ringing(self) -> None:
        with anyio.fail_after(2):
            async with (
                Sandbox() as sandbox,
                in_process(sandbox) as http,
            ):
                visitor = Visitor(sandbox, http)
                await visitor.process(await visitor.reference(), "254700000005")
        entry = sandbox.book.find("ORDER42")
        assert entry is not None
        assert entry.status == "PENDING"

    async def test_an_exception_comes_out_as_it_is(self) -> None:
        with pytest.raises(KeyError, match="mine"):
            async with Sandbox():
                raise KeyError("mine")

    async def test_cancellation_comes_out(self) -> None:
        with anyio.CancelScope() as scope:
            async with Sandbox():
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    async def test_outside_of_it(self) -> None:
        sandbox = Sandbox()
        async with in_process(sandbox) as http:
            visitor = Visitor(sandbox, http)
            reference = await visitor.reference()
            with pytest.raises(RuntimeError, match="async with Sandbox"):
                await visitor.process(reference)
        sandbox.settle(reference, "COMPLETED")  # needs no block


@pytest.mark.parametrize(
    ("what", "loads_not"),
    [
        ("little_pay_async", ("little_pay_async.sandbox", "starlette", "uvicorn", "cryptography")),
        ("little_pay_async.sandbox", ("cryptography",)),  # before a callback is signed
    ],
)
def test_what_is_imported(what: str, loads_not: tuple[str, ...]) -> None:
    command = [sys.executable, "-P", "-c", f"import sys, {what}; print(*sys.modules)"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert what in ran.stdout.split()
    assert not {*ran.stdout.split()} & {*loads_not}
