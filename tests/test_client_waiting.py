"""Held polls on real sockets: `long_poll`, `wait` and `watch`, and what they outlive."""

import time
from collections import Counter

import anyio
import pytest

from little_pay_async import (
    APIConnectionError,
    AuthenticationError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentStatus,
    SessionClosedError,
    SettlementTimeoutError,
)

from .servers import (
    Exchange,
    Script,
    ScriptedServer,
    answers_well,
    closes,
    in_turn,
    is_silent,
    payment,
    processed,
    resets,
    response,
    right_answer,
    sends,
    server_tls,
)
from .sessions import new_session, session, without_pauses

pytestmark = pytest.mark.anyio

pending = sends(response(payment("PENDING")))


def fails(status: str) -> Script:
    return sends(response(b"<html>", status, content_type="text/html"))


class HoldingServer:
    """Holds each poll until its key is settled, and answers all else at once."""

    def __init__(self) -> None:
        self.settled: dict[str, str] = {}
        self._news = anyio.Event()

    def settle(self, key: str, status: str = "COMPLETED") -> None:
        self.settled[key] = status
        self._news.set()
        self._news = anyio.Event()

    async def script(self, exchange: Exchange) -> None:
        request = exchange.request
        while request.held and request.key not in self.settled:
            await self._news.wait()
        status = self.settled.get(request.key, "PENDING")
        shape = payment(status, key=request.key) if not request.held else processed(status)
        await exchange.send(response(shape))


# --- One long poll


async def test_a_long_poll_is_answered_when_the_payment_settles() -> None:
    holding = HoldingServer()
    async with ScriptedServer(holding.script) as server, session(server) as pay:
        found: list[PaymentStatus] = []

        async def poll() -> None:
            found.append((await pay.long_poll("ORDER42")).status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poll)
            await server.until_requests(1)
            holding.settle("ORDER42", "FAILED")
    assert found == [PaymentStatus.FAILED]
    assert len(server.requests) == 1


async def test_a_long_poll_that_is_still_pending_is_no_error() -> None:
    async with ScriptedServer(pending) as server, session(server) as pay:
        assert (await pay.long_poll("ORDER42")).status is PaymentStatus.PENDING
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "end",
    [is_silent, closes, resets, fails("502 Bad Gateway"), fails("504 Gateway Timeout")],
    ids=["silence", "end of stream", "reset", "502", "504"],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_hold_that_ends_without_an_answer_is_followed_by_a_status(
    end: Script, tls: bool
) -> None:
    async def script(exchange: Exchange) -> None:
        await (end if exchange.request.held else answers_well)(exchange)

    server = ScriptedServer(script, tls=server_tls() if tls else None)
    async with server, session(server) as pay:
        begun = time.monotonic()
        found = await pay.long_poll("ORDER42", hold=0.2)
    assert found.status is PaymentStatus.COMPLETED
    assert time.monotonic() - begun < 3
    assert [request.held for request in server.requests] == [True, False]


async def test_a_held_process_returns_the_final_payment() -> None:
    script = sends(response(processed("COMPLETED")))
    async with ScriptedServer(script) as server, session(server) as pay:
        paid = await pay.process("REF1", "MPESA", "254712345678", long_poll=True)
    assert paid.status is PaymentStatus.COMPLETED


async def test_a_held_process_is_given_the_hold_in_addition() -> None:
    async def late(exchange: Exchange) -> None:
        await anyio.sleep(0.4)
        await exchange.send(right_answer(exchange.request))

    async with ScriptedServer(late) as server, session(server, timeout=0.2, hold=5) as pay:
        await pay.process("REF1", "MPESA", "254712345678", long_poll=True)
        with pytest.raises(OutcomeUnknownError):
            await pay.process("REF1", "MPESA", "254712345678")
        with pytest.raises(OutcomeUnknownError):
            await pay.process("REF1", "MPESA", "254712345678", long_poll=True, timeout=0.2)


# --- Waiting for one


@pytest.mark.parametrize(
    "trouble",
    [
        [closes] * 5,
        [resets] * 5,
        [fails("502 Bad Gateway")] * 5,
        [fails("500 Oops")] * 5,
        [fails("408 Late")] * 5,
        [sends(response(b"", "429 Many", {"Retry-After": "0"}))] * 5,
        [pending] * 5,
        [sends(response(payment("REVIEW")))] * 5,
        [sends(response(b"<html>")), closes, sends(response(b"<html>"))],
    ],
    ids=["closed", "reset", "502", "500", "408", "429", "PENDING", "unknown status", "mixed"],
)
async def test_waiting_outlives_what_may_heal(trouble: list[Script]) -> None:
    script = in_turn(*trouble, answers_well)
    async with ScriptedServer(script) as server, session(server) as pay:
        paid = await pay.wait("ORDER42", timeout=20)
    assert paid.status is PaymentStatus.COMPLETED
    assert len(server.requests) == len(trouble) + 1
    assert all(request.held for request in server.requests)


@pytest.mark.parametrize("hold", [0.1, 90.0])
async def test_waiting_has_its_time(hold: float) -> None:
    script = in_turn(pending, is_silent)
    async with ScriptedServer(script) as server, session(server, hold=hold) as pay:
        begun = time.monotonic()
        with pytest.raises(SettlementTimeoutError) as caught:
            await pay.wait("ORDER42", timeout=0.5)
        assert 0.45 < time.monotonic() - begun < 3
        await server.until(lambda: server.open == 0)
    assert caught.value.key == "ORDER42"
    assert caught.value.last is not None
    assert caught.value.last.status is PaymentStatus.PENDING


async def test_the_last_error_is_the_cause_when_time_is_up() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay._session.retries.uniform = lambda _least, most: most
        await server.stop()
        with pytest.raises(SettlementTimeoutError) as caught:
            await pay.wait("ORDER42", timeout=0.3)
    assert caught.value.last is None
    assert isinstance(caught.value.__cause__, APIConnectionError)


async def test_waiting_outlives_a_restart_of_the_server() -> None:
    holding = HoldingServer()
    async with ScriptedServer(holding.script) as server, session(server) as pay:
        pay._session.retries.uniform = lambda _least, _most: 0.05
        found: list[PaymentStatus] = []

        async def wait() -> None:
            found.append((await pay.wait("ORDER42", timeout=20)).status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await server.until_requests(1)
            await server.stop()
            await server.start()
            await server.until_requests(2)
            holding.settle("ORDER42")
    assert found == [PaymentStatus.COMPLETED]


# --- Watching many


async def test_two_hundred_keys_over_held_polls() -> None:
    holding = HoldingServer()
    keys = [f"ORDER{number}" for number in range(200)]
    async with ScriptedServer(holding.script) as server, session(server) as pay:
        without_pauses(pay)
        async with pay.watch(keys) as watch:
            await server.until_requests(200)
            assert server.open == 200
            assert watch.statistics().in_flight == 200
            expected = keys[::2] + keys[1::2]
            for number, key in enumerate(expected):
                holding.settle(key, "COMPLETED" if number % 3 else "FAILED")
                settlement = await anext(watch)
                assert (settlement.key, settlement.error) == (key, None)
                assert settlement.payment is not None
                assert settlement.payment.status == holding.settled[key]
            assert [settlement async for settlement in watch] == []
        assert watch.pending == ()
        assert len(server.requests) == 200
        assert (await pay.status("ORDER1")).key == "ORDER1"


async def test_fewer_connections_than_keys() -> None:
    """The rota goes round: each key is looked at, and none starves."""

    async def script(exchange: Exchange) -> None:
        seen[exchange.request.key] += 1
        status = "PENDING" if seen[exchange.request.key] < 3 else "COMPLETED"
        await exchange.send(response(processed(status)))

    seen: Counter[str] = Counter()
    keys = [f"ORDER{number}" for number in range(60)]
    async with ScriptedServer(script) as server, session(server, max_connections=4) as pay:
        async with pay.watch(keys) as watch:
            found = {settlement.key async for settlement in watch}
        assert server.connections <= 4
    assert found == set(keys)
    assert set(seen.values()) == {3}


async def test_a_restart_with_many_parked_loses_none() -> None:
    holding = HoldingServer()
    keys = [f"ORDER{number}" for number in range(100)]
    async with ScriptedServer(holding.script) as server, session(server) as pay:
        pay._session.retries.uniform = lambda _least, _most: 0.05
        async with pay.watch(keys) as watch:
            await server.until_requests(100)
            await server.stop()
            await server.start()
            await server.until(lambda: server.open == 100)
            for key in keys:
                holding.settle(key)
            found = [settlement async for settlement in watch]
    assert {settlement.key for settlement in found} == set(keys)
    assert all(settlement.error is None for settlement in found)


async def test_a_key_rotated_in_the_middle_of_a_watch_is_asked_for_once() -> None:
    asked = 0
    current = "key-1"

    async def vault() -> str:
        nonlocal asked
        asked += 1
        await anyio.sleep(0.05)  # long enough for all to come and wait for it
        return current

    holding = HoldingServer()
    first_key_ends = anyio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.request.header("x-api-key") == "key-1":
            await first_key_ends.wait()
            await exchange.send(response(b"", "401 Rotated"))
        else:
            await holding.script(exchange)

    keys = [f"ORDER{number}" for number in range(50)]
    async with (
        ScriptedServer(script) as server,
        session(server, api_key=vault) as pay,
        pay.watch(keys) as watch,
    ):
        await server.until_requests(50)
        assert asked == 1
        current = "key-2"
        first_key_ends.set()
        await server.until_requests(100)
        assert asked == 2
        for key in keys:
            holding.settle(key)
        assert len([settlement async for settlement in watch]) == 50
    assert asked == 2


async def test_a_key_refused_for_good_ends_the_watch() -> None:
    script = fails("401 No")
    async with (
        ScriptedServer(script) as server,
        session(server, api_key=lambda: "key") as pay,
        pay.watch(["A", "B"]) as watch,
    ):
        with pytest.raises(AuthenticationError):
            await anext(watch)
        assert set(watch.pending) == {"A", "B"}
    assert len(server.requests) <= 4


async def test_closing_ends_a_watch_and_keeps_what_is_pending() -> None:
    async with ScriptedServer(is_silent) as server:
        pay = new_session(server)
        async with pay.watch(["A", "B", "C"]) as watch:
            await server.until_requests(3)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pay.aclose)
                with pytest.raises(SessionClosedError):
                    await anext(watch)
            assert watch.pending == ("A", "B", "C")
        await server.until(lambda: server.open == 0)


async def test_leaving_a_watch_lets_go_of_its_polls() -> None:
    async with ScriptedServer(is_silent) as server, session(server) as pay:
        async with pay.watch(["A", "B", "C"]) as watch:
            await server.until_requests(3)
        assert watch.pending == ("A", "B", "C")
        await server.until(lambda: server.open == 0)


async def test_a_failed_key_disturbs_no_other() -> None:
    holding = HoldingServer()

    async def script(exchange: Exchange) -> None:
        await (fails("404 No") if exchange.request.key == "GONE" else holding.script)(exchange)

    async with (
        ScriptedServer(script) as server,
        session(server) as pay,
        pay.watch(["A", "GONE", "B"]) as watch,
    ):
        gone = await anext(watch)
        assert (gone.key, gone.payment) == ("GONE", None)
        assert isinstance(gone.error, NotFoundError)
        holding.settle("B")
        assert (await anext(watch)).key == "B"
        holding.settle("A")
        assert (await anext(watch)).key == "A"


async def test_ordinary_calls_have_a_connection_while_all_places_are_taken() -> None:
    holding = HoldingServer()
    async with (
        ScriptedServer(holding.script) as server,
        session(server, max_connections=8) as pay,
        pay.watch([f"K{number}" for number in range(20)]),
    ):
        await server.until_requests(6)  # a quarter is kept for calls
        with anyio.fail_after(10):
            await pay.status("ORDER42")


@pytest.mark.parametrize("event", ["request", "response"])
async def test_an_exception_of_the_caller_s_hook_comes_out_as_it_is(event: str) -> None:
    class HookError(Exception):
        pass

    async def hook(_: object) -> None:
        raise HookError

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        pay.http.event_hooks[event].append(hook)
        with pytest.raises(HookError):
            await pay.wait("ORDER42")
        with pytest.raises(HookError):
            await pay.long_poll("ORDER42")
        with pytest.raises(HookError):
            await pay.check(["A", "B", "C"])
