"""The whole life of payments in the sandbox, through its transport and through a socket."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from little_pay_async import (
    AsyncLittlePay,
    AuthenticationError,
    ConflictError,
    Msisdn,
    NotFoundError,
    OutcomeUnknownError,
    PaymentStatus,
)
from little_pay_async.sandbox import Kind, Sandbox, Weather

from .sessions import INTENT, MOBILE, without_pauses

pytestmark = pytest.mark.anyio

REACHED = [
    pytest.param("transport", id="transport"),
    pytest.param("socket", id="socket", marks=pytest.mark.asyncio_only),
]
both_ways = pytest.mark.parametrize("reached", REACHED)


@contextlib.asynccontextmanager
async def opened(
    reached: str, *, sandbox_options: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[Sandbox, AsyncLittlePay]]:
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(**(sandbox_options or {})))
        if reached == "socket":
            options["base_url"] = await stack.enter_async_context(sandbox.serve())
        else:
            options["transport"] = sandbox.transport
        pay = AsyncLittlePay(**(dict(sandbox.credentials) | options))
        yield sandbox, await stack.enter_async_context(pay)


@both_ways
async def test_the_life_of_a_payment(reached: str) -> None:
    async with opened(reached) as (sandbox, pay):
        intent = await pay.create_intent(**INTENT)
        assert (await pay.status("ORDER42")).attempts == ()
        rung = await pay.process(intent, "MPESA", f"+{MOBILE}")
        assert (rung.status, rung.reference) == (PaymentStatus.PENDING, intent.reference)
        assert len((await pay.status(intent)).attempts) == 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle_when_polled, sandbox)
            paid = await pay.wait(intent)
        assert paid.status is PaymentStatus.COMPLETED
        refund = await pay.refund(intent, 40, reason="one ticket")
        assert refund.status is PaymentStatus.COMPLETED
        assert (await pay.status("ORDER42")).status is PaymentStatus.COMPLETED
    assert [request.operation for request in sandbox.requests] == [
        *("create_intent", "status", "process", "status", "status", "refund", "status")
    ]


async def settle_when_polled(sandbox: Sandbox) -> None:
    while not any(request.held for request in sandbox.requests):
        await anyio.lowlevel.checkpoint()
    sandbox.settle("ORDER42", "COMPLETED")


@both_ways
async def test_collect_in_one_call(reached: str) -> None:
    async with opened(reached) as (sandbox, pay), anyio.create_task_group() as tasks:
        tasks.start_soon(settle_when_polled, sandbox)
        paid = await pay.collect(**INTENT, provider="MPESA", mobile=f"+{MOBILE}")
        assert paid.status is PaymentStatus.COMPLETED
        assert (sandbox.count("create_intent"), sandbox.count("process")) == (1, 1)


@both_ways
@pytest.mark.parametrize("operation", ["create_intent", "process"])
async def test_collect_charges_once_in_bad_weather(reached: str, operation: str) -> None:
    """The request took effect, and its answer was lost."""
    weather = Weather(kind=Kind.DROPPED, operation=operation, times=1)
    async with opened(reached, sandbox_options={"weather": weather}) as (sandbox, pay):
        without_pauses(pay)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle_when_polled, sandbox)
            paid = await pay.collect(**INTENT, provider="MPESA", mobile=f"+{MOBILE}")
        assert paid.status is PaymentStatus.COMPLETED
        assert (sandbox.count("create_intent"), sandbox.count("process")) == (1, 1)


@both_ways
@pytest.mark.parametrize("kind", [Kind.DROPPED, Kind.BAD_GATEWAY])
async def test_process_is_never_sent_twice(reached: str, kind: Kind) -> None:
    async with opened(reached) as (sandbox, pay):
        without_pauses(pay)
        intent = await pay.create_intent(**INTENT)
        sandbox.weather = Weather(kind=kind)
        with pytest.raises(OutcomeUnknownError) as caught:
            await pay.process(intent, "MPESA", f"+{MOBILE}")
        assert caught.value.key == intent.reference
        assert sandbox.count("process") == 1


@both_ways
@pytest.mark.parametrize("kind", [Kind.DROPPED, Kind.BAD_GATEWAY, Kind.RATE_LIMITED, Kind.NO_HOLD])
async def test_waiting_outlives_bad_weather(reached: str, kind: Kind) -> None:
    async with opened(reached) as (sandbox, pay):
        without_pauses(pay)
        intent = await pay.create_intent(**INTENT)
        await pay.process(intent, "MPESA", Msisdn.parse(f"+{MOBILE}"))
        sandbox.weather = Weather(kind=kind, operation="status", times=3, seconds=0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle_when_polled, sandbox)
            assert (await pay.wait(intent, timeout=20)).status is PaymentStatus.COMPLETED


@both_ways
async def test_many_at_once(reached: str) -> None:
    keys = [f"ORDER{number}" for number in range(30)]
    async with opened(reached) as (sandbox, pay):
        for key in keys:
            intent = await pay.create_intent(**INTENT | {"key": key})
            await pay.process(intent, "MPESA", f"+{MOBILE}")
        found = await pay.check([*keys, "NONE"])
        assert list(found) == [*keys, "NONE"]
        assert isinstance(found["NONE"], NotFoundError)
        async with pay.watch(keys) as watch:
            while len([request for request in sandbox.requests if request.held]) < 30:
                await anyio.lowlevel.checkpoint()
            for key in keys:
                sandbox.settle(key, "FAILED")
            settled = [settlement async for settlement in watch]
    assert [settlement.error for settlement in settled] == [None] * 30
    assert {settlement.key for settlement in settled} == set(keys)


@both_ways
async def test_what_is_refused(reached: str) -> None:
    async with opened(reached) as (_, pay):
        await pay.create_intent(**INTENT)
        with pytest.raises(ConflictError):
            await pay.create_intent(**INTENT)
        with pytest.raises(NotFoundError):
            await pay.status("NONE")
        with pytest.raises(NotFoundError):
            await pay.process("NONE", "MPESA", f"+{MOBILE}")


@both_ways
async def test_wrong_credentials(reached: str) -> None:
    async with opened(reached, api_key="wrong", token_id="wrong") as (_, pay):
        with pytest.raises(AuthenticationError):
            await pay.status("ORDER42")
        with pytest.raises(AuthenticationError):
            await pay.create_intent(**INTENT)
