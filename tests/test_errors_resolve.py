"""`OutcomeUnknownError.resolve` tells what the ledger has, and writes nothing to it."""

import pickle
from typing import Any

import pytest

import little_pay_async as lp
from little_pay_async import AsyncLittlePay, OutcomeUnknownError
from little_pay_async.sandbox import Sandbox

from .servers import (
    Exchange,
    ScriptedServer,
    closes,
    payment,
    resets,
    response,
    right_answer,
    sends,
)
from .sessions import MONEY, session

pytestmark = pytest.mark.anyio


async def lost(operation: str, pay: AsyncLittlePay) -> OutcomeUnknownError:
    with pytest.raises(OutcomeUnknownError) as caught:
        await MONEY[operation](pay)
    # As it comes to the worker who has to find out.
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, OutcomeUnknownError)
    return again


def posts(server: ScriptedServer) -> int:
    return sum(request.method != "GET" for request in server.requests)


@pytest.mark.parametrize("operation", ["create_intent", "process"])
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
async def test_what_took_effect_is_told(operation: str, status: str) -> None:
    async with ScriptedServer(resets) as server, session(server) as pay:
        error = await lost(operation, pay)
        server.script = sends(response(payment(status, key="ORDER42")))
        found = await error.resolve(pay)
        assert found.status.value == status
        assert posts(server) == 1
        assert server.requests[-1].key == error.key


async def no_attempt(exchange: Exchange) -> None:
    await exchange.send(response(payment("PENDING", key="ORDER42", attempts=[])))


async def test_an_intent_that_exists_is_told_though_nobody_was_asked_to_pay() -> None:
    async with ScriptedServer(closes) as server, session(server) as pay:
        error = await lost("create_intent", pay)
        server.script = no_attempt
        assert (await error.resolve(pay)).status is lp.PaymentStatus.PENDING
        assert posts(server) == 1


@pytest.mark.parametrize(
    ("operation", "script"),
    [
        ("process", no_attempt),  # it may still be on its way
        ("process", sends(response(b"{}", "404 Not Found"))),
        ("create_intent", sends(response(b"{}", "404 Not Found"))),
        ("process", sends(response(b"{}", "401 Unauthorized"))),
        ("process", closes),
    ],
    ids=["no attempt", "no such payment", "no such intent", "no credential", "no answer"],
)
async def test_what_is_not_there_may_still_come(operation: str, script: Any) -> None:
    async with ScriptedServer(resets) as server, session(server, max_retries=0) as pay:
        error = await lost(operation, pay)
        server.script = script
        for _ in range(2):  # it may be asked as often as one likes
            with pytest.raises(OutcomeUnknownError, match="still not known") as caught:
                await error.resolve(pay)
            error = caught.value
        assert (error.operation, error.money) == (operation, "Money may have moved.")
        assert posts(server) == 1


async def test_of_a_refund_nothing_is_asked() -> None:
    async with ScriptedServer(resets) as server, session(server) as pay:
        error = await lost("refund", pay)
        with pytest.raises(OutcomeUnknownError, match="no way to ask"):
            await error.resolve(pay)
        assert len(server.requests) == 1


async def test_of_any_other_request_nothing_is_asked() -> None:
    async with ScriptedServer(resets) as server, session(server) as pay:
        with pytest.raises(OutcomeUnknownError) as caught:
            await pay.request("POST", "/api/vouchers", json={})
        with pytest.raises(OutcomeUnknownError, match="no way to ask"):
            await caught.value.resolve(pay)
        assert len(server.requests) == 1


async def test_it_wants_a_session() -> None:
    error = OutcomeUnknownError("text", operation="process", key="REF1")
    with pytest.raises(lp.InvalidInputError, match="AsyncLittlePay, not a str"):
        await error.resolve("pay")  # type: ignore[arg-type]


async def test_another_session_can_ask() -> None:
    async with ScriptedServer(right_answer_but_lost) as server:
        async with session(server) as first:
            error = await lost("process", first)
        async with session(server) as second:
            assert (await error.resolve(second)).status is lp.PaymentStatus.COMPLETED
        assert posts(server) == 1


async def right_answer_but_lost(exchange: Exchange) -> None:
    """Do what is asked, and lose the answer to it."""
    if exchange.request.method != "GET":
        await exchange.close()
    else:
        await exchange.send(right_answer(exchange.request))


async def test_with_the_sandbox() -> None:
    async with Sandbox() as box, AsyncLittlePay(**box.credentials, transport=box.transport) as pay:
        intent = await pay.create_intent(
            amount=1, key="ORDER42", description="1", callback_url="https://shop.example/paid"
        )
        error = OutcomeUnknownError("text", operation="process", key=intent.reference)
        with pytest.raises(OutcomeUnknownError, match="shows no attempt"):
            await error.resolve(pay)
        await pay.process(intent, "MPESA", "+254712345678")
        box.settle("ORDER42", "COMPLETED")
        assert (await error.resolve(pay)).status is lp.PaymentStatus.COMPLETED
