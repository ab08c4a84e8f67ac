"""The callback routes of both frameworks, on their real servers: what is answered to what."""

import functools
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.from_thread
import httpx
import pytest
from aiohttp import web
from anyio.abc import SocketStream
from fastapi import HTTPException

from little_pay_async import PaymentStatus
from little_pay_async.callbacks import PaymentCallback, RefundCallback

from .serving import PATH, ROUTES, client, documented, signed

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]

PAYMENT = documented("payment-callback")
REFUND = documented("refund-callback")
LIMIT = 64 * 1024
CANARY = "254712345678"
WITH_PAYER = PAYMENT.replace(b'"phoneNumber":""', f'"phoneNumber":"{CANARY}"'.encode())


@pytest.fixture(params=ROUTES)
def framework(request: pytest.FixtureRequest) -> Any:
    return ROUTES[request.param]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def post(url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    async with client(url) as http:
        return await http.post(PATH, content=body, headers=headers)


class Kept(list[PaymentCallback | RefundCallback]):
    async def __call__(self, callback: PaymentCallback | RefundCallback) -> None:
        self.append(callback)


def long_body(length: int) -> bytes:
    """Return a callback of exactly that many bytes."""
    payment = json.loads(PAYMENT) | {"padding": ""}
    bare = len(json.dumps(payment, separators=(",", ":")))
    return json.dumps(payment | {"padding": "x" * (length - bare)}, separators=(",", ":")).encode()


async def test_a_callback_is_handed_over_and_answered_200(framework: Any) -> None:
    kept = Kept()
    async with framework(kept) as url:
        assert (await post(url, PAYMENT, signed(PAYMENT))).status_code == 200
        assert (await post(url, REFUND, signed(REFUND))).status_code == 200
    payment, refund = kept
    assert isinstance(payment, PaymentCallback)
    assert payment.status is PaymentStatus.COMPLETED
    assert payment.reference == "1cbfffbc-b365-45f6-9e5d-13e445c125cd"
    assert isinstance(refund, RefundCallback)
    assert refund.key == "1234"


async def test_the_answer_comes_after_on_callback_returned(framework: Any) -> None:
    begun, go_on, answered = anyio.Event(), anyio.Event(), anyio.Event()

    async def on_callback(_: object) -> None:
        begun.set()
        await go_on.wait()

    async def send(url: str) -> None:
        assert (await post(url, PAYMENT, signed(PAYMENT))).status_code == 200
        answered.set()

    async with framework(on_callback) as url, anyio.create_task_group() as tasks:
        tasks.start_soon(send, url)
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
        assert not answered.is_set()
        go_on.set()


async def test_a_sync_on_callback_may_block_the_loop_goes_on(framework: Any) -> None:
    loop_thread = threading.get_ident()
    blocked, go_on = anyio.Event(), threading.Event()
    threads: list[int] = []

    def on_callback(_: object) -> None:
        threads.append(threading.get_ident())
        anyio.from_thread.run_sync(blocked.set)
        assert go_on.wait(20)

    async with framework(on_callback) as url, anyio.create_task_group() as tasks:
        tasks.start_soon(post, url, PAYMENT, signed(PAYMENT))
        await blocked.wait()
        async with client(url) as http:
            assert (await http.get("/ping")).status_code == 200
        go_on.set()
    assert threads
    assert loop_thread not in threads


async def test_every_kind_of_async_on_callback_runs_in_the_loop(framework: Any) -> None:
    kept = Kept()

    async def with_more(_more: str, callback: Any) -> None:
        kept.append(callback)

    def not_declared_async(callback: Any) -> Any:
        return kept(callback)

    kinds = [kept, kept.__call__, functools.partial(with_more, "x"), not_declared_async]
    for number, on_callback in enumerate(kinds, start=1):
        async with framework(on_callback) as url:
            assert (await post(url, PAYMENT, signed(PAYMENT))).status_code == 200
        assert len(kept) == number


def wrong() -> dict[str, tuple[bytes, dict[str, str]]]:
    # Signed now: what is from the future when the tests are collected is not when they run.
    return {
        "forged": (PAYMENT, signed(PAYMENT) | {"X-LittlePay-Signature": "A" * 344}),
        "altered": (PAYMENT.replace(b'"amount":1', b'"amount":2'), signed(PAYMENT)),
        "stale": (PAYMENT, signed(PAYMENT, ago=301)),
        "from the future": (PAYMENT, signed(PAYMENT, ago=-400)),
        "unsigned": (PAYMENT, {}),
        "not base64": (PAYMENT, signed(PAYMENT) | {"X-LittlePay-Signature": "?"}),
        "no callback": (b"[]", signed(b"[]")),
        "empty": (b"", {}),
    }


@pytest.mark.threat("T23")
async def test_what_is_wrong_is_refused_without_saying_what(framework: Any) -> None:
    kept = Kept()
    answers = set()
    async with framework(kept) as url:
        for body, headers in wrong().values():
            answer = await post(url, body, headers)
            told = {name: value for name, value in answer.headers.items() if name != "date"}
            answers.add((answer.status_code, answer.content, *told.items()))
    assert len(answers) == 1, "all refusals look alike"
    assert answers.pop()[0] == 400
    assert kept == []


async def test_what_is_refused_is_logged_without_a_payers_data(
    framework: Any, logged: pytest.LogCaptureFixture
) -> None:
    async with framework(Kept()) as url:
        await post(url, WITH_PAYER, signed(WITH_PAYER, ago=400))
    assert "StaleCallbackError" in logged.text
    assert CANARY not in logged.text


@pytest.mark.threat("T23")
async def test_64_kib_are_read_and_no_byte_more(framework: Any) -> None:
    kept = Kept()
    most, more = long_body(LIMIT), long_body(LIMIT + 1)
    async with framework(kept) as url:
        assert (await post(url, most, signed(most))).status_code == 200
        assert (await post(url, more, signed(more))).status_code == 413
    assert len(kept) == 1


async def test_a_body_that_is_too_long_is_not_waited_for(framework: Any) -> None:
    kept = Kept()
    announced = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n".encode()
    # Its end never comes.
    chunked = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunked += b"8000\r\n" + b"x" * 0x8000 + b"\r\n" + b"8001\r\n" + b"x" * 0x8001 + b"\r\n"
    async with framework(kept) as url:
        for sent in (announced, chunked):
            async with await _connected(url) as stream:
                await stream.send(sent)
                assert b" 413 " in await stream.receive()
    assert kept == []


@pytest.mark.parametrize("announced", [True, False])
async def test_who_sends_too_much_reads_that_it_is_too_much(
    framework: Any, announced: bool
) -> None:
    size = 80 * 1024

    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(size // 1024):
            yield b"x" * 1024

    kept = Kept()
    async with framework(kept) as url, httpx.AsyncClient() as client:
        for _ in range(3):
            body = b"x" * size if announced else in_pieces()
            assert (await client.post(url + PATH, content=body)).status_code == 413
    assert kept == []


def with_length(length: int) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed(PAYMENT).items())
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {length}\r\n\r\n"
    return head.encode() + PAYMENT


async def test_a_length_that_is_too_short_makes_no_callback(framework: Any) -> None:
    kept = Kept()
    async with framework(kept) as url, await _connected(url) as stream:
        await stream.send(with_length(len(PAYMENT) - 1))
        assert b" 400 " in await stream.receive()
    assert kept == []


async def test_a_sender_that_leaves_half_way_makes_no_callback(
    framework: Any, logged: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    async with framework(kept) as url:
        async with await _connected(url) as stream:
            await stream.send(with_length(len(PAYMENT) + 1))
        async with client(url) as http:  # it has been noticed by now
            await http.get("/ping")
    assert kept == []
    assert not [record for record in logged.records if record.levelno > logging.WARNING]


async def test_a_body_that_is_not_as_encoded_as_it_says_is_refused(framework: Any) -> None:
    kept = Kept()
    async with framework(kept) as url:
        headers = signed(PAYMENT) | {"Content-Encoding": "gzip"}
        assert (await post(url, b"no gzip", headers)).status_code == 400
    assert kept == []


async def test_what_on_callback_raises_is_a_500_and_logged(
    framework: Any, logged: pytest.LogCaptureFixture
) -> None:
    raised: list[Exception] = [
        ValueError("the database is gone"),
        HTTPException(404),
        web.HTTPConflict(),
    ]
    number = 0

    async def on_callback(_: object) -> None:
        raise raised[number]

    async with framework(on_callback) as url:
        for number in range(len(raised)):  # noqa: B007 - it is read by on_callback
            assert (await post(url, WITH_PAYER, signed(WITH_PAYER))).status_code == 500
    assert "the database is gone" in logged.text
    assert CANARY not in logged.text


async def test_other_methods_are_not_for_it(framework: Any) -> None:
    async with framework(Kept()) as url, client(url) as http:
        assert (await http.get(PATH)).status_code == 405


async def _connected(url: str) -> SocketStream:
    address = httpx.URL(url)
    return await anyio.connect_tcp(address.host, address.port or 80)
