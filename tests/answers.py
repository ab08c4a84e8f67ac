"""Valid responses of HTTP/1.1, and what a `ResponseReader` or h11 makes of any."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import attrs
import h11

from little_pay_async._transport.broken import BrokenResponseError, RefusedResponseError
from little_pay_async._transport.http1 import ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
TE, CL, CONNECTION = b"Transfer-Encoding", b"Content-Length", b"Connection"


class Response(NamedTuple):
    status: int
    reason: bytes
    http_version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    reusable: bool


Outcome = Response | type[BrokenResponseError] | type[RefusedResponseError] | None
"""What came of it; None: the response is not complete."""


def read(
    parts: Iterable[bytes], *, method: bytes = b"GET", end: bool = False, cut_off: bool = False
) -> Outcome:
    """Feed `parts` one after the other, and perhaps the end of the stream."""
    reader = ResponseReader(method)
    body = b""
    try:
        for part in parts:
            reader.feed(part)
            body += reader.take()
        if end:
            reader.end(cut_off=cut_off)
    except (BrokenResponseError, RefusedResponseError) as error:
        assert not reader.complete
        assert not reader.reusable
        return type(error)
    if not reader.complete:
        assert not reader.reusable
        return None
    assert reader.has_head
    return Response(
        reader.status, reader.reason, reader.http_version, reader.headers, body, reader.reusable
    )


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Return the pieces of `data` between `places`."""
    return [data[start:stop] for start, stop in pairwise([0, *sorted(places), len(data)])]


def fragments(data: bytes) -> Iterator[list[bytes]]:
    """Yield `data` in one, in two in every way, byte by byte, and in threes."""
    yield [data]
    for place in range(1, len(data)):
        yield cut(data, [place])
    for size in (1, 3):
        yield cut(data, range(size, len(data), size))


def by_h11(wire: bytes, *, method: bytes = b"GET", until_end: bool = False) -> Response:
    """Return what h11 reads, which raises errors of its own."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "pay.example")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(wire)
    if until_end:
        connection.receive_data(b"")
    head, body = None, b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.InformationalResponse), event
    assert head is not None
    return Response(
        head.status_code,
        head.reason,
        b"HTTP/" + head.http_version,
        list(head.headers.raw_items()),
        body,
        connection.our_state is connection.their_state is h11.DONE and not until_end,
    )


@attrs.frozen(kw_only=True)
class Answer:
    """A response as it comes, and what is to be read from it."""

    wire: bytes
    status: int = 200
    reason: bytes = b"OK"
    http_version: bytes = b"HTTP/1.1"
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    reusable: bool = True
    method: bytes = b"GET"
    until_end: bool = False  # its body ends with the stream

    @property
    def response(self) -> Response:
        return Response(
            self.status, self.reason, self.http_version, [*self.headers], self.body, self.reusable
        )


VALID = {
    "Content-Length": Answer(wire=HELLO, headers=((CL, b"5"),), body=b"hello"),
    "an empty body": Answer(
        wire=OK + b"Content-Length: 0\r\n\r\n",
        headers=((CL, b"0"),),
    ),
    "a body of line ends": Answer(
        wire=OK + b"Content-Length: 4\r\n\r\n\r\n\r\n",
        headers=((CL, b"4"),),
        body=b"\r\n\r\n",
    ),
    "a length with zeros before it": Answer(
        wire=OK + b"Content-Length: 005\r\n\r\nhello",
        headers=((CL, b"005"),),
        body=b"hello",
    ),
    "no reason": Answer(
        wire=b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        reason=b"",
        headers=((CL, b"0"),),
    ),
    "no reason and no space": Answer(
        wire=b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        reason=b"",
        headers=((CL, b"0"),),
    ),
    "a reason in words": Answer(
        wire=b"HTTP/1.1 418 I'm a  t\xe9apot\r\nContent-Length: 0\r\n\r\n",
        status=418,
        reason=b"I'm a  t\xe9apot",
        headers=((CL, b"0"),),
    ),
    "case and duplicates of headers": Answer(
        wire=OK + b"x-A: 1\r\nSet-Cookie: a\r\nX-a: 2\r\nset-cookie: b\r\n"
        b"cOnTeNt-LeNgTh: 0\r\n\r\n",
        headers=(
            (b"x-A", b"1"),
            (b"Set-Cookie", b"a"),
            (b"X-a", b"2"),
            (b"set-cookie", b"b"),
            (b"cOnTeNt-LeNgTh", b"0"),
        ),
    ),
    "space around values": Answer(
        wire=OK + b"A:1\r\nB: \t 2 3 \t \r\nC:\r\nD: \t\r\nE: \xc3\xa9\r\n"
        b"Content-Length: 0\r\n\r\n",
        headers=(
            (b"A", b"1"),
            (b"B", b"2 3"),
            (b"C", b""),
            (b"D", b""),
            (b"E", b"\xc3\xa9"),
            (CL, b"0"),
        ),
    ),
    "chunked": Answer(
        wire=CHUNKED + b"5\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n",
        headers=((TE, b"chunked"),),
        body=b"hello 0123456789",
    ),
    "no chunk": Answer(wire=CHUNKED + b"0\r\n\r\n", headers=((TE, b"chunked"),)),
    "chunks of line ends": Answer(
        wire=CHUNKED + b"4\r\n\r\n\r\n\r\n0\r\n\r\n",
        headers=((TE, b"chunked"),),
        body=b"\r\n\r\n",
    ),
    "chunk extensions": Answer(
        wire=CHUNKED + b'5;a;b=c;d="e \\" f"\r\nhello\r\n0;g\r\n\r\n',
        headers=((TE, b"chunked"),),
        body=b"hello",
    ),
    "a trailer": Answer(
        wire=CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\nConnection: close\r\nEmpty:\r\n\r\n",
        headers=((TE, b"chunked"),),
        body=b"hello",
    ),
    "chunked, and space": Answer(
        wire=OK + b"transfer-encoding:\t chunked  \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        headers=((b"transfer-encoding", b"chunked"),),
        body=b"hello",
    ),
    "until the end of the stream": Answer(
        wire=OK + b"A: b\r\n\r\nhello",
        headers=((b"A", b"b"),),
        body=b"hello",
        reusable=False,
        until_end=True,
    ),
    "nothing until the end of the stream": Answer(
        wire=OK + b"\r\n", headers=(), reusable=False, until_end=True
    ),
    "HEAD": Answer(
        wire=OK + b"Content-Length: 5\r\n\r\n",
        headers=((CL, b"5"),),
        method=b"HEAD",
    ),
    "HEAD of more than may be read": Answer(
        wire=OK + b"Content-Length: 9999999999999999\r\n\r\n",
        headers=((CL, b"9999999999999999"),),
        method=b"HEAD",
    ),
    "HEAD of chunks": Answer(wire=CHUNKED, headers=((TE, b"chunked"),), method=b"HEAD"),
    "HEAD of no length": Answer(wire=OK + b"A: b\r\n\r\n", headers=((b"A", b"b"),), method=b"HEAD"),
    "204": Answer(
        wire=b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
        status=204,
        reason=b"No Content",
        headers=((b"A", b"b"),),
    ),
    "204 that says so twice": Answer(
        wire=b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        status=204,
        reason=b"No Content",
        headers=((CL, b"0"),),
    ),
    "304 with the length of what it stands for": Answer(
        wire=b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        status=304,
        reason=b"Not Modified",
        headers=((CL, b"99"),),
    ),
    "Connection: close": Answer(
        wire=OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
        headers=((CONNECTION, b"close"), (CL, b"5")),
        body=b"hello",
        reusable=False,
    ),
    "close among others": Answer(
        wire=OK + b"connection: x, CLOSE\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        headers=((b"connection", b"x, CLOSE"), (CONNECTION, b"keep-alive"), (CL, b"0")),
        reusable=False,
    ),
    "chunked and close": Answer(
        wire=OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\n\r\n",
        headers=((TE, b"chunked"), (CONNECTION, b"close")),
        body=b"a",
        reusable=False,
    ),
    "an upgrade that is only offered": Answer(
        wire=OK + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\na",
        headers=((CONNECTION, b"upgrade"), (b"Upgrade", b"h2c"), (CL, b"1")),
        body=b"a",
    ),
    "HTTP/1.0": Answer(
        wire=b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        http_version=b"HTTP/1.0",
        headers=((CL, b"5"),),
        body=b"hello",
        reusable=False,
    ),
    "HTTP/1.0 that would stay": Answer(
        wire=b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        http_version=b"HTTP/1.0",
        headers=((CONNECTION, b"keep-alive"), (CL, b"5")),
        body=b"hello",
        reusable=False,
    ),
    "HTTP/1.0 until the end": Answer(
        wire=b"HTTP/1.0 200 OK\r\n\r\nhello",
        http_version=b"HTTP/1.0",
        headers=(),
        body=b"hello",
        reusable=False,
        until_end=True,
    ),
    "interim responses": Answer(
        wire=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102\r\nA: b\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nLink: y\r\nConnection: close\r\n\r\n"
        b"HTTP/1.1 104 New\r\nContent-Length: 0\r\n\r\n" + HELLO,
        headers=((CL, b"5"),),
        body=b"hello",
    ),
    "an interim response, and no reason": Answer(
        wire=b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n",
        status=500,
        reason=b"",
        headers=((CL, b"0"),),
    ),
    "as many interim responses as may be": Answer(
        wire=b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" * 8
        + CHUNKED
        + b"1\r\na\r\n0\r\n\r\n",
        headers=((TE, b"chunked"),),
        body=b"a",
    ),
    "an interim response to a HEAD": Answer(
        wire=b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\n",
        headers=((CL, b"5"),),
        method=b"HEAD",
    ),
}
