"""`check`: how many payments stand, by one plain GET for each key."""

from functools import partial
from typing import Any

import anyio
import pytest

from little_pay_async import (
    AuthenticationError,
    InvalidInputError,
    NotFoundError,
    Payment,
)

from .servers import (
    Exchange,
    ScriptedServer,
    answers_well,
    response,
    right_answer,
    takes_only,
)
from .sessions import session

pytestmark = pytest.mark.anyio


async def test_check_asks_once_for_each_key_in_the_order_given() -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        keys = [f"ORDER{number}" for number in range(40)]
        found = await pay.check([*keys, "ORDER3", keys[0]])
        assert await pay.check([]) == {}
    assert list(found) == keys
    assert all(isinstance(value, Payment) and value.key == key for key, value in found.items())
    assert sorted(request.key for request in server.requests) == sorted(keys)
    assert all(not request.held for request in server.requests)


async def test_one_key_s_error_does_not_hide_the_others() -> None:
    async def script(exchange: Exchange) -> None:
        match exchange.request.key:
            case "GONE":
                await exchange.send(response(b"", "404 Not Found"))
            case "BROKEN":
                await exchange.reset()
            case _:
                await exchange.send(right_answer(exchange.request))

    async with ScriptedServer(script) as server, session(server) as pay:
        found = await pay.check(["A", "GONE", "BROKEN", "a\nb", "B"], max_in_flight=2)
    assert list(found) == ["A", "GONE", "BROKEN", "a\nb", "B"]
    kinds = [type(value).__name__ for value in found.values()]
    expected = ["Payment", "NotFoundError", "APIConnectionError", "InvalidInputError", "Payment"]
    assert kinds == expected
    assert isinstance(found["GONE"], NotFoundError)
    assert found["GONE"].key == "GONE"
    assert len([request for request in server.requests if request.key == "BROKEN"]) == 3


async def test_check_asks_no_more_at_once_than_it_may() -> None:
    gate = anyio.Event()
    under_way = most = 0

    async def script(exchange: Exchange) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        await exchange.send(right_answer(exchange.request))

    async with (
        ScriptedServer(script) as server,
        session(server) as pay,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(pay.check, [f"K{n}" for n in range(20)], max_in_flight=3))
        await server.until_requests(3)
        await anyio.wait_all_tasks_blocked()
        assert len(server.requests) == 3
        gate.set()
        await server.until_requests(20)
    assert most == 3
    assert len(server.requests) == 20


async def test_what_makes_every_key_hopeless_is_raised_from_check() -> None:
    async with ScriptedServer(takes_only("none")) as server, session(server) as pay:
        with pytest.raises(AuthenticationError):
            await pay.check([f"K{n}" for n in range(50)], max_in_flight=5)
    assert len(server.requests) <= 10


@pytest.mark.parametrize("keys", ["ORDER42", 7, None, [7]])
async def test_what_is_no_iterable_of_keys(keys: Any) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        with pytest.raises(InvalidInputError):
            await pay.check(keys)
    assert server.connections == 0
