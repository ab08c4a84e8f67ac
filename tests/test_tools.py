"""With the tools of httpx's users.

respx, pytest-httpx, vcrpy, OpenTelemetry, Sentry, mock transports, event hooks, and logging. They
see the requests because the session's transport is httpx's own class, with another pool in it.
"""

import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import httpcore
import httpx
import pytest
import respx

from little_pay_async import (
    APIConnectionError,
    AuthenticationError,
    LittlePayError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentStatus,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)
from little_pay_async._transport.pooled import PooledTransport

from .servers import (
    Exchange,
    Script,
    ScriptedServer,
    answers_well,
    closes,
    in_turn,
    intent,
    payment,
    processed,
    refunded,
    refusing_port,
    resets,
    response,
    sends,
    server_tls,
)
from .sessions import (
    COLLECT,
    CREDENTIALS,
    INTENT,
    MOBILE,
    MONEY,
    OPERATIONS,
    session,
    without_pauses,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from pytest_httpx import HTTPXMock

    from little_pay_async import AsyncLittlePay

pytestmark = pytest.mark.anyio


class HookError(Exception):
    pass


BASE = "https://pay.example"
JSON = {"Content-Type": "application/json"}


# --- The seam: what of httpx's private parts is relied upon


class RecordedPool:
    """Stands where httpx has its connection pool, and notes what it is asked for."""

    def __init__(self, *outcomes: httpcore.Response | Exception) -> None:
        self.calls: list[str] = []
        self.requests: list[httpcore.Request] = []
        self._outcomes = list(outcomes)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        self.requests.append(request)
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        self.calls.append("aclose")

    async def __aenter__(self) -> Self:
        self.calls.append("__aenter__")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.calls.append("__aexit__")


class BreaksOff(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise httpcore.ReadError("broke off")


def httpx_transport_over(pool: RecordedPool) -> httpx.AsyncHTTPTransport:
    transport = httpx.AsyncHTTPTransport(verify=ssl.create_default_context())
    transport._pool = pool
    return transport


def test_httpx_s_transport_has_a_pool_and_nothing_else() -> None:
    """So ours may leave out its constructor, and the public methods need no more than a pool."""
    assert set(vars(httpx.AsyncHTTPTransport(verify=ssl.create_default_context()))) == {"_pool"}


async def test_httpx_s_transport_asks_its_pool_in_httpcore_s_language() -> None:
    answer = httpcore.Response(
        201,
        headers=[(b"X-Case", b"1"), (b"x-case", b"2")],
        content=httpx.ByteStream(b"body"),
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": b"Made"},
    )
    pool = RecordedPool(answer)
    sent = httpx.Request(
        "PUT",
        "https://pay.example:8443/a%20b?c=d",
        headers=[("X-Case", "1"), ("x-case", "2")],
        content=b"12",
        extensions={"target": b"/real", "timeout": {"read": 7.0}, "ours": True},
    )
    got = await httpx_transport_over(pool).handle_async_request(sent)
    [asked] = pool.requests
    assert type(asked) is httpcore.Request
    assert asked.method == b"PUT"
    assert (asked.url.scheme, asked.url.host, asked.url.port) == (b"https", b"pay.example", 8443)
    assert asked.url.target == b"/real"
    assert asked.headers == sent.headers.raw
    assert asked.stream is sent.stream
    assert asked.extensions == sent.extensions
    assert (got.status_code, got.reason_phrase, got.http_version) == (201, "Made", "HTTP/1.1")
    assert got.headers.raw == answer.headers
    assert await got.aread() == b"body"


async def test_httpx_s_transport_translates_what_its_pool_raises() -> None:
    half = httpcore.Response(200, content=BreaksOff())
    pool = RecordedPool(*(getattr(httpcore, name)(name) for name in TRANSLATED), half)
    transport = httpx_transport_over(pool)
    for name in TRANSLATED:
        with pytest.raises(httpx.HTTPError) as caught:
            await transport.handle_async_request(httpx.Request("GET", BASE))
        assert type(caught.value) is getattr(httpx, name)
        assert type(caught.value.__cause__) is getattr(httpcore, name)
    with pytest.raises(httpx.ReadError):
        await (await transport.handle_async_request(httpx.Request("GET", BASE))).aread()


TRANSLATED = [
    *("ConnectError", "ReadError", "WriteError"),
    *("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"),
    *("LocalProtocolError", "RemoteProtocolError", "UnsupportedProtocol"),
]


async def test_httpx_s_transport_opens_and_closes_its_pool() -> None:
    pool = RecordedPool()
    async with httpx_transport_over(pool) as transport:
        pass
    await transport.aclose()
    assert pool.calls == ["__aenter__", "__aexit__", "aclose"]


async def test_the_session_s_transport_is_httpx_s_but_for_its_pool() -> None:
    for options in ({}, {"proxy": "http://127.0.0.1:9"}):
        async with session(BASE, **options) as pay:
            transport = pay.http._transport
        assert type(transport) is PooledTransport
        assert isinstance(transport, httpx.AsyncHTTPTransport)
        assert set(vars(transport)) == {"_pool"}
    methods = {"handle_async_request", "aclose", "__aenter__", "__aexit__"}
    assert not methods & set(vars(PooledTransport))


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


# --- vcrpy


async def run_all(pay: "AsyncLittlePay") -> dict[str, Any]:
    return {name: await operation(pay) for name, operation in OPERATIONS.items()}


@pytest.fixture
def tape(tmp_path: Path) -> Callable[..., Any]:
    """Return what opens vcrpy's cassette, always the same one."""
    import vcr  # it loads what it finds of the clients that it knows: not while tests are collected

    def use(**options: Any) -> Any:
        hidden = ["x-api-key", "authorization"]
        return vcr.use_cassette(str(tmp_path / "tape.yaml"), filter_headers=hidden, **options)

    return use


async def test_vcrpy_records_and_replays_when_the_server_is_gone(
    tape: Callable[..., Any], tmp_path: Path
) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        with tape():
            recorded = await run_all(pay)
        assert len(server.requests) == len(OPERATIONS)
        await server.stop()
        with tape(record_mode="none") as cassette:
            replayed = await run_all(pay)
            assert cassette.play_count == len(OPERATIONS)
        assert server.connections == len(OPERATIONS)
    assert replayed == recorded
    assert len(cassette) == len(OPERATIONS)
    text = (tmp_path / "tape.yaml").read_text()
    assert "/api/payments/-/pay" in text
    assert not [secret for secret in CREDENTIALS.values() if secret in text]


async def test_vcrpy_plays_nothing_for_a_request_that_it_does_not_know(
    tape: Callable[..., Any],
) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        with tape():
            await pay.status("A")
        with tape(record_mode="new_episodes"):
            assert (await pay.status("B")).key == "B"
        assert [request.key for request in server.requests] == ["A", "B"]


async def test_vcrpy_s_refusal_is_the_caller_s(tape: Callable[..., Any]) -> None:
    from vcr.errors import CannotOverwriteExistingCassetteException

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        with tape(record_mode="none"):
            for operation in OPERATIONS.values():
                with pytest.raises(CannotOverwriteExistingCassetteException):
                    await operation(pay)
    assert server.connections == 0


# --- OpenTelemetry


@pytest.fixture
def exporter() -> "InMemorySpanExporter":
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: "InMemorySpanExporter") -> "TracerProvider":
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def instrumented(provider: "TracerProvider") -> Iterator[None]:
    """Have OpenTelemetry instrument all of httpx."""
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    yield
    HTTPXClientInstrumentor().uninstrument()


async def send_all_kinds(server: ScriptedServer, pay: "AsyncLittlePay") -> None:
    """Send each operation, retries and polls, with and without success."""
    await run_all(pay)
    server.script = in_turn(sends(response(b"", "500 Oops")), closes, answers_well)
    await pay.status("ORDER42")
    server.script = resets
    with pytest.raises(OutcomeUnknownError):
        await pay.create_intent(**INTENT)
    server.script = answers_well
    async with pay.watch(["A", "B", "C"]) as watch:
        assert {settlement.key async for settlement in watch} == {"A", "B", "C"}


def spans_on_the_wire(server: ScriptedServer) -> list[str]:
    """Return the ids of the spans that the requests said they belong to, once each."""
    parents = [request.header("traceparent") or "" for request in server.requests]
    assert all(parent.count("-") == 3 for parent in parents)  # one a request
    return sorted(parent.split("-")[2] for parent in parents)


def ids_of(spans: "list[ReadableSpan]") -> list[str]:
    return sorted(f"{span.get_span_context().span_id:016x}" for span in spans)


def check_no_credential(spans: "list[ReadableSpan]") -> None:
    text = " ".join(span.to_json() for span in spans)
    assert not [secret for secret in CREDENTIALS.values() if secret in text]
    assert "/api/payments/-/pay" in text


async def test_opentelemetry_s_global_instrumentation_makes_a_span_a_request(
    instrumented: None, exporter: "InMemorySpanExporter"
) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await send_all_kinds(server, pay)
    spans = list(exporter.get_finished_spans())
    check_no_credential(spans)
    assert ids_of(spans) == spans_on_the_wire(server)
    assert len(spans) == len(server.requests) == 4 + 3 + 1 + 3


async def test_opentelemetry_s_instrumentation_of_a_client_makes_a_span_a_request(
    exporter: "InMemorySpanExporter", provider: "TracerProvider"
) -> None:
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        HTTPXClientInstrumentor.instrument_client(pay.http, tracer_provider=provider)
        await send_all_kinds(server, pay)
    spans = list(exporter.get_finished_spans())
    check_no_credential(spans)
    assert ids_of(spans) == spans_on_the_wire(server)
    assert len(spans) == len(server.requests) == 4 + 3 + 1 + 3


async def test_opentelemetry_sees_why_a_request_failed(
    instrumented: None, exporter: "InMemorySpanExporter"
) -> None:
    async with session(f"http://127.0.0.1:{refusing_port()}", max_retries=0) as pay:
        for operation in OPERATIONS.values():
            with pytest.raises(APIConnectionError):
                await operation(pay)
    spans = list(exporter.get_finished_spans())
    assert [event.attributes["exception.type"] for span in spans for event in span.events] == [
        "httpx.ConnectError"
    ] * len(OPERATIONS)
    check_no_credential(spans)


async def test_opentelemetry_shows_no_credential_where_a_proxy_serves(
    instrumented: None, exporter: "InMemorySpanExporter"
) -> None:
    async with (
        ScriptedServer(answers_well) as proxy,
        session("http://127.0.0.1:9", proxy=proxy.base_url) as pay,
    ):
        await pay.create_intent(**INTENT)
    [asked] = proxy.requests
    target = f"http://127.0.0.1:9/api/payments/{CREDENTIALS['token_id']}/pay"
    assert asked.target == target
    spans = list(exporter.get_finished_spans())
    check_no_credential(spans)
    assert ids_of(spans) == spans_on_the_wire(proxy)


# --- Sentry


@pytest.fixture(scope="module")
def sentry() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Set Sentry up without its scrubber, and return what gives all that it would have sent."""
    import sentry_sdk
    from sentry_sdk.integrations.httpx import HttpxIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.scrubber import EventScrubber
    from sentry_sdk.transport import Transport

    class Collecting(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            sent.extend(item.payload.json for item in envelope.items)

    def take() -> list[dict[str, Any]]:
        taken = sent[:]
        sent.clear()
        return taken

    sent: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        # It replaces these for good: they are put back.
        for owner, name in (
            (httpx.AsyncClient, "send"),
            (httpx.Client, "send"),
            (logging.Logger, "callHandlers"),
        ):
            patch.setattr(owner, name, getattr(owner, name))
        sentry_sdk.init(
            dsn="https://public@sentry.example/1",
            transport=Collecting(),
            traces_sample_rate=1.0,
            default_integrations=False,
            integrations=[HttpxIntegration(), LoggingIntegration(level=logging.DEBUG)],
            event_scrubber=EventScrubber(denylist=[], pii_denylist=[]),
            max_value_length=100_000,
            max_breadcrumbs=1000,
            auto_session_tracking=False,
            enable_backpressure_handling=False,
        )
        yield take
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)


BASIC = f"{CREDENTIALS['client_id']}:{CREDENTIALS['client_secret']}".encode()
SECRETS = [*CREDENTIALS.values(), base64.b64encode(BASIC).decode(), MOBILE]

FAULTS: dict[str, Script] = {
    "closed": closes,
    "reset": resets,
    "truncated": sends(response(b"half", length=8), then_close=True),
    "no answer of ours": sends(response(b"<html></html>", content_type="text/html")),
    "500": sends(response(b"", "500 Oops")),
    "401": sends(response(b"", "401 No")),
}


async def test_sentry_sees_every_request(
    sentry: Callable[[], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    import sentry_sdk

    caplog.set_level(logging.DEBUG)
    sentry()
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        with sentry_sdk.isolation_scope() as scope, sentry_sdk.start_transaction(name="buying"):
            scope.clear_breadcrumbs()  # those of earlier tests
            await send_all_kinds(server, pay)
            sentry_sdk.capture_message("bought")  # transactions carry no breadcrumbs
    [message, transaction] = sentry()
    spans = [span for span in transaction["spans"] if span["op"] == "http.client"]
    assert len(spans) == len(server.requests) == 4 + 3 + 1 + 3
    assert sum(span["description"].endswith("/api/payments/-/pay") for span in spans) == 2
    crumbs = [crumb["category"] for crumb in message["breadcrumbs"]["values"]]
    assert crumbs.count("httplib") == 4 + 2 + 3  # one for each that was answered
    assert "little_pay_async.http" in crumbs
    assert "httpx" in crumbs
    text = json.dumps([message, transaction])
    assert not [secret for secret in SECRETS if secret in text]


async def test_sentry_and_opentelemetry_both_see_what_the_library_s_spans_are_around(
    sentry: Callable[[], list[dict[str, Any]]],
    instrumented: None,
    exporter: "InMemorySpanExporter",
    provider: "TracerProvider",
    caplog: pytest.LogCaptureFixture,
) -> None:
    import sentry_sdk

    from little_pay_async.integrations.otel import instrument

    caplog.set_level(logging.DEBUG)
    sentry()
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        instrument(pay, tracer_provider=provider)
        with sentry_sdk.isolation_scope(), sentry_sdk.start_transaction(name="buying"):
            await send_all_kinds(server, pay)
    [transaction] = sentry()
    sent = [span for span in transaction["spans"] if span["op"] == "http.client"]
    assert len(sent) == len(server.requests)
    # The docs leave polls out by this.
    polls = [span for span in sent if span["data"].get("http.query") == "longPoll=true"]
    assert len(polls) == len([request for request in server.requests if request.held]) == 3
    spans = list(exporter.get_finished_spans())
    ours = {
        span.get_span_context().span_id: span
        for span in spans
        if span.name.startswith("little_pay.")
    }
    https = [span for span in spans if span.get_span_context().span_id not in ours]
    assert len(https) == len(server.requests)
    assert {span.parent.span_id for span in https if span.parent} == ours.keys()
    assert ids_of(https) == spans_on_the_wire(server)
    check_no_credential(spans)
    assert not [secret for secret in SECRETS if secret in json.dumps(transaction)]


def test_sentry_would_be_told_of_a_local_variable(
    sentry: Callable[[], list[dict[str, Any]]],
) -> None:
    """What the next tests look for can be seen at all."""
    import sentry_sdk

    def fails(_: object) -> None:
        raise HookError

    sentry()
    try:
        fails({"X-API-KEY": CREDENTIALS["api_key"]})
    except HookError as error:
        sentry_sdk.capture_exception(error)
    [event] = sentry()
    assert CREDENTIALS["api_key"] in json.dumps(event)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_sentry_is_told_no_secret_by_an_error(
    fault: str,
    tls: bool,
    sentry: Callable[[], list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    import sentry_sdk

    caplog.set_level(logging.DEBUG)
    sentry()
    server = ScriptedServer(FAULTS[fault], tls=server_tls() if tls else None)
    async with server, session(server) as pay:
        for operation in OPERATIONS.values():
            try:
                await operation(pay)
            except LittlePayError as error:
                sentry_sdk.capture_exception(error)
    events = sentry()
    assert len(events) == len(OPERATIONS)
    for event in events:
        check_frames(event)
        text = json.dumps(event)
        assert not [secret for secret in SECRETS if secret in text]


async def test_sentry_is_told_no_secret_by_an_error_of_a_hook(
    sentry: Callable[[], list[dict[str, Any]]],
) -> None:
    import sentry_sdk

    async def fail(_: object) -> None:
        raise HookError

    sentry()
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for event in ("request", "response"):
            pay.http.event_hooks = {event: [fail]}
            for operation in OPERATIONS.values():
                try:
                    await operation(pay)
                except HookError as error:
                    sentry_sdk.capture_exception(error)
    events = sentry()
    assert len(events) == 2 * len(OPERATIONS)
    for event in events:
        check_frames(event)
        assert not [secret for secret in SECRETS if secret in json.dumps(event)]


def check_frames(event: dict[str, Any]) -> None:
    """Insist on what leaks would show in: local variables of frames of ours."""
    frames = [
        frame
        for exception in event["exception"]["values"]
        for frame in exception.get("stacktrace", {"frames": []})["frames"]
        if frame["module"].startswith("little_pay_async.")
    ]
    assert any(frame["vars"] for frame in frames)


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


async def test_the_polls_of_a_watch_go_through_the_hooks() -> None:
    seen: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        request.headers["X-Trace"] = str(len(seen))
        seen.append(f"> {request.url.raw_path.decode()}")

    async def on_response(response: httpx.Response) -> None:
        seen.append(f"< {response.request.url.raw_path.decode()}")

    keys = {f"ORDER{number}" for number in range(5)}
    async with ScriptedServer(in_turn(closes, answers_well)) as server, session(server) as pay:
        pay.http.event_hooks = {"request": [on_request], "response": [on_response]}
        async with pay.watch(keys) as watch:
            assert {settlement.key async for settlement in watch} == keys
    asked = [f"> {request.target}" for request in server.requests]
    assert len(asked) == len(keys) + 1  # one hold ended without an answer
    assert sorted(line for line in seen if line[0] == ">") == sorted(asked)
    assert {line for line in seen if line[0] == "<"} == {f"<{line[1:]}" for line in asked}
    assert len(seen) == 2 * len(asked) - 1
    marks = [request.header("x-trace") or "" for request in server.requests]
    assert len(set(marks)) == len(asked)
    assert all(mark.isdigit() for mark in marks)  # and each of them once


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
