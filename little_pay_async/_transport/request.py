"""A request as bytes. What HTTP does not allow in one is refused before anything is sent."""

import re
from collections.abc import AsyncIterable

import httpcore

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A name or value with a line break in it would be a second header, or a second request.
_HEAD = re.compile(
    rb"%b [!-~\x80-\xff]+ HTTP/1\.1\r\n(?:%b: [\t -~\x80-\xff]*\r\n)*\r\n" % (_TOKEN, _TOKEN)
)


def head_of(request: httpcore.Request) -> bytes | None:
    """Return the head as it is sent; None if it has characters that are not allowed there."""
    lines = [b"%b %b HTTP/1.1" % (request.method, request.url.target)]
    lines += [b"%b: %b" % header for header in request.headers]
    head = b"\r\n".join([*lines, b"", b""])
    return head if _HEAD.fullmatch(head) else None


async def body_of(request: httpcore.Request) -> bytes | None:
    """Return the body as it is sent; None if it is not as long as its head says.

    Bodies are small here: they are collected before anything is sent.
    """
    framing = _framing(request)
    if framing is None:
        return b""
    assert isinstance(request.stream, AsyncIterable)  # noqa: S101 - as httpcore does
    body = b"".join([part async for part in request.stream])
    if framing.isdigit():
        return body if len(body) == int(framing) else None
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"


def _framing(request: httpcore.Request) -> bytes | None:
    """Return what the head says of the body: its length, that it is chunked, or nothing."""
    for name, value in request.headers:
        lowered = name.lower()
        if lowered in {b"content-length", b"transfer-encoding"}:
            return value
    return None
