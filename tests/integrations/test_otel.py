"""OpenTelemetry, by its real SDK: the spans and metrics of operations, over real sockets."""

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from little_pay_async import (
    APIConnectionError,
    AsyncLittlePay,
    NotFoundError,
    OutcomeUnknownError,
    PaymentStatus,
    SessionClosedError,
    SettlementTimeoutError,
)
from little_pay_async.integrations.otel import instrument, uninstrument
from little_pay_async.sandbox import Sandbox

from ..canaries import found_in
from ..servers import (
    Exchange,
    ScriptedServer,
    answers_well,
    closes,
    in_turn,
    is_silent,
    payment,
    refusing_port,
    resets,
    response,
    right_answer,
    sends,
)
from ..sessions import COLLECT, OPERATIONS, session
from ..test_logs import callback

pytestmark = pytest.mark.anyio

FAILS = sends(response(b"", "500 Oops"))


class Telemetry:
    """What a session tells."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def watch(self, pay: AsyncLittlePay) -> None:
        instrument(pay, tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        [found] = [span for span in self.spans if span.name == name]
        return found

    def points(self, name: str) -> list[Any]:
        found = self.reader.get_metrics_data()
        return [
            point
            for resource in (found.resource_metrics if found else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def counted(self, name: str) -> dict[tuple[Any, ...], int]:
        """Return the values of a counter by its attributes, without their names."""
        return {tuple((p.attributes or {}).values()): p.value for p in self.points(name)}

    def text(self) -> str:
        metrics = self.reader.get_metrics_data()
        return " ".join(
            [span.to_json() for span in self.spans] + [metrics.to_json() if metrics else ""]
        )


@pytest.fixture
def told() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    assert not [*found_in(telemetry.text())]
    telemetry.meters.shutdown()
    telemetry.tracers.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [
        (event.name.removeprefix("little_pay."), dict(event.attributes or {}))
        for event in span.events
    ]


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def id_of(span: ReadableSpan) -> int:
    return span.get_span_context().span_id


# --- Spans of one call


async def test_each_operation_makes_a_span(told: Telemetry) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        told.watch(pay)
        for operation in OPERATIONS.values():
            await operation(pay)
        await pay.long_poll("ORDER42")
        await pay.with_options(timeout=5).request("PURGE", "/api/other/123456789012?a=b", auth=None)
        base, port = server.base_url, server.port
    expected = {
        "create_intent": ("POST", "/api/payments/{token_id}/pay", "/api/payments/-/pay", "ORDER42"),
        "process": ("POST", "/pay/{reference}/process", "/pay/REF1/process", "REF1"),
        "refund": ("POST", "/api/refund/{key}", "/api/refund/ORDER42", "ORDER42"),
        "status": ("GET", "/api/payments-v2/{key}", "/api/payments-v2/ORDER42", "ORDER42"),
        "long_poll": (
            *("GET", "/api/payments-v2/{key}", "/api/payments-v2/ORDER42?longPoll=true", "ORDER42"),
        ),
    }
    assert len(told.spans) == len(expected) + 1
    for operation, (method, template, path, key) in expected.items():
        span = told.span(f"little_pay.{operation}")
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        assert attributes(span) == {
            "little_pay.operation": operation,
            "little_pay.key": key,
            "http.request.method": method,
            "http.response.status_code": 200,
            "url.template": template,
            "url.full": base + path,
            "server.address": "127.0.0.1",
            "server.port": port,
        }
    assert attributes(told.span("little_pay.request")) == {
        "little_pay.operation": "request",
        "http.request.method": "_OTHER",
        "http.request.method_original": "PURGE",
        "http.response.status_code": 200,
        "url.full": f"{base}/api/other/***?a=b",
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    durations = {
        point.attributes["little_pay.operation"]
        for point in told.points("little_pay.operation.duration")
    }
    assert durations == {*expected, "request"}


async def test_retries_are_counted_and_noted(told: Telemetry) -> None:
    async with (
        ScriptedServer(in_turn(FAILS, closes, answers_well)) as server,
        session(server) as pay,
    ):
        told.watch(pay)
        await pay.status("ORDER42")
    span = told.span("little_pay.status")
    assert attributes(span)["http.request.resend_count"] == 2
    assert attributes(span)["http.response.status_code"] == 200
    assert events(span) == [
        ("retry", {"error.type": error, "delay": 0.0, "tries": tries, "little_pay.key": "ORDER42"})
        for tries, error in [(1, "500"), (2, "APIConnectionError")]
    ]
    assert told.counted("little_pay.retries") == {
        ("status", "500"): 1,
        ("status", "APIConnectionError"): 1,
    }


async def test_errors_are_told(told: Telemetry) -> None:
    async with ScriptedServer(sends(response(b"", "404 No"))) as server, session(server) as pay:
        told.watch(pay)
        with pytest.raises(NotFoundError) as caught:
            await pay.status("ORDER42")
    span = told.span("little_pay.status")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == str(caught.value)
    assert attributes(span)["error.type"] == "404"
    assert attributes(span)["http.response.status_code"] == 404


async def test_no_connection_is_told(told: Telemetry) -> None:
    async with session(f"http://127.0.0.1:{refusing_port()}", max_retries=0) as pay:
        told.watch(pay)
        with pytest.raises(APIConnectionError):
            await pay.status("ORDER42")
    found = attributes(told.span("little_pay.status"))
    assert found["error.type"] == "APIConnectionError"
    assert "http.response.status_code" not in found


@pytest.mark.parametrize("operation", ["create_intent", "process", "refund"])
async def test_unknown_outcomes_are_counted(operation: str, told: Telemetry) -> None:
    async with ScriptedServer(resets) as server, session(server) as pay:
        told.watch(pay)
        with pytest.raises(OutcomeUnknownError):
            await OPERATIONS[operation](pay)
    assert attributes(told.span(f"little_pay.{operation}"))["error.type"] == "OutcomeUnknownError"
    assert told.counted("little_pay.outcomes_unknown") == {(operation,): 1}


async def test_a_hold_that_is_lost_has_its_status_within(told: Telemetry) -> None:
    async with ScriptedServer(in_turn(closes, answers_well)) as server, session(server) as pay:
        told.watch(pay)
        await pay.long_poll("ORDER42")
    assert parent(told.span("little_pay.status")) == id_of(told.span("little_pay.long_poll"))


async def test_cancellation_ends_a_span(told: Telemetry) -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        told.watch(pay)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pay.status, "ORDER42")
            tasks.start_soon(pay.wait, "ORDER43")
            await server.until_requests(2)
            tasks.cancel_scope.cancel()
    for name in ("status", "wait"):
        span = told.span(f"little_pay.{name}")
        assert attributes(span)["little_pay.cancelled"] is True
        assert span.status.status_code is StatusCode.UNSET
    assert set(told.counted("little_pay.polls.parked").values()) == {0}


# --- Spans of many calls


async def test_a_wait_is_one_span(told: Telemetry) -> None:
    async with ScriptedServer(in_turn(FAILS, answers_well)) as server, session(server) as pay:
        told.watch(pay)
        await pay.wait("ORDER42")
    [span] = told.spans
    assert (span.name, span.kind) == ("little_pay.wait", SpanKind.INTERNAL)
    found = attributes(span)
    assert found.pop("little_pay.provider")
    assert found == {
        "little_pay.operation": "wait",
        "little_pay.key": "ORDER42",
        "little_pay.status": "COMPLETED",
        "little_pay.keys": 1,
        "little_pay.settled": 1,
        "little_pay.requests": 2,
        "little_pay.retries": 1,
    }
    assert [name for name, _ in events(span)] == ["retry", "settlement"]
    assert told.counted("little_pay.retries") == {("wait", "500"): 1}
    assert list(told.counted("little_pay.settlements").values()) == [1]


async def test_a_wait_that_fails_says_why(told: Telemetry) -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        told.watch(pay)
        with pytest.raises(SettlementTimeoutError):
            await pay.wait("ORDER42", timeout=0.01)
    span = told.span("little_pay.wait")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "SettlementTimeoutError"
    assert told.counted("little_pay.settlements") == {("SettlementTimeoutError",): 1}


async def test_a_watch_is_one_span_with_a_bounded_number_of_events(told: Telemetry) -> None:
    async def most_settle(exchange: Exchange) -> None:
        gone = exchange.request.key.startswith("GONE")
        await exchange.send(response(b"", "404 No") if gone else right_answer(exchange.request))

    keys = [f"ORDER{number}" for number in range(100)]
    async with ScriptedServer(most_settle) as server, session(server) as pay:
        told.watch(pay)
        async with pay.watch([*keys, "GONE1"]) as watch:
            settlements = [settlement async for settlement in watch]
            assert watch.deliver(callback("ORDER0", "FAILED")) is False
    assert len(settlements) == 101
    [span] = told.spans
    found = attributes(span)
    assert found == {
        "little_pay.operation": "watch",
        "little_pay.keys": 101,
        "little_pay.settled": 101,
        "little_pay.requests": 101,
        "little_pay.retries": 0,
        "little_pay.events_left_out.settlement": 36,
    }
    kinds = [name for name, _ in events(span)]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "settlement": 64,
        "error": 1,
        "contradiction": 1,
    }
    assert span.dropped_events == 0
    [error] = [there for name, there in events(span) if name == "error"]
    assert (error["little_pay.key"], error["error.type"]) == ("GONE1", "404")
    [contradiction] = [there for name, there in events(span) if name == "contradiction"]
    assert contradiction == {"first": "COMPLETED", "second": "FAILED", "little_pay.key": "ORDER0"}
    assert sorted(told.counted("little_pay.settlements").values()) == [1, 100]


async def test_parked_polls_are_counted(told: Telemetry) -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        told.watch(pay)
        async with pay.watch(["A", "B", "C"]), anyio.create_task_group() as tasks:
            tasks.start_soon(pay.long_poll, "D")
            await server.until_requests(4)
            assert told.counted("little_pay.polls.parked") == {(): 4}
            tasks.cancel_scope.cancel()
    assert told.counted("little_pay.polls.parked") == {(): 0}


async def test_a_watch_that_fails_says_why(told: Telemetry) -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        told.watch(pay)
        async with pay.watch(["A"]) as watch:
            await server.until_requests(1)
            await pay.aclose()
            with pytest.raises(SessionClosedError):
                await anext(watch)
    assert attributes(told.span("little_pay.watch"))["error.type"] == "SessionClosedError"


async def test_what_a_block_raises_is_no_failure_of_the_watch(told: Telemetry) -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        told.watch(pay)
        with pytest.raises(ZeroDivisionError):
            async with pay.watch(["A"]):
                raise ZeroDivisionError
    assert told.span("little_pay.watch").status.status_code is StatusCode.UNSET


async def test_a_check_is_one_span(told: Telemetry) -> None:
    async def one_fails(exchange: Exchange) -> None:
        gone = exchange.request.key == "GONE"
        await exchange.send(response(b"", "404 No") if gone else right_answer(exchange.request))

    async with ScriptedServer(one_fails) as server, session(server) as pay:
        told.watch(pay)
        await pay.check(["A", "B", "GONE"])
    [span] = told.spans
    assert (span.name, span.kind) == ("little_pay.check", SpanKind.INTERNAL)
    assert events(span) == [("error", {"error.type": "404", "little_pay.key": "GONE"})]


async def test_a_collect_is_a_span_around_its_parts(told: Telemetry) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        told.watch(pay)
        await pay.collect(**COLLECT)
    collect = told.span("little_pay.collect")
    within = [span for span in told.spans if span is not collect]
    assert [span.name for span in within] == [
        f"little_pay.{name}" for name in ("create_intent", "process", "wait")
    ]
    assert {parent(span) for span in within} == {id_of(collect)}
    assert sum(told.counted("little_pay.settlements").values()) == 1


async def test_a_collect_that_is_final_at_once_is_a_settlement(told: Telemetry) -> None:
    async def at_once(exchange: Exchange) -> None:
        paid = "/process" in exchange.request.target
        await exchange.send(
            response(payment(key="ORDER42")) if paid else right_answer(exchange.request)
        )

    async with ScriptedServer(at_once) as server, session(server) as pay:
        told.watch(pay)
        await pay.collect(**COLLECT)
    assert sum(told.counted("little_pay.settlements").values()) == 1


async def test_an_outcome_that_collect_can_t_tell_is_counted_once(told: Telemetry) -> None:
    async def knows_no_status(exchange: Exchange) -> None:
        get = exchange.request.method == "GET"
        await exchange.send(response(b"", "404 No") if get else right_answer(exchange.request))

    async with ScriptedServer(knows_no_status) as server, session(server) as pay:
        told.watch(pay)
        with pytest.raises(OutcomeUnknownError):
            await pay.collect(**COLLECT)
    assert told.counted("little_pay.outcomes_unknown") == {("process",): 1}


# --- Parents


@pytest.fixture(params=["globally", "the client"])
def with_httpx(request: pytest.FixtureRequest, told: Telemetry) -> Iterator[Any]:
    """Have OpenTelemetry instrument httpx too, and return what is done with a session."""
    if request.param == "globally":
        HTTPXClientInstrumentor().instrument(tracer_provider=told.tracers)
        yield lambda _pay: None
        HTTPXClientInstrumentor().uninstrument()
    else:
        yield lambda pay: HTTPXClientInstrumentor.instrument_client(
            pay.http, tracer_provider=told.tracers
        )


async def test_spans_are_within_one_another_as_expected(told: Telemetry, with_httpx: Any) -> None:
    tracer = told.tracers.get_tracer("shop")
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        with_httpx(pay)
        told.watch(pay)
        with tracer.start_as_current_span("buying") as buying:
            await pay.status("ORDER42")
            async with pay.watch() as watch:
                with tracer.start_as_current_span("adding"):
                    watch.add("ORDER43")
                watch.close()
                assert trace.get_current_span() is buying
                async for _ in watch:
                    pass
            await pay.check(["ORDER44"])
            assert trace.get_current_span() is buying
    ours = [span for span in told.spans if span.name.startswith("little_pay.")]
    assert [span.name for span in ours] == [
        f"little_pay.{name}" for name in ("status", "watch", "check")
    ]
    assert {parent(span) for span in ours} == {buying.get_span_context().span_id}
    https = [span for span in told.spans if span.name.startswith("GET")]
    assert [parent(span) for span in https] == [id_of(span) for span in ours]


async def test_polls_that_share_places_are_of_their_own_watch(
    told: Telemetry, with_httpx: Any
) -> None:
    async with ScriptedServer(answers_well) as server, session(server, max_connections=2) as pay:
        with_httpx(pay)
        told.watch(pay)
        async with pay.watch(["A1", "A2"]) as first, pay.watch(["B1", "B2"]) as second:
            for watch in (first, second):
                async for _ in watch:
                    pass
    watches = [id_of(span) for span in told.spans if span.name == "little_pay.watch"]
    https = [span for span in told.spans if span.name.startswith("GET")]
    owners = {"A": set(), "B": set()}  # type: dict[str, set[int | None]]
    for span in https:
        found = attributes(span)
        url = found.get("url.full") or found["http.url"]
        owners[url.rpartition("/")[2][0]].add(parent(span))
    assert owners == {"B": {watches[0]}, "A": {watches[1]}}  # the inner one ends first


async def test_held_polls_can_be_left_out(told: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_HTTPX_EXCLUDED_URLS", "longPoll=true")
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        HTTPXClientInstrumentor.instrument_client(pay.http, tracer_provider=told.tracers)
        told.watch(pay)
        await pay.wait("ORDER42")
        await pay.status("ORDER42")
    assert sorted(span.name for span in told.spans if "little_pay" not in span.name) == ["GET"]


# --- What must not happen


class Raising(SpanProcessor):
    def on_start(self, *_: object, **__: object) -> None:
        raise RuntimeError("no span today")

    def on_end(self, *_: object) -> None:
        raise RuntimeError("nor its end")


class NoTracer(TracerProvider):
    def get_tracer(self, *_: Any, **__: Any) -> Any:
        class Tracer:
            def start_span(self, *_: Any, **__: Any) -> Any:
                raise RuntimeError("no span today")

        return Tracer()


class NoMeter(MeterProvider):
    def get_meter(self, *_: Any, **__: Any) -> Any:
        class Instrument:
            def add(self, *_: object) -> None:
                raise RuntimeError("no number today")

            record = add

        class Meter:
            def __getattr__(self, _: str) -> Any:
                return lambda *_, **__: Instrument()

        return Meter()


@pytest.mark.parametrize("fault", ["processor", "tracer", "meter"])
async def test_what_fails_in_opentelemetry_fails_no_payment(
    fault: str, told: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    if fault == "processor":
        told.tracers.add_span_processor(Raising())
    tracers = NoTracer(shutdown_on_exit=False) if fault == "tracer" else told.tracers
    meters = NoMeter(shutdown_on_exit=False) if fault == "meter" else told.meters
    async with ScriptedServer(in_turn(FAILS, answers_well)) as server, session(server) as pay:
        instrument(pay, tracer_provider=tracers, meter_provider=meters)
        await pay.status("ORDER42")
        for operation in OPERATIONS.values():
            await operation(pay)
        await pay.collect(**COLLECT)
        assert len(await pay.check(["A", "B"])) == 2
        async with pay.watch(["A", "B"]) as watch:
            assert len([settlement async for settlement in watch]) == 2
        server.script = resets
        with pytest.raises(OutcomeUnknownError):
            await OPERATIONS["process"](pay)
    [record] = [
        record for record in caplog.records if record.name == "little_pay_async.integrations"
    ]
    assert record.levelname == "WARNING"
    assert (vars(record)["operation"], vars(record)["error_type"]) == ("otel", "RuntimeError")
    if fault == "meter":
        meters.shutdown()


async def test_without_it_nothing_is_told(told: Telemetry) -> None:
    async with (
        ScriptedServer(answers_well) as server,
        session(server) as pay,
        session(server) as other,
    ):
        told.watch(pay)
        told.watch(pay)  # takes the first one's place
        await pay.status("ORDER42")
        await other.status("ORDER42")  # not instrumented
        uninstrument(pay)
        await pay.status("ORDER42")
        await pay.wait("ORDER42")
    assert [span.name for span in told.spans] == ["little_pay.status"]


async def test_global_providers_that_nobody_set_up_do_nothing() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        instrument(pay)
        await pay.status("ORDER42")
        assert (await pay.wait("ORDER42")).status is PaymentStatus.COMPLETED


@pytest.mark.asyncio_only
async def test_with_the_sandbox_on_a_socket(told: Telemetry) -> None:
    async with (
        Sandbox() as sandbox,
        sandbox.serve() as url,
        AsyncLittlePay(**sandbox.credentials, base_url=url) as pay,
    ):
        told.watch(pay)
        await pay.collect(**COLLECT | {"mobile": "+254700000001"})
    wait = told.span("little_pay.wait")
    assert attributes(wait)["little_pay.status"] == "COMPLETED"
    assert attributes(wait)["little_pay.provider"] == "MPESA"
    assert told.counted("little_pay.settlements") == {("COMPLETED", "MPESA"): 1}
