"""A request as bytes. What HTTP does not allow in one is refused before anything is sent."""

import re
from collections.abc import AsyncIterable

import httpcore

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARTS = re.compile(
    rb"%b\n[!-~\x80-\xff]+(?:\n%b\n[\t -~\x80-\xff]*)*" % (_TOKEN, _TOKEN),  # method, target, ...
)
_WITHOUT_BODY = {b"GET", b"HEAD"}  # unless they say that they have one
_CHUNKED = b"chunked"


def head_of(request: httpcore.Request) -> bytes | None:
    """Return the head as it is sent; None if it has characters that are not allowed there.

    A line break in a part of it would be one more header, or another request; so would a colon in
    the name of a header be another header.
    """
    parts = [request.method, request.url.target]
    for header in request.headers:
        parts += header
    joined = b"\n".join(parts)
    # A whole match is not enough: a part with a line break in it would look like two.
    if joined.count(b"\n") != len(parts) - 1 or not _PARTS.fullmatch(joined):
        return None
    lines = [b"%b %b HTTP/1.1" % (request.method, request.url.target)]
    lines += [b"%b: %b" % header for header in request.headers]
    return b"\r\n".join([*lines, b"", b""])


async def body_of(request: httpcore.Request) -> tuple[bytes, bool] | None:
    """Return the body as it is sent, and whether the request is to be the last of its connection.

    None if the body is not as long as its head says. Bodies are small here: they are collected
    before anything is sent.
    """
    said = _framing(request)
    if said is None:
        return None
    framing, is_last = said
    if framing == b"" and request.method in _WITHOUT_BODY:
        return said
    assert isinstance(request.stream, AsyncIterable)  # noqa: S101 - as httpcore does
    body = b"".join([part async for part in request.stream])
    if framing == _CHUNKED:
        size = len(body)
        return b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if body else b"0\r\n\r\n", is_last
    return (body, is_last) if len(body) == int(framing or b"0") else None


def _framing(request: httpcore.Request) -> tuple[bytes, bool] | None:
    """Return what the head says of the body: its length, `chunked`, or nothing; and of the end.

    None if it says what can be understood in two ways, or not at all.
    """
    framing, is_last = b"", False
    for name, value in request.headers:
        lowered = name.lower()
        if lowered == b"content-length":
            understood = value.isdigit()
        elif lowered == b"transfer-encoding":
            value = value.lower()  # noqa: PLW2901
            understood = value == _CHUNKED
        else:
            if lowered == b"connection" and b"close" in value.lower():
                is_last = True
            continue
        if framing or not understood:
            return None
        framing = value
    return framing, is_last
