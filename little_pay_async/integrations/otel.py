"""OpenTelemetry: a span for each operation, and metrics.

    from little_pay_async.integrations.otel import instrument

    async with AsyncLittlePay() as pay:
        instrument(pay)

It needs the extra `otel`, and whatever SDK and exporter the application sets up. No span and no
metric holds a credential, a phone number or an access token.
"""

import contextvars
import logging
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace
except ModuleNotFoundError as _missing:
    raise ImportError(
        "little_pay_async.integrations.otel needs OpenTelemetry: "
        "run pip install 'little-pay-async[otel]'",
        name=_missing.name,
    ) from _missing

from little_pay_async._client import AsyncLittlePay
from little_pay_async._errors import APIStatusError, LittlePayError, OutcomeUnknownError
from little_pay_async._masking import redact
from little_pay_async._models import PaymentStatus, Settlement
from little_pay_async._session import Session
from little_pay_async._version import __version__
from little_pay_async._wire import TOKEN_ID, Call

__all__ = ["instrument", "uninstrument"]

_logger = logging.getLogger("little_pay_async.integrations")

_SCOPE = "little_pay_async"
_SCHEMA = "https://opentelemetry.io/schemas/1.28.0"
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
# So many events of each kind does a span get; together the 128 that SDKs keep by default. Beyond
# those they would drop the oldest, and what is rare would go with what is frequent.
_MOST_EVENTS = {"settlement": 64, "error": 32, "retry": 16, "contradiction": 16}
_BOUNDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 90, 120, 300, 600, 1800]

P = ParamSpec("P")
T = TypeVar("T", bound="_Observation")


def instrument(
    pay: AsyncLittlePay,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Have a session make spans and metrics, from its next operation on; `with_options` too.

    A second time it takes the place of the first. What fails in a tracer, a meter or an exporter
    fails no operation: it is logged once, as a WARNING of `little_pay_async.integrations`.

    Args:
        pay: The session. Others are left as they are.
        tracer_provider: OpenTelemetry's global one if left out.
        meter_provider: The same.
    """
    session = pay._session  # noqa: SLF001 - the seam is no part of the public API
    session.observer = _Observer(session, tracer_provider, meter_provider)


def uninstrument(pay: AsyncLittlePay) -> None:
    """Have a session make neither spans nor metrics any more, from its next operation on."""
    pay._session.observer = None  # noqa: SLF001 - see above


class _Observer:
    def __init__(
        self,
        session: Session,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        self.tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider, _SCHEMA)
        self.settlements = meter.create_counter(
            "little_pay.settlements", "{settlement}", "Keys that came to their end"
        )
        self.retries = meter.create_counter(
            "little_pay.retries", "{retry}", "Requests that were sent again"
        )
        self.unknown = meter.create_counter(
            "little_pay.outcomes_unknown", "{operation}", "Money requests of unknown outcome"
        )
        self.parked = meter.create_up_down_counter(
            "little_pay.polls.parked", "{poll}", "Long polls under way"
        )
        self.duration = meter.create_histogram(
            "little_pay.operation.duration",
            "s",
            "How long operations took, retries and pauses included",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )
        # What it needs of the session: that one holds it, and the garbage collector is not needed.
        self.base_url, self.secrets = session.base_url, session.secrets
        host = urlsplit(session.base_url)
        self.server: dict[str, str | int] = {
            "server.address": host.hostname or "",
            "server.port": host.port or (443 if host.scheme == "https" else 80),
        }
        self._complained = False

    def begin(self, operation: str, call: Call | None = None) -> "_Observation":
        return _Observation(self, operation, call)

    def complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            _logger.warning(
                "OpenTelemetry failed, and may go on to: no payment is the worse for it",
                exc_info=error,
                extra={"operation": "otel", "error_type": type(error).__name__},
            )


def _harmless(
    method: Callable[Concatenate[T, P], None],
) -> Callable[Concatenate[T, P], None]:
    """Let nothing out that a tracer, a meter or an exporter raises."""

    def guarded(self: T, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a payment goes before its telemetry
            self.complain(error)

    return guarded


class _Observation:
    """A span, and what is counted meanwhile."""

    def __init__(self, observer: _Observer, operation: str, call: Call | None) -> None:
        self.complain = observer.complain
        self.context = contextvars.copy_context()
        self._observer = observer
        self._operation = operation
        self._held = call is not None and call.held
        self._began = perf_counter()
        self._events: Counter[str] = Counter()
        self._error: BaseException | None = None
        self._token: contextvars.Token[contexts.Context] | None = None
        self._span: trace.Span = trace.INVALID_SPAN
        self._begin(call)

    @_harmless
    def _begin(self, call: Call | None) -> None:
        self._span = self._observer.tracer.start_span(
            f"little_pay.{self._operation}",
            kind=trace.SpanKind.INTERNAL if call is None else trace.SpanKind.CLIENT,
            attributes=self._attributes(call),
        )
        within = trace.set_span_in_context(self._span)
        self.context.run(contexts.attach, within)

    def _attributes(self, call: Call | None) -> dict[str, str | int]:
        found: dict[str, str | int] = {"little_pay.operation": self._operation}
        if call is None:
            return found
        found |= self._observer.server
        if call.method in _METHODS:
            found["http.request.method"] = call.method
        else:
            found["http.request.method"] = "_OTHER"
            found["http.request.method_original"] = call.method
        path = redact(call.path.replace(TOKEN_ID, "-"), self._observer.secrets())
        found["url.full"] = self._observer.base_url + path
        if call.template is not None:
            found["url.template"] = call.template
        if call.key is not None:
            found["little_pay.key"] = call.key
        return found

    def __enter__(self) -> Self:
        self._attach()
        if self._held:
            self.parked(1)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._held:
            self.parked(-1)
        # A coroutine that is dropped half-way may be closed in another context.
        if self._token is not None and not isinstance(exc, GeneratorExit):
            contexts.detach(self._token)
        self.end(exc)

    @_harmless
    def _attach(self) -> None:
        if self._span is not trace.INVALID_SPAN:  # none if it could not be started
            self._token = contexts.attach(trace.set_span_in_context(self._span))

    def end(self, error: BaseException | None) -> None:
        """End the span, whatever fails."""
        self._finish(error or self._error)
        self._close()

    @_harmless
    def _finish(self, error: BaseException | None) -> None:
        measured = {"little_pay.operation": self._operation}
        if isinstance(error, Exception):
            measured["error.type"] = _error_type(error)
            said = str(error) if isinstance(error, LittlePayError) else None
            self._span.set_attribute("error.type", _error_type(error))
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, said))
        elif error is not None:
            self._span.set_attribute("little_pay.cancelled", value=True)
        left_out = {
            kind: count - _MOST_EVENTS[kind]
            for kind, count in self._events.items()
            if count > _MOST_EVENTS[kind]
        }
        for kind, count in left_out.items():
            self._span.set_attribute(f"little_pay.events_left_out.{kind}", count)
        self._observer.duration.record(perf_counter() - self._began, measured)
        if isinstance(error, OutcomeUnknownError) and self._operation != "collect":
            self.outcome_unknown(error.operation)

    @_harmless
    def _close(self) -> None:
        self._span.end()

    @_harmless
    def sent(self, requests: int, status_code: int) -> None:
        if status_code:
            self._span.set_attribute("http.response.status_code", status_code)
        if requests > 1:
            self._span.set_attribute("http.request.resend_count", requests - 1)

    @_harmless
    def parked(self, more: int) -> None:
        self._observer.parked.add(more)

    @_harmless
    def retried(self, error: LittlePayError, *, key: str | None, delay: float, tries: int) -> None:
        kind = _error_type(error)
        attributes = {"little_pay.operation": self._operation, "error.type": kind}
        self._observer.retries.add(1, attributes)
        self._note("retry", {"error.type": kind, "delay": delay, "tries": tries}, key)

    @_harmless
    def settled(self, settlement: Settlement) -> None:
        payment, error = settlement.payment, settlement.error
        attributes: dict[str, str] = {}
        if error is not None:
            attributes["error.type"] = _error_type(error)
        elif payment is not None:
            attributes["little_pay.status"] = payment.status.value
        if payment is not None and payment.provider is not None:
            provider = payment.provider
            attributes["little_pay.provider"] = provider.value if provider.is_known else "_OTHER"
        self._observer.settlements.add(1, attributes)
        if self._operation == "wait":
            self._error = error
            self._span.set_attributes(attributes | {"little_pay.key": settlement.key})
        self._note(
            "settlement" if error is None else "error",
            attributes | {"elapsed": settlement.elapsed, "polls": settlement.polls},
            settlement.key,
        )

    @_harmless
    def contradicted(self, key: str, first: PaymentStatus, second: PaymentStatus) -> None:
        self._note("contradiction", {"first": first.value, "second": second.value}, key)

    @_harmless
    def failed(self, key: str, error: LittlePayError) -> None:
        self._note("error", {"error.type": _error_type(error)}, key)

    @_harmless
    def outcome_unknown(self, operation: str) -> None:
        self._observer.unknown.add(1, {"little_pay.operation": operation})

    @_harmless
    def counted(self, *, keys: int, settled: int, requests: int, retries: int) -> None:
        known = {"keys": keys, "settled": settled, "requests": requests, "retries": retries}
        self._span.set_attributes({f"little_pay.{name}": count for name, count in known.items()})

    def _note(self, kind: str, attributes: dict[str, str | float], key: str | None) -> None:
        self._events[kind] += 1
        if self._events[kind] <= _MOST_EVENTS[kind] and self._span.is_recording():
            if key is not None:
                attributes["little_pay.key"] = key
            self._span.add_event(f"little_pay.{kind}", attributes)


def _error_type(error: Exception) -> str:
    """Return a status code, as the conventions have it, or the class."""
    if isinstance(error, APIStatusError):
        return str(error.status_code)
    name = type(error).__qualname__
    if isinstance(error, LittlePayError):
        return name
    return f"{type(error).__module__}.{name}"
