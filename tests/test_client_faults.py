"""What goes wrong between client and Little Pay, in real time on each event loop.

`tests/faults/` has more faults, every operation, TLS and both transports, by a clock that jumps.
"""

import time

import anyio
import attrs
import pytest

from little_pay_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    LittlePayError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)

from .faults.scripts import cut, resets_within
from .servers import (
    Exchange,
    Script,
    ScriptedServer,
    closes,
    is_silent,
    payment,
    resets,
    response,
    right_answer,
    sends,
)
from .sessions import MONEY, OPERATIONS, session

pytestmark = pytest.mark.anyio

TRIES = 3  # one, and two more: the default
IN_TIME = 5.0  # seconds; the calls' own limit of 30 s must never be what ends a row


async def promises_less_than_it_sends(exchange: Exchange) -> None:
    body = right_answer(exchange.request).partition(b"\r\n\r\n")[2]
    await exchange.send(response(body, length=10))


def chunked(end: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        body = right_answer(exchange.request).partition(b"\r\n\r\n")[2]
        head = response(headers={"Transfer-Encoding": "chunked"}, length=-1)
        await exchange.send(head + b"%x\r\n%s\r\n" % (len(body), body) + end)
        await exchange.close()

    return script


async def drips_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"X: y\r\n")
        await anyio.sleep(0.02)


async def drips_a_body(exchange: Exchange) -> None:
    await exchange.send(response(length=100_000))
    while True:
        await exchange.send(b" ")
        await anyio.sleep(0.02)


async def floods(exchange: Exchange) -> None:
    """Send a body that never ends, as fast as it is taken."""
    await exchange.send(response(headers={"Transfer-Encoding": "chunked"}, length=-1))
    while True:
        await exchange.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def status(line: str, **headers: str) -> Script:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sends(response(b'{"message": "made up"}', line, named))


def body(data: bytes, content_type: str | None = "application/json") -> Script:
    return sends(response(data, content_type=content_type))


def right_but(**headers: str) -> Script:
    """Return a script of the right answer with more headers."""

    async def script(exchange: Exchange) -> None:
        head, _, rest = right_answer(exchange.request).partition(b"\r\n\r\n")
        more = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await exchange.send("\r\n".join([head.decode(), *more, "", ""]).encode() + rest)
        await exchange.close()

    return script


@attrs.frozen
class Row:
    """A fault, and what comes of it.

    Attributes:
        script: What the server does.
        get: What a GET raises.
        gets: How many of them arrive.
        money: What a request that moves money raises; None for `OutcomeUnknownError` with the
            error of the GET as its cause.
        sent: What `.sent` of the connection error is.
        timeout: Seconds that the session allows.
    """

    script: Script
    get: type[LittlePayError] | tuple[type[LittlePayError], ...]
    gets: int = TRIES
    money: type[LittlePayError] | None = None
    sent: bool | None = None
    timeout: float = 30.0


LOST = (APIConnectionError, TRIES, None, True)
NONSENSE = (UnexpectedResponseError, TRIES)
REFUSED = (UnexpectedResponseError, 1)
ROWS = {
    "reset without an answer": Row(resets, *LOST),
    "end of stream without an answer": Row(closes, *LOST),
    "reset within the answer": Row(resets_within, *LOST),
    "end of stream in the status line": Row(cut(0.02), *LOST),
    "end of stream in the headers": Row(cut(0.1), *LOST),
    "truncated body": Row(cut(0.9), *LOST),
    "body less its last byte": Row(cut(0.9999), *LOST),
    "Content-Length too short": Row(promises_less_than_it_sends, *NONSENSE),
    "chunks without their end": Row(chunked(b""), *LOST),
    "chunks cut within one": Row(chunked(b"5\r\nab"), *LOST),
    "chunk of no size": Row(chunked(b"zz\r\n"), *LOST),
    "silence": Row(is_silent, APITimeoutError, 1, None, sent=True, timeout=0.3),
    "slow headers": Row(drips_headers, APITimeoutError, 1, None, sent=True, timeout=0.3),
    "slow body": Row(drips_a_body, APITimeoutError, 1, None, sent=True, timeout=0.3),
    "body announced as too long": Row(sends(response(length=1024 * 1024 + 1)), *REFUSED),
    "body too long": Row(floods, *REFUSED),
    "gzip": Row(right_but(Content_Encoding="gzip"), *REFUSED),
    "unknown encoding": Row(right_but(Content_Encoding="x-made-up"), *REFUSED),
    "204": Row(sends(b"HTTP/1.1 204 No Content\r\n\r\n"), *REFUSED),
    "304": Row(sends(b"HTTP/1.1 304 Not Modified\r\n\r\n"), *REFUSED),
    "HTML": Row(body(b"<html>It works!</html>", "text/html"), *NONSENSE),
    "HTML said to be JSON": Row(body(b"<html>It works!</html>"), *NONSENSE),
    "JSON said to be text": Row(body(payment(), "text/plain"), *NONSENSE),
    "no body": Row(body(b""), *NONSENSE),
    "JSON, not the envelope": Row(body(b'{"status": "COMPLETED"}'), *NONSENSE),
    "data is null": Row(body(b'{"date": "2024-05-13T08:26:18.719Z", "data": null}'), *NONSENSE),
    "data is a list": Row(body(b'{"date": "2024-05-13T08:26:18.719Z", "data": []}'), *NONSENSE),
    "NaN": Row(
        body(b'{"date": "2024-05-13T08:26:18.719Z", "data": {"status": "PENDING", "x": NaN}}'),
        *NONSENSE,
    ),
    "not UTF-8": Row(body(payment().replace(b"COMPLETED", b"COMPL\xffTED", 1)), *NONSENSE),
    "nested deeply": Row(body(b"[" * 100_000), *NONSENSE),
    "400": Row(status("400 Bad Request"), BadRequestError, 1, BadRequestError),
    "401": Row(status("401 Unauthorized"), AuthenticationError, 1, AuthenticationError),
    "403": Row(status("403 Forbidden"), PermissionDeniedError, 1, PermissionDeniedError),
    "404": Row(status("404 Not Found"), NotFoundError, 1, NotFoundError),
    "408": Row(status("408 Request Timeout"), APIStatusError),
    "409": Row(status("409 Conflict"), ConflictError, 1, ConflictError),
    "418": Row(status("418 I'm a teapot"), APIStatusError, 1, APIStatusError),
    "422": Row(status("422 Unprocessable Content"), BadRequestError, 1, BadRequestError),
    "429": Row(status("429 Too Many Requests"), RateLimitError, TRIES, RateLimitError),
    "500": Row(status("500 Internal Server Error"), ServerError),
    "502": Row(status("502 Bad Gateway"), ServerError),
    "503": Row(status("503 Service Unavailable"), ServerError),
    "504": Row(status("504 Gateway Timeout"), ServerError),
    "599": Row(status("599 "), ServerError),
    "600": Row(status("600 Made Up"), *REFUSED),
}
# What is refused by how HTTP is read. Under trio h11 reads it, and for httpx all is one error then.
BROKEN_HTTP = {
    "no HTTP": sends(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", then_close=True),
    "Transfer-Encoding and Content-Length": sends(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
    "Transfer-Encoding gzip, chunked": sends(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    ),
    "NUL in a header": sends(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\n{}"),
    "101": sends(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"
    ),
    "ICE/1.0": sends(b"ICE/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "HTTP/2.0": sends(b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "bare CR in a header": sends(b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\n{}"),
    "too many interim answers": sends(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9),
    "headers too long": sends(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"),
    "too many headers": sends(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n"),
    "endless chunk extension": sends(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200_000
    ),
    "endless trailer": sends(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 20_000
    ),
}
# There are no more interim answers than eight; and what goes on without an end is waited for.
ONLY_UNDER_ASYNCIO = {"too many interim answers", "endless chunk extension", "endless trailer"}


@pytest.mark.parametrize("operation", ["status", "process"])
@pytest.mark.parametrize("name", ROWS)
async def test_fault(name: str, operation: str) -> None:
    row = ROWS[name]
    begun = time.monotonic()
    async with (
        ScriptedServer(row.script) as server,
        session(server, timeout=row.timeout) as pay,
    ):
        with pytest.raises(LittlePayError) as caught:
            await OPERATIONS[operation](pay)
        await server.until(lambda: server.open <= 1)  # one may be kept for the next call
    assert time.monotonic() - begun < IN_TIME
    error = caught.value
    if operation not in MONEY:
        check_get(row, error)
        assert len(server.requests) == row.gets
        assert error.tries == row.gets  # type: ignore[attr-defined]
        return
    assert len(server.requests) == 1
    if row.money is not None:
        assert type(error) is row.money
        return
    assert isinstance(error, OutcomeUnknownError)
    assert error.operation == operation
    assert error.key == {"process": "REF1"}.get(operation, "ORDER42")
    assert error.tries == 1
    assert isinstance(error.__cause__, LittlePayError)
    check_get(row, error.__cause__)


def check_get(row: Row, error: LittlePayError) -> None:
    assert type(error) is row.get
    assert error.key in {"ORDER42", "REF1"}
    if isinstance(error, APIConnectionError):
        assert error.sent is row.sent
        assert not error.tls


@pytest.mark.parametrize("operation", ["status", "process"])
@pytest.mark.parametrize("name", BROKEN_HTTP)
async def test_broken_http(name: str, operation: str, anyio_backend_name: str) -> None:
    by_h11 = anyio_backend_name == "trio"
    if by_h11 and name in ONLY_UNDER_ASYNCIO:
        pytest.skip("h11 reads on")
    begun = time.monotonic()
    async with ScriptedServer(BROKEN_HTTP[name]) as server, session(server) as pay:
        with pytest.raises(LittlePayError) as caught:
            await OPERATIONS[operation](pay)
        await server.until(lambda: server.open == 0)  # the connection is not kept
    assert time.monotonic() - begun < IN_TIME
    if operation in MONEY:
        assert len(server.requests) == 1
        assert isinstance(caught.value, OutcomeUnknownError)
        assert by_h11 or type(caught.value.__cause__) is UnexpectedResponseError
    elif by_h11:
        assert isinstance(caught.value, APIConnectionError | UnexpectedResponseError)
    else:
        assert type(caught.value) is UnexpectedResponseError
        assert caught.value.refused
        assert len(server.requests) == 1
