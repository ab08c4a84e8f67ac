"""With the tools of httpx's users: respx, pytest-httpx, mock transports and event hooks."""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
import respx

from little_pay_async import (
    AuthenticationError,
    LittlePayError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentStatus,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)

from .servers import (
    Exchange,
    ScriptedServer,
    answers_well,
    intent,
    payment,
    processed,
    refunded,
    response,
)
from .sessions import (
    COLLECT,
    CREDENTIALS,
    INTENT,
    MONEY,
    OPERATIONS,
    session,
    without_pauses,
)

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

pytestmark = pytest.mark.anyio

BASE = "https://pay.example"
JSON = {"Content-Type": "application/json"}


# --- respx


async def test_respx_answers_for_the_library_s_own_transport() -> None:
    with respx.mock(using="httpx") as router:
        create = router.post(f"{BASE}/api/payments/-/pay").respond(content=intent("REF1"))
        process = router.post(f"{BASE}/pay/REF1/process").respond(content=processed())
        poll = router.get(f"{BASE}/api/payments-v2/REF1", params={"longPoll": "true"}).respond(
            content=payment("COMPLETED")
        )
        refund = router.post(f"{BASE}/api/refund/REF1").respond(content=refunded())
        async with session(BASE) as pay:
            paid = await pay.collect(**COLLECT)
            await pay.refund("REF1", 1)
    assert paid.status is PaymentStatus.COMPLETED
    assert [route.call_count for route in (create, process, poll, refund)] == [1, 1, 1, 1]
    assert refund.calls.last.request.headers["x-api-key"] == CREDENTIALS["api_key"]
    assert "x-api-key" not in process.calls.last.request.headers


async def test_respx_raises_what_httpx_raises() -> None:
    with respx.mock(using="httpx") as router:
        route = router.get(f"{BASE}/api/payments-v2/ORDER42")
        route.side_effect = [httpx.ReadError, httpx.ConnectTimeout, httpx.Response(404)]
        process = router.post(f"{BASE}/pay/REF1/process").mock(side_effect=httpx.ReadTimeout)
        async with session(BASE) as pay:
            with pytest.raises(NotFoundError) as caught:
                await pay.status("ORDER42")
            assert caught.value.tries == 3
            with pytest.raises(OutcomeUnknownError):
                await MONEY["process"](pay)
    assert process.call_count == 1


# --- pytest-httpx


async def test_pytest_httpx_answers_for_the_library_s_own_transport(
    httpx_mock: "HTTPXMock",
) -> None:
    httpx_mock.add_response(
        url=f"{BASE}/api/payments-v2/ORDER42", headers=JSON, content=payment(key="ORDER42")
    )
    httpx_mock.add_response(url=f"{BASE}/api/payments/-/pay", method="POST", content=intent())
    httpx_mock.add_exception(httpx.ReadTimeout("made up"), method="POST", url=f"{BASE}/x")
    async with session(BASE) as pay:
        assert (await pay.status("ORDER42")).key == "ORDER42"
        assert (await pay.create_intent(**INTENT)).reference == "REF1"
        with pytest.raises(OutcomeUnknownError):
            await pay.request("POST", "/x")
    requests = httpx_mock.get_requests()
    assert [request.method for request in requests] == ["GET", "POST", "POST"]


# --- Mock transports


async def test_a_mock_transport_sees_the_request_as_it_is() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"date": "2024-05-13T08:26:18.719Z", "data": DATA})

    seen: list[httpx.Request] = []
    async with session(BASE, transport=httpx.MockTransport(handler)) as pay:
        await pay.refund("ORDER42", "1.50", reason="returned")
        await pay.create_intent(**INTENT)
    refund, create = seen
    assert refund.content == b'{"amount":1.50,"reason":"returned"}'
    assert refund.headers["content-length"] == str(len(refund.content))
    assert create.url == f"{BASE}/api/payments/-/pay"
    target = f"/api/payments/{CREDENTIALS['token_id']}/pay"
    assert create.extensions["target"] == target.encode()


DATA = {"status": "COMPLETED", "reference": "REF1"}


async def test_a_mock_transport_may_answer_a_long_poll_at_once() -> None:
    left = ["PENDING"] * 3

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=payment(left.pop() if left else "COMPLETED"))

    async with session(BASE, transport=httpx.MockTransport(handler)) as pay:
        assert (await pay.wait("ORDER42", timeout=20)).status is PaymentStatus.COMPLETED
    assert not left


async def test_an_asgi_app_may_be_little_pay() -> None:
    async def app(scope: object, receive: object, send: Callable[..., Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": payment(key="ORDER42")})

    async with session(BASE, transport=httpx.ASGITransport(app)) as pay:
        assert (await pay.status("ORDER42")).key == "ORDER42"


# --- Event hooks


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_request_goes_through_the_hooks(operation: str) -> None:
    seen: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        request.headers["X-Trace"] = "1"
        seen.append(f"> {request.method}")

    async def on_response(response: httpx.Response) -> None:
        seen.append(f"< {response.status_code} {response.request.method}")

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks = {"request": [on_request], "response": [on_response]}
        await OPERATIONS[operation](pay)
        await pay.wait("ORDER42")
    method = "POST" if operation in MONEY else "GET"
    assert seen == [f"> {method}", f"< 200 {method}", "> GET", "< 200 GET"]
    assert all(request.header("x-trace") == "1" for request in server.requests)


class HookError(Exception):
    pass


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("event", ["request", "response"])
async def test_what_a_hook_raises_is_the_caller_s(operation: str, event: str) -> None:
    async def hook(_: object) -> None:
        raise HookError

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks[event].append(hook)
        with pytest.raises(HookError):
            await OPERATIONS[operation](pay)
        assert len(server.requests) == (event == "response")
        pay.http.event_hooks = {}
        await pay.status("ORDER42")


STATUSES: dict[str, tuple[str, type[LittlePayError], type[LittlePayError]]] = {
    "401": ("401 No", AuthenticationError, AuthenticationError),
    "404": ("404 None", NotFoundError, NotFoundError),
    "429": ("429 Many", RateLimitError, RateLimitError),
    "500": ("500 Oops", ServerError, OutcomeUnknownError),
    "302": ("302 Found", UnexpectedResponseError, OutcomeUnknownError),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("line", "get", "money"), STATUSES.values(), ids=STATUSES)
async def test_raise_for_status_in_a_hook_is_read_as_the_answer(
    line: str, get: type[LittlePayError], money: type[LittlePayError], operation: str
) -> None:
    async def script(exchange: Exchange) -> None:
        headers = {"Retry-After": "7", "Location": "/elsewhere"}
        await exchange.send(response(b'{"message": "so it is"}', line, headers))

    async def hook(answer: httpx.Response) -> None:
        await answer.aread()
        answer.raise_for_status()

    async with ScriptedServer(script) as server, session(server) as pay:
        pay.http.event_hooks["response"].append(hook)
        with pytest.raises(LittlePayError) as caught:
            await OPERATIONS[operation](pay)
    assert type(caught.value) is (money if operation in MONEY else get)
    if isinstance(caught.value, RateLimitError):
        assert caught.value.retry_after == 7.0
        assert caught.value.message == "so it is"


async def test_a_hook_may_read_the_answer() -> None:
    bodies: list[bytes] = []

    async def hook(answer: httpx.Response) -> None:
        bodies.append(await answer.aread())

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks["response"].append(hook)
        for operation in OPERATIONS.values():
            await operation(pay)
        await pay.status("ORDER42")
        assert server.requests[0].connection == 0
    assert all(body.startswith(b'{"date"') for body in bodies)
    assert len(bodies) == 5


async def test_a_hook_s_own_httpx_error_is_never_let_out() -> None:
    async def hook(request: httpx.Request) -> None:
        raise httpx.ConnectError("the hook's own call failed", request=request)

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks["request"].append(hook)
        for operation in OPERATIONS.values():
            with pytest.raises(LittlePayError):
                await operation(pay)
    assert server.connections == 0


# --- Logging


async def test_each_request_is_logged_at_debug_retries_at_info_unknown_outcomes_at_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="little_pay_async")

    async def fails(exchange: Exchange) -> None:
        await exchange.send(response(b"", "500 Oops"))

    async with ScriptedServer(fails) as server, session(server, max_retries=1) as pay:
        without_pauses(pay)
        for operation in ("status", "refund"):
            with pytest.raises(LittlePayError):
                await OPERATIONS[operation](pay)
    ours = [record for record in caplog.records if record.name.startswith("little_pay_async")]
    assert sorted(record.levelname for record in ours) == ["DEBUG"] * 3 + ["INFO", "WARNING"]
    assert {getattr(record, "key", None) for record in ours} == {"ORDER42"}
    requests = [record for record in ours if record.levelname == "DEBUG"]
    assert {getattr(record, "operation", None) for record in requests} == {"status", "refund"}
    assert all(getattr(record, "elapsed", -1) >= 0 for record in requests)


async def test_the_library_logs_nothing_unless_asked(capfd: pytest.CaptureFixture[str]) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await pay.status("ORDER42")
        await anyio.lowlevel.checkpoint()
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
