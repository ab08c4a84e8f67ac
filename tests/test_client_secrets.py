"""No credential, phone number or access token is shown: in logs, errors, pickles or tracebacks.

Error trackers send the `repr` of every local variable of a traceback's frames, those of what led to
an error included. The frames of the tests are theirs: only the library's are looked at.
"""

import json
import logging
import pickle
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

import little_pay_async
from little_pay_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncLittlePay,
    InvalidInputError,
    LittlePayError,
    Msisdn,
    SettlementTimeoutError,
)

from .canaries import ACCESS_TOKEN, BASIC, CREDENTIALS, MOBILE
from .leak_scan import chain
from .servers import (
    Exchange,
    Script,
    ScriptedServer,
    answers_well,
    envelope,
    in_turn,
    is_silent,
    payment,
    processed,
    refusing_port,
    response,
    sends,
    server_tls,
)
from .sessions import COLLECT, INTENT, OPERATIONS, session
from .test_client_faults import BROKEN_HTTP, ROWS

pytestmark = pytest.mark.anyio

PACKAGE = str(Path(little_pay_async.__file__).parent)
SECRETS = [
    *CREDENTIALS.values(),
    BASIC,
    ACCESS_TOKEN,
    MOBILE,
    MOBILE[3:],  # as people write it at home
    "+254 712 345 678",
]
ALL_OPERATIONS: dict[str, Callable[[AsyncLittlePay], Awaitable[object]]] = OPERATIONS | {
    "held process": lambda pay: pay.process(
        "REF1", "MPESA", Msisdn.parse(f"+{MOBILE}"), long_poll=True
    ),
    "long_poll": lambda pay: pay.long_poll("ORDER42", hold=0.1),
    "wait": lambda pay: pay.wait("ORDER42", timeout=0.1),
    "collect": lambda pay: pay.collect(
        **COLLECT, billing_address={"phone_number": f"+{MOBILE}"}, timeout=0.15
    ),
    "request": lambda pay: pay.request("POST", "/x", json={"mobile": MOBILE}, auth="basic"),
}


def shown_by(error: BaseException) -> Iterator[tuple[str, str]]:
    """Give everything that an error shows, and where."""
    yield "traceback", "".join(traceback.format_exception(error))
    for link in chain(error):
        name = type(link).__name__
        yield f"str of {name}", str(link)
        yield f"repr of {name}", repr(link)
        yield f"args of {name}", repr(link.args)
        yield f"attributes of {name}", repr(vars(link))
        if isinstance(link, LittlePayError):
            pickled = pickle.dumps(link)
            yield f"pickle of {name}", pickled.decode("latin-1")
            assert repr(pickle.loads(pickled)) == repr(link)
        for frame, line in traceback.walk_tb(link.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE):
                for variable, value in frame.f_locals.items():
                    yield f"{variable} in {frame.f_code.co_qualname}:{line}", repr(value)


def check_nothing_shown(shown: Iterator[tuple[str, str]]) -> None:
    leaks = [
        f"{secret!r} in {where}: {text[:300]}"
        for where, text in shown
        for secret in SECRETS
        if secret in text
    ]
    assert not leaks, "\n".join(leaks)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], Iterator[tuple[str, str]]]]:
    """Note every log record of every logger; nothing secret may be in one at the end either."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "anyio", "asyncio", "little_pay_async"):
        caplog.set_level(logging.DEBUG, logger=name)

    def shown() -> Iterator[tuple[str, str]]:
        for record in caplog.get_records("call"):
            yield f"log of {record.name}", record.getMessage()
            yield f"log record of {record.name}", repr(vars(record))

    yield shown
    assert caplog.get_records("call")
    check_nothing_shown(shown())


Log = Callable[[], Iterator[tuple[str, str]]]


async def check_error(pay: AsyncLittlePay, operation: str) -> None:
    try:
        await ALL_OPERATIONS[operation](pay)
    except LittlePayError as error:
        check_nothing_shown(shown_by(error))
    else:
        pytest.fail("no error")


# Where the connection breaks, it is TLS that notices.
BREAKS = [name for name, row in ROWS.items() if row.get in {APIConnectionError, APITimeoutError}]


@pytest.mark.parametrize(("name", "tls"), [*product(ROWS, [False]), *product(BREAKS, [True])])
@pytest.mark.threat("T24")
async def test_no_fault_shows_a_secret(name: str, tls: bool, log: Log) -> None:
    row = ROWS[name]
    server = ScriptedServer(row.script, tls=server_tls() if tls else None)
    async with server, session(server, timeout=row.timeout, hold=0.1) as pay:
        for operation in ALL_OPERATIONS:
            await check_error(pay, operation)


@pytest.mark.parametrize("name", BROKEN_HTTP)
async def test_no_broken_http_shows_a_secret(name: str, log: Log) -> None:
    # Under trio some of it is read on for ever.
    server = ScriptedServer(BROKEN_HTTP[name])
    async with server, session(server, hold=0.1, timeout=1.0) as pay:
        for operation in ALL_OPERATIONS:
            await check_error(pay, operation)


@pytest.mark.parametrize("fault", ["unknown authority", "wrong host", "expired"])
async def test_no_tls_fault_shows_a_secret(fault: str, log: Log) -> None:
    server = ScriptedServer(answers_well, tls=server_tls(fault))
    async with server, session(server) as pay:
        for operation in ALL_OPERATIONS:
            await check_error(pay, operation)


async def test_no_refused_connection_shows_a_secret(log: Log) -> None:
    async with session(f"http://127.0.0.1:{refusing_port()}") as pay:
        for operation in ALL_OPERATIONS:
            await check_error(pay, operation)


def echoes(status: str, content_type: str) -> Script:
    """Return a script that tells the client what it was sent, and secrets of its own."""

    async def script(exchange: Exchange) -> None:
        request = exchange.request
        said = " ".join(
            [
                *(f"{name}: {value}" for name, value in request.headers),
                request.target,
                request.body.decode(),
                *SECRETS[:-4],
                f"accessToken={ACCESS_TOKEN}",
                f'"access_token": "{ACCESS_TOKEN}"',
                f"+{MOBILE} {MOBILE} +254 712 345 678",
            ]
        )
        if content_type == "application/json":
            body = json.dumps({"data": {"message": said}, "message": said}).encode()
        else:
            body = f"<html><body>{said}</body></html>".encode()
        await exchange.send(response(body, status, content_type=content_type))

    return script


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
@pytest.mark.parametrize(
    "status",
    [
        *("200 OK", "302 Found", "400 Bad", "401 No", "404 None", "429 Many"),
        f"500 {CREDENTIALS['api_key']} of +{MOBILE}",  # httpx writes the phrase into its log
    ],
)
@pytest.mark.threat("T9")
async def test_what_the_server_echoes_is_masked(status: str, content_type: str, log: Log) -> None:
    script = echoes(status, content_type)
    async with ScriptedServer(script) as server, session(server, hold=0.1) as pay:
        for operation in ALL_OPERATIONS:
            await check_error(pay, operation)


async def test_what_the_server_echoes_in_headers_is_masked() -> None:
    async def script(exchange: Exchange) -> None:
        echo = exchange.request.header("x-api-key") or CREDENTIALS["client_id"]
        headers = {"X-Request-Id": f"{echo} +{MOBILE}", "CF-Ray": "ray-1"}
        await exchange.send(response(b"", "400 Bad", headers))

    async with ScriptedServer(script) as server, session(server) as pay:
        for operation in OPERATIONS:
            await check_error(pay, operation)
        with suppress(LittlePayError):
            await pay.status("ORDER42")


async def test_a_callable_s_key_is_masked_also_after_it_was_replaced(log: Log) -> None:
    keys = iter([CREDENTIALS["api_key"], "CANARY-next-key", "CANARY-third-key"])

    async def script(exchange: Exchange) -> None:
        said = f"no {CREDENTIALS['api_key']} {exchange.request.header('x-api-key')}"
        await exchange.send(response(json.dumps({"message": said}).encode(), "401 No"))

    async with ScriptedServer(script) as server, session(server, api_key=keys.__next__) as pay:
        with pytest.raises(LittlePayError) as caught:
            await pay.status("ORDER42")
    check_nothing_shown(shown_by(caught.value))
    assert "CANARY-next" not in "".join(text for _, text in shown_by(caught.value))


@pytest.mark.parametrize("result", ["bad", b"", 7, "two\nlines"])
async def test_a_credential_that_is_none_is_not_shown(result: Any) -> None:
    wrong = f"{CREDENTIALS['api_key']}\n" if result == "bad" else result
    async with (
        ScriptedServer(answers_well) as server,
        session(server, api_key=lambda: wrong) as pay,
    ):
        await check_error(pay, "status")
    for argument in ("api_key", "client_id", "client_secret", "token_id"):
        with pytest.raises(LittlePayError) as caught:
            AsyncLittlePay(**CREDENTIALS | {argument: f"{CREDENTIALS[argument]} \n"})
        check_nothing_shown(shown_by(caught.value))


def secret_payment() -> bytes:
    data = json.loads(processed())["data"]
    data["meta"]["accessToken"] = ACCESS_TOKEN
    data["payload"] = {"billingAddress": {"phoneNumber": f"+{MOBILE}", "email": "x@y.example"}}
    data["payment"] = {"details": {"msisdn": MOBILE}}
    data["message"] = f"Sent to {MOBILE}"
    return envelope(data)


@pytest.mark.threat("T25")
async def test_results_show_nothing(log: Log) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(response(secret_payment()))

    async with ScriptedServer(script) as server, session(server) as pay:
        for operation in ("status", "process", "refund", "request", "create_intent"):
            result = await ALL_OPERATIONS[operation](pay)
            check_nothing_shown(iter([(operation, repr(result)), ("pay", repr(pay))]))
        found = await pay.status("ORDER42")
        assert found.access_token == ACCESS_TOKEN  # it is there for who asks
        with pytest.raises(SettlementTimeoutError) as caught:
            await pay.with_options(hold=0.1).wait("ORDER42", timeout=0.3)
        assert caught.value.last is not None
        check_nothing_shown(shown_by(caught.value))


@pytest.mark.threat("T24")
async def test_the_token_id_is_on_the_wire_and_nowhere_else(
    log: Log, caplog: pytest.LogCaptureFixture, anyio_backend_name: str
) -> None:
    seen: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        seen.append(f"{request.url} {request.url.raw_path!r}")

    async def on_response(response: httpx.Response) -> None:
        seen.append(f"{response.url} {response.request.url} {response!r} {response.request!r}")

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks["request"].append(on_request)
        pay.http.event_hooks["response"].append(on_response)
        await pay.create_intent(**INTENT)
        server.script = is_silent
        with pytest.raises(LittlePayError):
            await pay.with_options(timeout=0.2).create_intent(**INTENT)
    target = f"/api/payments/{CREDENTIALS['token_id']}/pay"
    assert [request.target for request in server.requests] == [target, target]
    assert len(seen) == 3
    assert all("/api/payments/-/pay" in text for text in seen)
    assert CREDENTIALS["token_id"] not in "".join(seen)
    assert any(record.name == "httpx" for record in caplog.records)
    logged_by = {record.name.partition(".")[0] for record in caplog.records}
    assert ("httpcore" in logged_by) == (anyio_backend_name == "trio")  # there its pool serves


async def test_a_hook_that_fails_shows_nothing_of_ours() -> None:
    class HookError(Exception):
        pass

    async def fail(_: object) -> None:
        raise HookError

    for event in ("request", "response"):
        async with ScriptedServer(answers_well) as server, session(server) as pay:
            pay.http.event_hooks[event].append(fail)
            for operation in OPERATIONS.values():
                with pytest.raises(HookError) as caught:
                    await operation(pay)
                check_nothing_shown(shown_by(caught.value))


@pytest.mark.threat("T24")
async def test_cancellation_shows_nothing() -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        for operation in ALL_OPERATIONS.values():
            error: BaseException | None = None

            async def run(operation: Any = operation) -> None:
                nonlocal error
                try:
                    await operation(pay)
                except BaseException as problem:
                    error = problem
                    raise

            before = len(server.requests)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await server.until_requests(before + 1)
                tasks.cancel_scope.cancel()
            assert error is not None
            check_nothing_shown(shown_by(error))


async def test_settlements_show_nothing(log: Log) -> None:
    async def script(exchange: Exchange) -> None:
        body = secret_payment() if exchange.request.key == "B" else payment("COMPLETED")
        await exchange.send(response(body.replace(b"PENDING", b"FAILED")))

    async with (
        ScriptedServer(script) as server,
        session(server) as pay,
        pay.watch(["A", "B"]) as watch,
    ):
        async for settlement in watch:
            check_nothing_shown(iter([("settlement", repr(settlement))]))


@pytest.mark.threat("T9")
async def test_httpcore_s_log_tells_no_header_of_an_answer(
    log: Log, caplog: pytest.LogCaptureFixture, anyio_backend_name: str
) -> None:
    """Where httpcore's pool serves, its DEBUG lines would have them all."""
    whole = response(payment(), headers={"X-Request-Id": f"{CREDENTIALS['api_key']} {MOBILE}"})
    broken = f"HTTP/1.1 200 OK\r\n{CREDENTIALS['api_key']}\r\n\r\n".encode()
    async with (
        ScriptedServer(in_turn(sends(whole), sends(broken))) as server,
        session(server, max_retries=0) as pay,
    ):
        await pay.status("ORDER42")
        with pytest.raises(LittlePayError):
            await pay.status("ORDER42")
    lines = [record.getMessage() for record in caplog.records if record.name == "httpcore.http11"]
    if anyio_backend_name == "trio":
        assert "receive_response_headers.complete" in lines
        assert any("receive_response_headers.failed" in line for line in lines)


@pytest.mark.anyio
@pytest.mark.parametrize("name", CREDENTIALS)
async def test_a_credential_in_the_message_of_a_right_answer_is_masked(name: str) -> None:
    told = payment("PENDING", key="ORDER42", message=f"asked by {CREDENTIALS[name]}!")
    async with ScriptedServer(sends(response(told))) as server, session(server) as pay:
        await pay.request("GET", "/api/any")  # what create intent takes is known too
        found = await pay.status("ORDER42")
    assert found.message == "asked by ***!"
    assert CREDENTIALS[name] not in repr(found)


@pytest.mark.parametrize("number", [MOBILE, f"+{MOBILE}"])
@pytest.mark.parametrize("mobile", ["MPESA", f"+{MOBILE}"])
async def test_a_number_in_the_provider_s_place_is_not_shown(number: str, mobile: str) -> None:
    swapped: dict[str, Any] = {"provider": number, "mobile": mobile}
    async with session("http://127.0.0.1:9") as pay:
        for call in (pay.process("REF1", **swapped), pay.collect(**(COLLECT | swapped))):
            with pytest.raises(InvalidInputError) as caught:
                await call
            check_nothing_shown(shown_by(caught.value))
