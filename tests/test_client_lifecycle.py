"""A session's life: opened, shared, cancelled, closed; and what it refuses to be used for."""

import gc
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from little_pay_async import (
    AsyncLittlePay,
    ConfigurationError,
    LittlePayError,
    OutcomeUnknownError,
    Payment,
    SessionClosedError,
)

from .ids import shown
from .servers import (
    Exchange,
    ScriptedServer,
    answers_well,
    client_tls,
    is_silent,
    payment,
    response,
    right_answer,
    server_tls,
)
from .sessions import COLLECT, CREDENTIALS, MONEY, OPERATIONS, new_session, session

pytestmark = pytest.mark.anyio

Call = Callable[[AsyncLittlePay], Awaitable[object]]


async def first_of_watch(pay: AsyncLittlePay) -> object:
    async with pay.watch(["A", "B"]) as watch:
        return await anext(watch)


ALL: dict[str, Call] = OPERATIONS | {
    "held process": lambda pay: pay.process("REF1", "MPESA", "254712345678", long_poll=True),
    "long_poll": lambda pay: pay.long_poll("ORDER42"),
    "wait": lambda pay: pay.wait("ORDER42"),
    "check": lambda pay: pay.check(["A", "B", "C"]),
    "watch": first_of_watch,
    "collect": lambda pay: pay.collect(**COLLECT),
    "request": lambda pay: pay.request("GET", "/x"),
}


def open_sockets() -> int:
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            found += str(descriptor.readlink()).startswith("socket:")
    return found


async def check_sockets(expected: int) -> None:
    """Insist on a number of open sockets; uvloop closes one a step later than it says."""
    for _ in range(20):
        if open_sockets() == expected:
            return
        await anyio.lowlevel.checkpoint()
    assert open_sockets() == expected


# --- Closing


@pytest.mark.parametrize("operation", ALL)
async def test_a_call_after_closing_is_an_error_at_once(operation: str) -> None:
    async with ScriptedServer(answers_well) as server:
        async with session(server) as pay:
            other = pay.with_options(timeout=5)
        for closed in (pay, other):
            with anyio.fail_after(5), pytest.raises(SessionClosedError):
                await ALL[operation](closed)
        with pytest.raises(SessionClosedError):
            await pay.__aenter__()
        await pay.aclose()
    assert server.connections == 0
    assert "closed" in repr(pay)


@pytest.mark.parametrize("operation", ALL)
async def test_closing_ends_what_is_under_way(operation: str) -> None:
    """A money request that has left may have taken effect: so it says."""
    failure: BaseException | None = None

    async def run() -> None:
        nonlocal failure
        try:
            await ALL[operation](pay)
        except LittlePayError as error:
            failure = error

    async with ScriptedServer(is_silent) as server, anyio.create_task_group() as tasks:
        pay = new_session(server)
        tasks.start_soon(run)
        await server.until_requests(1)
        await pay.aclose()
        await server.until(lambda: server.open == 0)
    unknown = operation in {*MONEY, "held process", "collect"}
    assert type(failure) is (OutcomeUnknownError if unknown else SessionClosedError)


async def test_closing_lets_go_of_idle_connections() -> None:
    async with ScriptedServer(answers_well) as server:
        sockets = open_sockets()
        async with session(server) as pay:
            for operation in OPERATIONS.values():
                await operation(pay)
            assert server.open > 0
        await server.until(lambda: server.open == 0)
        await check_sockets(sockets)


async def test_a_session_works_without_its_block() -> None:
    async with ScriptedServer(answers_well) as server:
        pay = new_session(server)
        await pay.status("ORDER42")
        await pay.aclose()
        await server.until(lambda: server.open == 0)


async def fail_in_block(server: ScriptedServer) -> None:
    async with session(server) as pay:
        await pay.status("ORDER42")
        raise ZeroDivisionError


async def test_the_block_s_exception_is_not_changed() -> None:
    async with ScriptedServer(answers_well) as server:
        with pytest.raises(ZeroDivisionError):
            await fail_in_block(server)
        await server.until(lambda: server.open == 0)


async def test_leaving_the_block_by_cancellation_closes_too() -> None:
    async with ScriptedServer(answers_well) as server:
        sockets = open_sockets()
        with anyio.CancelScope() as scope:
            async with session(server) as pay:
                await pay.status("ORDER42")
                scope.cancel()
                await pay.status("ORDER42")
        assert scope.cancelled_caught
        await server.until(lambda: server.open == 0)
        await check_sockets(sockets)


# --- Shared


async def test_with_options_shares_and_does_not_close() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        async with pay.with_options(timeout=5, hold=2, max_retries=0) as other:
            assert other.http is pay.http
            await other.status("ORDER42")
        await other.aclose()
        await pay.status("ORDER42")
        assert server.connections == 1


async def test_with_options_changes_only_what_it_is_given() -> None:
    def fails(exchange: Exchange) -> Awaitable[None]:
        return exchange.send(response(b"", "500 Oops"))

    async with ScriptedServer(fails) as server, session(server, max_retries=4) as pay:
        for other, tries in (
            (pay.with_options(timeout=9), 5),
            (pay.with_options(max_retries=0), 1),
            (pay.with_options(max_retries=0).with_options(timeout=None), 1),
            (pay, 5),
        ):
            server.requests.clear()
            with pytest.raises(LittlePayError):
                await other.status("ORDER42")
            assert len(server.requests) == tries


async def test_the_caller_s_client_is_used_and_never_closed() -> None:
    async with (
        ScriptedServer(answers_well) as server,
        httpx.AsyncClient(headers={"X-Mine": "1"}, timeout=1, follow_redirects=True) as client,
    ):
        async with session(server, http_client=client) as pay:
            assert pay.http is client
            for operation in OPERATIONS.values():
                await operation(pay)
        assert not client.is_closed
        assert (await client.get(f"{server.base_url}/own")).status_code == 200
        target = f"/api/payments/{CREDENTIALS['token_id']}/pay"
        assert server.requests[-2].target == target
        assert all(request.header("x-mine") == "1" for request in server.requests)


@pytest.mark.threat("T4")
async def test_the_caller_s_client_follows_no_redirect_and_uses_no_auth_for_us() -> None:
    async def script(exchange: Exchange) -> None:
        location = {"Location": f"http://127.0.0.1:{elsewhere.port}/"}
        await exchange.send(response(b"", "302 Found", location))

    async with (
        ScriptedServer(answers_well) as elsewhere,
        ScriptedServer(script) as server,
        httpx.AsyncClient(follow_redirects=True, auth=("CANARY", "mine")) as client,
        session(server, http_client=client) as pay,
    ):
        for operation in OPERATIONS.values():
            with pytest.raises(LittlePayError):
                await operation(pay)
        assert elsewhere.connections == 0
        own = {request.header("authorization") for request in server.requests}
        assert len(own) == 2  # none, and that of create intent


async def test_a_closed_client_of_the_caller_is_an_error() -> None:
    client = httpx.AsyncClient()
    async with session("http://127.0.0.1:9", http_client=client) as pay:
        await client.aclose()
        with pytest.raises(SessionClosedError):
            await pay.status("ORDER42")


class Recording(httpx.AsyncBaseTransport):
    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return httpx.Response(200, content=payment(key="ORDER42"))

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_transport_of_the_caller_is_used() -> None:
    transport = Recording()
    async with session("https://pay.example", transport=transport) as pay:
        assert (await pay.status("ORDER42")).key == "ORDER42"
    (request,) = transport.seen
    assert str(request.url) == "https://pay.example/api/payments-v2/ORDER42"
    assert transport.closed == 1


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (httpx.ConnectError, False),
        (httpx.ConnectTimeout, False),
        (httpx.PoolTimeout, False),
        (httpx.ReadError, True),
        (httpx.WriteError, True),
        (httpx.RemoteProtocolError, True),
        (httpx.ReadTimeout, True),
        (httpx.DecodingError, True),
    ],
)
@pytest.mark.parametrize("operation", MONEY)
async def test_of_a_foreign_transport_its_errors_tell_what_left(
    operation: str, kind: type[httpx.RequestError], sent: bool
) -> None:
    calls = 0

    async def fail(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        raise kind("made up", request=request)

    async with session("https://x", transport=httpx.MockTransport(fail)) as pay:
        with pytest.raises(LittlePayError) as caught:
            await MONEY[operation](pay)
    assert (type(caught.value) is OutcomeUnknownError) is sent
    assert calls == (1 if sent else 3)


# --- Settings that can't be


class HTTPX2Client:
    pass


HTTPX2Client.__module__ = "httpx2"
UNUSED = httpx.MockTransport(lambda _: httpx.Response(500))


@pytest.mark.parametrize(
    "options",
    [
        {"http_client": HTTPX2Client()},
        {"transport": HTTPX2Client()},
        {"http_client": httpx.Client},
        {"transport": httpx.HTTPTransport},
        {"ssl_context": True},
        {"transport": UNUSED, "ssl_context": client_tls()},
        {"transport": UNUSED, "proxy": "http://p:1"},
        {"base_url": "http://pay.example"},
        {"base_url": "http://127.0.0.1.evil.example"},
        {"base_url": "http://localhost@evil.example"},
        {"base_url": "ftp://localhost"},
        {"base_url": "pay.example"},
        {"base_url": "https://user:pw@pay.example"},
        {"base_url": "https://pay.example/?x=1"},
        {"base_url": "https://pay.example/\r\nX: y"},
        {"base_url": "https://pay.example:0"},
        {"proxy": "gopher://x"},
        {"max_retries": -1},
        {"max_retries": True},
        {"max_connections": 0},
        {"app_info": "shop\r\nX: y"},
        {"api_key": 7},
        {"token_id": lambda: "callable"},
    ],
    ids=shown,
)  # fmt: skip
def test_a_setting_that_can_t_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AsyncLittlePay(**CREDENTIALS | options)
    assert next(reversed(options)) in str(caught.value)
    assert "pw" not in str(caught.value)


def test_transport_and_client_can_t_both_be_given() -> None:
    with pytest.raises(ConfigurationError, match="transport"):
        AsyncLittlePay(transport=UNUSED, http_client=httpx.AsyncClient())


@pytest.mark.parametrize(
    "base_url", ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "http://x.localhost"]
)
@pytest.mark.threat("T1")
def test_loopback_may_be_reached_in_the_clear(base_url: str) -> None:
    assert base_url in repr(AsyncLittlePay(base_url=base_url))


def test_making_a_session_needs_neither_credentials_nor_loop() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pay = AsyncLittlePay()
        assert "pay.little.africa" in repr(pay)
        del pay  # never used: nothing to close
        gc.collect()


# --- Elsewhere


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.threat("T28")
def test_another_event_loop_is_refused(backend: str) -> None:
    with warnings.catch_warnings():
        # The connection of the first loop was dropped with it.
        warnings.simplefilter("ignore", ResourceWarning)
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=payment()))
        pay = AsyncLittlePay(**CREDENTIALS, transport=transport)
        anyio.run(pay.status, "ORDER42", backend=backend)
        for call in ALL.values():
            with pytest.raises(SessionClosedError, match="event loop"):
                anyio.run(call, pay, backend=backend)
        with pytest.raises(SessionClosedError):
            anyio.run(pay.aclose, backend=backend)
        with pytest.raises(SessionClosedError):
            anyio.run(pay.status, "ORDER42", backend=backend)


async def test_another_thread_s_event_loop_is_refused() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        await pay.status("ORDER42")
        caught: list[BaseException] = []

        def elsewhere() -> None:
            for call in (partial(pay.status, "ORDER42"), pay.aclose):
                try:
                    anyio.run(call)
                except SessionClosedError as error:
                    caught.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await anyio.to_thread.run_sync(thread.join, 10)
        assert len(caught) == 2
        await pay.status("ORDER42")  # at home it still works
        await pay.aclose()
        assert pay.http.is_closed


def run_script(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PROLOGUE = """
import asyncio, gc, os, sys, anyio, httpx
from little_pay_async import AsyncLittlePay, SessionClosedError
BODY = b'{"date": "2024-05-13T08:26:18.719Z", "data": {"status": "PENDING"}}'
transport = httpx.MockTransport(lambda request: httpx.Response(200, content=BODY))
pay = AsyncLittlePay(api_key="key", transport=transport)
"""


@pytest.mark.threat("T28")
def test_a_session_carried_over_a_fork_is_refused() -> None:
    ended = run_script(
        PROLOGUE
        + """
async def main():
    await pay.status("A")
    child = os.fork()
    if child == 0:
        code = 9
        try:
            try:
                asyncio.run(pay.status("A"))
            except SessionClosedError as error:
                code = 3 if "process" in str(error) else 4
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    await pay.status("A")
    await pay.aclose()
    return os.waitstatus_to_exitcode(status)
sys.exit(anyio.run(main))
"""
    )
    assert (ended.returncode, ended.stderr) == (3, "")


def test_a_session_dropped_unclosed_says_so() -> None:
    ended = run_script(
        PROLOGUE
        + """
async def main():
    global pay
    other = pay.with_options(timeout=1)
    await pay.status("A")
    del pay
    gc.collect()
    print("kept by the other")
    sys.stdout.flush()
    del other
    gc.collect()
anyio.run(main)
""",
        "-W",
        "always::ResourceWarning",
    )
    assert ended.returncode == 0
    assert ended.stderr.count("ResourceWarning: an AsyncLittlePay was dropped") == 1
    assert "key" not in ended.stderr


def test_a_session_that_was_closed_says_nothing() -> None:
    ended = run_script(
        PROLOGUE
        + """
async def main():
    global pay
    async with pay:
        await pay.status("A")
    del pay
    gc.collect()
anyio.run(main)
""",
        "-W",
        "error::ResourceWarning",
    )
    assert (ended.returncode, ended.stderr) == (0, "")


# --- Cancelled


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("operation", ALL)
@pytest.mark.threat("T27")
async def test_cancellation_leaves_nothing_behind(operation: str, tls: bool) -> None:
    """Cancelled at many moments: from before the first step to after the last."""
    server = ScriptedServer(answers_well, tls=server_tls() if tls else None)
    async with server:
        sockets = open_sockets()
        async with session(server, max_retries=0) as pay:
            for moment in range(40):
                with anyio.move_on_after(moment * 0.0004):
                    await ALL[operation](pay)
            found = await pay.status("ORDER42")
            assert found.key == "ORDER42"
        await server.until(lambda: server.open == 0)
        await check_sockets(sockets)


@pytest.mark.parametrize("operation", ALL)
async def test_cancelling_what_is_held_drops_its_connection(operation: str) -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        sockets = open_sockets()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ALL[operation], pay)
            await server.until_requests(1)
            tasks.cancel_scope.cancel()
        await server.until(lambda: server.open == 0)
        await check_sockets(sockets)
        server.script = answers_well
        await pay.status("ORDER42")


@pytest.mark.threat("T6")
async def test_a_half_read_answer_is_never_taken_for_the_next() -> None:
    arrived = anyio.Event()

    async def script(exchange: Exchange) -> None:
        answer = right_answer(exchange.request)
        if exchange.request.key == "CANCELLED":
            await exchange.send(answer[: len(answer) // 2])
            arrived.set()
            await exchange.client_has_gone()
        else:
            await exchange.send(answer)

    async with ScriptedServer(script) as server, session(server) as pay:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pay.status, "CANCELLED")
            await arrived.wait()
            tasks.cancel_scope.cancel()
        assert (await pay.status("NEXT")).key == "NEXT"
        assert server.requests[-1].connection == 1


async def test_many_at_once_share_few_connections() -> None:
    async with ScriptedServer(answers_well) as server, session(server, max_connections=4) as pay:
        found = await pay.check([f"K{number}" for number in range(200)])
        assert all(isinstance(value, Payment) and value.key == key for key, value in found.items())
        assert server.connections <= 4


async def test_a_call_is_over_when_it_says_so() -> None:
    """No matter what the server does, and how many wait."""
    async with ScriptedServer(is_silent) as server, session(server, timeout=0.3) as pay:
        begun = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(partial(expect_error, pay, f"K{number}"))
        assert time.monotonic() - begun < 5


async def expect_error(pay: AsyncLittlePay, key: str) -> None:
    with pytest.raises(LittlePayError):
        await pay.status(key)
