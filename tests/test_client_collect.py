"""`collect`: create, process and wait under one deadline, and never charge twice."""

import time
from itertools import product
from typing import Any

import pytest

from little_pay_async import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    LittlePayError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentStatus,
    SettlementTimeoutError,
)

from .servers import (
    Exchange,
    Script,
    ScriptedServer,
    closes,
    intent,
    is_silent,
    payment,
    processed,
    resets,
    response,
    sends,
)
from .sessions import COLLECT, CREDENTIALS, session

pytestmark = pytest.mark.anyio

CREATE = f"/api/payments/{CREDENTIALS['token_id']}/pay"
PROCESS = "/pay/REF1/process"
FOUND = "/api/payments-v2/ORDER42"
WAIT = "/api/payments-v2/REF1?longPoll=true"
ATTEMPT = {"reference": "REF1", "provider": "MPESA", "status": "PENDING"}

created = sends(response(intent("REF1")))
rings = sends(response(processed()))
completed = sends(response(payment("COMPLETED")))


def not_tried(**changes: Any) -> Script:
    """Answer that there is an intent, and no attempt to collect it."""
    data = {"reference": "REF1", "attempts": []} | changes
    return sends(response(payment("PENDING", **data)))


def tried(status: str = "PENDING") -> Script:
    return sends(response(payment(status, reference="REF1", attempts=[ATTEMPT])))


def fails(status: str) -> Script:
    return sends(response(b"", status))


def plays(**scripts: Script) -> Script:
    """Return a script by target, named after the constants above; each may come many times."""
    by_target = {globals()[name.upper()]: script for name, script in scripts.items()}

    async def script(exchange: Exchange) -> None:
        await by_target.get(exchange.request.target, fails("501 Unexpected"))(exchange)

    return script


def targets(server: ScriptedServer) -> list[str]:
    return [request.target for request in server.requests]


async def test_create_process_and_wait() -> None:
    script = plays(create=created, process=rings, wait=completed)
    async with ScriptedServer(script) as server, session(server) as pay:
        paid = await pay.collect(**COLLECT)
    assert paid.status is PaymentStatus.COMPLETED
    assert targets(server) == [CREATE, PROCESS, WAIT]
    assert server.requests[1].json == {"type": "MPESA", "payment": {"mobile": "254712345678"}}


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
async def test_an_answer_to_process_that_is_final_is_the_end(status: str) -> None:
    script = plays(create=created, process=sends(response(processed(status))))
    async with ScriptedServer(script) as server, session(server) as pay:
        paid = await pay.collect(**COLLECT)
    assert paid.status == status
    assert targets(server) == [CREATE, PROCESS]


LOST = {"closed": closes, "reset": resets, "502": fails("502 Bad Gateway")}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
async def test_a_lost_create_with_no_attempt_is_processed(lost: Script) -> None:
    script = plays(create=lost, found=not_tried(), process=rings, wait=completed)
    async with ScriptedServer(script) as server, session(server) as pay:
        paid = await pay.collect(**COLLECT)
    assert paid.status is PaymentStatus.COMPLETED
    assert targets(server) == [CREATE, FOUND, PROCESS, WAIT]


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
async def test_a_lost_create_with_an_attempt_is_waited_for(lost: Script) -> None:
    waited = "/api/payments-v2/ORDER42?longPoll=true"

    async def script(exchange: Exchange) -> None:
        by_target = {CREATE: lost, FOUND: tried(), waited: completed}
        await by_target[exchange.request.target](exchange)

    async with ScriptedServer(script) as server, session(server) as pay:
        paid = await pay.collect(**COLLECT)
    assert paid.status is PaymentStatus.COMPLETED
    assert targets(server) == [CREATE, FOUND, waited]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
async def test_a_lost_create_that_is_final_already_is_the_end(status: str) -> None:
    script = plays(create=closes, found=tried(status))
    async with ScriptedServer(script) as server, session(server) as pay:
        assert (await pay.collect(**COLLECT)).status == status
    assert targets(server) == [CREATE, FOUND]


NO_PROOF = {
    "404": fails("404 Not Found"),
    "HTML": sends(response(b"<html>", content_type="text/html")),
    "reset": resets,
    "no word of attempts": sends(response(processed("PENDING"))),
    "attempts are null": not_tried(attempts=None),
    "no reference": not_tried(reference=""),
    "a reference that no path can hold": not_tried(reference=".."),
    "an unknown status": sends(response(payment("REVIEW", reference="REF1", attempts=[]))),
}


@pytest.mark.parametrize("shown", NO_PROOF.values(), ids=NO_PROOF)
@pytest.mark.threat("T13")
async def test_a_lost_create_without_proof_that_there_is_no_attempt(shown: Script) -> None:
    script = plays(create=closes, found=shown)
    async with ScriptedServer(script) as server, session(server) as pay:
        with pytest.raises(OutcomeUnknownError) as caught:
            await pay.collect(**COLLECT)
    assert caught.value.operation == "create_intent"
    assert caught.value.key == "ORDER42"
    assert set(targets(server)) == {CREATE, FOUND}
    assert targets(server).count(CREATE) == 1


async def test_an_intent_without_a_reference_is_looked_up() -> None:
    created_nameless = sends(response(intent("")))
    script = plays(create=created_nameless, found=not_tried(), process=rings, wait=completed)
    async with ScriptedServer(script) as server, session(server) as pay:
        await pay.collect(**COLLECT)
        assert targets(server) == [CREATE, FOUND, PROCESS, WAIT]
        server.requests.clear()
        server.script = plays(create=created_nameless, found=fails("404 Not Found"))
        with pytest.raises(NotFoundError) as caught:
            await pay.collect(**COLLECT)
        assert caught.value.key == "ORDER42"
        assert targets(server) == [CREATE, FOUND]


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
@pytest.mark.threat("T12")
async def test_a_lost_process_is_waited_for_and_never_sent_again(lost: Script) -> None:
    script = plays(create=created, process=lost, wait=completed)
    async with ScriptedServer(script) as server, session(server) as pay:
        paid = await pay.collect(**COLLECT)
    assert paid.status is PaymentStatus.COMPLETED
    assert targets(server) == [CREATE, PROCESS, WAIT]


async def test_a_lost_process_of_which_nothing_can_be_told() -> None:
    script = plays(create=created, process=closes, wait=fails("404 Not Found"))
    async with ScriptedServer(script) as server, session(server) as pay:
        with pytest.raises(OutcomeUnknownError) as caught:
            await pay.collect(**COLLECT)
    assert (caught.value.operation, caught.value.key) == ("process", "ORDER42")
    assert isinstance(caught.value.__cause__, NotFoundError)
    assert targets(server).count(PROCESS) == 1


@pytest.mark.parametrize("process", [rings, closes])
@pytest.mark.threat("T8")
async def test_the_deadline_is_one_for_all_of_it(process: Script) -> None:
    script = plays(create=created, process=process, wait=is_silent)
    async with ScriptedServer(script) as server, session(server) as pay:
        begun = time.monotonic()
        with pytest.raises(SettlementTimeoutError) as caught:
            await pay.collect(**COLLECT, timeout=0.4)
        assert time.monotonic() - begun < 3
    assert caught.value.key == "ORDER42"
    assert "ORDER42" in str(caught.value) or "REF1" in str(caught.value)
    assert targets(server).count(PROCESS) == 1
    if process is closes:
        assert isinstance(caught.value.__cause__, OutcomeUnknownError)


@pytest.mark.parametrize("step", ["create", "process"])
async def test_the_deadline_bounds_each_step(step: str) -> None:
    script = plays(**({"create": created, "found": is_silent} | {step: is_silent}))
    async with ScriptedServer(script) as server, session(server) as pay:
        begun = time.monotonic()
        with pytest.raises((OutcomeUnknownError, SettlementTimeoutError)) as caught:
            await pay.collect(**COLLECT, timeout=0.3)
        assert time.monotonic() - begun < 3
    assert caught.value.key == "ORDER42"
    assert targets(server).count(CREATE) == 1
    assert targets(server).count(PROCESS) <= 1


REFUSALS: dict[str, tuple[dict[str, Script], type[LittlePayError]]] = {
    "create 400": ({"create": fails("400 No")}, BadRequestError),
    "create 401": ({"create": fails("401 No")}, AuthenticationError),
    "create 409": ({"create": fails("409 In use")}, ConflictError),
    "process 400": ({"create": created, "process": fails("400 No")}, BadRequestError),
    "process 404": ({"create": created, "process": fails("404 No")}, NotFoundError),
    "process 429": ({"create": created, "process": fails("429 No")}, APIStatusError),
    "wait 401": (
        {"create": created, "process": rings, "wait": fails("401 No")},
        OutcomeUnknownError,
    ),
    "wait 404": (
        {"create": created, "process": rings, "wait": fails("404 No")},
        OutcomeUnknownError,
    ),
}


@pytest.mark.parametrize(("scripts", "kind"), REFUSALS.values(), ids=REFUSALS)
async def test_every_error_is_about_the_merchant_key(
    scripts: dict[str, Script], kind: type[LittlePayError]
) -> None:
    async with ScriptedServer(plays(**scripts)) as server, session(server) as pay:
        with pytest.raises(kind) as caught:
            await pay.collect(**COLLECT)
    assert caught.value.key == "ORDER42"
    assert len(server.requests) == len(scripts)


async def test_no_server_at_all() -> None:
    async with ScriptedServer(closes) as server, session(server) as pay:
        await server.stop()
        with pytest.raises(APIConnectionError) as caught:
            await pay.collect(**COLLECT)
    assert caught.value.key == "ORDER42"
    assert not caught.value.sent


@pytest.mark.parametrize(("create", "process", "wait"), list(product(LOST, repeat=3)))
@pytest.mark.threat("T12")
async def test_a_storm_of_losses_never_charges_twice(create: str, process: str, wait: str) -> None:
    waits = iter([LOST[wait], LOST[wait]])

    async def waited(exchange: Exchange) -> None:
        await next(waits, completed)(exchange)

    finds = iter([LOST[wait]])

    async def found(exchange: Exchange) -> None:
        await next(finds, not_tried())(exchange)

    script = plays(create=LOST[create], found=found, process=LOST[process], wait=waited)
    async with ScriptedServer(script) as server, session(server) as pay:
        paid = await pay.collect(**COLLECT)
    assert paid.status is PaymentStatus.COMPLETED
    assert targets(server).count(CREATE) == 1
    assert targets(server).count(PROCESS) == 1
