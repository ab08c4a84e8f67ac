"""What is cut up: each documented answer, to the operation it belongs to, framed in each way."""

import os
from collections.abc import Awaitable, Callable, Iterator

import attrs
import pytest

from little_pay_async import (
    APIConnectionError,
    AsyncLittlePay,
    LittlePayError,
    OutcomeUnknownError,
    Payment,
    PaymentIntent,
    Refund,
)
from little_pay_async._wire import read_envelope, read_intent, read_payment, read_refund

from ..servers import DOCUMENTED
from ..sessions import MOBILE, MONEY

EVERY = bool(os.environ.get("EVERY_FRAGMENT"))
"""Is it cut in every place? Else in some, and wherever something begins or ends."""


@attrs.frozen
class Scene:
    """An operation, and the documented answer to it.

    Attributes:
        call: Makes it.
        answer: The body, as it is documented.
        right: What is to be returned for it.
        method: Of its request.
    """

    call: Callable[[AsyncLittlePay], Awaitable[object]]
    answer: bytes
    right: Payment | PaymentIntent | Refund
    method: str = "POST"

    @property
    def moves_money(self) -> bool:
        return self.method == "POST"

    @property
    def is_held_get(self) -> bool:
        return self is SCENES["long_poll"]

    async def check(self, pay: AsyncLittlePay, *, is_right: bool) -> int:
        """See what comes of an answer, where all others are right; return how many requests."""
        # A hold that ended is followed by a plain GET, which is what tells then.
        again = not is_right and self.is_held_get
        try:
            outcome = await self.call(pay)
        except LittlePayError as error:
            assert not is_right
            assert not again
            self._check_lost(error)
        else:
            assert is_right or again
            assert outcome == self.right
        return 1 + again

    def _check_lost(self, error: LittlePayError) -> None:
        """It is the error for an answer that did not come as a whole."""
        if self.moves_money:
            assert type(error) is OutcomeUnknownError
            assert isinstance(error.__cause__, LittlePayError)
            error = error.__cause__
        assert type(error) is APIConnectionError
        assert error.sent
        assert not error.tls


def _documented(name: str) -> bytes:
    return (DOCUMENTED / f"{name}.json").read_bytes()


def _payment(name: str, reference: str | None = None) -> Payment:
    read = read_payment(read_envelope(_documented(name)))
    return attrs.evolve(read, reference=read.reference or reference)


_PENDING, _COMPLETED = "process-response-pending", "long-poll-response-completed"
SCENES = {
    "create_intent": Scene(
        MONEY["create_intent"],
        _documented("create-intent-response"),
        read_intent(read_envelope(_documented("create-intent-response"))),
    ),
    "process": Scene(MONEY["process"], _documented(_PENDING), _payment(_PENDING, "REF1")),
    "process, held": Scene(
        lambda pay: pay.process("REF1", "MPESA", f"+{MOBILE}", long_poll=True),
        _documented(_COMPLETED),
        _payment(_COMPLETED, "REF1"),
    ),
    "long_poll": Scene(
        lambda pay: pay.long_poll("ORDER42"),
        _documented(_COMPLETED),
        _payment(_COMPLETED),
        method="GET",
    ),
    "status": Scene(
        lambda pay: pay.status("ORDER42"),
        _documented("status-response-completed"),
        _payment("status-response-completed"),
        method="GET",
    ),
    "refund": Scene(
        MONEY["refund"],
        _documented("refund-response"),
        read_refund(read_envelope(_documented("refund-response"))),
    ),
}


@attrs.frozen
class Framing:
    """How an answer says where it ends.

    Attributes:
        wire: The whole answer with a body in it, in parts that belong together.
        until_end: Does it end with the stream?
    """

    wire: Callable[[bytes], list[bytes]]
    until_end: bool = False

    def is_whole(self, prefix: bytes, body: bytes, *, ends_well: bool) -> bool:
        """Return whether nothing that is needed of an answer comes after the prefix of it."""
        stream = b"".join(self.wire(body))
        if self.until_end:
            return ends_well and prefix.rstrip() == stream.rstrip()
        return prefix == stream


def _head(*lines: bytes, version: bytes = b"1.1") -> bytes:
    head = [b"HTTP/%b 200 OK" % version, b"Content-Type: application/json", *lines]
    return b"\r\n".join([*head, b"", b""])


def _chunked(size: int, extension: bytes, *trailers: bytes) -> Callable[[bytes], list[bytes]]:
    def wire(body: bytes) -> list[bytes]:
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        return [
            _head(b"Transfer-Encoding: chunked"),
            *(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts),
            b"\r\n".join([b"0", *trailers, b"", b""]),
        ]

    return wire


FRAMINGS = {
    "a length": Framing(lambda body: [_head(b"Content-Length: %d" % len(body)), body]),
    "after an interim response": Framing(
        lambda body: [
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            _head(b"Content-Length: %d" % len(body)),
            body,
        ]
    ),
    "a chunk": Framing(_chunked(1000, b"")),
    "chunks": Framing(_chunked(50, b';a="b"', b"X: y", b"Empty:")),
    "until the end": Framing(lambda body: [_head(), body], until_end=True),
    "until the end, HTTP/1.0": Framing(lambda body: [_head(version=b"1.0"), body], until_end=True),
}

each_scene = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
each_framing = pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)


def places(stream: bytes, *, step: int, every: bool = EVERY) -> Iterator[int]:
    """Yield where to cut a stream: everywhere, or every few bytes and around heads."""
    for place in range(1, len(stream)):
        near = stream[max(0, place - 2) : place + 3]
        edge = b"\r\n\r\n" in near or b"\x17\x03\x03" in near or place > len(stream) - 4
        if every or edge or place % step == 0:
            yield place
