"""HTTP/1.1 without I/O: bytes in, one bounded response out.

Rules of this file:

- Bytes are counted before the parser sees them. A head is collected until it is whole, and then
  parsed in one go, so that no fragmentation makes it slow. Of bodies the parser sees chunks only,
  as they come: where a body ends otherwise, counting will do.
- A head that HTTP/1.1 does not allow, or that two readers could understand differently, is refused.
  So is a response that is too long. Refused is final: asking again would bring the same.
- A response that breaks off, or whose chunks make no sense, is broken: asking again may help.
- No bytes raise anything but these two errors, however they are fragmented, and nothing comes of a
  response after one.
- A connection is fit for another request only if its response ended where it said it would, and
  nothing came after it.

    feed   head  ->  (interim: 100, 102, 103, ...)  ->  head  ->  body ...  ->  complete
    end    broken                                       broken   complete if only the end of the
                                                                 stream could end it, else broken
"""

import re
from itertools import pairwise

import httptools

from little_pay_async._transport.broken import BrokenResponseError, RefusedResponseError

MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
MAX_INTERIM = 8
MAX_BODY = 1024 * 1024
MAX_FRAMING = 64 * 1024
"""Bytes of a body that are no content: the sizes and extensions of chunks, and trailers."""

_PIECE = 16 * 1024  # what the parser is given before the next count
_VERSION = re.compile(rb"HTTP/1\.[01] ")
# llhttp takes other protocols, any three digits, and any byte in the reason.
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?\r\n")
# To llhttp, `chunked` and a tab is another coding.
_CHUNKED = re.compile(rb"\n(?i:transfer-encoding:[ \t]*chunked) *\r")
# What no head may hold. llhttp refuses it too, but it sees a head only when it is whole.
_FORBIDDEN = re.compile(rb"\x00|(?<!\r)\n|\r(?=[^\n])")


class ResponseReader:
    """Reads the response to one request.

    Args:
        method: Of the request: there is no body in the response to a HEAD.
        is_last: Has the request said that it is the last of its connection?

    Attributes:
        status: Of the final response, like the three that follow.
        reason: The phrase after the status; may be empty.
        http_version: `HTTP/1.1` or `HTTP/1.0`.
        headers: As they came, in their order.
        has_head: Is the head of the final response there?
        complete: Is it there as a whole?
        reusable: Once it is complete: can the connection be used again?
    """

    __slots__ = (
        "_buffer", "_content", "_failed", "_headless", "_interim", "_is_last", "_keep_alive",
        "_length", "_parser", "_parts", "_raw", "complete", "has_head", "headers", "http_version",
        "reason", "reusable", "status",
    )  # fmt: skip

    def __init__(self, method: bytes, *, is_last: bool = False) -> None:
        self.status = 0
        self.reason = b""
        self.http_version = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.complete = False
        self.reusable = False
        self._failed = False
        self._headless = method == b"HEAD"  # its responses are heads without bodies
        self._buffer = bytearray()
        self._interim = 0
        self._is_last = is_last
        self._keep_alive = False
        self._length: int | None = None  # of the body, if its head says it
        self._raw = 0  # bytes of chunks as they came
        self._content = 0  # bytes of the body
        self._parts: list[bytes] = []
        # Of chunks. It holds methods of this object, which holds it: a circle, cut at their end.
        self._parser: httptools.HttpResponseParser | None = None

    def feed(self, data: bytes) -> None:
        """Take in what came.

        Raises:
            BrokenResponseError: Its framing makes no sense.
            RefusedResponseError: It is too long, or not what HTTP/1.1 allows.
        """
        if self._failed:
            raise BrokenResponseError("nothing comes of a response that failed")
        try:
            while data and not self.has_head:
                data = self._feed_head(data)
            if data:
                self._feed_body(data)
        except (BrokenResponseError, RefusedResponseError) as error:
            if isinstance(error, RefusedResponseError):
                error.status = self.status
            self._failed = True
            self.complete = False
            self._parser = None
            raise
        if self.complete:
            self._parser = None

    def end(self, *, cut_off: bool = False) -> None:
        """Take note of the end of the stream.

        Args:
            cut_off: Is it known that the peer did not mean to end it there?

        Raises:
            BrokenResponseError: It came too early.
        """
        if self.complete:
            return
        until_end = self.has_head and self._length is None and self._parser is None
        if until_end and not cut_off and not self._failed:
            self.complete = True
            return
        self._failed = True
        self._parser = None
        if self.has_head:
            raise BrokenResponseError("the connection ended within a response")
        where = "within a head" if self._buffer or self._interim else "without a response"
        raise BrokenResponseError(f"the connection ended {where}")

    def peek(self) -> bytes:
        """Return what `take` would."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def take(self) -> bytes:
        """Return what has come of the body since this was called last."""
        if len(self._parts) == 1:
            return self._parts.pop()
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken

    def _feed_head(self, data: bytes) -> bytes:
        """Read a head if there is a whole one; return what follows it."""
        before = len(self._buffer)
        if before:
            self._buffer += data
        stop = (self._buffer if before else data).find(b"\r\n\r\n", max(0, before - 3)) + 4
        if stop < 4:
            if not before:
                self._buffer += data
            self._check_part_of_head(before)
            return b""
        if stop > MAX_HEAD:
            raise RefusedResponseError(f"its head is longer than {MAX_HEAD} bytes")
        if before:
            data = bytes(self._buffer)
            self._buffer.clear()
        head = data[:stop]
        if head.count(b"\n") - 2 > MAX_HEADERS:
            raise RefusedResponseError(f"its head has more than {MAX_HEADERS} lines")
        line = _STATUS_LINE.match(head)
        if line is None:
            raise RefusedResponseError("its status line is not one of HTTP/1.1")
        self.http_version, status, self.reason = line.groups(b"")
        self.status = int(status)
        if self.status == 101:
            raise RefusedResponseError("it switches protocols, which nobody asked for")
        parser = httptools.HttpResponseParser(self)
        problem = _parse(parser, head)
        if problem:
            raise RefusedResponseError(f"its head is not one of HTTP/1.1: {problem}")
        chunked = self._read_framing(head)
        if self.status < 200:
            self._pass_over()
        else:
            self._begin(parser if chunked else None)
        return data[stop:]

    def _check_part_of_head(self, known: int) -> None:
        """Refuse at once what could not become a head."""
        buffer = self._buffer
        if len(buffer) > MAX_HEAD:
            raise RefusedResponseError(f"its head is longer than {MAX_HEAD} bytes")
        start = bytes(buffer[:9])
        if not _VERSION.match(start + b"HTTP/1.1 "[len(start) :]):
            raise RefusedResponseError("its status line is not one of HTTP/1.1")
        if _FORBIDDEN.search(buffer, max(0, known - 1)):
            raise RefusedResponseError("its head has characters that no head may have")

    def _read_framing(self, head: bytes) -> bool:
        """Take from the headers how the body ends; return whether it comes in chunks."""
        encodings = 0
        self._length = None
        # Nobody needs the connections of HTTP/1.0, whose ends are a matter of interpretation.
        self._keep_alive = self.http_version == b"HTTP/1.1" and not self._is_last
        for name, value in self.headers:
            lowered = name.lower()
            if lowered == b"content-length":
                # llhttp saw that it is below 2**64; more zeros may precede it than int() takes.
                self._length = int(value[-20:])
            elif lowered == b"transfer-encoding":
                encodings += 1
            elif lowered == b"connection" and b"close" in value.lower():
                self._keep_alive = False
        if encodings and (
            encodings > 1 or self.http_version != b"HTTP/1.1" or not _CHUNKED.search(head)
        ):
            raise RefusedResponseError("its Transfer-Encoding is not just chunked")
        if (self.status < 200 or self.status == 204) and (encodings or self._length):
            raise RefusedResponseError("it has a body where none can be")
        return encodings > 0

    def _pass_over(self) -> None:
        """Forget an interim response."""
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise RefusedResponseError(f"more than {MAX_INTERIM} interim responses came before it")
        self.status, self.reason, self.headers = 0, b"", []

    def _begin(self, parser: httptools.HttpResponseParser | None) -> None:
        """Begin with the body, if there is one."""
        if self._headless or self.status in (204, 304) or self._length == 0:
            self.complete = True
            self.reusable = self._keep_alive
        elif self._length is not None and self._length > MAX_BODY:
            raise RefusedResponseError(f"its body is longer than {MAX_BODY} bytes")
        else:
            self._parser = parser
        self.has_head = True

    def _feed_body(self, data: bytes) -> None:
        if self.complete:
            self.reusable = False  # nobody asked for what follows
        elif self._parser is not None:
            self._feed_chunks(self._parser, data)
        elif self._length is not None:
            missing = self._length - self._content
            self.on_body(data[:missing])
            if len(data) >= missing:
                self.complete = True
                self.reusable = self._keep_alive and len(data) == missing
        else:
            self.on_body(data)
            if self._content > MAX_BODY:
                raise RefusedResponseError(f"its body is longer than {MAX_BODY} bytes")

    def _feed_chunks(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        # The last byte goes alone. If the end comes before it, something follows that nobody asked
        # for; llhttp would not tell if that is an empty line.
        last = len(data) - 1
        for start, stop in pairwise((*range(0, last, _PIECE), last, len(data))):
            if self.complete:
                return
            self._raw += stop - start
            problem = _parse(parser, data[start:stop])
            if problem and not self.complete:
                raise BrokenResponseError(f"its chunks make no sense: {problem}")
            if self._content > MAX_BODY:
                raise RefusedResponseError(f"its body is longer than {MAX_BODY} bytes")
            if self._raw - self._content > MAX_FRAMING:
                raise RefusedResponseError("its chunks have more framing than content")
        self.reusable = self.complete and self._keep_alive

    # --- What the parser tells

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came, or a trailer, which nobody reads."""
        if not self.has_head:
            self.headers.append((name, value.rstrip(b" \t")))

    def on_body(self, part: bytes) -> None:
        """A part of the body came."""
        if not self.complete:
            self._content += len(part)
            self._parts.append(part)

    def on_message_complete(self) -> None:
        """The last chunk came, and its trailers."""
        self.complete = self.has_head


def _parse(parser: httptools.HttpResponseParser, data: bytes) -> str | None:
    """Give the parser what is to be parsed; return what is wrong with it, if anything."""
    try:
        parser.feed_data(data)
    except httptools.HttpParserError as error:
        return str(error) or type(error).__name__
    return None
