"""HTTP/1.1 without I/O: bytes in, one bounded response out.

Rules of this file:

- Bytes are counted before the parser sees them. A head is collected until it is whole, and then
  parsed in one go, so that no fragmentation makes it slow; a body is parsed as it comes.
- A head that HTTP/1.1 does not allow, or that two readers could understand differently, is refused.
  So is a response that is too long. Refused is final: asking again would bring the same.
- A response that breaks off, or whose chunks make no sense, is broken: asking again may help.
- No bytes raise anything but these two errors, however they are fragmented.
- A connection is fit for another request only if its response ended where it said it would, and
  nothing came after it.

    feed   head  ->  (interim: 100, 102, 103, ...)  ->  head  ->  body ...  ->  complete
    end    broken                                       broken   complete if only the end of the
                                                                 stream could end it, else broken
"""

import re

import httptools

MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
MAX_INTERIM = 8
MAX_BODY = 1024 * 1024
MAX_FRAMING = 64 * 1024
"""Bytes of a body that are no content: the sizes and extensions of chunks, and trailers."""

_PIECE = 64 * 1024  # what the parser is given at once
_VERSION = re.compile(rb"HTTP/1\.[01] ")
# What no head may hold. llhttp refuses it too, but it sees a head only when it is whole.
_FORBIDDEN = re.compile(rb"\x00|(?<!\r)\n|\r(?=[^\n])")


class BrokenResponseError(Exception):
    """It broke off, or its framing makes no sense: it is not known what it would have said."""


class RefusedResponseError(Exception):
    """It is too long, or not what HTTP/1.1 allows. Asking again would bring the same.

    Attributes:
        status: Of the response, as far as it was read; 0 if it is not known.
    """

    status = 0


class _NextMessageError(Exception):
    """Stops the parser: what follows the response was not asked for."""


class ResponseReader:
    """Reads the response to one request.

    Args:
        method: Of the request: there is no body in the response to a HEAD.

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
        "_buffer", "_content", "_framed", "_headless", "_interim", "_keep_alive", "_parser",
        "_parts", "_raw", "_until_end", "complete", "has_head", "headers", "http_version",
        "reason", "reusable", "status",
    )  # fmt: skip

    def __init__(self, method: bytes) -> None:
        self.status = 0
        self.reason = b""
        self.http_version = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.complete = False
        self.reusable = False
        self._headless = method == b"HEAD"  # its responses are heads without bodies
        self._buffer = bytearray()
        self._interim = 0
        self._raw = 0  # bytes of the body as they came
        self._content = 0  # and without their framing
        self._framed = False
        self._until_end = False
        self._keep_alive = False
        self._parts: list[bytes] = []
        # It holds methods of this object, which holds it: the circle is cut when it has done.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take in what came.

        Raises:
            BrokenResponseError: Its framing makes no sense.
            RefusedResponseError: It is too long, or not what HTTP/1.1 allows.
        """
        try:
            while data and not self.has_head:
                data = self._feed_head(data)
            if data:
                self._feed_body(data)
        except (BrokenResponseError, RefusedResponseError) as error:
            if isinstance(error, RefusedResponseError):
                error.status = self.status
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
        self._parser = None
        if not self.has_head:
            what = "within a head" if self._buffer or self._interim else "without a response"
            raise BrokenResponseError(f"the connection ended {what}")
        if cut_off or not self._until_end:
            raise BrokenResponseError("the connection ended within a response")
        self.complete = True

    def take(self) -> bytes:
        """Return what has come of the body since this was called last."""
        if len(self._parts) == 1:
            return self._parts.pop()
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken

    def _feed_head(self, data: bytes) -> bytes:
        """Parse a head if there is a whole one; return what follows it."""
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
        head, rest = data[:stop], data[stop:]
        if head.count(b"\n") - 2 > MAX_HEADERS:
            raise RefusedResponseError(f"its head has more than {MAX_HEADERS} lines")
        if not _VERSION.match(head):
            raise RefusedResponseError("its status line is not one of HTTP/1.1")
        self.http_version = head[:8]
        problem = self._parse(head)
        if problem:
            raise RefusedResponseError(f"its head is not one of HTTP/1.1: {problem}")
        if 100 <= self.status < 200:
            self._pass_over()
            return rest
        self._begin()
        return rest

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

    def _pass_over(self) -> None:
        self._interim += 1
        if self.status == 101:
            raise RefusedResponseError("it switches protocols, which nobody asked for")
        if self._interim > MAX_INTERIM:
            raise RefusedResponseError(f"more than {MAX_INTERIM} interim responses came before it")
        self.status, self.reason, self.headers = 0, b"", []
        self.complete = self.reusable = False

    def _begin(self) -> None:
        """Decide by the head where the body ends."""
        self.has_head = True
        if self.status < 100:
            raise RefusedResponseError("HTTP has no such status")
        encodings, length = [], None
        for name, value in self.headers:
            lowered = name.lower()
            if lowered == b"transfer-encoding":
                encodings.append(value.lower())
            elif lowered == b"content-length":
                length = int(value)
        if encodings:
            if encodings != [b"chunked"] or self.http_version != b"HTTP/1.1":
                raise RefusedResponseError("its Transfer-Encoding is not just chunked")
            self._framed = True
        if self._headless:
            self.complete = True
            self.reusable = self._keep_alive
        elif length is not None and length > MAX_BODY and not self.complete:
            raise RefusedResponseError(f"its body is longer than {MAX_BODY} bytes")
        self._until_end = length is None and not encodings

    def _feed_body(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            if self.complete:
                self.reusable = False  # nobody asked for what follows
                return
            piece = data if len(data) <= _PIECE else data[start : start + _PIECE]
            self._raw += len(piece)
            problem = self._parse(piece)
            if problem:
                raise BrokenResponseError(f"its chunks make no sense: {problem}")
            if self._content > MAX_BODY:
                raise RefusedResponseError(f"its body is longer than {MAX_BODY} bytes")
            if self._framed and self._raw - self._content > MAX_FRAMING:
                raise RefusedResponseError("its chunks have more framing than content")

    def _parse(self, data: bytes) -> str | None:
        """Give the parser what is to be parsed; return what is wrong with it, if anything."""
        assert self._parser is not None  # noqa: S101 - dropped only when all is read
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return None  # a 101, and refused as such
        except httptools.HttpParserError as error:
            if 100 <= self.status < 200 and not self.has_head:
                return None  # a 101 again
            if not self.complete:
                return str(error)
            self.reusable = False
        return None

    # --- What the parser tells

    def on_message_begin(self) -> None:
        """The first bytes of a message came."""
        if self.complete:
            self.reusable = False
            raise _NextMessageError

    def on_status(self, reason: bytes) -> None:
        """The status line came, with a phrase."""
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came, or a trailer, which nobody reads."""
        if not self.has_head:
            self.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        parser = self._parser
        assert parser is not None  # noqa: S101 - it is the one that calls
        self.status = parser.get_status_code()
        self._keep_alive = parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        """A part of the body came."""
        if not self._headless:
            self._content += len(part)
            self._parts.append(part)

    def on_message_complete(self) -> None:
        """The end of the message came, by its own account."""
        self.complete = True
        self.reusable = self._keep_alive
