"""Any bytes as the response to a request: whole, byte by byte and in pieces they are the same."""

import contextlib
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from little_pay_async._transport import broken, http1

# Few bytes reach these limits. A piece of one byte: only then is it exact where a limit lies.
SMALL = {"MAX_HEAD": 300, "MAX_HEADERS": 8, "MAX_INTERIM": 2, "MAX_BODY": 200, "MAX_FRAMING": 60}
EXACT = {**SMALL, "_PIECE": 1}
ROUGH = {**SMALL, "_PIECE": 16}
ERRORS = (broken.BrokenResponseError, broken.RefusedResponseError)


def check(data: bytes) -> None:
    assert read([data]) == read(in_pieces(data)) == read(one_by_one(data))
    assert read([data], method=b"HEAD") == read(in_pieces(data), method=b"HEAD")
    assert read([data], cut_off=True) == read(in_pieces(data), cut_off=True)
    with limits(EXACT):
        whole = read([data])
        assert read(in_pieces(data)) == whole
    with limits(ROUGH):
        for parts in ([data], in_pieces(data)):
            got = read(parts)
            assert got == whole or not {got[0], whole[0]}.isdisjoint(ERRORS)


def read(parts: list[bytes], *, method: bytes = b"GET", cut_off: bool = False) -> tuple[Any, ...]:
    """Return what came of it: before the end of the stream, and after."""
    reader = http1.ResponseReader(method)
    came = 0
    body = b""
    try:
        for part in parts:
            reader.feed(part)
            came += len(part)
            check_held(reader, came)
            shown = reader.peek()
            assert reader.take() == shown
            body += shown
    except ERRORS as error:
        check_failed(reader)
        return (type(error), type(error))
    before = state(reader)
    try:
        reader.end(cut_off=cut_off)
    except broken.BrokenResponseError as error:
        check_failed(reader)
        return (before, type(error))
    assert reader.complete
    return (before, state(reader), body, reader.reason, reader.http_version, reader.headers)


def state(reader: http1.ResponseReader) -> tuple[Any, ...]:
    return reader.has_head, reader.complete, reader.reusable, reader.has_head and reader.status


def check_held(reader: http1.ResponseReader, came: int) -> None:
    """It holds no more than came, and no more than it may."""
    parts = sum(map(len, reader._parts))
    assert len(reader._buffer) + parts <= came
    assert len(reader._buffer) <= http1.MAX_HEAD
    assert parts <= reader._content <= http1.MAX_BODY
    assert len(reader.headers) <= http1.MAX_HEADERS
    assert not reader.reusable or reader.complete
    if reader.has_head:
        assert not reader._buffer
        assert 200 <= reader.status <= 999
    if reader.complete:
        assert reader._parser is None


def check_failed(reader: http1.ResponseReader) -> None:
    """Nothing comes of it any more."""
    assert not reader.complete
    assert not reader.reusable
    assert reader._parser is None
    try:
        reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    except broken.BrokenResponseError:
        return
    raise AssertionError("something came of a response that had failed")


def one_by_one(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


def in_pieces(data: bytes) -> list[bytes]:
    """Return it cut in some places, the same for the same data."""
    chance = zlib.crc32(data)
    cuts = sorted({(chance >> shift) % (len(data) + 1) for shift in (0, 7, 14, 21)})
    return [data[start:stop] for start, stop in pairwise([0, *cuts, len(data)])]


@contextlib.contextmanager
def limits(small: dict[str, int]) -> Iterator[None]:
    usual = {name: getattr(http1, name) for name in small}
    for name, value in small.items():
        setattr(http1, name, value)
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(http1, name, value)
