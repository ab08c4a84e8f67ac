"""The endpoints, as the API facts have them, on Starlette."""

import base64
import binascii
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeGuard

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from little_pay_async.sandbox.book import Attempt, Entry
from little_pay_async.sandbox.outcomes import outcome_of
from little_pay_async.sandbox.weather import Kind

if TYPE_CHECKING:
    from little_pay_async.sandbox.sandbox import Sandbox

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode
_MOBILE = re.compile(r"[0-9]{7,15}")
_PROVIDERS = {"MPESA", "AIRTEL", "MTN", "TIGOPESA"}
_SLOW_SECONDS = 2.0
_BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"

Answer = tuple[int, dict[str, Any]]


class ConnectionDropped(Exception):  # noqa: N818 - no error, but the weather
    """Ends a request without an answer."""


def make_app(sandbox: "Sandbox") -> Router:
    """Return the app that serves what `sandbox` knows.

    A bare router: Starlette's own app would answer 500 where the weather drops a connection.
    """

    def route(
        path: str,
        operation: str,
        work: Callable[["Sandbox", Request, dict[str, Any]], Awaitable[Answer]],
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _answer(sandbox, request, operation, work)

        method = "GET" if operation == "status" else "POST"
        return Route(path, endpoint, methods=[method])

    return Router(
        routes=[
            route("/api/payments/{token_id}/pay", "create_intent", _create_intent),
            route("/pay/{name}/process", "process", _process),
            route("/api/payments-v2/{name}", "status", _status),
            route("/api/refund/{name}", "refund", _refund),
        ]
    )


async def _answer(
    sandbox: "Sandbox",
    request: Request,
    operation: str,
    work: Callable[["Sandbox", Request, dict[str, Any]], Awaitable[Answer]],
) -> Response:
    body = _body_of(await request.body())
    sandbox.note(operation, request, body)
    weather = sandbox.weather_for(operation)
    if weather is Kind.RATE_LIMITED:
        return _response(429, {"message": "Too many requests"}, {"Retry-After": "1"})
    if weather is Kind.BAD_GATEWAY:
        return Response(_BAD_GATEWAY, 502, media_type="text/html")
    request.state.no_hold = weather is Kind.NO_HOLD
    status, data = (
        await work(sandbox, request, body)
        if body is not None
        else (400, {"message": "The body is not a JSON object"})
    )
    if weather is Kind.SLOW:
        await anyio.sleep(_SLOW_SECONDS)
    if weather is Kind.DROPPED:
        raise ConnectionDropped
    return _response(status, data)


def _body_of(content: bytes) -> dict[str, Any] | None:
    if not content:
        return {}
    try:
        body = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return body if isinstance(body, dict) else None


def _response(
    status: int, data: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        _encode({"date": timestamp(), "data": data}),
        status,
        headers=headers,
        media_type="application/json",
    )


def timestamp() -> str:
    """Return the time as Little Pay writes it (API facts: Envelope)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _create_intent(sandbox: "Sandbox", request: Request, body: dict[str, Any]) -> Answer:
    if not (
        _basic_is_right(sandbox, request)
        and _same(request.path_params["token_id"], sandbox.credentials["token_id"])
    ):
        return 401, {"message": "Invalid credentials"}
    problem = _problem_of_intent(body)
    if problem is not None:
        return 400, {"message": problem}
    entry = sandbox.book.add(body, anyio.current_time())
    if entry is None:
        return 409, {"message": "The key is in use"}
    return 200, {
        "reference": entry.reference,
        "checkoutUrl": f"{str(request.base_url).rstrip('/')}/checkout/{entry.reference}",
        "message": "Request processed successfully",
    }


def _problem_of_intent(body: Mapping[str, Any]) -> str | None:
    for name in ("currency", "description", "callbackUrl", "key"):
        if not isinstance(body.get(name), str) or not body[name]:
            return f"{name} is required"
    if not body["key"].isalnum():
        return "key must be alphanumeric"
    if not _is_amount(body.get("amount")):
        return "amount must be a number above zero"
    expires_at = body.get("expiresAt")
    if expires_at is not None and not _is_amount(expires_at):
        return "expiresAt must be a number of minutes"
    return None


async def _process(sandbox: "Sandbox", request: Request, body: dict[str, Any]) -> Answer:
    entry = sandbox.book.find(request.path_params["name"], anyio.current_time())
    if entry is None or entry.reference != request.path_params["name"]:
        return 404, {"message": "No such payment intent"}
    payment = body.get("payment")
    mobile = payment.get("mobile") if isinstance(payment, dict) else None
    if body.get("type") not in _PROVIDERS:
        return 400, {"message": "type must be one of MPESA, AIRTEL, MTN or TIGOPESA"}
    if not isinstance(mobile, str) or not _MOBILE.fullmatch(mobile):
        return 400, {"message": "payment.mobile must be digits with the country code"}
    if entry.final:
        return 409, {"message": f"The payment is {entry.status} already"}
    entry.attempts.append(Attempt(entry.reference, body["type"]))
    entry.message = f"You will be prompted to enter your {body['type']} PIN"
    sandbox.ring(entry, outcome_of(mobile))
    if _wants_hold(request):
        await _held(sandbox, entry)
    return 200, _process_shape(entry)


async def _status(sandbox: "Sandbox", request: Request, body: dict[str, Any]) -> Answer:  # noqa: ARG001
    if not _same(request.headers.get("x-api-key", ""), sandbox.credentials["api_key"]):
        return 401, {"message": "Invalid API key"}
    name = request.path_params["name"]
    entry = sandbox.book.find(name, anyio.current_time())
    if entry is None:
        return 404, {"message": "No such payment"}
    if not _wants_hold(request):
        return 200, _status_shape(entry, by_reference=name == entry.reference)
    if not entry.final:
        await _held(sandbox, entry)
    return 200, _process_shape(entry)


async def _refund(sandbox: "Sandbox", request: Request, body: dict[str, Any]) -> Answer:
    if not _same(request.headers.get("x-api-key", ""), sandbox.credentials["api_key"]):
        return 401, {"message": "Invalid API key"}
    entry = sandbox.book.find(request.path_params["name"], anyio.current_time())
    if entry is None:
        return 404, {"message": "No such payment"}
    amount = body.get("amount")
    if not _is_amount(amount):
        return 400, {"message": "amount must be a number above zero"}
    if entry.status != "COMPLETED":
        return 400, {"message": "Only a completed payment can be refunded"}
    if entry.refunded + Decimal(amount) > entry.amount:
        return 400, {"message": "More than was paid"}
    entry.refunded += Decimal(amount)
    return 200, {"status": "COMPLETED", "message": "Success"}


def _wants_hold(request: Request) -> bool:
    return request.query_params.get("longPoll") == "true" and not request.state.no_hold


async def _held(sandbox: "Sandbox", entry: Entry) -> None:
    with anyio.move_on_after(min(sandbox.hold, max(0.0, entry.expires_at - anyio.current_time()))):
        await entry.changed.wait()
    sandbox.book.find(entry.reference, anyio.current_time())


def _process_shape(entry: Entry) -> dict[str, Any]:
    return {
        "status": entry.status,
        "message": entry.message,
        "meta": {
            "provider": entry.provider,
            "providerReference": "",
            "stepUpUrl": None,
            "accessToken": None,
            "amount": entry.amount,
            "currency": entry.currency,
            "description": entry.description,
            "reference": entry.reference,
        },
    }


def _status_shape(entry: Entry, *, by_reference: bool) -> dict[str, Any]:
    attempts = entry.attempts[-1:] if by_reference else entry.attempts
    return {
        "reference": entry.reference,
        "status": entry.status,
        "payload": dict(entry.payload),
        "amount": entry.amount,
        "payment": {"provider": entry.provider, "details": None},
        "key": entry.key,
        "attempts": [
            {"reference": made.reference, "provider": made.provider, "status": made.status}
            for made in attempts
        ],
    }


def _is_amount(value: object) -> TypeGuard[int | Decimal]:
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and value > 0


def _basic_is_right(sandbox: "Sandbox", request: Request) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        pair = base64.b64decode(given, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return False
    right = f"{sandbox.credentials['client_id']}:{sandbox.credentials['client_secret']}"
    return scheme.lower() == "basic" and _same(pair, right)


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
