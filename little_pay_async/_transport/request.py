"""A request as bytes. What HTTP does not allow in one is refused before anything is sent."""

import re
from collections.abc import AsyncIterable, Sequence

import attrs
import httpcore

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_START = re.compile(rb"%b\n[!-~\x80-\xff]+" % _TOKEN)  # method, target
_HEADERS = re.compile(rb"(?:%b\n[\t -~\x80-\xff]*\n)*" % _TOKEN)
_WITHOUT_BODY = {b"GET", b"HEAD"}  # unless they say that they have one
_CHUNKED = b"chunked"

Headers = Sequence[tuple[bytes, bytes]]


@attrs.frozen(repr=False)  # there are credentials in it
class _Fields:
    """What headers come to.

    Attributes:
        lines: As they are sent; None if they have characters that are not allowed there.
        framing: What they say of the body: its length, `chunked`, or nothing; None if it can be
            understood in two ways, or not at all.
        is_last: Is the request to be the last of its connection?
    """

    lines: bytes | None
    framing: bytes | None
    is_last: bool


class RequestWriter:
    """Makes bytes of requests.

    The headers of thousands of polls are the same: what they come to is kept for the next request.
    """

    def __init__(self) -> None:
        self._headers: Headers = []
        self._fields = _fields_of([])

    def head(self, request: httpcore.Request) -> bytes | None:
        """Return the head as it is sent; None if it has characters that are not allowed there.

        A line break in a part of it would be one more header, or another request; so would a colon
        in the name of a header be another header.
        """
        method, target = request.method, request.url.target
        lines = self._fields_for(request).lines
        if lines is None or not _START.fullmatch(b"%b\n%b" % (method, target)):
            return None
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, lines)

    async def body(self, request: httpcore.Request) -> tuple[bytes, bool] | None:
        """Return the body as it is sent, and whether the request is the last of its connection.

        None if the body is not as long as its head says. Bodies are small here: they are collected
        before anything is sent.
        """
        fields = self._fields_for(request)
        framing = fields.framing
        if framing is None:
            return None
        if framing == b"" and request.method in _WITHOUT_BODY:
            return b"", fields.is_last
        assert isinstance(request.stream, AsyncIterable)  # noqa: S101 - as httpcore does
        body = b"".join([part async for part in request.stream])
        if framing == _CHUNKED:
            size = len(body)
            chunk = b"%x\r\n%b\r\n" % (size, body) if body else b""
            return chunk + b"0\r\n\r\n", fields.is_last
        return (body, fields.is_last) if len(body) == int(framing or b"0") else None

    def _fields_for(self, request: httpcore.Request) -> _Fields:
        if request.headers != self._headers:
            self._fields = _fields_of(request.headers)
            self._headers = list(request.headers)
        return self._fields


def _fields_of(headers: Headers) -> _Fields:
    parts = [part for header in headers for part in header]
    joined = b"".join([part + b"\n" for part in parts])
    # A whole match is not enough: a part with a line break in it would look like two.
    is_allowed = joined.count(b"\n") == len(parts) and _HEADERS.fullmatch(joined)
    lines = b"".join([b"%b: %b\r\n" % header for header in headers]) if is_allowed else None
    framing, is_last = _framing(headers)
    return _Fields(lines, framing, is_last)


def _framing(headers: Headers) -> tuple[bytes | None, bool]:
    framing, is_last = b"", False
    for name, value in headers:
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
            return None, is_last
        framing = value
    return framing, is_last
