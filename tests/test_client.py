"""The operations of the session: what goes over the wire, and what comes back as a result."""

import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

import little_pay_async
from little_pay_async import (
    APIStatusError,
    BillingAddress,
    ConfigurationError,
    Envelope,
    InvalidInputError,
    LittlePayError,
    Msisdn,
    NotFoundError,
    OutcomeUnknownError,
    Payment,
    PaymentIntent,
    PaymentStatus,
    Provider,
)

from .servers import (
    DOCUMENTED,
    Exchange,
    ScriptedServer,
    answers_well,
    envelope,
    in_turn,
    intent,
    payment,
    processed,
    refunded,
    response,
    right_answer,
    sends,
)
from .sessions import CREDENTIALS, INTENT, MOBILE, OPERATIONS, new_session, session, without_pauses

pytestmark = pytest.mark.anyio

BASIC = base64.b64encode(
    f"{CREDENTIALS['client_id']}:{CREDENTIALS['client_secret']}".encode()
).decode()


def documented_request(name: str) -> Any:
    return json.loads((DOCUMENTED / f"{name}.json").read_text())


# --- Requests


async def test_create_intent_sends_what_is_documented() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await pay.create_intent(
            amount=100,
            key="MM12345",
            description="Mobile Money Payment",
            callback_url="https://your-domain.com/callback",
            expires_in=timedelta(minutes=29, seconds=1),
            billing_address=BillingAddress(phone_number="+254712345678"),
        )
    (request,) = server.requests
    assert request.method == "POST"
    assert request.target == f"/api/payments/{CREDENTIALS['token_id']}/pay"
    documented = documented_request("create-intent-request")
    del documented["payload"]["customData"]  # null
    assert request.json == documented


async def test_create_intent_sends_everything_it_is_given() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await pay.create_intent(
            **INTENT | {"amount": Decimal("10.50")},
            currency="UGX",
            return_url="https://shop.example/thanks",
            billing_address={"first_name": "Wanjiku", "phone_number": None},
            custom_data={"seats": [1, 2.5, None, True], "ü": "€"},
            metadata={"createCustomer": True},
        )
    (request,) = server.requests
    assert b'"amount":10.50,' in request.body
    assert request.json == {
        "amount": 10.5,
        "currency": "UGX",
        "description": "2 tickets",
        "callbackUrl": "https://shop.example/callbacks",
        "key": "ORDER42",
        "returnUrl": "https://shop.example/thanks",
        "payload": {
            "billingAddress": {"firstName": "Wanjiku"},
            "customData": {"seats": [1, 2.5, None, True], "ü": "€"},
        },
        "metadata": {"createCustomer": True},
    }


@pytest.mark.parametrize("provider", ["mpesa", "airtel", "mtn"])
async def test_process_sends_what_is_documented(provider: str) -> None:
    documented = documented_request(f"process-request-{provider}")
    mobile = Msisdn.unchecked(documented["payment"]["mobile"])
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await pay.process("REF1", provider, mobile)
        await pay.process("REF1", Provider(provider.upper()), mobile, long_poll=True)
    first, held = server.requests
    assert (first.method, first.target) == ("POST", "/pay/REF1/process")
    assert (held.method, held.target) == ("POST", "/pay/REF1/process?longPoll=true")
    assert first.json == held.json == documented


async def test_refund_sends_what_is_documented() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await pay.refund("1234", "0.10")
        await pay.refund(
            "1234",
            7,
            reason="Refund for order 123",
            callback_url="https://yourwebsite.com/callback",
        )
    bare, full = server.requests
    assert (full.method, full.target) == ("POST", "/api/refund/1234")
    assert bare.body == b'{"amount":0.10}'
    assert full.json == documented_request("refund-request") | {"amount": 7}


async def test_status_is_one_plain_get_and_long_poll_a_held_one() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await pay.status("ORDER42")
        await pay.long_poll("ORDER42")
    assert [(request.method, request.target, request.body) for request in server.requests] == [
        ("GET", "/api/payments-v2/ORDER42", b""),
        ("GET", "/api/payments-v2/ORDER42?longPoll=true", b""),
    ]


@pytest.mark.threat("T4")
async def test_each_operation_carries_its_documented_credential_alone() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for operation in OPERATIONS.values():
            await operation(pay)
        await pay.long_poll("ORDER42")
    by_name = dict(zip([*OPERATIONS, "long_poll"], server.requests, strict=True))
    carried = {
        name: (request.header("x-api-key"), request.header("authorization"))
        for name, request in by_name.items()
    }
    key = CREDENTIALS["api_key"]
    assert carried == {
        "status": (key, None),
        "long_poll": (key, None),
        "refund": (key, None),
        "create_intent": (None, f"Basic {BASIC}"),
        "process": (None, None),
    }
    for name, request in by_name.items():
        shown = f"{request.target} {request.headers} {request.body!r}"
        assert (CREDENTIALS["token_id"] in shown) is (name == "create_intent")
        assert CREDENTIALS["client_secret"] not in shown


async def test_headers_of_every_operation() -> None:
    async with (
        ScriptedServer(answers_well) as server,
        session(server, app_info=("shop", "1.2")) as pay,
    ):
        for operation in OPERATIONS.values():
            await operation(pay)
    for request in server.requests:
        assert request.header("accept-encoding") == "identity"
        assert request.header("accept") == "application/json"
        agent = f"little-pay-async/{little_pay_async.__version__} shop/1.2"
        assert request.header("user-agent") == agent
        assert request.header("content-type") == (
            None if request.method == "GET" else "application/json"
        )
        assert request.header("host") == f"127.0.0.1:{server.port}"
        names = [name.lower() for name, _ in request.headers]
        assert len(names) == len(set(names))


async def test_no_cookie_is_sent_back() -> None:
    async def script(exchange: Exchange) -> None:
        head, _, body = right_answer(exchange.request).partition(b"\r\n\r\n")
        await exchange.send(head + b"\r\nSet-Cookie: id=1; Path=/\r\n\r\n" + body)

    async with ScriptedServer(script) as server, session(server) as pay:
        for operation in (*OPERATIONS.values(), *OPERATIONS.values()):
            await operation(pay)
    assert all(request.header("cookie") is None for request in server.requests)


@pytest.mark.parametrize(
    "key", ["a/b", "a?b=c", "a#b", "a b", "../../x", "ü", "%2e%2e", "a;b", "a\\b", "a&longPoll=1"]
)
async def test_a_key_is_one_segment_of_the_path(key: str) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await pay.status(key)
        await pay.refund(key, 1)
        await pay.process(key, "MPESA", f"+{MOBILE}")
    targets = [request.target for request in server.requests]
    segment = targets[0].removeprefix("/api/payments-v2/")
    assert not set(segment) & set("/?#& ;\\")
    assert targets[1:] == [f"/api/refund/{segment}", f"/pay/{segment}/process"]
    assert httpx.URL(f"http://h/{segment}").path == f"/{key}"


@pytest.mark.parametrize("key", ["", " ", ".", "..", "a\r\nX: y", "a\x00", "\ud800", None, 7, b"a"])
async def test_what_is_no_key_is_refused_before_anything_is_sent(key: Any) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for call in (
            lambda: pay.status(key),
            lambda: pay.long_poll(key),
            lambda: pay.wait(key, timeout=1),
            lambda: pay.refund(key, 1),
            lambda: pay.process(key, "MPESA", f"+{MOBILE}"),
        ):
            with pytest.raises(InvalidInputError):
                await call()
    assert server.connections == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": 1.5},
        {"amount": 0},
        {"amount": True},
        {"key": "ORDER-42"},
        {"description": ""},
        {"callback_url": "/callbacks"},
        {"currency": "kes"},
        {"expires_in": timedelta(0)},
        {"return_url": "javascript:alert()"},
        {"billing_address": {"phone": "1"}},
        {"custom_data": float("nan")},
        {"custom_data": "\ud800"},
        {"metadata": [1]},
    ],
    ids=ascii,
)
async def test_a_wrong_argument_is_refused_before_anything_is_sent(wrong: dict[str, Any]) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        with pytest.raises(InvalidInputError):
            await pay.create_intent(**INTENT | wrong)
        with pytest.raises(InvalidInputError):
            await pay.collect(**INTENT | wrong, provider="MPESA", mobile=f"+{MOBILE}")
    assert server.connections == 0


async def test_collect_refuses_payer_and_time_before_anything_is_sent() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for wrong in ({"provider": "CARDS"}, {"mobile": "12"}, {"timeout": 0}, {"timeout": True}):
            given = INTENT | {"provider": "MPESA", "mobile": f"+{MOBILE}"} | wrong
            with pytest.raises(InvalidInputError) as caught:
                await pay.collect(**given)
            assert caught.value.key == INTENT["key"]
    assert server.connections == 0


# --- Results


async def test_create_intent_returns_what_was_answered() -> None:
    script = sends(response(intent("REF1", checkoutUrl="https://pay.example/REF1", more=1)))
    async with ScriptedServer(script) as server, session(server) as pay:
        made = await pay.create_intent(**INTENT)
    assert made == PaymentIntent(
        date=datetime(2024, 5, 13, 8, 26, 18, 719000, tzinfo=UTC),
        reference="REF1",
        checkout_url="https://pay.example/REF1",
        message="Request processed successfully",
    )
    assert made.raw["more"] == 1


async def test_process_fills_the_reference_from_the_intent_only_if_it_is_empty() -> None:
    async with ScriptedServer(sends(response(processed()))) as server, session(server) as pay:
        assert (await pay.process("REF1", "MPESA", f"+{MOBILE}")).reference == "REF1"
        made = await pay.process("REF1", "MPESA", f"+{MOBILE}")
        assert (made.status, made.amount) == (PaymentStatus.PENDING, Decimal(1))
        data = json.loads(processed())["data"]
        data["meta"]["reference"] = "REF2"
        server.script = sends(response(envelope(data)))
        assert (await pay.process("REF1", "MPESA", f"+{MOBILE}")).reference == "REF2"


async def test_money_keeps_its_digits() -> None:
    body = payment().replace(b'"amount": 1', b'"amount": 1234567890.10')
    async with ScriptedServer(sends(response(body))) as server, session(server) as pay:
        assert str((await pay.status("ORDER42")).amount) == "1234567890.10"


async def test_what_nobody_reads_is_kept_and_no_error() -> None:
    data = json.loads(payment())["data"] | {"huge": 0, "new": {"a": [1]}}
    body = envelope(data).replace(b'"huge": 0', b'"huge": 1e400')
    async with ScriptedServer(sends(response(body))) as server, session(server) as pay:
        assert (await pay.status("ORDER42")).raw["new"] == {"a": [1]}


async def test_unknown_status_and_provider_are_kept() -> None:
    script = sends(response(payment("REVERSED", payment={"provider": "TKASH"})))
    async with ScriptedServer(script) as server, session(server) as pay:
        found = await pay.status("ORDER42")
    assert (found.status, found.provider) == ("REVERSED", "TKASH")
    assert not found.status.is_known
    assert not found.status.is_final


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "PENDING", "HELD"])
async def test_refund_returns_its_status(status: str) -> None:
    async with ScriptedServer(sends(response(refunded(status)))) as server, session(server) as pay:
        refund = await pay.refund("ORDER42", 1)
    assert (refund.status, refund.message) == (status, "Success")


async def test_a_failed_payment_is_a_result() -> None:
    async with ScriptedServer(sends(response(payment("FAILED")))) as server, session(server) as pay:
        assert (await pay.status("ORDER42")).status is PaymentStatus.FAILED
        assert (await pay.wait("ORDER42")).status is PaymentStatus.FAILED


async def test_an_intent_or_a_payment_will_do_as_a_key() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        made = await pay.create_intent(**INTENT)
        rung = await pay.process(made, "MPESA", Msisdn.parse(f"+{MOBILE}"))
        for key in (made, rung):
            await pay.status(key)
            await pay.long_poll(key)
            await pay.wait(key)
            await pay.refund(key, 1)
            assert list(await pay.check([key, "REF1"])) == ["REF1"]
    assert {request.key for request in server.requests[2:]} == {"REF1"}


async def test_what_has_no_reference_is_no_key() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        nameless = Payment(date=datetime.now(UTC), status=PaymentStatus.PENDING, key="ORDER42")
        for call in (pay.status, pay.wait, pay.long_poll):
            with pytest.raises(InvalidInputError, match="reference"):
                await call(nameless)
    assert server.connections == 0


# --- Endpoints that the library does not know


@pytest.mark.parametrize("auth", ["api_key", "basic", None])
async def test_request_carries_the_credential_asked_for(auth: Any) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        found = await pay.request("post", "/api/new/thing?x=%20y", json={"a": 1}, auth=auth)
    assert isinstance(found, Envelope)
    assert found.data["status"] == "COMPLETED"
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/api/new/thing?x=%20y")
    assert request.json == {"a": 1}
    expected = {"api_key": CREDENTIALS["api_key"]}.get(auth)
    assert request.header("x-api-key") == expected
    assert request.header("authorization") == (f"Basic {BASIC}" if auth == "basic" else None)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_request_that_is_no_get_is_sent_once(method: str) -> None:
    script = sends(response(b"", "503 Busy"))
    async with ScriptedServer(script) as server, session(server) as pay:
        with pytest.raises(OutcomeUnknownError) as caught:
            await pay.request(method, "/x")
        assert caught.value.operation == "request"
        assert caught.value.key is None
        assert len(server.requests) == 1
        with pytest.raises(APIStatusError):
            await pay.request("GET", "/x")
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    "path", ["x", "//evil.example/x", "/../x", "/a/%2e%2E/b", "http://evil.example/", "/a b", "/ü"]
)
@pytest.mark.threat("T4")
async def test_a_request_stays_on_its_host(path: str) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        try:
            await pay.request("GET", path)
        except InvalidInputError:
            assert server.connections == 0
        else:
            assert server.requests[0].target == path


async def test_what_is_no_json_is_not_sent() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for value in (float("inf"), {1: 2}, {1, 2}, object(), "\ud800", 2**70):
            with pytest.raises(InvalidInputError):
                await pay.request("POST", "/x", json=value)
    assert server.connections == 0


# --- Settings


@pytest.mark.parametrize("wrong", [0, -1, True, float("nan"), float("inf"), "30"])
async def test_a_timeout_that_is_none(wrong: Any) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for call in (
            lambda: pay.status("ORDER42", timeout=wrong),
            lambda: pay.process("REF1", "MPESA", f"+{MOBILE}", timeout=wrong),
            lambda: pay.wait("ORDER42", timeout=wrong),
            lambda: pay.request("GET", "/x", timeout=wrong),
            lambda: pay.long_poll("ORDER42", hold=wrong),
        ):
            with pytest.raises(InvalidInputError):
                await call()
        for option in ({"timeout": wrong}, {"hold": wrong}):
            with pytest.raises(ConfigurationError):
                pay.with_options(**option)
            with pytest.raises(ConfigurationError):
                new_session(server, **option)
    assert server.connections == 0


async def test_no_limit_is_a_limit_that_can_be_asked_for() -> None:
    async with ScriptedServer(answers_well) as server, session(server, timeout=None) as pay:
        await pay.status("ORDER42")
        await pay.status("ORDER42", timeout=None)
        await pay.with_options(timeout=None).wait("ORDER42", timeout=None)


async def test_answers_are_retried_by_nobody_else() -> None:
    """The first try and what follows it are counted in the error."""
    script = in_turn(sends(response(b"", "500 Oops")), sends(response(b"", "404 Not Found")))
    async with ScriptedServer(script) as server, session(server) as pay:
        without_pauses(pay)
        with pytest.raises(LittlePayError) as caught:
            await pay.status("ORDER42")
    assert isinstance(caught.value, NotFoundError)
    assert caught.value.tries == 2
