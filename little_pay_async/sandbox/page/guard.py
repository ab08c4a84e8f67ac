"""Turns away what other web pages ask for.

A server on loopback is within reach of every page that a developer has open. Such a page can send
forms here (cross-site request forgery), and its own host name can be made to mean 127.0.0.1 (DNS
rebinding), so that the browser takes the two for one site. Programs are let in: they send no
Origin.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_API = ("/api/", "/pay/")
_READING = {"GET", "HEAD"}


def guarded(app: ASGIApp) -> ASGIApp:
    """Return `app` behind the guard."""

    async def guarding(scope: Scope, receive: Receive, send: Send) -> None:
        problem = problem_of(scope["method"], scope["path"], Headers(scope=scope))
        if problem is None:
            await app(scope, receive, send)
        else:
            await PlainTextResponse(f"{problem}\n", 403)(scope, receive, send)

    return guarding


def problem_of(method: str, path: str, headers: Headers) -> str | None:
    """Return why a request is turned away, or None if it is let in."""
    host = headers.get("host", "")
    origin = headers.get("origin")
    # An app may reach the API by any name, a container's say. What only browsers ask for, or what a
    # browser sends from a page, must have been asked for by a name that nobody can take.
    if (origin is not None or not path.startswith(_API)) and not _is_of_this_machine(host):
        return "The sandbox's page is shown at localhost and IP addresses only"
    if method in _READING:
        return None
    if origin is not None and _place(origin) != host.lower():
        return "The sandbox takes no requests from other web pages"
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return "The sandbox takes no requests from other web pages"
    return None


def _place(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in {"http", "https"} else None


def _is_of_this_machine(host: str) -> bool:
    """Return whether a Host header is one that no DNS server of others can answer for."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
