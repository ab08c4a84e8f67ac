"""Posting callbacks: to this machine alone, and without anybody having to listen."""

import functools
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs
import httpx

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_TIMEOUT = 10.0
_SAID = 2_000


@attrs.frozen
class PostedCallback:
    """A callback that the sandbox has posted.

    Attributes:
        key: The merchant key of its payment.
        url: Where it was posted to.
        answer: The status code that came back, or None if none came.
        error: Why none came: the name of the exception.
        body: What was posted.
        said: What came back, its first 2,000 characters.
    """

    key: str
    url: str
    answer: int | None = None
    error: str | None = None
    body: bytes = attrs.field(default=b"", repr=False, eq=False)
    said: str = attrs.field(default="", repr=False, eq=False)


def is_posted_to(url: str | None) -> bool:
    """Return whether the sandbox posts there: to loopback addresses only."""
    try:
        return urlsplit(url or "").hostname in LOOPBACK
    except ValueError:  # half an IPv6 address, say
        return False


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return what looks at no certificate, once: making it takes longer than the rest of a post.

    A developer's own server seldom has one that is signed, and this machine is who it says it is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def post(key: str, url: str, body: bytes, headers: Mapping[str, str]) -> PostedCallback:
    """Post a callback once, and return what came of it; it takes ten seconds at the most."""
    # No proxy from the environment: it might be on another machine.
    async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, verify=_tls()) as client:
        try:
            response = await client.post(url, content=body, headers=headers)
        except Exception as error:  # noqa: BLE001 - a port of 99999, say, is no error of httpx's
            return PostedCallback(key, url, error=type(error).__name__, body=body)
    said = response.text[:_SAID]
    return PostedCallback(key, url, answer=response.status_code, body=body, said=said)
