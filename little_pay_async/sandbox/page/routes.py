"""What a browser can ask for."""

import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from little_pay_async.sandbox.book import Entry
from little_pay_async.sandbox.page import views
from little_pay_async.sandbox.page.by_hand import Form, Hand

if TYPE_CHECKING:
    from little_pay_async.sandbox.sandbox import Sandbox

_LONGEST_FORM = 64 * 1024
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def page_routes(sandbox: "Sandbox") -> list[Route]:
    """Return the routes of the page of a sandbox."""
    page = _Page(sandbox)
    return [
        Route("/", page.show, methods=["GET"]),
        Route("/", page.take, methods=["POST"]),
        Route("/checkout/{reference}", page.show_checkout, methods=["GET"]),
        Route("/checkout/{reference}", page.take_checkout, methods=["POST"]),
        Route("/-/page.css", _file("page.css", "text/css"), methods=["GET"]),
        Route("/-/page.js", _file("page.js", "text/javascript"), methods=["GET"]),
        Route("/-/public-key.pem", page.show_public_key, methods=["GET"]),
        Route("/favicon.ico", _nothing, methods=["GET"]),  # browsers ask for one unasked
    ]


class _Page:
    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._hand = Hand(sandbox)

    async def show(self, request: Request) -> Response:
        for entry in self._sandbox.book:
            self._find(entry.reference)  # it may have expired
        return _shown(request, views.index(self._sandbox, self._hand.fired))

    async def take(self, request: Request) -> Response:
        form = await _form_of(request)
        if form is None:
            return _too_long()
        if "answer" not in form:
            reference = await self._hand.fire(form, str(request.base_url))
            return _on_to("/#by-hand" if reference is None else f"/#payment-{reference}")
        entry = self._find(form.get("reference", ""))
        if entry is None:
            return _shown(request, views.unknown(), 404)
        self._answer(entry, form["answer"])
        return _on_to(f"/#payment-{entry.reference}")

    async def show_checkout(self, request: Request) -> Response:
        entry = self._find(request.path_params["reference"])
        if entry is None:
            return _shown(request, views.unknown(), 404)
        return _shown(request, views.checkout(self._sandbox, entry))

    async def take_checkout(self, request: Request) -> Response:
        entry = self._find(request.path_params["reference"])
        if entry is None:
            return _shown(request, views.unknown(), 404)
        form = await _form_of(request)
        if form is None:
            return _too_long()
        if "answer" in form:
            self._answer(entry, form["answer"])
        else:
            await self._hand.ring(entry.reference, form, str(request.base_url))
        return _on_to(f"/checkout/{entry.reference}")

    async def show_public_key(self, request: Request) -> Response:
        return _shown(request, self._sandbox.public_key, media_type="text/plain")

    def _find(self, reference: str) -> Entry | None:
        entry = self._sandbox.book.find(reference, anyio.current_time())
        return entry if entry is not None and entry.reference == reference else None

    def _answer(self, entry: Entry, answer: str) -> None:
        if not entry.ringing or answer not in views.ANSWERS:
            return
        _, status, message = views.ANSWERS[answer]
        if status is None:
            self._sandbox.book.silence(entry, message)
        else:
            self._sandbox.settle(entry.reference, status, message)


async def _nothing(_: Request) -> Response:
    return Response(status_code=204)


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("little_pay_async.sandbox.page").joinpath(name).read_bytes()

    async def file(request: Request) -> Response:
        return _shown(request, content, media_type=media_type)

    return file


def _shown(
    request: Request, content: str | bytes, status: int = 200, media_type: str = "text/html"
) -> Response:
    """Return what was asked for, or that it has not changed."""
    content = content.encode("utf-8", "replace") if isinstance(content, str) else content
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, status, headers=headers, media_type=media_type)


def _too_long() -> Response:
    return Response("The form is too long\n", 413)


def _on_to(path: str) -> Response:
    return RedirectResponse(path, 303, headers=_HEADERS)


async def _form_of(request: Request) -> Form | None:
    """Return what was filled in; None if that is too much."""
    body = bytearray()
    async with contextlib.aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > _LONGEST_FORM:
                return None
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
