"""Which connection a request goes out on, when it is sent again, and what is never believed."""

import resource
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest

from little_pay_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    LittlePayError,
    OutcomeUnknownError,
    PaymentStatus,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)

from .servers import (
    Exchange,
    ScriptedServer,
    answers_well,
    closes,
    in_turn,
    is_silent,
    payment,
    resets,
    response,
    right_answer,
    sends,
    server_tls,
)
from .sessions import MONEY, OPERATIONS, session, without_pauses

pytestmark = pytest.mark.anyio


# --- Sent again


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_reset_at_once_is_never_believed_to_be_unsent(operation: str) -> None:
    """The request is on its way when the reset comes, and nobody can tell what was read of it."""
    server = ScriptedServer(answers_well, greeting=lambda it: it.reset())
    async with server, session(server) as pay:
        with pytest.raises(LittlePayError) as caught:
            await OPERATIONS[operation](pay)
    if operation in MONEY and isinstance(caught.value, OutcomeUnknownError):
        assert server.connections == 1
    else:
        assert isinstance(caught.value, APIConnectionError)
        assert server.connections == 3
        assert not (operation in MONEY and caught.value.sent)


@pytest.mark.parametrize("fault", [resets, closes, sends(response(b"", "503 Busy"))])
async def test_a_get_is_sent_again_until_it_is_answered(fault: object) -> None:
    script = in_turn(fault, fault, answers_well)  # type: ignore[arg-type]
    async with ScriptedServer(script) as server, session(server) as pay:
        pauses = without_pauses(pay)
        found = await pay.status("ORDER42")
    assert found.status is PaymentStatus.COMPLETED
    assert len(server.requests) == 3
    assert pauses == [0.0, 0.0]


async def test_max_retries_is_how_many_tries_follow_the_first() -> None:
    async with ScriptedServer(resets) as server:
        for retries in (0, 1, 5):
            server.requests.clear()
            async with session(server, max_retries=retries) as pay:
                with pytest.raises(APIConnectionError) as caught:
                    await pay.status("ORDER42")
            assert len(server.requests) == caught.value.tries == retries + 1


async def test_tries_and_pauses_lie_within_one_deadline() -> None:
    async def silent_once(exchange: Exchange) -> None:
        await anyio.sleep(0.2)
        await exchange.reset()

    async with ScriptedServer(silent_once) as server, session(server, timeout=0.5) as pay:
        pay._session.retries.uniform = lambda _, most: most
        begun = time.monotonic()
        with pytest.raises(APIConnectionError):
            await pay.status("ORDER42")
    assert time.monotonic() - begun < 2
    assert len(server.requests) == 1  # a pause of 0.5 s would have been too long


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("code", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_retry_after_is_honoured_by_a_get_and_told_of_a_post(
    code: str, operation: str
) -> None:
    script = in_turn(sends(response(b"", code, {"Retry-After": "7"})), answers_well)
    async with ScriptedServer(script) as server, session(server) as pay:
        pauses = without_pauses(pay)
        if operation not in MONEY:
            await OPERATIONS[operation](pay)
            assert pauses == [7.0]
            assert len(server.requests) == 2
            return
        with pytest.raises(LittlePayError) as caught:
            await OPERATIONS[operation](pay)
    error = caught.value if code.startswith("429") else caught.value.__cause__
    assert isinstance(error, RateLimitError | ServerError)
    assert error.retry_after == 7.0
    assert pauses == []
    assert len(server.requests) == 1


async def test_retry_after_may_be_a_date() -> None:
    async def script(exchange: Exchange) -> None:
        when = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        await exchange.send(response(b"", "503 Busy", {"Retry-After": when}))

    async with ScriptedServer(script) as server, session(server) as pay:
        pauses = without_pauses(pay)
        with pytest.raises(ServerError):
            await pay.status("ORDER42")
    assert all(18 <= pause <= 20 for pause in pauses)
    assert len(pauses) == 2


@pytest.mark.parametrize(("told", "timeout"), [(121, None), (300, 30.0), (40, 30.0)])
async def test_a_retry_after_that_is_too_long_is_raised(told: int, timeout: float | None) -> None:
    script = sends(response(b"", "429 Too Many Requests", {"Retry-After": str(told)}))
    async with ScriptedServer(script) as server, session(server, timeout=timeout) as pay:
        pauses = without_pauses(pay)
        with pytest.raises(RateLimitError) as caught:
            await pay.status("ORDER42")
    assert caught.value.retry_after == told
    assert pauses == []
    assert len(server.requests) == 1


async def test_the_budget_ends_retries_when_all_is_broken() -> None:
    async with ScriptedServer(resets) as server, session(server) as pay:
        tried = 0
        for _ in range(60):
            before = len(server.requests)
            with pytest.raises(APIConnectionError):
                await pay.status("ORDER42")
            tried = len(server.requests) - before
        assert tried == 1
        assert len(server.requests) == 60 + 100  # 500 tokens, 5 a retry


async def test_a_try_is_bounded_in_each_phase_by_an_httpx_timeout() -> None:
    import httpx

    async with ScriptedServer(is_silent) as server:
        async with session(server, timeout=httpx.Timeout(5.0, read=0.1)) as pay:
            with pytest.raises(APITimeoutError) as caught:
                await pay.status("ORDER42")
        assert caught.value.sent
        assert len(server.requests) == 3  # it bounds a try, not the call
        async with session(server) as pay:
            with pytest.raises(OutcomeUnknownError):
                await pay.process("REF1", "MPESA", "254712345678", timeout=httpx.Timeout(0.1))


@pytest.mark.parametrize("limit", [0.1, 0.3])
async def test_a_timeout_given_to_the_call_counts(limit: float) -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        for call in (
            lambda: pay.status("ORDER42", timeout=limit),
            lambda: pay.request("GET", "/x", timeout=limit),
            lambda: pay.with_options(timeout=limit).status("ORDER42"),
        ):
            begun = time.monotonic()
            with pytest.raises(APITimeoutError):
                await call()
            assert limit * 0.9 <= time.monotonic() - begun < limit + 2


# --- Connections


async def test_gets_share_a_connection_and_money_goes_out_on_a_new_one() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for operation in ("status", "status", "process", "status", "refund", "create_intent"):
            await OPERATIONS[operation](pay)
        used = [request.connection for request in server.requests]
    assert used[0] == used[1]
    money = [used[2], used[4], used[5]]
    assert len({used[0], *money}) == 4
    assert server.connections == 4


async def test_a_connection_that_the_server_closed_while_idle_is_not_used() -> None:
    async def last_answer(exchange: Exchange) -> None:
        await exchange.send(right_answer(exchange.request))
        await exchange.close()

    async with ScriptedServer(last_answer) as server, session(server, max_retries=0) as pay:
        for number in range(1, 4):
            await pay.status("ORDER42")
            await server.until(lambda: server.open == 0)
            assert server.connections == number


async def test_a_connection_that_breaks_at_its_second_request_costs_a_get_one_retry() -> None:
    script = in_turn(answers_well, resets, answers_well)
    async with ScriptedServer(script) as server, session(server) as pay:
        await pay.status("ORDER42")
        await pay.status("ORDER42")
        assert [request.connection for request in server.requests] == [0, 0, 1]


@pytest.mark.parametrize("tls", [False, True])
async def test_an_answer_that_nobody_asked_for_reaches_nobody(tls: bool) -> None:
    """It came together with the one that was asked for."""
    unasked = response(payment("FAILED", key="OTHER"))

    async def script(exchange: Exchange) -> None:
        await exchange.send(right_answer(exchange.request) + unasked)

    server = ScriptedServer(script, tls=server_tls() if tls else None)
    async with server, session(server) as pay:
        for number in range(3):
            found = await pay.status("ORDER42")
            assert (found.key, found.status) == ("ORDER42", PaymentStatus.COMPLETED)
            assert server.requests[-1].connection == number


@pytest.mark.parametrize("tls", [False, True])
async def test_an_answer_sent_to_an_idle_connection_reaches_nobody(tls: bool) -> None:
    idle, sent = anyio.Event(), anyio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(right_answer(exchange.request))
        if exchange.request.connection == 0:
            await idle.wait()
            await exchange.send(response(payment("FAILED", key="OTHER")))
            sent.set()

    server = ScriptedServer(script, tls=server_tls() if tls else None)
    async with server, session(server) as pay:
        await pay.status("ORDER42")
        idle.set()
        await sent.wait()
        found = await pay.status("ORDER42")
        assert (found.key, found.status) == ("ORDER42", PaymentStatus.COMPLETED)
        assert server.requests[-1].connection == 1


@pytest.mark.parametrize("interim", [1, 8])
async def test_interim_answers_are_passed_over(interim: int) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * interim)
        await exchange.send(right_answer(exchange.request))

    async with ScriptedServer(script) as server, session(server) as pay:
        assert (await pay.status("ORDER42")).status is PaymentStatus.COMPLETED


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("code", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(code: int, operation: str) -> None:
    async with ScriptedServer(answers_well) as elsewhere:
        location = {"Location": f"{elsewhere.base_url}/stolen"}
        async with (
            ScriptedServer(sends(response(b"", f"{code} Moved", location))) as server,
            session(server) as pay,
        ):
            with pytest.raises(LittlePayError) as caught:
                await OPERATIONS[operation](pay)
    assert elsewhere.connections == 0
    assert len(server.requests) == 1
    error = caught.value
    if operation in MONEY:
        assert type(error) is OutcomeUnknownError
        assert error.__cause__ is not None
        error = error.__cause__  # type: ignore[assignment]
    assert isinstance(error, UnexpectedResponseError)
    assert error.status_code == code
    assert error.refused


# --- Without connections


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_no_descriptor_left(operation: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with session(f"http://127.0.0.1:{listener.getsockname()[1]}") as pay:
            pauses = without_pauses(pay)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                with pytest.raises(APIConnectionError) as caught:
                    await OPERATIONS[operation](pay)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not caught.value.sent
    assert len(pauses) == 2  # it pauses: no spin


async def test_waiting_for_a_connection_is_bounded() -> None:
    async with (
        ScriptedServer(is_silent) as server,
        session(server, max_connections=1, timeout=0.3) as pay,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(pay.with_options(timeout=20).status, "PARKED")
        await server.until_requests(1)
        for operation in OPERATIONS.values():
            with pytest.raises(APITimeoutError) as caught:
                await operation(pay)
            assert not caught.value.sent
        assert len(server.requests) == 1
        tasks.cancel_scope.cancel()


async def test_an_error_status_with_any_body_is_an_error_status() -> None:
    for body in (b"", b"<html>", b"[" * 9000, b"\xff", b'{"data": {"message": "no"}}', b"{}"):
        script = sends(response(body, "409 Conflict", content_type="text/html"))
        async with ScriptedServer(script) as server, session(server) as pay:
            with pytest.raises(APIStatusError) as caught:
                await pay.refund("ORDER42", 1)
        assert caught.value.status_code == 409
        assert caught.value.message in {"Conflict", "no"}
