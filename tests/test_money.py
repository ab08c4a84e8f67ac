"""What may have left is never sent again and never called certain: what is easy to miss."""

import contextlib
import ssl
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from little_pay_async import (
    APIConnectionError,
    AsyncLittlePay,
    InvalidInputError,
    LittlePayError,
    OutcomeUnknownError,
    Payment,
    SessionClosedError,
)

from .servers import (
    Exchange,
    ScriptedServer,
    answers_well,
    is_silent,
    payment,
    refusing_port,
    response,
)
from .sessions import COLLECT, INTENT, MOBILE, MONEY, new_session, session

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("operation", MONEY.values(), ids=MONEY)
@pytest.mark.parametrize("error", [httpx.ConnectTimeout, httpx.ReadError, httpx.ReadTimeout])
@pytest.mark.threat("T12")
async def test_a_foreign_transport_is_not_believed_that_nothing_left(
    operation: Any, error: type[httpx.TransportError]
) -> None:
    """httpx-aiohttp raises ConnectTimeout for a server that disconnected after the request."""
    sent = 0

    class Foreign(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal sent
            sent += 1
            raise error("it says", request=request)

    async with session("http://127.0.0.1:9", transport=Foreign()) as pay:
        with pytest.raises(OutcomeUnknownError):
            await operation(pay)
    assert sent == 1


@pytest.mark.parametrize("operation", MONEY.values(), ids=MONEY)
@pytest.mark.threat("T12")
async def test_a_response_hook_whose_own_call_fails_does_not_send_again(operation: Any) -> None:
    port = refusing_port()

    async def audit(_: httpx.Response) -> None:
        async with httpx.AsyncClient() as client:
            await client.get(f"http://127.0.0.1:{port}")

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks = {"response": [audit]}
        with pytest.raises(OutcomeUnknownError):
            await operation(pay)
        assert len(server.requests) == 1


async def test_the_status_of_a_hooks_own_call_is_not_little_pays() -> None:
    async def audit(_: httpx.Response) -> None:
        request = httpx.Request("GET", "http://audit.example")
        httpx.Response(404, request=request).raise_for_status()

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks = {"response": [audit]}
        with pytest.raises(OutcomeUnknownError):
            await MONEY["process"](pay)


async def test_a_hook_that_traces_does_not_hide_that_a_request_has_left() -> None:
    async def trace(name: str, info: Any) -> None: ...

    async def hook(request: httpx.Request) -> None:
        request.extensions["trace"] = trace

    async with ScriptedServer(is_silent) as server, session(server, timeout=0.3) as pay:
        pay.http.event_hooks = {"request": [hook]}
        with pytest.raises(OutcomeUnknownError):
            await MONEY["process"](pay)
        assert len(server.requests) == 1


async def test_waiting_for_a_connection_is_not_sending() -> None:
    async with (
        ScriptedServer(is_silent) as server,
        session(server, timeout=0.3, max_connections=1, max_retries=0) as pay,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(_quietly, pay.with_options(timeout=5).status("ORDER42")))
        await server.until_requests(1)
        with pytest.raises(APIConnectionError) as caught:
            await MONEY["process"](pay)
        assert not caught.value.sent
        assert len(server.requests) == 1
        tasks.cancel_scope.cancel()


async def _quietly(awaitable: Any) -> None:
    with contextlib.suppress(LittlePayError):
        await awaitable


def answers_by(path_ending: str, answer: bytes) -> Any:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target.partition("?")[0].endswith(path_ending):
            await exchange.send(answer)
        else:
            await answers_well(exchange)

    return script


NOT_FOUND = response(b'{"message":"unknown"}', "404 Not Found")


@pytest.mark.threat("T13")
async def test_collect_calls_nothing_certain_once_the_handset_rings() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.method == "GET":
            await exchange.send(NOT_FOUND)
        elif exchange.request.target.endswith("/process"):
            await exchange.send(response(payment("PENDING", key="ORDER42")))
        else:
            await answers_well(exchange)

    async with ScriptedServer(script) as server, session(server) as pay:
        with pytest.raises(OutcomeUnknownError) as caught:
            await pay.collect(**COLLECT)
    assert caught.value.operation == "process"
    assert caught.value.key == "ORDER42"


async def test_collect_needs_all_its_credentials_before_it_sends_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LITTLE_PAY_API_KEY", raising=False)
    async with ScriptedServer(answers_well) as server, session(server, api_key=None) as pay:
        with pytest.raises(LittlePayError, match="api_key"):
            await pay.collect(**COLLECT)
        assert server.requests == []


@pytest.mark.parametrize("key", ["x" * 70_000, "x" * 300])
async def test_a_key_of_absurd_length_is_refused(key: str) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for call in (
            pay.status(key),
            pay.refund(key, 1),
            pay.wait(key),
            pay.process(key, "MTN", f"+{MOBILE}"),
        ):
            with pytest.raises(InvalidInputError):
                await call
        with pytest.raises(InvalidInputError):
            await pay.request("POST", "/" + key * 100)
        assert server.requests == []


async def test_an_absurd_life_of_an_intent_is_refused() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        with pytest.raises(InvalidInputError, match="expires_in"):
            await pay.create_intent(**INTENT, expires_in=timedelta.max)
        with pytest.raises(InvalidInputError, match="long_poll"):
            await pay.process("REF1", "MPESA", f"+{MOBILE}", long_poll="false")  # type: ignore[arg-type]
        assert server.requests == []


BUSY = response(b'{"message":"later"}', "503 Service Unavailable", {"Retry-After": "100"})


@pytest.mark.parametrize("what", ["status", "wait"])
async def test_closing_ends_a_pause(what: str) -> None:
    async def busy(exchange: Exchange) -> None:
        await exchange.send(BUSY)

    async with ScriptedServer(busy) as server:
        pay = AsyncLittlePay(api_key="key", base_url=server.base_url, timeout=300)
        async with anyio.create_task_group() as tasks:

            async def close() -> None:
                await server.until_requests(1)
                await anyio.wait_all_tasks_blocked()
                await pay.aclose()

            tasks.start_soon(close)
            with pytest.raises(SessionClosedError):
                await getattr(pay, what)("ORDER42")


async def test_closing_ends_a_watch_with_nothing_under_way() -> None:
    async with ScriptedServer(answers_well) as server:
        pay = new_session(server)
        async with pay.watch() as watch:
            watch.add("ORDER42")
            await anext(watch)
            await pay.aclose()
            with pytest.raises(SessionClosedError):
                await anext(watch)


@pytest.mark.parametrize("connections", [2, 3])
@pytest.mark.threat("T27")
async def test_a_watch_leaves_a_connection_to_ordinary_calls(connections: int) -> None:
    async def script(exchange: Exchange) -> None:
        await (is_silent if exchange.request.held else answers_well)(exchange)

    async with (
        ScriptedServer(script) as server,
        session(server, max_connections=connections, timeout=2) as pay,
        pay.watch([f"K{number}" for number in range(5)]),
    ):
        await server.until_requests(1)
        assert isinstance(await pay.status("ORDER42"), Payment)


async def test_a_vault_that_fails_once_does_not_end_a_watch() -> None:
    asked = 0

    def vault() -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise TimeoutError("the vault is busy")
        return "key"

    async with ScriptedServer(answers_well) as server, session(server, api_key=vault) as pay:
        async with pay.watch(["ORDER42"]) as watch:
            settlement = await anext(watch)
        assert settlement.error is None


@pytest.mark.parametrize("location", ["http://xn--/", "http://[::1"])
async def test_a_redirect_to_nowhere_is_an_error_of_the_library(location: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(response(b"", "302 Found", {"Location": location}))

    async with ScriptedServer(script) as server, session(server) as pay:
        with pytest.raises(LittlePayError):
            await pay.status("ORDER42")
        with pytest.raises(OutcomeUnknownError):
            await MONEY["process"](pay)


@pytest.mark.parametrize(
    "problem", [ConnectionResetError, TimeoutError, anyio.ClosedResourceError, anyio.EndOfStream]
)
async def test_what_a_transport_lets_through_is_an_error_of_the_library(
    problem: type[Exception],
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise problem

    async with session("http://127.0.0.1:9", transport=httpx.MockTransport(handler)) as pay:
        with pytest.raises(APIConnectionError):
            await pay.status("ORDER42")
        with pytest.raises(OutcomeUnknownError):
            await MONEY["refund"](pay)


async def test_check_lets_a_hooks_exception_through_as_it_is() -> None:
    async def hook(_: httpx.Request) -> None:
        raise KeyError("the caller's")

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks = {"request": [hook]}
        with pytest.raises(KeyError, match="the caller's"):
            await pay.check(["A", "B"])


def failed_tls() -> None:
    raise ssl.SSLError("the caller's")


async def test_a_callers_own_exception_is_left_alone() -> None:
    """A call made while another exception is handled does not inherit its cause."""
    port = refusing_port()
    async with session(f"http://127.0.0.1:{port}", max_retries=1) as pay:

        async def use_the_backup() -> None:
            try:
                failed_tls()
            except ssl.SSLError:
                await pay.status("ORDER42")

        with pytest.raises(APIConnectionError) as caught:
            await use_the_backup()
    callers = caught.value.__context__
    assert isinstance(callers, ssl.SSLError)
    assert callers.__traceback__ is not None
    assert not caught.value.tls
    assert caught.value.tries == 2


@pytest.mark.threat("T25")
def test_a_callable_that_holds_a_secret_is_masked() -> None:
    def read(secret: str) -> str:
        return secret

    pay = AsyncLittlePay(api_key=partial(read, "hvs.CANARY"))
    assert "CANARY" not in repr(vars(pay._session._credentials.api_key))
