"""A Little Pay that keeps the truth about each payment, and a weather in which answers get lost.

`Bank.script` and `Bank.greeting` are for a `ScriptedServer`. What happens to a request is taken
from `Bank.weather`, one `Fault` after the other; with none left all is well. Its clock is that of
the event loop, which may be virtual.
"""

import contextlib
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
import attrs

from little_pay_async import PaymentStatus

from .servers import Arrived, Exchange, envelope, intent, payment, processed, refunded, response
from .sessions import MOBILE
from .test_client_secrets import ACCESS_TOKEN

PENDING, COMPLETED, FAILED = PaymentStatus.PENDING, PaymentStatus.COMPLETED, PaymentStatus.FAILED


def reference_of(key: str) -> str:
    return f"REF{key}"


# --- What can happen to a request


Deed = Callable[[Exchange, bytes], Awaitable[None]]
"""What is done with the connection, given the right answer."""


async def _drip(exchange: Exchange, answer: bytes) -> None:
    for place in range(len(answer)):
        await exchange.send(answer[place : place + 1])


async def _answer_late(exchange: Exchange, answer: bytes) -> None:
    await anyio.sleep(8)
    await exchange.send(answer)


async def _answer_after_interim(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n" + answer)


async def _answer_twice(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(answer + answer)


async def _answer_again_later(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(answer)
    await anyio.sleep(0.1)
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await exchange.send(answer)


async def _add_anothers(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(answer + response(payment("COMPLETED", key="ANOTHER")))


async def _answer_and_close(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(answer)
    await exchange.close()


async def _answer_and_reset(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(answer)
    await exchange.reset()


async def _reset(exchange: Exchange, answer: bytes) -> None:
    await exchange.reset()


async def _close(exchange: Exchange, answer: bytes) -> None:
    await exchange.close()


async def _keep_silent(exchange: Exchange, answer: bytes) -> None:
    await exchange.client_has_gone()


async def _cut_short(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(answer[:-2])
    await exchange.close()


async def _cut_short_by_reset(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(answer[: len(answer) // 2])
    await exchange.reset()


async def _stop_half_way(exchange: Exchange, answer: bytes) -> None:
    await exchange.send(answer[: len(answer) // 2])
    await exchange.client_has_gone()


async def _cut_without_length(exchange: Exchange, answer: bytes) -> None:
    body = answer.partition(b"\r\n\r\n")[2]
    await exchange.send(response(body[:-1], length=-1))
    await exchange.close()


def _say(status: str, body: bytes = b"", **headers: str) -> Deed:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content_type = "text/html" if body.startswith(b"<") else "application/json"

    async def say(exchange: Exchange, answer: bytes) -> None:
        await exchange.send(response(body, status, named, content_type=content_type))

    return say


_HTML = f"<html>no service for {MOBILE}</html>".encode()

UNREAD = ("reset unread", "closed unread", "half read")
"""The connection breaks before the request was read."""

WELL: dict[str, Deed] = {
    "late": _answer_late,
    "dripping": _drip,
    "after an interim answer": _answer_after_interim,
    "twice": _answer_twice,
    "again later": _answer_again_later,
    "with another's": _add_anothers,
    "then closed": _answer_and_close,
    "then reset": _answer_and_reset,
}
"""The whole right answer is sent."""

OPEN: dict[str, Deed] = {
    "reset": _reset,
    "closed": _close,
    "silence": _keep_silent,
    "cut short": _cut_short,
    "cut short by a reset": _cut_short_by_reset,
    "stops half-way": _stop_half_way,
    "cut, no length": _cut_without_length,
    "500": _say("500 Oops", b'{"message": "oops"}'),
    "502 HTML": _say("502 Bad Gateway", _HTML),
    "503": _say("503 Busy", b"{}", Retry_After="7"),
    "504": _say("504 Gateway Timeout", _HTML),
    "408": _say("408 Request Timeout"),
    "HTML": _say("200 OK", _HTML),
    "not JSON": _say("200 OK", b'{"date": "2024-05-13T08:26:18.719Z", "data": {"status": '),
    "no envelope": _say("200 OK", b'{"status": "COMPLETED"}'),
    "redirect": _say("302 Found", Location="http://127.0.0.1:9/elsewhere"),
    "switched": _say("101 Switching Protocols"),
}
"""It may have taken effect or not: nobody can tell from the answer."""

REFUSED: dict[str, Deed] = {
    "429": _say("429 Slow down", b'{"message": "slow down"}'),
    "429 for 20 s": _say("429 Slow down", b"{}", Retry_After="20"),
    "429 for 150 s": _say("429 Slow down", b"{}", Retry_After="150"),
}
"""It says that it took no effect."""

_DEEDS = {**WELL, **OPEN, **REFUSED}
KINDS = (*UNREAD, *_DEEDS)


@attrs.frozen
class Fault:
    """What happens to one request.

    Attributes:
        kind: One of `KINDS`.
        takes_effect: Of a money request of which the answer leaves it open: does it, and when?
            "afterwards" is when the client knows all that it will ever know.
    """

    kind: str
    takes_effect: Literal["at once", "afterwards", "never"] = "at once"


# --- The truth


@attrs.define
class Post:
    """A money request that arrived.

    Attributes:
        operation: "create_intent", "process" or "refund".
        key: The merchant's, as far as it was read.
        whole: Did all of it arrive?
        fresh: Was it the first request of its connection?
        answered: Was it answered by a whole answer that says clearly what became of it? None if
            that was tried, and nobody knows how far it came.
        effective: Has it taken effect?
    """

    operation: str
    key: str
    whole: bool = True
    fresh: bool = True
    answered: bool | None = False
    effective: bool = False


@attrs.define
class Fate:
    """What becomes of a payment once its payer is asked."""

    status: PaymentStatus = COMPLETED
    seconds: float = 0.0
    settles_at: float | None = None


class Bank:
    """Keeps intents, payments and refunds.

    Attributes:
        weather: What happens to the next requests.
        fates: What becomes of each payment.
        refund_fate: What the next refund is answered.
        longest_hold: Seconds after which a long poll is answered PENDING.
        posts: Each money request that arrived.
        refunds: The true state of each refund that was made.
        busy: Exchanges under way.
    """

    def __init__(self) -> None:
        self.weather: deque[Fault] = deque()
        self.fates: dict[str, Fate] = {}
        self.refund_fate = COMPLETED
        self.longest_hold = 60.0
        self.posts: list[Post] = []
        self.intents: set[str] = set()
        self.refunds: dict[str, PaymentStatus] = {}
        self.busy = 0
        self._seen: set[int] = set()

    def status_of(self, key: str) -> PaymentStatus:
        """Return how a payment truly stands."""
        fate = self.fates[key]
        if fate.settles_at is None or anyio.current_time() < fate.settles_at:
            return PENDING
        return fate.status

    # What the server does

    async def greeting(self, connection: object) -> None:
        """Break a connection before its request is read, if that is the weather."""
        if not self.weather or self.weather[0].kind not in UNREAD:
            return
        kind = self.weather.popleft().kind
        if kind == "half read":
            begun = await connection.stream.receive(150)  # type: ignore[attr-defined]
            self._note_part(begun)
        if kind == "closed unread":
            await connection.close()  # type: ignore[attr-defined]
        else:
            await connection.reset()  # type: ignore[attr-defined]

    def _note_part(self, begun: bytes) -> None:
        """Note the part of a request, unless it is encrypted or a GET's."""
        words = begun.split(b" ", 2)
        if words[0] == b"POST" and len(words) == 3:
            operation, key = _asked_for("POST", words[1].decode(), b"")
            self.posts.append(Post(operation, key, whole=False))

    async def script(self, exchange: Exchange) -> None:
        self.busy += 1
        try:
            await self._deal_with(exchange)
        finally:
            self.busy -= 1

    async def _deal_with(self, exchange: Exchange) -> None:
        request = exchange.request
        fault = self.weather.popleft() if self.weather else None
        fresh = request.connection not in self._seen
        self._seen.add(request.connection)
        deed = exchange.reset if fault and fault.kind in UNREAD else None
        if request.method == "GET":
            await self._be_asked(exchange, fault, deed)
            return
        operation, key = _asked_for(request.method, request.target, request.body)
        post = Post(operation, key, fresh=fresh)
        self.posts.append(post)
        if deed is not None:
            await deed()
        elif fault is None or fault.kind in WELL:
            answer = await self._take_effect(post, exchange)
            await self._answer(exchange, fault, post, answer)
        elif fault.kind in REFUSED:
            await self._answer(exchange, fault, post, b"")
        else:
            await self._leave_open(exchange, fault, post)

    async def _answer(
        self, exchange: Exchange, fault: Fault | None, post: Post, answer: bytes
    ) -> None:
        post.answered = None
        await self._carry_out(exchange, fault, answer)
        post.answered = True

    async def _leave_open(self, exchange: Exchange, fault: Fault, post: Post) -> None:
        answer = response(envelope({"status": "PENDING", "message": "made up"}))
        if fault.takes_effect == "at once":
            answer = await self._take_effect(post, exchange)
        try:
            await self._carry_out(exchange, fault, answer)
        finally:
            if fault.takes_effect == "afterwards":
                self._book(post)

    async def _carry_out(self, exchange: Exchange, fault: Fault | None, answer: bytes) -> None:
        if fault is None:
            await exchange.send(answer)
        else:
            await _DEEDS[fault.kind](exchange, answer)

    async def _be_asked(
        self, exchange: Exchange, fault: Fault | None, deed: Callable[[], Awaitable[None]] | None
    ) -> None:
        key = exchange.request.key.removeprefix("REF")
        if deed is not None:
            await deed()
        elif key not in self.intents:
            await self._carry_out(exchange, fault, _error("404 Not Found"))
        else:
            if exchange.request.held and (fault is None or fault.kind in WELL):
                await self._hold(exchange, key, self.longest_hold)
            await self._carry_out(exchange, fault, self._told(key))

    async def _hold(self, exchange: Exchange, key: str, longest: float) -> None:
        """Wait until the payment is final; a client that goes ends it, and the exchange."""
        settles_at = self.fates[key].settles_at
        left = math.inf if settles_at is None else max(0.0, settles_at - anyio.current_time())
        with anyio.move_on_after(min(longest, left)):
            await exchange.client_has_gone()

    # What is booked and told

    async def _take_effect(self, post: Post, exchange: Exchange) -> bytes:
        """Book what is asked for, if it may be; return the answer."""
        if not self._book(post):
            return _error("409 Conflict")
        if post.operation == "create_intent":
            return response(intent(reference_of(post.key)))
        if post.operation == "refund":
            return response(refunded(self.refund_fate))
        if exchange.request.held:
            await self._hold(exchange, post.key, math.inf)
        return response(processed(self.status_of(post.key), **_private(post.key)))

    def _book(self, post: Post) -> bool:
        """Let a money request take effect, unless it makes no sense."""
        key = post.key
        match post.operation:
            case "create_intent":
                post.effective = key not in self.intents
                self.intents.add(key)
            case "process":
                post.effective = key in self.intents and self.fates[key].settles_at is None
                if post.effective:
                    fate = self.fates[key]
                    fate.settles_at = anyio.current_time() + fate.seconds
            case _:
                post.effective = self.status_of(key) is COMPLETED and key not in self.refunds
                if post.effective:
                    self.refunds[key] = self.refund_fate
        return post.effective

    def _told(self, key: str) -> bytes:
        """Return the answer to a status request."""
        status, reference = self.status_of(key), reference_of(key)
        attempt = {"reference": reference, "provider": "MPESA", "status": status}
        asked = self.fates[key].settles_at is not None
        attempts = [attempt] if asked else []
        return response(
            payment(status, key=key, reference=reference, attempts=attempts, **_private(key))
        )


def _private(key: str) -> dict[str, object]:
    """Return what an answer holds that must be shown nowhere."""
    return {
        "meta": {"accessToken": ACCESS_TOKEN, "reference": reference_of(key), "provider": "MPESA"},
        "payload": {"billingAddress": {"phoneNumber": f"+{MOBILE}"}},
        "message": f"Sent to {MOBILE}",
    }


def _error(status: str) -> bytes:
    return response(b'{"message": "not like this"}', status)


def _asked_for(method: str, target: str, body: bytes) -> tuple[str, str]:
    """Return the operation and the merchant key of a money request, as far as can be told."""
    request = Arrived(0, method, target, [], body)
    if "/refund/" in target:
        return "refund", request.key
    if target.partition("?")[0].endswith("/process"):
        return "process", request.key.removeprefix("REF")
    return "create_intent", json.loads(body)["key"] if body else ""
