"""What a `ResponseReader` makes of valid, refused and broken responses, however they come."""

import pytest

from little_pay_async._transport import http1
from little_pay_async._transport.broken import BrokenResponseError, RefusedResponseError
from little_pay_async._transport.http1 import ResponseReader

from .answers import (
    CHUNKED,
    HELLO,
    OK,
    VALID,
    Answer,
    Response,
    by_h11,
    cut,
    fragments,
    read,
)
from .bad_answers import BROKEN_CHUNKS, REFUSED_HEADS

EVERY_VALID = pytest.mark.parametrize("answer", VALID.values(), ids=VALID)
EVERY_ENDING = pytest.mark.parametrize(
    "answer",
    [answer for answer in VALID.values() if not answer.until_end],
    ids=[name for name, answer in VALID.items() if not answer.until_end],
)


# --- Valid


@EVERY_VALID
def test_is_read_however_it_comes(answer: Answer) -> None:
    for parts in fragments(answer.wire):
        assert read(parts, method=answer.method, end=answer.until_end) == answer.response


@EVERY_ENDING
def test_the_end_of_the_stream_changes_nothing_after_it(answer: Answer) -> None:
    for cut_off in (False, True):
        got = read([answer.wire], method=answer.method, end=True, cut_off=cut_off)
        assert got == answer.response


@EVERY_ENDING
def test_that_ends_early_is_broken(answer: Answer) -> None:
    for stop in range(len(answer.wire)):
        for parts in ([answer.wire[:stop]], cut(answer.wire[:stop], range(1, stop))):
            assert read(parts, method=answer.method) is None
            assert read(parts, method=answer.method, end=True) is BrokenResponseError


@pytest.mark.parametrize(
    "name", ["until the end of the stream", "nothing until the end of the stream"]
)
def test_that_only_the_end_of_the_stream_can_end_has_a_part_of_its_body_at_most(name: str) -> None:
    answer = VALID[name]
    head = len(answer.wire) - len(answer.body)
    for stop in range(len(answer.wire) + 1):
        parts = [answer.wire[:stop]]
        assert read(parts) is None
        assert read(parts, end=True, cut_off=True) is BrokenResponseError
        if stop < head:
            assert read(parts, end=True) is BrokenResponseError
        else:
            part = answer.body[: stop - head]
            assert read(parts, end=True) == answer.response._replace(body=part)


@EVERY_VALID
def test_is_the_same_to_h11(answer: Answer) -> None:
    got = by_h11(answer.wire, method=answer.method, until_end=answer.until_end)
    assert got == answer.response


def test_a_length_may_have_more_zeros_before_it_than_python_takes() -> None:
    for zeros in (1, 19, 20, 5000):
        got = read([OK + b"Content-Length: " + b"0" * zeros + b"5\r\n\r\nhello"])
        assert isinstance(got, Response)
        assert (got.body, got.reusable) == (b"hello", True)


def test_the_body_can_be_taken_as_it_comes() -> None:
    reader = ResponseReader(b"GET")
    assert reader.take() == b""
    reader.feed(OK + b"Content-Length: 10\r\n")
    assert not reader.has_head
    reader.feed(b"\r\n")
    assert reader.has_head
    assert (reader.status, reader.take()) == (200, b"")
    reader.feed(b"12")
    reader.feed(b"34")
    assert (reader.take(), reader.take()) == (b"1234", b"")
    reader.feed(b"567890")
    assert reader.complete
    assert reader.reusable
    assert (reader.take(), reader.take()) == (b"567890", b"")


# --- Refused


@pytest.mark.parametrize("wire", REFUSED_HEADS.values(), ids=REFUSED_HEADS)
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"])
def test_a_head_that_is_none_is_refused(wire: bytes, before: bytes) -> None:
    wire = before + wire
    for parts in fragments(wire):
        assert read(parts) is RefusedResponseError
    for stop in range(len(wire)):
        got = read([wire[:stop]], end=True)
        assert got in {BrokenResponseError, RefusedResponseError}, (stop, got)


@pytest.mark.parametrize("method", [b"HEAD", b"POST"])
@pytest.mark.parametrize("name", ["chunked and a tab", "two lengths alike", "101", "HTTP/2.0"])
def test_a_head_is_refused_whatever_the_method(name: str, method: bytes) -> None:
    assert read([REFUSED_HEADS[name]], method=method) is RefusedResponseError


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101),
        (b"HTTP/1.1 502 X\r\nContent-Length: 1048577\r\n\r\n", 502),
        (b"HTTP/1.1 502 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 502),
        (b"HTTP/1.1 502 X\r\nA: \0\r\n\r\n", 502),
        (b"HTTP/1.1 502 X\r\n" + b"A: b\r\n" * 101 + b"\r\n", 0),
        (b"HTTP/2.0 502 X\r\n\r\n", 0),
        (b"HTTP/1.1 100 X\r\n\r\nHTTP/2.0 502 X\r\n\r\n", 0),
        (b"HTTP/1.1 502 X\r\nA: \0\r\n", 0),
    ],
)
def test_a_refusal_says_the_status_if_it_was_read(wire: bytes, status: int) -> None:
    with pytest.raises(RefusedResponseError) as refused:
        ResponseReader(b"GET").feed(wire)
    assert refused.value.status == status
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None  # whose frames would hold bytes


# --- Broken


@pytest.mark.parametrize("chunks", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_chunks_that_make_no_sense_are_broken(chunks: bytes) -> None:
    wire = CHUNKED + chunks
    for parts in fragments(wire):
        assert read(parts) is BrokenResponseError
    for stop in range(len(wire)):
        assert read([wire[:stop]], end=True) is BrokenResponseError


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"", "the connection ended without a response"),
        (b"HTTP/1.1 2", "the connection ended within a head"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the connection ended within a head"),
        (HELLO[:-1], "the connection ended within a response"),
        (CHUNKED + b"1\r\na\r\n", "the connection ended within a response"),
    ],
)
def test_an_early_end_says_where(wire: bytes, message: str) -> None:
    reader = ResponseReader(b"GET")
    reader.feed(wire)
    with pytest.raises(BrokenResponseError, match=message):
        reader.end()


# --- What follows


MORE = {
    "a line end": b"\r\n",
    "a bare LF": b"\n",
    "the end of a head": b"\r\n\r\n",
    "a letter": b"H",
    "NUL": b"\0",
    "a response": HELLO,
    "a response in chunks": CHUNKED + b"4\r\nevil\r\n0\r\n\r\n",
    "half a response": HELLO[:20],
    "what would be refused": REFUSED_HEADS["HTTP/2.0"],
    "the end of chunks": b"0\r\n\r\n",
}


@EVERY_ENDING
@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_what_follows_is_given_to_nobody_and_ends_the_connection(
    answer: Answer, more: bytes
) -> None:
    expected = answer.response._replace(reusable=False)
    for parts in fragments(answer.wire + more):
        assert read(parts, method=answer.method) == expected


@pytest.mark.parametrize("wire", [HELLO, CHUNKED + b"1\r\na\r\n0\r\n\r\n"])
def test_much_that_follows_is_given_to_nobody(wire: bytes) -> None:
    for more in (b"a" * 300_000, HELLO * 10_000, b"\r\n" * 100_000):
        reader = ResponseReader(b"GET")
        reader.feed(wire)
        assert reader.reusable
        reader.feed(more)
        assert not reader.reusable
        assert len(reader.take()) in {1, 5}


# --- After the end


def failed(*parts: bytes, end: bool = False) -> ResponseReader:
    reader = ResponseReader(b"GET")
    with pytest.raises((BrokenResponseError, RefusedResponseError)):  # noqa: PT012 - where it may
        for part in parts:
            reader.feed(part)
        if end:
            reader.end()
    return reader


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param(lambda: failed(b"HTTP/2.0 200 OK\r\n\r\n"), id="a head"),
        pytest.param(lambda: failed(b"HTTP/2"), id="a part of a head"),
        pytest.param(lambda: failed(OK + b"Content-Length: 9999999\r\n\r\n"), id="a length"),
        pytest.param(lambda: failed(CHUNKED, b"x"), id="a chunk"),
        pytest.param(lambda: failed(OK, b"\r\n", b"a" * (http1.MAX_BODY + 1)), id="a body"),
        pytest.param(lambda: failed(OK, end=True), id="an early end in a head"),
        pytest.param(lambda: failed(HELLO[:-1], end=True), id="an early end"),
    ],
)
@pytest.mark.parametrize("more", [HELLO, b"\r\n\r\n" + HELLO, b"o", b"0\r\n\r\n"])
def test_nothing_comes_of_a_response_that_failed(reader: object, more: bytes) -> None:
    assert callable(reader)
    again = reader()
    for _ in range(2):
        with pytest.raises((BrokenResponseError, RefusedResponseError)):
            again.feed(more)
        with pytest.raises(BrokenResponseError):
            again.end()
        assert not again.complete
        assert not again.reusable


def test_more_than_one_end_is_none() -> None:
    reader = ResponseReader(b"GET")
    reader.feed(OK + b"\r\nhello")
    reader.end()
    reader.end(cut_off=True)
    assert reader.complete
    reader.feed(HELLO)
    assert (reader.take(), reader.reusable) == (b"hello", False)
