"""A `ResponseReader` under attack: what it refuses, what it costs and what it leaves behind."""

import gc
import time
from collections.abc import Iterator
from itertools import cycle, islice

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from little_pay_async._transport.broken import BrokenResponseError, RefusedResponseError
from little_pay_async._transport.http1 import (
    MAX_BODY,
    MAX_FRAMING,
    MAX_HEAD,
    MAX_HEADERS,
    ResponseReader,
)

from .answers import (
    CHUNKED,
    HELLO,
    OK,
    VALID,
    Answer,
    Response,
    by_h11,
    cut,
    read,
)
from .bad_answers import BROKEN_CHUNKS, REFUSED_HEADS

KIB, MIB = 1024, 1024 * 1024


# --- Limits


def reads(data: bytes, size: int = 64 * KIB) -> list[bytes]:
    """Return `data` as an event loop hands it over."""
    return cut(data, range(size, len(data), size))


def head_of(size: int) -> bytes:
    """Return a head of exactly `size` bytes for an empty body."""
    start = OK + b"Content-Length: 0\r\nX: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


def head_with(headers: int) -> bytes:
    return OK + b"Content-Length: 0\r\n" + b"A: b\r\n" * (headers - 1) + b"\r\n"


def in_chunks(content: bytes, size: int) -> bytes:
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


FULL = b"a" * MAX_BODY
LONGEST = {
    "head": (head_of(MAX_HEAD), b""),
    "head after interim responses": (head_of(MAX_HEAD).replace(b"200", b"103") + HELLO, b"hello"),
    "headers": (head_with(MAX_HEADERS), b""),
    "body": (OK + b"Content-Length: %d\r\n\r\n" % MAX_BODY + FULL, FULL),
    "chunks": (CHUNKED + in_chunks(FULL, 8000), FULL),
    "one chunk": (CHUNKED + in_chunks(FULL, MAX_BODY), FULL),
    "extensions": (CHUNKED + b"1;" + b"a" * (MAX_FRAMING - 11) + b"\r\na\r\n0\r\n\r\n", b"a"),
    "trailers": (CHUNKED + b"0\r\nX: " + b"a" * (MAX_FRAMING - 10) + b"\r\n\r\n", b""),
}


@pytest.mark.parametrize("size", [1000, 64 * KIB, 4 * MIB])
@pytest.mark.parametrize(("wire", "body"), LONGEST.values(), ids=LONGEST)
def test_the_longest_that_is_allowed_is_read(wire: bytes, body: bytes, size: int) -> None:
    got = read(reads(wire, size))
    assert isinstance(got, Response)
    assert got.body == body
    assert got.reusable


def test_a_body_until_the_end_may_be_as_long_as_any() -> None:
    got = read(reads(OK + b"\r\n" + FULL), end=True)
    assert isinstance(got, Response)
    assert got.body == FULL


def endless(start: bytes, more: bytes) -> bytes:
    return start + more * (4 * MIB // len(more))


# What a server may send without end, and how much of it the parser may see at the most.
_FRAMING_SEEN = MAX_FRAMING + 17 * KIB
_BODY_SEEN = MAX_BODY + MAX_FRAMING
TOO_LONG = {
    "a head of one byte too many": (head_of(MAX_HEAD + 1), 0),
    "one header too many": (head_with(MAX_HEADERS + 1), 0),
    "one byte too many": (OK + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1) + FULL + b"a", 60),
    "one byte too many in chunks": (CHUNKED + in_chunks(FULL + b"a", 8000), _BODY_SEEN),
    "one byte too many until the end": (OK + b"\r\n" + FULL + b"a", 60),
    "one byte too many of extensions": (
        CHUNKED + b"1;" + b"a" * (MAX_FRAMING - 10) + b"\r\na\r\n0\r\n\r\n",
        _FRAMING_SEEN,
    ),
    "one byte too many of trailers": (
        CHUNKED + b"0\r\nX: " + b"a" * (MAX_FRAMING - 9) + b"\r\n\r\n",
        _FRAMING_SEEN,
    ),
    "an endless header": (endless(OK + b"X: ", b"a"), 0),
    "an endless name of a header": (endless(OK, b"a"), 0),
    "endless headers": (endless(OK, b"A: b\r\n"), 0),
    "an endless reason": (endless(b"HTTP/1.1 200 ", b"a"), 0),
    "an endless space before the reason": (endless(b"HTTP/1.1 200", b" "), 0),
    "an endless header after an interim response": (
        endless(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"X: ", b"a"),
        60,
    ),
    "endless interim responses": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), 300),
    "endless interim headers": (
        endless(b"", b"HTTP/1.1 103 X\r\n" + b"A: b\r\n" * 101 + b"\r\n"),
        0,
    ),
    "an endless body": (endless(OK + b"\r\n", b"a"), 60),
    "an endless chunk": (endless(CHUNKED + b"fffffff\r\n", b"a"), _BODY_SEEN),
    "endless chunks": (endless(CHUNKED, b"400\r\n" + b"a" * KIB + b"\r\n"), _BODY_SEEN),
    "endless small chunks": (endless(CHUNKED, b"1\r\na\r\n"), 2 * MAX_FRAMING),
    "an endless size of a chunk": (endless(CHUNKED, b"0"), _FRAMING_SEEN),
    "an endless extension": (endless(CHUNKED + b"1;", b"a"), _FRAMING_SEEN),
    "endless extensions": (endless(CHUNKED + b"1", b";a=b"), _FRAMING_SEEN),
    "an endless extension in quotes": (endless(CHUNKED + b'1;a="', b"a"), _FRAMING_SEEN),
    "an endless trailer": (endless(CHUNKED + b"0\r\nX: ", b"a"), _FRAMING_SEEN),
    "an endless name of a trailer": (endless(CHUNKED + b"0\r\n", b"a"), _FRAMING_SEEN),
    "endless trailers": (endless(CHUNKED + b"0\r\n", b"A: b\r\n"), _FRAMING_SEEN),
    "endless empty trailers": (endless(CHUNKED + b"0\r\n", b"A:\r\n"), _FRAMING_SEEN),
}
EVERY_TOO_LONG = pytest.mark.parametrize(("wire", "seen_at_most"), TOO_LONG.values(), ids=TOO_LONG)


class Spy:
    """A parser that counts what it is given."""

    made = 0
    seen = 0

    def __init__(self, protocol: object) -> None:
        Spy.made += 1
        self._parser = Spy.real(protocol)

    real = httptools.HttpResponseParser

    def feed_data(self, data: bytes) -> None:
        Spy.seen += len(data)
        self._parser.feed_data(data)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> type[Spy]:
    monkeypatch.setattr(httptools, "HttpResponseParser", Spy)
    monkeypatch.setattr(Spy, "made", 0)
    monkeypatch.setattr(Spy, "seen", 0)
    return Spy


@pytest.mark.parametrize("size", [1000, 64 * KIB, 5 * MIB])
@EVERY_TOO_LONG
@pytest.mark.threat("T5")
def test_what_is_too_long_is_refused_before_the_parser_sees_more(
    wire: bytes, seen_at_most: int, size: int, spy: type[Spy]
) -> None:
    assert read(reads(wire, size)) is RefusedResponseError
    assert spy.seen <= seen_at_most


def test_the_parser_sees_what_it_may(spy: type[Spy]) -> None:  # or the test above shows nothing
    assert isinstance(read([CHUNKED + in_chunks(FULL, 8000)]), Response)
    assert spy.seen > MAX_BODY


def test_who_waits_for_a_response_has_no_parser(spy: type[Spy]) -> None:
    reader = ResponseReader(b"GET")
    reader.feed(HELLO[:-10])
    assert spy.made == 0
    reader.feed(HELLO[-10:])
    assert spy.made == 1


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.threat("T5")
def test_a_head_without_end_is_refused_at_its_limit(size: int) -> None:
    reader = ResponseReader(b"GET")
    allowed = (OK + b"X: " + b"a" * MAX_HEAD)[:MAX_HEAD]
    for part in reads(allowed, size):
        reader.feed(part)
    with pytest.raises(RefusedResponseError, match="longer than 65536 bytes"):
        reader.feed(b"a")


# --- Fuzz


TOKENS = st.sampled_from(
    [
        *(OK, b"HTTP/1.1 ", b"HTTP/1.0 200 OK\r\n", b"HTTP/2.0 200 OK\r\n", b"HTTP/1.1 100 X\r\n"),
        *(b"HTTP/1.1 204 X\r\n", b"HTTP/1.1 304 X\r\n", b"HTTP/1.1 199 X\r\n"),
        *(b"Content-Length: ", b"Transfer-Encoding: ", b"Connection: ", b"X: ", b"chunked"),
        *(b"close", b"upgrade", b"Upgrade: x\r\n", b", ", b"\r\n", b"\r\n\r\n", b"\r", b"\n"),
        *(b"0", b"1", b"5", b"a", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n", b";", b'"', b" "),
        *(b"\t", b"\0", b"\xff", b":", b"Content-Length: 5\r\n\r\n", b"fffffffff", HELLO, CHUNKED),
    ]
)
KNOWN = st.sampled_from(
    [
        *(answer.wire for answer in VALID.values()),
        *REFUSED_HEADS.values(),
        *(CHUNKED + chunks for chunks in BROKEN_CHUNKS.values()),
    ]
)
PLACES = st.integers(0, 400)
MUTATIONS = st.lists(
    st.tuples(PLACES, st.integers(0, 8), st.one_of(st.binary(max_size=3), TOKENS)), max_size=4
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    wire = draw(KNOWN)
    for place, gone, instead in draw(MUTATIONS):
        start = place % (len(wire) + 1)
        wire = wire[:start] + instead + wire[start + gone :]
    return wire


WIRES = st.one_of(
    st.binary(max_size=300),
    st.lists(TOKENS, max_size=20).map(b"".join),
    mutated(),
    st.tuples(mutated(), mutated()).map(b"".join),
)
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST"])


@given(wire=WIRES, places=st.lists(PLACES, max_size=8), method=METHODS, end=st.booleans())
@example(wire=HELLO + b"\r\n", places=[len(HELLO)], method=b"GET", end=True)
@example(wire=CHUNKED + b"0\r\n\r\n\n", places=[], method=b"GET", end=False)
@example(wire=OK + b"A: \rb", places=[], method=b"GET", end=False)
def test_any_bytes_are_the_same_in_any_fragments(
    wire: bytes, places: list[int], method: bytes, end: bool
) -> None:
    whole = read([wire], method=method, end=end)
    for parts in (cut(wire, (place for place in places if place < len(wire))), reads(wire, 1)):
        assert read(parts, method=method, end=end) == whole


@given(wire=WIRES, method=METHODS)
@pytest.mark.threat("T3")
def test_no_prefix_becomes_another_response(wire: bytes, method: bytes) -> None:
    whole = read([wire], method=method)
    for stop in range(len(wire)):
        got = read([wire[:stop]], method=method)
        if isinstance(got, Response):  # then it was complete by then, and what follows is no part
            assert isinstance(whole, Response)
            assert got._replace(reusable=False) == whole._replace(reusable=False)
        elif got is not None:
            assert got is whole


@given(wire=WIRES, method=METHODS)
@pytest.mark.threat("T6")
def test_h11_reads_nothing_else_in_what_was_read_here(wire: bytes, method: bytes) -> None:
    got = read([wire], method=method)
    if not isinstance(got, Response):
        return
    try:
        other = by_h11(wire, method=method)
    except h11.RemoteProtocolError:
        return  # it is stricter here and there
    assert got._replace(reusable=False) == other._replace(reusable=False)
    assert other.reusable or not got.reusable


TOKEN = st.text("abcXYZ019-_.!~", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=30).map(
    lambda value: bytes(byte for byte in value if byte in b"\t" or 32 <= byte != 127).strip(b" \t")
)
HEADERS = st.lists(st.tuples(TOKEN, VALUE), max_size=6)


@st.composite
def valid(draw: st.DrawFn) -> Answer:
    """Return a response that any reader should understand."""
    headers, body = draw(HEADERS), draw(st.binary(max_size=200))
    framing = draw(st.sampled_from(["length", "chunks", "end"]))
    content = body
    if framing == "length":
        headers = [*headers, (b"Content-Length", b"%d" % len(body))]
    elif framing == "chunks":
        headers = [(b"Transfer-Encoding", b"chunked"), *headers]
        sizes = iter(draw(st.lists(st.integers(1, 50), min_size=1)))
        content, start = b"", 0
        for size in cycle(list(sizes)):
            chunk = body[start : start + size]
            content += b"%x\r\n%b\r\n" % (len(chunk), chunk)
            start += size
            if not chunk:
                break
    status = draw(st.sampled_from([200, 201, 400, 404, 429, 500, 503]))
    head = b"HTTP/1.1 %d Said So\r\n" % status
    head += b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return Answer(
        wire=head + b"\r\n" + content,
        status=status,
        reason=b"Said So",
        headers=tuple(headers),
        body=body,
        reusable=framing != "end",
        until_end=framing == "end",
    )


@given(answer=valid(), places=st.lists(PLACES, max_size=5))
def test_valid_responses_are_read_as_h11_reads_them(answer: Answer, places: list[int]) -> None:
    parts = cut(answer.wire, (place for place in places if place < len(answer.wire)))
    got = read(parts, end=answer.until_end)
    assert got == answer.response == by_h11(answer.wire, until_end=answer.until_end)


# --- What it costs


def cpu_of(wire: bytes, method: bytes = b"GET") -> float:
    parts = reads(wire)
    started = time.process_time()
    read(parts, method=method, end=True)
    return time.process_time() - started


COSTLY = {
    **{name: wire for name, (wire, _) in TOO_LONG.items()},
    **{name: wire for name, (wire, _) in LONGEST.items()},
    "chunks of one byte": CHUNKED + in_chunks(b"a" * 13_000, 1),
    "chunks of 32 bytes": CHUNKED + in_chunks(b"a" * 340_000, 32),
    "eight long interim responses": (
        (OK.replace(b"200", b"103") + b"A: %b\r\n" % (b"a" * 600) * 100 + b"\r\n") * 8 + HELLO
    ),
    "line ends": b"\r\n" * (2 * MIB),
    "line ends within a head": OK + b"X: a\r\n\r" * (2 * MIB // 7),
    "carriage returns": OK + b"\r" * (4 * MIB),
    "zeros": bytes(4 * MIB),
    "responses": HELLO * (4 * MIB // len(HELLO)),
    "responses in chunks": (CHUNKED + b"1\r\na\r\n0\r\n\r\n") * 80_000,
    "empty lines after a response in chunks": CHUNKED + b"0\r\n\r\n" + b"\r\n" * (2 * MIB),
    "random bytes": bytes(islice(cycle(range(255, -1, -1)), 4 * MIB)),
}


@pytest.mark.parametrize("wire", COSTLY.values(), ids=COSTLY)
@pytest.mark.threat("T5")
def test_nothing_takes_more_than_50_ms(wire: bytes) -> None:
    assert any(cpu_of(wire) < 0.05 for _ in range(50))


# --- What it leaves


@pytest.fixture
def collected() -> Iterator[None]:
    """Nothing is found by the garbage collector that was not freed without it."""
    gc.collect()
    gc.disable()
    try:
        yield
        found = gc.collect()
    finally:
        gc.enable()
    assert found == 0


@pytest.mark.usefixtures("collected")
def test_responses_leave_no_circles() -> None:
    for answer in VALID.values():
        read([answer.wire], method=answer.method, end=answer.until_end)
        read([answer.wire, b"more"], method=answer.method, end=True)
        read([answer.wire[:-1]], method=answer.method, end=True)


@pytest.mark.usefixtures("collected")
def test_errors_leave_no_circles() -> None:
    for wire in REFUSED_HEADS.values():
        read([wire])
        read(reads(wire, 5))
    for chunks in BROKEN_CHUNKS.values():
        read([CHUNKED + chunks])
        read(reads(CHUNKED + chunks, 5))


@pytest.mark.usefixtures("collected")
def test_a_response_that_nobody_waits_for_leaves_no_circle_but_for_chunks() -> None:
    for wire in (HELLO[:-1], OK, OK + b"\r\nhello", b"HTTP/1.1 100 Continue\r\n\r\n" + OK):
        assert read([wire]) is None
    reader = ResponseReader(b"GET")
    reader.feed(CHUNKED + b"5\r\nhell")
    with pytest.raises(BrokenResponseError):
        reader.end()
