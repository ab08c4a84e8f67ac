"""The endpoints, as the API facts have them, on Starlette; and the page beside them."""

import base64
import binascii
import hmac
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeGuard

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from little_pay_async._masking import mask_digits
from little_pay_async.sandbox.book import Attempt, Entry, Refund
from little_pay_async.sandbox.outcomes import outcome_of
from little_pay_async.sandbox.page.guard import guarded
from little_pay_async.sandbox.page.routes import page_routes
from little_pay_async.sandbox.shapes import PROVIDERS, process_shape, status_shape, timestamp
from little_pay_async.sandbox.weather import Kind

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from little_pay_async.sandbox.sandbox import Sandbox

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
encode: Callable[[Any], bytes] = msgspec.json.Encoder(decimal_format="number").encode
_KEY = re.compile(r"[0-9A-Za-z]+")
_MOBILE = re.compile(r"[0-9]{7,15}")
_BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"

Answer = tuple[int, dict[str, Any]]
Work = Callable[["Sandbox", Request, dict[str, Any]], Awaitable[Answer]]


class ConnectionDropped(Exception):  # noqa: N818 - no error, but the weather
    """Ends a request without an answer."""


def make_app(sandbox: "Sandbox") -> "ASGIApp":
    """Return the app that serves what `sandbox` knows.

    A bare router: Starlette's own app would answer 500 where the weather drops a connection.
    """

    def route(path: str, operation: str, work: Work) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _answer(sandbox, request, operation, work)

        method = "GET" if operation == "status" else "POST"
        return Route(path, endpoint, methods=[method])

    router = Router(
        routes=[
            route("/api/payments/{token_id}/pay", "create_intent", _create_intent),
            route("/pay/{name}/process", "process", _process),
            route("/api/payments-v2/{name}", "status", _status),
            route("/api/refund/{name}", "refund", _refund),
            *page_routes(sandbox),
        ]
    )
    return guarded(router)


async def _answer(sandbox: "Sandbox", request: Request, operation: str, work: Work) -> Response:
    body = _body_of(await request.body())
    sandbox.note(operation, request, body)
    weather = sandbox.weather_for(operation, request.path_params.get("name"))
    kind = weather.kind if weather else None
    if weather is not None and kind is Kind.RATE_LIMITED:
        after = str(math.ceil(weather.seconds))
        return _response(429, {"message": "Too many requests"}, {"Retry-After": after})
    if kind is Kind.BAD_GATEWAY:
        return Response(_BAD_GATEWAY, 502, media_type="text/html")
    request.state.may_hold = kind not in {Kind.NO_HOLD, Kind.DROPPED}
    status, data = (
        await work(sandbox, request, body)
        if body is not None
        else (400, {"message": "The body is not a JSON object"})
    )
    if kind is Kind.DROPPED:
        raise ConnectionDropped
    if weather is not None and kind is Kind.SLOW:
        await anyio.sleep(weather.seconds)
    return _response(status, data)


def _body_of(content: bytes) -> dict[str, Any] | None:
    if not content:
        return {}
    try:
        body = _decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return body if isinstance(body, dict) else None


def _response(
    status: int, data: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        encode({"date": timestamp(), "data": data}),
        status,
        headers=headers,
        media_type="application/json",
    )


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
    for name in ("description", "callbackUrl", "key"):
        if not isinstance(body.get(name), str) or not body[name]:
            return f"{name} is required"
    if not isinstance(body.get("currency", ""), str):
        return "currency must be a string"
    if not isinstance(body.get("returnUrl"), str | None):
        return "returnUrl must be a string"
    if not _KEY.fullmatch(body["key"]):
        return "key must be alphanumeric"
    if not _is_amount(body.get("amount")):
        return "amount must be a number above zero"
    expires_at = body.get("expiresAt")
    if expires_at is not None and not _is_amount(expires_at):
        return "expiresAt must be a number of minutes"
    if not isinstance(body.get("payload") or {}, dict):
        return "payload must be an object"
    return None


async def _process(sandbox: "Sandbox", request: Request, body: dict[str, Any]) -> Answer:
    entry = sandbox.book.find(request.path_params["name"], anyio.current_time())
    if entry is None or entry.reference != request.path_params["name"]:
        return 404, {"message": "No such payment intent"}
    payment = body.get("payment")
    mobile = payment.get("mobile") if isinstance(payment, dict) else None
    if body.get("type") not in PROVIDERS:
        return 400, {"message": "type must be one of MPESA, AIRTEL, MTN or TIGOPESA"}
    if not isinstance(mobile, str) or not _MOBILE.fullmatch(mobile):
        return 400, {"message": "payment.mobile must be digits with the country code"}
    if entry.final:
        return 409, {"message": f"The payment is {entry.status} already"}
    entry.attempts.append(Attempt(entry.reference, body["type"], mask_digits(mobile)))
    # "promoted" is what Little Pay writes (API facts: Process).
    entry.message = f"You will be promoted to enter your {body['type']} PIN"
    sandbox.ring(entry, outcome_of(mobile))
    if _wants_hold(request):
        await _held(sandbox, entry)
    return 200, process_shape(entry)


async def _status(sandbox: "Sandbox", request: Request, body: dict[str, Any]) -> Answer:  # noqa: ARG001
    if not _key_is_right(sandbox, request):
        return 401, {"message": "Invalid API key"}
    name = request.path_params["name"]
    entry = sandbox.book.find(name, anyio.current_time())
    if entry is None:
        return 404, {"message": "No such payment"}
    if request.query_params.get("longPoll") != "true":
        return 200, status_shape(entry, by_reference=name == entry.reference)
    if _wants_hold(request) and not entry.final:
        await _held(sandbox, entry)
    return 200, process_shape(entry)


async def _refund(sandbox: "Sandbox", request: Request, body: dict[str, Any]) -> Answer:
    if not _key_is_right(sandbox, request):
        return 401, {"message": "Invalid API key"}
    entry = sandbox.book.find(request.path_params["name"], anyio.current_time())
    if entry is None:
        return 404, {"message": "No such payment"}
    amount, reason, callback_url = (body.get(name) for name in ("amount", "reason", "callbackUrl"))
    if not _is_amount(amount):
        return 400, {"message": "amount must be a number above zero"}
    if not isinstance(reason, str | None) or not isinstance(callback_url, str | None):
        return 400, {"message": "reason and callbackUrl must be strings"}
    if entry.status != "COMPLETED":
        return 400, {"message": "Only a completed payment can be refunded"}
    if entry.refunded + Decimal(amount) > entry.amount:
        return 400, {"message": "More than was paid"}
    status = sandbox.refund_status
    message = {"COMPLETED": "Success", "FAILED": "The refund failed"}.get(status, "In progress")
    entry.refunds.append(Refund(amount, reason, callback_url, status, message))
    return 200, {"status": status, "message": message}


def _wants_hold(request: Request) -> bool:
    return request.query_params.get("longPoll") == "true" and request.state.may_hold


async def _held(sandbox: "Sandbox", entry: Entry) -> None:
    with anyio.move_on_after(min(sandbox.hold, max(0.0, entry.expires_at - anyio.current_time()))):
        await entry.changed.wait()
    sandbox.book.find(entry.reference, anyio.current_time())  # it may have expired


def _is_amount(value: object) -> TypeGuard[int | Decimal]:
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and value > 0


def _key_is_right(sandbox: "Sandbox", request: Request) -> bool:
    return _same(request.headers.get("x-api-key", ""), sandbox.credentials["api_key"])


def _basic_is_right(sandbox: "Sandbox", request: Request) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        pair = base64.b64decode(given, validate=True).decode("utf-8")
    except (ValueError, binascii.Error):  # not ASCII, or not UTF-8 within
        return False
    right = f"{sandbox.credentials['client_id']}:{sandbox.credentials['client_secret']}"
    return scheme.lower() == "basic" and _same(pair, right)


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
