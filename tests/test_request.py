"""Requests as bytes: exactly what is handed over, or nothing at all."""

from collections.abc import AsyncIterator, Sequence

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async._transport.request import RequestWriter

pytestmark = pytest.mark.anyio

Headers = Sequence[tuple[bytes, bytes]]


def head_of(request: httpcore.Request) -> bytes | None:
    return RequestWriter().head(request)


async def body_of(request: httpcore.Request) -> tuple[bytes, bool] | None:
    return await RequestWriter().body(request)


class Parts:
    """A stream of a request's body."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.was_read = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.was_read = True
        for part in self.parts:
            yield part


def request(
    headers: Headers = (),
    *body: bytes,
    method: bytes = b"POST",
    target: bytes = b"/",
) -> httpcore.Request:
    url = httpcore.URL(scheme=b"http", host=b"a", port=None, target=target)
    return httpcore.Request(method, url, headers=headers, content=Parts(*body))


def test_a_head_is_what_was_handed_over_byte_for_byte() -> None:
    headers = [(b"Host", b"a"), (b"x-ODD", b" b\t:\xff "), (b"host", b""), (b"X-Odd", b"c: d")]
    head = head_of(request(headers, method=b"PATCH", target=b"/%20/~?a=b&c=\xc3\xa9#d"))
    assert head == (
        b"PATCH /%20/~?a=b&c=\xc3\xa9#d HTTP/1.1\r\n"
        b"Host: a\r\nx-ODD:  b\t:\xff \r\nhost: \r\nX-Odd: c: d\r\n\r\n"
    )


INJECTED = [
    b"\r", b"\n", b"\r\n", b"\0", b"a\r\nEvil: b", b"a\nEvil: b", b"a\rEvil: b", b"a\r\n\r\n",
    b"a\r\n\r\nGET /evil HTTP/1.1\r\nHost: b", b"a\r\nEvil", b"a\nEvil\nb", b"\x7f", b"\x0b",
]  # fmt: skip


@pytest.mark.parametrize("evil", INJECTED)
@pytest.mark.threat("T16")
def test_nothing_injects_a_header_or_a_request(evil: bytes) -> None:
    for other in ([], [(b"Host", b"a")]):
        assert head_of(request([*other, (b"X", evil)])) is None
        assert head_of(request([(b"X", evil), *other])) is None
        assert head_of(request([(evil, b"x"), *other])) is None
        assert head_of(request(other, target=b"/" + evil)) is None
        assert head_of(request(other, method=b"GET" + evil)) is None


@pytest.mark.parametrize(
    "evil", [b"", b" ", b"a b", b"Content-Length: 5", b"X:", b"\xc3\xa9", b"a\tb", b"(", b'"']
)
def test_the_name_of_a_header_is_a_token(evil: bytes) -> None:
    assert head_of(request([(evil, b"x")])) is None
    assert head_of(request(method=evil)) is None


@pytest.mark.parametrize("evil", [b"", b" ", b"/a b", b"/ HTTP/1.1\r\nEvil: x\r\nY:", b"/\t"])
def test_a_target_has_no_spaces(evil: bytes) -> None:
    assert head_of(request(target=evil)) is None


part = st.one_of(
    st.binary(max_size=6),
    st.text("aB-: \t\r\n\0\x7f", max_size=8).map(str.encode),
    st.sampled_from(INJECTED),
)


@given(method=part, target=part, headers=st.lists(st.tuples(part, part), max_size=3))
@pytest.mark.threat("T16")
def test_whatever_is_sent_is_read_as_what_was_meant(
    method: bytes, target: bytes, headers: Headers
) -> None:
    head = head_of(request(headers, method=method, target=target))
    if head is None:
        return
    first, *lines, nothing, end = head.split(b"\r\n")
    assert (nothing, end) == (b"", b"")
    assert first.split(b" ") == [method, target, b"HTTP/1.1"]
    assert [tuple(line.split(b": ", 1)) for line in lines] == [*headers]
    assert not {0, 10, 13} & {*head.replace(b"\r\n", b"")}


@pytest.mark.parametrize(
    ("headers", "parts", "sent"),
    [
        ([], [], b""),
        ([], [b""], b""),
        ([(b"Content-Length", b"0")], [b""], b""),
        ([(b"content-LENGTH", b"6")], [b"abc", b"", b"def"], b"abcdef"),
        ([(b"Transfer-Encoding", b"chunked")], [b"abc", b"def"], b"6\r\nabcdef\r\n0\r\n\r\n"),
        ([(b"transfer-encoding", b"Chunked")], [b"x" * 26], b"1a\r\n%b\r\n0\r\n\r\n" % (b"x" * 26)),
        ([(b"Transfer-Encoding", b"chunked")], [], b"0\r\n\r\n"),
        ([(b"Transfer-Encoding", b"chunked")], [b"", b""], b"0\r\n\r\n"),
    ],
)
async def test_a_body_is_framed_as_its_head_says(
    headers: Headers, parts: list[bytes], sent: bytes
) -> None:
    assert await body_of(request(headers, *parts)) == (sent, False)


LENGTH, CHUNKED = (b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([], b"abc"),  # whose end nobody would see
        ([(b"Content-Length", b"0")], b"abc"),
        ([(b"Content-Length", b"2")], b"abc"),
        ([(b"Content-Length", b"4")], b"abc"),
        ([(b"Content-Length", b"")], b""),
        ([(b"Content-Length", b"-3")], b"abc"),
        ([(b"Content-Length", b"+3")], b"abc"),
        ([(b"Content-Length", b"3, 3")], b"abc"),
        ([(b"Content-Length", b"0x3")], b"abc"),
        ([LENGTH, LENGTH], b"abc"),
        ([LENGTH, CHUNKED], b"abc"),
        ([CHUNKED, LENGTH], b"abc"),
        ([CHUNKED, CHUNKED], b"abc"),
        ([(b"Transfer-Encoding", b"gzip, chunked")], b"abc"),
        ([(b"Transfer-Encoding", b"")], b"abc"),
    ],
)
async def test_a_body_that_is_not_what_its_head_says_is_not_sent(
    headers: Headers, body: bytes
) -> None:
    assert await body_of(request(headers, body)) is None


async def test_a_get_has_a_body_only_if_it_says_so() -> None:
    bare = request(method=b"GET")
    assert await body_of(bare) == (b"", False)
    assert isinstance(bare.stream, Parts)
    assert not bare.stream.was_read
    assert await body_of(request([LENGTH], b"abc", method=b"GET")) == (b"abc", False)
    assert await body_of(request([LENGTH], b"ab", method=b"GET")) is None


@pytest.mark.parametrize(
    ("header", "is_last"),
    [
        ((b"Connection", b"close"), True),
        ((b"connection", b"TE, Close"), True),
        ((b"Connection", b"keep-alive"), False),
        ((b"X-Connection", b"close"), False),
    ],
)
async def test_a_request_says_whether_it_is_the_last(
    header: tuple[bytes, bytes], is_last: bool
) -> None:
    other = (b"Connection", b"keep-alive")
    for headers in ([header], [header, other], [other, header]):
        assert await body_of(request(headers, method=b"GET")) == (b"", is_last)
        assert await body_of(request([*headers, LENGTH], b"abc")) == (b"abc", is_last)
        assert await body_of(request([*headers, CHUNKED])) == (b"0\r\n\r\n", is_last)


A, B, BROKEN = [(b"Host", b"a")], [(b"Host", b"b"), LENGTH], [(b"Host", b"a\r\nEvil: b")]


async def test_what_is_kept_of_the_last_request_is_used_for_one_with_the_same_headers_only() -> (
    None
):
    writer = RequestWriter()
    for headers in (A, A, B, A, BROKEN, BROKEN, B, B, BROKEN, A):
        for target in (b"/", b"/b", b"/ b"):
            asked = request(headers, b"abc", target=target)
            assert writer.head(asked) == head_of(asked)
            assert await writer.body(asked) == await body_of(asked)


def test_headers_that_are_changed_in_place_are_looked_at_again() -> None:
    writer, asked = RequestWriter(), request([(b"Host", b"a")])
    assert writer.head(asked) is not None
    asked.headers[0] = (b"Host", b"a\r\nEvil: b")
    assert writer.head(asked) is None


def test_what_is_kept_is_not_shown() -> None:
    writer = RequestWriter()
    writer.head(request([(b"X-API-KEY", b"hunter2")]))
    assert "hunter2" not in repr(writer) + repr(vars(writer)["_fields"])
