"""`Watch`, sentence by sentence of what it promises, over polls answered by script: no HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from little_pay_async._errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    LittlePayError,
    NotFoundError,
    SessionClosedError,
    SettlementTimeoutError,
    UnexpectedResponseError,
)
from little_pay_async._models import Payment, PaymentIntent, PaymentStatus, Provider, Settlement
from little_pay_async._retry import RetryPolicy
from little_pay_async._watch import Places, Watch

from .scripted_polls import (
    COMPLETED,
    DATE,
    FAILED,
    PENDING,
    Answer,
    Callback,
    Gated,
    Held,
    Raised,
    RefundCallback,
    Server,
    all_free,
    all_of,
    answer,
    broken,
    in_virtual_time,
    logged_by_us,
    named,
    no_envelope,
    only,
    payment,
    refused,
    silence,
    stats,
    watch_over,
    zero,
)

pytestmark = pytest.mark.anyio


async def test_the_tasks_of_this_file_are_counted() -> None:
    before = len(anyio.get_running_tasks())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        assert len(anyio.get_running_tasks()) == before + 1
        tasks.cancel_scope.cancel()
    assert len(anyio.get_running_tasks()) == before


@in_virtual_time
async def test_time_is_virtual() -> None:
    begun = anyio.current_time()
    await anyio.sleep(80_000.0)
    assert anyio.current_time() == pytest.approx(begun + 80_000.0)


# One settlement for each distinct key, in the order in which they settle


async def test_one_settlement_for_each_key_in_the_order_of_settling() -> None:
    server = Server()
    handed_out: list[Settlement] = []
    async with watch_over(server, ["A", "B", "C"]) as watch:
        await server.until(lambda it: it.parked.total() == 3)
        for key, status in [("C", COMPLETED), ("A", FAILED), ("B", COMPLETED)]:
            server.settle(key, status)
            handed_out.append(await anext(watch))
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
    assert [settlement.key for settlement in handed_out] == ["C", "A", "B"]
    assert [settlement.payment and settlement.payment.status for settlement in handed_out] == [
        COMPLETED,
        FAILED,
        COMPLETED,
    ]
    assert all(settlement.error is None for settlement in handed_out)
    assert [settlement.polls for settlement in handed_out] == [1, 1, 1]


async def test_duplicates_are_one_key() -> None:
    server = Server(always=payment("A", COMPLETED))
    intent = PaymentIntent(date=DATE, reference="REF")
    keys = ["A", "REF", "A", intent, payment("B", reference="REF"), "A"]
    settlements = await all_of(watch_over(server, keys))
    assert sorted(settlement.key for settlement in settlements) == ["A", "REF"]
    assert len(server.asked) == 2


async def test_a_key_added_again_is_passed_over_also_after_it_settled() -> None:
    server = Server()
    async with watch_over(server) as watch:
        watch.add("A")
        watch.add("A")
        server.settle("A")
        assert (await anext(watch)).key == "A"
        watch.add("A")
        assert len(watch) == 0
        watch.add("B")
        watch.close()
        server.settle("B")
        assert [settlement.key async for settlement in watch] == ["B"]
        assert watch.statistics().keys == 2
    assert len(server.asked) == 2


async def test_an_intent_and_a_payment_are_watched_by_their_reference() -> None:
    server = Server(always=payment("A", COMPLETED))
    keys = [PaymentIntent(date=DATE, reference="REF1"), payment("A", reference="REF2")]
    assert {settlement.key for settlement in await all_of(watch_over(server, keys))} == {
        "REF1",
        "REF2",
    }


def generator() -> Iterator[str]:
    yield from ("A", "B", "C")


async def async_generator() -> AsyncIterator[str]:
    for key in ("A", "B", "C"):
        await anyio.lowlevel.checkpoint()
        yield key


class Queue:
    """An async iterable that is no generator."""

    def __init__(self) -> None:
        self.keys = ["A", "B", "C"]

    def __aiter__(self) -> "Queue":
        return self

    async def __anext__(self) -> str:
        await anyio.lowlevel.checkpoint()
        if not self.keys:
            raise StopAsyncIteration
        return self.keys.pop(0)


@pytest.mark.parametrize(
    "source",
    [
        lambda: ["A", "B", "C"],
        {"A": 1, "B": 2, "C": 3}.keys,
        lambda: frozenset({"A", "B", "C"}),
        generator,
        async_generator,
        Queue,
    ],
    ids=["list", "view", "set", "generator", "async generator", "async iterable"],
)
async def test_keys_may_be_any_iterable(source: Callable[[], Iterable[str]]) -> None:
    server = Server(always=payment("A", COMPLETED))
    settlements = await all_of(watch_over(server, source()))
    assert sorted(settlement.key for settlement in settlements) == ["A", "B", "C"]


async def no_keys() -> AsyncIterator[str]:
    for key in ():
        yield key


@pytest.mark.parametrize(
    "source", [list, partial(iter, ()), no_keys], ids=["list", "iter", "async"]
)
async def test_a_source_without_keys_ends_at_once(source: Callable[[], Any]) -> None:
    assert await all_of(watch_over(Server(), source())) == []


@pytest.mark.parametrize(
    "keys",
    ["A", b"A", payment("A", reference="R"), PaymentIntent(date=DATE), 5, object()],
    ids=["str", "bytes", "Payment", "PaymentIntent", "int", "object"],
)
async def test_what_is_no_iterable_of_keys_is_refused_at_once(keys: object) -> None:
    server = Server()
    with pytest.raises(InvalidInputError, match="keys"):
        watch_over(server, keys)
    assert server.asked == []


async def test_an_async_source_is_taken_while_earlier_keys_settle() -> None:
    server = Server()
    send, receive = anyio.create_memory_object_stream[str](0)
    async with send, receive, watch_over(server, receive) as watch:
        await send.send("A")
        server.settle("A")
        assert (await anext(watch)).key == "A"
        await send.send("B")
        await server.until(lambda it: it.parked["B"])
        assert watch.pending == ("B",)
        await send.aclose()
        server.settle("B")
        assert [settlement.key async for settlement in watch] == ["B"]


async def test_an_open_watch_waits_for_more_keys_until_it_is_closed() -> None:
    server = Server(always=payment("A", COMPLETED))
    got: list[str] = []

    async def consume(watch: Watch) -> None:
        async for settlement in watch:
            got.append(settlement.key)  # noqa: PERF401 - one by one is what is tested
        ended.set()

    ended = anyio.Event()
    async with anyio.create_task_group() as tasks, watch_over(server) as watch:
        tasks.start_soon(consume, watch)
        for key in ("A", "B"):
            watch.add(key)
            await anyio.wait_all_tasks_blocked()
            assert got[-1] == key
        assert not ended.is_set()
        watch.close()
        await ended.wait()
    assert got == ["A", "B"]


async def test_closing_lets_what_was_added_settle() -> None:
    server = Server()
    async with watch_over(server) as watch:
        watch.add("A")
        watch.close()
        watch.close()
        await server.until(lambda it: it.parked["A"])
        server.settle("A")
        assert [settlement.key async for settlement in watch] == ["A"]


async def test_keys_can_be_added_to_a_list_that_is_watched() -> None:
    server = Server()
    async with watch_over(server, ["A"]) as watch:
        watch.add("B")
        server.settle("A")
        server.settle("B")
        assert {settlement.key async for settlement in watch} == {"A", "B"}


async def test_keys_can_be_added_before_the_watch_is_entered() -> None:
    server = Server(always=payment("A", COMPLETED))
    watch = watch_over(server)
    watch.add("A")
    watch.close()
    assert watch.pending == ("A",)
    assert [settlement.key for settlement in await all_of(watch)] == ["A"]


# Misuse


async def test_nothing_is_added_after_close() -> None:
    async with watch_over(Server()) as watch:
        watch.close()
        with pytest.raises(RuntimeError, match="closed"):
            watch.add("A")
        assert watch.pending == ()


async def test_nothing_is_added_after_the_end() -> None:
    server = Server(always=payment("A", COMPLETED))
    async with watch_over(server, ["A"]) as watch:
        assert len([settlement async for settlement in watch]) == 1
        with pytest.raises(RuntimeError, match="closed"):
            watch.add("B")
    with pytest.raises(RuntimeError, match="closed"):
        watch.add("B")


async def test_a_watch_is_entered_before_it_is_iterated() -> None:
    watch = watch_over(Server(), ["A"])
    with pytest.raises(RuntimeError, match="enter the watch first"):
        await anext(watch)
    with pytest.raises(RuntimeError, match="enter the watch first"):
        async for _ in watch:
            pass


async def test_a_watch_is_entered_once() -> None:
    server = Server(always=payment("A", COMPLETED))
    watch = watch_over(server, ["A"])
    async with watch:
        with pytest.raises(RuntimeError, match="entered once"):
            await watch.__aenter__()
        assert (await anext(watch)).key == "A"  # it still works
    with pytest.raises(RuntimeError, match="entered once"):
        await watch.__aenter__()
    assert len(server.asked) == 1


@pytest.mark.parametrize("key", ["", " ", "A\nB", ".", "..", None, 5])
async def test_what_is_no_key_cannot_be_added(key: Any) -> None:
    async with watch_over(Server()) as watch:
        with pytest.raises(InvalidInputError):
            watch.add(key)
        assert (watch.pending, watch.statistics().keys) == ((), 0)


# Sources that raise, and bad keys


class SourceError(Exception):
    pass


def failing_generator(keys: Iterable[str]) -> Iterator[str]:
    yield from keys
    raise SourceError


async def failing_async_generator(keys: Iterable[str]) -> AsyncIterator[str]:
    for key in keys:
        yield key
    await anyio.lowlevel.checkpoint()
    raise SourceError


@pytest.mark.parametrize("source", [failing_generator, failing_async_generator])
@pytest.mark.parametrize("keys", [[], ["A", "B"]])
async def test_an_exception_of_the_source_comes_out_of_the_iteration(
    source: Callable[[list[str]], Any], keys: list[str]
) -> None:
    server = Server()
    places = Places(5)
    async with watch_over(server, source(keys), places=places) as watch:
        with pytest.raises(SourceError):
            await anext(watch)
        with pytest.raises(SourceError):
            async for _ in watch:
                pass
        assert watch.pending == tuple(keys)
        assert len(watch) == len(keys)
    assert watch.pending == tuple(keys)
    assert all_free(places)


async def test_what_settled_before_the_source_failed_is_handed_out_first() -> None:
    server = Server(always=payment("A", COMPLETED))
    fail = anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "A"
        await fail.wait()
        yield "B"
        raise SourceError

    async with watch_over(server, source()) as watch:
        await anyio.wait_all_tasks_blocked()
        assert (watch.statistics().settled, watch.pending) == (1, ("A",))
        fail.set()
        await anyio.wait_all_tasks_blocked()
        assert (await anext(watch)).key == "A"
        with pytest.raises(SourceError):
            await anext(watch)
        assert watch.pending == ("B",)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_bad_key_of_the_source_is_that_keys_error_alone(asynchronous: bool) -> None:
    server = Server(always=payment("A", COMPLETED))
    keys = ["A", "", "B", "..", "", "C"]

    async def source() -> AsyncIterator[str]:
        for key in keys:
            yield key

    settlements = await all_of(watch_over(server, source() if asynchronous else keys))
    by_key = {settlement.key: settlement for settlement in settlements}
    assert len(settlements) == len(by_key) == 5
    for key in ("", ".."):
        assert isinstance(by_key[key].error, InvalidInputError)
        assert (by_key[key].payment, by_key[key].polls) == (None, 0)
    assert [by_key[key].error for key in "ABC"] == [None] * 3
    assert sorted(asked.key for asked in server.asked) == ["A", "B", "C"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_what_is_no_string_at_all_ends_the_source(asynchronous: bool) -> None:
    closed: list[str] = []

    def source() -> Iterator[Any]:
        try:
            yield "A"
            yield 42
            yield "B"
        finally:
            closed.append("source")

    async def async_source() -> AsyncIterator[Any]:
        try:
            yield "A"
            yield 42
            yield "B"
        finally:
            closed.append("source")

    async with watch_over(Server(), async_source() if asynchronous else source()) as watch:
        with pytest.raises(InvalidInputError, match="int"):
            await anext(watch)
        assert watch.pending == ("A",)
    if asynchronous:
        assert closed == ["source"]  # not left to the garbage collector, which trio would resent


# What is pending, how many, and the statistics


async def test_pending_and_statistics_at_each_stage() -> None:
    server = Server({"A": [answer(500)]})
    paused: list[float] = []

    def no_jitter(low: float, high: float) -> float:
        paused.append(high)
        return 0.0

    watch = watch_over(server, ["C", "A", "B"], retries=RetryPolicy(uniform=no_jitter))
    assert (watch.pending, len(watch)) == ((), 0)
    assert watch.statistics() == stats()

    async with watch:
        assert watch.pending == ("C", "A", "B")  # from the first line of the block
        assert watch.statistics().keys == 3
        await server.until(lambda it: len(it.asked) == 4)
        assert paused == [0.5]
        assert watch.statistics() == stats(keys=3, in_flight=3, requests=4, retries=1)

        server.settle("A")
        await server.until(lambda it: not it.parked["A"])
        await anyio.wait_all_tasks_blocked()
        assert watch.pending == ("C", "A", "B")  # settled, but not handed out yet
        assert watch.statistics() == stats(keys=3, settled=1, in_flight=2, requests=4, retries=1)

        assert (await anext(watch)).key == "A"
        assert (watch.pending, len(watch)) == (("C", "B"), 2)

        watch.add("D")
        assert (watch.pending, len(watch)) == (("C", "B", "D"), 3)
        await server.until(lambda it: it.parked["D"])
        assert watch.statistics() == stats(keys=4, settled=1, in_flight=3, requests=5, retries=1)
        assert repr(watch) == "<Watch 1 of 4 keys settled>"

    assert (watch.pending, len(watch)) == (("C", "B", "D"), 3)
    assert watch.statistics() == stats(keys=4, settled=1, requests=5, retries=1)


async def test_nothing_is_pending_after_all_settled() -> None:
    watch = watch_over(Server(always=payment("A", FAILED)), ["A", "B"])
    assert len(await all_of(watch)) == 2
    assert (watch.pending, len(watch)) == ((), 0)
    assert watch.statistics() == stats(keys=2, settled=2, requests=2)


async def test_many_keys_are_pending_from_the_first_line() -> None:
    keys = [f"K{number}" for number in range(1_201)]
    async with watch_over(Server(), keys, limit=3) as watch:
        assert watch.pending == tuple(keys)


# Leaving early


class BodyError(Exception):
    pass


async def settle_and_leave(watch: Watch, server: Server, how: str) -> None:
    async with watch:
        await server.until(lambda it: it.parked.total() == 3)
        server.settle("B")
        async for settlement in watch:
            assert settlement.key == "B"
            if how == "break":
                break
            if how == "return":
                return
            if how == "exception":
                raise BodyError
            if how == "group":
                raise ExceptionGroup("of the body", [BodyError()])
            assert how == "wait"


@pytest.mark.parametrize(
    ("how", "expected"),
    [("break", None), ("return", None), ("exception", BodyError), ("group", ExceptionGroup)],
)
async def test_leaving_early_leaves_nothing_behind(
    how: str, expected: type[Exception] | None
) -> None:
    server, places = Server(), Places(3)
    watch = watch_over(server, ["A", "B", "C", "D", "E"], places=places)
    tasks = {task.id for task in anyio.get_running_tasks()}
    caught: Exception | None = None
    try:
        await settle_and_leave(watch, server, how)
    except Exception as error:  # noqa: BLE001 - its exact kind is what is tested
        caught = error
    if expected is None:
        assert caught is None
    else:
        assert type(caught) is expected
        assert caught.__context__ is None
    assert {task.id for task in anyio.get_running_tasks()} == tasks
    assert server.parked.total() == 0
    assert all_free(places)
    assert watch.pending == ("A", "C", "D", "E")
    assert watch.statistics().in_flight == 0


@pytest.mark.parametrize("scope", ["move_on_after", "fail_after", "outer", "group"])
async def test_cancellation_leaves_nothing_behind(scope: str) -> None:
    server, places = Server(), Places(3)
    watch = watch_over(server, ["A", "B", "C", "D"], places=places)
    tasks = {task.id for task in anyio.get_running_tasks()}
    if scope == "group":
        async with anyio.create_task_group() as group:
            group.start_soon(settle_and_leave, watch, server, "wait")
            await server.until(lambda it: it.parked["D"])
            group.cancel_scope.cancel()
    elif scope == "outer":
        with anyio.CancelScope() as outer:
            async with watch:
                await server.until(lambda it: it.parked.total() == 3)
                outer.cancel()
                await anyio.sleep_forever()
        assert outer.cancelled_caught
    elif scope == "move_on_after":
        with anyio.move_on_after(0.02) as outer:
            await settle_and_leave(watch, server, "wait")
        assert outer.cancelled_caught
    else:
        with pytest.raises(TimeoutError), anyio.fail_after(0.02):
            await settle_and_leave(watch, server, "wait")
    assert {task.id for task in anyio.get_running_tasks()} == tasks
    assert server.parked.total() == 0
    assert all_free(places)
    assert set(watch.pending) >= {"A", "C", "D"}
    assert watch.statistics().in_flight == 0


@pytest.mark.asyncio_only
async def test_a_cancelled_task_leaves_nothing_behind() -> None:
    server, places = Server(), Places(3)
    watch = watch_over(server, ["A", "B", "C", "D"], places=places)
    tasks = {task.id for task in anyio.get_running_tasks()}
    task = asyncio.create_task(settle_and_leave(watch, server, "wait"))
    await server.until(lambda it: it.parked["D"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert {task.id for task in anyio.get_running_tasks()} == tasks
    assert server.parked.total() == 0
    assert all_free(places)
    assert watch.pending == ("A", "C", "D")


async def test_a_watch_in_a_scope_that_is_cancelled_already() -> None:
    server, places = Server(), Places(3)
    watch = watch_over(server, ["A", "B"], places=places)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with watch:
            await anext(watch)
    assert scope.cancelled_caught
    assert all_free(places)
    assert watch.pending == ("A", "B")


async def test_entering_may_be_cancelled() -> None:
    """A long list of keys is taken in several steps."""
    server, places = Server(), Places(3)
    tasks = {task.id for task in anyio.get_running_tasks()}
    watch = watch_over(server, [f"K{number}" for number in range(2_000)], places=places)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await watch.__aenter__()
    assert scope.cancelled_caught
    assert {task.id for task in anyio.get_running_tasks()} == tasks
    assert all_free(places)


async def test_a_poll_that_is_slow_to_let_go_is_waited_for() -> None:
    let_go: list[str] = []
    parked = anyio.Event()

    class SlowServer(Server):
        async def answer(self, key: str, hold: float) -> Payment | LittlePayError:
            try:
                parked.set()
                return await super().answer(key, hold)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
                    let_go.append(key)

    async with watch_over(SlowServer(), ["A"]):
        await parked.wait()
    assert let_go == ["A"]


async def test_an_exception_of_the_body_is_not_wrapped_and_keeps_its_cause() -> None:
    cause = ValueError("the cause")
    raised = BodyError()
    with pytest.raises(BodyError) as caught:
        async with watch_over(Server(), ["A"]):
            raise raised from cause
    assert caught.value is raised
    assert caught.value.__cause__ is cause


async def test_no_key_is_looked_at_after_leaving() -> None:
    server = Server()
    async with watch_over(server, ["A", "B"], limit=1) as watch:
        await server.until(lambda it: it.parked.total() == 1)
    assert not watch.deliver(Callback(key="A"))
    await anyio.wait_all_tasks_blocked()
    assert len(server.asked) == 1


async def test_what_settled_before_leaving_can_still_be_read() -> None:
    server = Server(always=payment("A", COMPLETED))
    async with watch_over(server, ["A", "B"]) as watch:
        await anyio.wait_all_tasks_blocked()
    assert watch.pending == ("A", "B")
    assert {settlement.key async for settlement in watch} == {"A", "B"}
    assert watch.pending == ()


# Errors


@pytest.mark.parametrize(
    "error",
    [
        answer(400),
        answer(403),
        answer(404),
        answer(409),
        answer(422),
        no_envelope(refused=True),
        APIConnectionError("expired certificate", sent=False, tls=True),
        APIConnectionError("certificate refused", sent=True, tls=True),
        InvalidInputError("no key"),
    ],
    ids=named,
)
@pytest.mark.parametrize("raised", [False, True], ids=["returned", "raised"])
async def test_what_asking_again_cannot_heal_ends_that_key_alone(
    error: LittlePayError, raised: bool
) -> None:
    server = Server({"A": [Raised(error) if raised else error]})
    async with watch_over(server, ["A", "B"]) as watch:
        settlement = await anext(watch)
        assert (settlement.key, settlement.error, settlement.polls) == ("A", error, 1)
        assert settlement.payment is None
        server.settle("B")
        assert (await anext(watch)).error is None
    assert watch.statistics() == stats(keys=2, settled=2, requests=2)


HOPELESS = [answer(401), SessionClosedError("closed"), ConfigurationError("no API key")]


@pytest.mark.parametrize("error", HOPELESS, ids=named)
@pytest.mark.parametrize("raised", [False, True], ids=["returned", "raised"])
async def test_what_makes_every_key_hopeless_ends_the_watch(
    error: LittlePayError, raised: bool
) -> None:
    places, fail = Places(3), anyio.Event()
    server = Server({"C": [Gated(fail, Raised(error) if raised else error)]})
    async with watch_over(server, ["A", "B", "C", "D"], places=places) as watch:
        await server.until(lambda it: it.parked.total() == 3)
        server.settle("A")
        await server.until(lambda it: it.parked["D"])
        fail.set()
        await anyio.wait_all_tasks_blocked()
        assert server.parked.total() == 0  # nothing is looked at any more

        assert (await anext(watch)).key == "A"  # settled before, and handed out first
        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                await anext(watch)
            assert caught.value is error
        assert watch.pending == ("B", "C", "D")
    assert watch.pending == ("B", "C", "D")
    assert all_free(places)
    assert len(server.asked) == 4


async def test_what_makes_every_key_hopeless_comes_out_of_the_block_unwrapped() -> None:
    error = answer(401)
    with pytest.raises(AuthenticationError) as caught:
        await all_of(watch_over(Server(always=error), ["A", "B"]))
    assert caught.value is error


async def test_an_exception_of_the_callers_own_hook_comes_out_as_it_is() -> None:
    error = ValueError("of a hook")
    server = Server({"B": [error]})
    async with watch_over(server, ["A", "B"]) as watch:
        with pytest.raises(ValueError, match="of a hook") as caught:
            await anext(watch)
        assert caught.value is error
        assert watch.pending == ("A", "B")


async def test_a_failed_payment_is_a_result() -> None:
    settlement = await only(watch_over(Server(always=payment("A", FAILED)), ["A"]))
    assert settlement.error is None
    assert settlement.payment == payment("A", FAILED)


# Callbacks


@pytest.mark.parametrize("status", [COMPLETED, FAILED])
async def test_a_callback_settles_its_key_at_once(status: PaymentStatus) -> None:
    server = Server()
    async with watch_over(server, ["A", "B"]) as watch:
        await server.until(lambda it: it.parked.total() == 2)
        assert watch.deliver(Callback(key="A", reference="REF", status=status)) is True
        settlement = await anext(watch)
        await server.until(lambda it: not it.parked["A"])  # the poll is let go
        assert watch.pending == ("B",)
        assert watch.statistics() == stats(keys=2, settled=1, in_flight=1, requests=2)
    assert (settlement.key, settlement.error, settlement.polls) == ("A", None, 1)
    assert settlement.payment == Payment(
        date=DATE,
        status=status,
        reference="REF",
        key="A",
        amount=Decimal("100.50"),
        currency="KES",
        provider=Provider.MPESA,
    )
    assert settlement.payment.raw == {"status": "COMPLETED"}
    assert server.times("A") == server.times("A")[:1]  # and not asked again


async def test_a_callback_before_the_first_poll_spares_it() -> None:
    server = Server()
    async with watch_over(server) as watch:
        watch.add("A")
        assert watch.deliver(Callback(key="A"))
        watch.close()
        [settlement] = [settlement async for settlement in watch]
        await anyio.wait_all_tasks_blocked()
    assert settlement.polls == 0
    assert server.asked == []


async def test_a_callback_before_the_watch_is_entered() -> None:
    server, places = Server(), Places(2)
    watch = watch_over(server, places=places)
    watch.add("A")
    assert watch.deliver(Callback(key="A"))
    watch.close()
    assert (await only(watch)).key == "A"
    assert server.asked == []
    assert all_free(places)


async def test_a_callback_is_found_by_reference() -> None:
    async with watch_over(Server(), ["REF"]) as watch:
        assert watch.deliver(Callback(key="ORDER1", reference="REF"))
        assert (await anext(watch)).key == "REF"


async def learned(server: Server, watch: Watch, count: int = 1) -> None:
    """Wait until the watch has taken in what the first polls brought."""
    await server.until(lambda it: len(it.asked) >= count and not it.parked.total())
    await anyio.wait_all_tasks_blocked()


async def test_a_callback_is_found_by_a_reference_that_a_poll_brought() -> None:
    server = Server({"ORDER1": [payment("ORDER1", reference="REF")]})
    async with watch_over(server, ["ORDER1"]) as watch:
        assert not watch.deliver(Callback(reference="REF"))
        await learned(server, watch)
        assert watch.deliver(Callback(reference="REF"))
        settlement = await anext(watch)
        assert settlement.key == "ORDER1"
        assert not watch.deliver(Callback(reference="REF"))


async def test_every_reference_that_a_poll_brought_counts() -> None:
    server = Server(
        {"A": [payment("A", reference="REF1"), payment("A", reference="REF2")], "B": []}
    )
    retries = RetryPolicy(uniform=zero)
    async with watch_over(server, ["A"], retries=retries) as watch:
        await server.until(lambda it: len(it.asked) == 3)
        assert watch.deliver(Callback(reference="REF1"))
        assert (await anext(watch)).key == "A"
        assert not watch.deliver(Callback(reference="REF2"))
        assert not watch.deliver(Callback(reference="REF1"))


async def test_a_payment_watched_under_both_names_settles_under_both() -> None:
    async with watch_over(Server(), ["ORDER1", "REF", "OTHER"]) as watch:
        assert watch.deliver(Callback(key="ORDER1", reference="REF"))
        assert {(await anext(watch)).key, (await anext(watch)).key} == {"ORDER1", "REF"}
        assert watch.pending == ("OTHER",)


async def test_a_payment_watched_under_a_learned_name_too_settles_under_both() -> None:
    server = Server({"ORDER1": [payment("ORDER1", reference="REF")], "REF": [payment("REF")]})
    async with watch_over(server, ["ORDER1", "REF"]) as watch:
        await learned(server, watch, 2)
        assert watch.deliver(Callback(reference="REF"))
        assert {(await anext(watch)).key, (await anext(watch)).key} == {"ORDER1", "REF"}


async def test_a_late_callback_under_a_learned_reference_finds_nothing_left() -> None:
    """Also where the first callback did not name the reference."""
    server = Server({"ORDER1": [payment("ORDER1", reference="REF")]})
    async with watch_over(server, ["ORDER1"]) as watch:
        await learned(server, watch)
        assert watch.deliver(Callback(key="ORDER1"))
        assert not watch.deliver(Callback(reference="REF"))
        assert (await anext(watch)).key == "ORDER1"
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


async def test_one_key_that_ends_takes_no_reference_from_another() -> None:
    server = Server(
        {
            "A": [payment("A", reference="REF"), answer(404)],
            "B": [payment("B", reference="REF")],
        }
    )
    async with watch_over(server, ["A", "B"], retries=RetryPolicy(uniform=zero)) as watch:
        settlement = await anext(watch)
        assert (settlement.key, type(settlement.error)) == ("A", NotFoundError)
        assert watch.deliver(Callback(reference="REF"))
        assert (await anext(watch)).key == "B"


@pytest.mark.parametrize(
    "callback",
    [
        RefundCallback(key="A", reference="REF"),
        RefundCallback(key="A", reason="double"),
        Callback(key="A", status=PENDING),
        Callback(key="A", status=PaymentStatus("REVERSED")),
        Callback(key="B", reference="OTHER"),
        Callback(),
        Callback(key="", reference=""),
    ],
)
@pytest.mark.threat("T20")
async def test_what_settles_nothing(callback: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    async with watch_over(server, ["A"]) as watch:
        await server.until(lambda it: it.parked["A"])
        assert watch.deliver(callback) is False
        await anyio.wait_all_tasks_blocked()
        assert server.parked["A"] == 1
        assert (watch.pending, watch.statistics().settled) == (("A",), 0)
    assert logged_by_us(caplog) == []


@pytest.mark.threat("T15")
async def test_whichever_comes_first_wins_and_the_other_is_dropped_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server({"POLLED": [payment("POLLED", COMPLETED)]})
    async with watch_over(server, ["POLLED", "CALLED", "UNREAD"]) as watch:
        assert (await anext(watch)).key == "POLLED"
        assert watch.deliver(Callback(key="POLLED")) is False
        assert watch.deliver(Callback(key="CALLED")) is True
        assert watch.deliver(Callback(key="CALLED")) is False
        assert (await anext(watch)).key == "CALLED"
        assert watch.deliver(Callback(key="CALLED")) is False
        assert watch.pending == ("UNREAD",)
    assert logged_by_us(caplog) == []


async def test_a_callback_and_a_poll_in_the_same_moment_settle_a_key_once() -> None:
    class Stubborn(Server):
        async def answer(self, key: str, hold: float) -> Payment | LittlePayError:
            with anyio.CancelScope(shield=True):  # an answer that has come all but arrived
                return await super().answer(key, hold)

    gate = anyio.Event()
    server = Stubborn({key: [Gated(gate, payment(key, FAILED))] for key in ("A", "B")})
    async with watch_over(server, ["A", "B"]) as watch:
        await server.until(lambda it: it.parked.total() == 2)
        assert watch.deliver(Callback(key="A"))
        gate.set()
        settlements = {settlement.key: settlement async for settlement in watch}
    assert len(settlements) == 2
    statuses = {key: it.payment and it.payment.status for key, it in settlements.items()}
    assert statuses == {"A": COMPLETED, "B": FAILED}


@pytest.mark.parametrize("by", ["key", "reference", "learned reference"])
@pytest.mark.threat("T15")
async def test_a_different_second_final_answer_is_logged_and_dropped(
    by: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = "REF" if by == "reference" else "ORDER1"
    server = Server({key: [payment("ORDER1", COMPLETED, reference="REF")]})
    callback = {
        "key": Callback(key="ORDER1", status=FAILED),
        "reference": Callback(key="ORDER1", reference="REF", status=FAILED),
        "learned reference": Callback(reference="REF", status=FAILED),
    }[by]
    async with watch_over(server, [key]) as watch:
        await anyio.wait_all_tasks_blocked()
        with caplog.at_level(logging.DEBUG, logger="little_pay_async"):
            assert watch.deliver(callback) is False
        settlement = await anext(watch)
        assert settlement.payment is not None
        assert settlement.payment.status is COMPLETED
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
    [record] = logged_by_us(caplog)
    assert (record.name, record.levelno) == ("little_pay_async.watch", logging.WARNING)
    assert "FAILED after COMPLETED" in record.getMessage()
    assert record.__dict__["key"] in {key, "REF"}


async def test_a_callback_after_an_error_contradicts_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watch_over(Server(always=answer(404)), ["A"]) as watch:
        assert isinstance((await anext(watch)).error, NotFoundError)
        assert watch.deliver(Callback(key="A")) is False
    assert logged_by_us(caplog) == []


# Consumers


async def test_a_slow_consumer_loses_nothing_and_slows_nothing() -> None:
    server = Server(always=payment("A", COMPLETED))
    keys = [f"K{number}" for number in range(50)]
    async with watch_over(server, keys, limit=5) as watch:
        await anyio.wait_all_tasks_blocked()
        assert watch.statistics() == stats(keys=50, settled=50, requests=50)  # nothing read yet
        assert len(watch) == 50
        got = []
        async for settlement in watch:
            got.append(settlement.key)
            await anyio.wait_all_tasks_blocked()
    assert sorted(got) == sorted(keys)


async def test_a_cancelled_wait_for_the_next_settlement_loses_none() -> None:
    server = Server()
    async with watch_over(server, ["A"]) as watch:
        await server.until(lambda it: it.parked["A"])
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(watch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, watch)
            await anyio.wait_all_tasks_blocked()
            server.settle("A")
            tasks.cancel_scope.cancel()  # at the moment in which it settles
        await anyio.wait_all_tasks_blocked()
        assert watch.pending == ("A",)
        assert (await anext(watch)).key == "A"


async def test_two_consumers_share_the_settlements() -> None:
    server = Server()
    keys = [f"K{number}" for number in range(20)]
    got: list[str] = []

    async def consume(watch: Watch) -> None:
        async for settlement in watch:
            got.append(settlement.key)
            await anyio.lowlevel.checkpoint()

    async with watch_over(server, keys) as watch, anyio.create_task_group() as tasks:
        tasks.start_soon(consume, watch)
        tasks.start_soon(consume, watch)
        await server.until(lambda it: it.parked.total() == 20)
        for key in keys:
            server.settle(key)
            await anyio.lowlevel.checkpoint()
    assert sorted(got) == sorted(keys)


# Elapsed time and timeouts


@in_virtual_time
async def test_elapsed_counts_from_when_the_key_was_added() -> None:
    server = Server({"A": [Held(7.0, payment("A", COMPLETED))], "B": [Held(3.0, payment("B"))]})
    async with watch_over(server, ["A"]) as watch:
        await anyio.sleep(5.0)
        watch.add("B")
        first = await anext(watch)
        assert (first.key, first.elapsed, first.polls) == ("A", pytest.approx(7.0), 1)
        await anyio.sleep(8.0)
        server.settle("B")
        await anyio.sleep(100.0)  # reading late changes nothing
        second = await anext(watch)
    assert (second.key, second.elapsed, second.polls) == ("B", pytest.approx(10.0), 2)


@in_virtual_time
async def test_polls_counts_every_request_of_a_key() -> None:
    script: list[Answer] = [answer(503), payment("A"), silence(), refused()]
    server = Server({"A": [*script, payment("A", COMPLETED)]})
    watch = watch_over(server, ["A"])
    assert (await only(watch)).polls == 5
    assert watch.statistics() == stats(keys=1, settled=1, requests=5, retries=2)


@in_virtual_time
async def test_the_timeout_counts_for_each_key_from_when_it_was_added() -> None:
    server = Server()
    begun = anyio.current_time()
    async with watch_over(server, timeout=60.0, limit=1) as watch:
        watch.add("A")
        await anyio.sleep(20.0)
        watch.add("B")
        watch.close()
        first, second = [(settlement, anyio.current_time()) async for settlement in watch]
        await server.until(lambda it: not it.parked.total())
    assert first[0].key == "A"
    assert first[1] == pytest.approx(begun + 60.0)
    assert second[0].key == "B"
    assert second[1] == pytest.approx(begun + 80.0)
    for settlement, _ in (first, second):
        assert isinstance(settlement.error, SettlementTimeoutError)
        assert settlement.error.key == settlement.key
        assert settlement.elapsed == pytest.approx(60.0)
        assert "60 s" in str(settlement.error)


@in_virtual_time
async def test_a_timeout_says_what_was_seen_last() -> None:
    error = answer(503)
    server = Server({"A": [payment("A", reference="REF")]}, always=error)
    settlement = await only(watch_over(server, ["A"], timeout=60.0))
    assert isinstance(settlement.error, SettlementTimeoutError)
    assert settlement.payment == settlement.error.last == payment("A", reference="REF")
    assert settlement.error.__cause__ is error


@in_virtual_time
async def test_a_timeout_without_any_error_has_no_cause() -> None:
    server = Server(always=Held(10.0, payment("A")))
    settlement = await only(watch_over(server, ["A"], timeout=60.0))
    assert isinstance(settlement.error, SettlementTimeoutError)
    assert settlement.error.__cause__ is None


@in_virtual_time
async def test_without_a_timeout_a_key_is_watched_for_ever() -> None:
    server = Server()
    async with watch_over(server, ["A"], timeout=None) as watch:
        for _ in range(5):
            await anyio.sleep(86_000.0)
        assert watch.pending == ("A",)
        server.settle("A")
        assert (await anext(watch)).error is None


@in_virtual_time
async def test_a_key_times_out_though_there_was_never_a_place_for_it() -> None:
    places = Places(1)
    async with watch_over(Server(), ["A"], places=places, limit=1):
        await anyio.sleep(1.0)
        other = watch_over(
            Server(always=Held(1e9, payment("A"))), ["B"], places=places, timeout=5.0
        )
        settlement = await only(other)
    assert isinstance(settlement.error, SettlementTimeoutError)
    assert settlement.polls == 0
    assert all_free(places)


@in_virtual_time
async def test_keys_that_time_out_together_are_reported_in_the_order_added() -> None:
    keys = [f"K{number}" for number in range(300)]
    settlements = await all_of(watch_over(Server(), keys, timeout=60.0, limit=7))
    assert [settlement.key for settlement in settlements] == keys
    assert {settlement.elapsed for settlement in settlements} == {60.0}


HEALING: list[Exception] = [
    refused(),
    APITimeoutError("connect timeout", sent=False),
    broken(),
    silence(),
    answer(408),
    answer(429),
    answer(429, retry_after=20.0),
    answer(500),
    answer(502),
    answer(503),
    answer(503, retry_after=20.0),
    answer(504),
]


@pytest.mark.parametrize("error", HEALING, ids=named)
@in_virtual_time
async def test_what_may_heal_never_ends_a_key_before_its_timeout(error: LittlePayError) -> None:
    server = Server(always=error)
    settlement = await only(watch_over(server, ["A"], max_retries=0, timeout=1800.0))
    assert isinstance(settlement.error, SettlementTimeoutError)
    assert settlement.error.__cause__ is error
    assert settlement.elapsed == pytest.approx(1800.0)
    assert settlement.polls > 10


@pytest.mark.parametrize("error", HEALING, ids=named)
@in_virtual_time
async def test_what_heals_is_forgotten(error: LittlePayError) -> None:
    server = Server({"A": [error] * 5})
    async with watch_over(server, ["A"], max_retries=0) as watch:
        await server.until(lambda it: len(it.asked) == 6)
        server.settle("A")
        settlement = await anext(watch)
    assert (settlement.error, settlement.polls) == (None, 6)


@pytest.mark.parametrize("max_retries", [0, 2, 3])
@in_virtual_time
async def test_what_is_no_envelope_ends_a_key_after_its_retries(max_retries: int) -> None:
    error = no_envelope()
    server = Server({"A": [error] * 9})
    settlement = await only(watch_over(server, ["A"], max_retries=max_retries))
    assert (settlement.error, settlement.polls) == (error, max_retries + 1)


@in_virtual_time
async def test_an_outage_takes_no_retries_from_what_is_no_envelope() -> None:
    """The end of an outage is where a proxy's HTML page is most likely."""
    outage: list[Answer] = [refused(), answer(503), refused(), answer(503)]
    server = Server({"A": [*outage, no_envelope(), no_envelope(), payment("A", COMPLETED)]})
    settlement = await only(watch_over(server, ["A"], max_retries=2))
    assert (settlement.error, settlement.polls) == (None, 7)


@in_virtual_time
async def test_what_is_no_envelope_again_and_again_ends_a_key_though_other_errors_lie_between() -> (
    None
):
    server = Server({"A": [no_envelope(), refused(), no_envelope(), silence(), no_envelope()]})
    settlement = await only(watch_over(server, ["A"], max_retries=2))
    assert isinstance(settlement.error, UnexpectedResponseError)
    assert settlement.polls == 5


@in_virtual_time
async def test_an_answer_that_makes_sense_gives_the_retries_back() -> None:
    server = Server({"A": [no_envelope(), no_envelope(), payment("A")] * 4})
    async with watch_over(server, ["A"], max_retries=2) as watch:
        await server.until(lambda it: len(it.asked) == 13)
        server.settle("A")
        assert (await anext(watch)).error is None


@in_virtual_time
async def test_retries_are_counted_when_they_are_made() -> None:
    server = Server({"A": [answer(503, retry_after=600.0)]})
    watch = watch_over(server, ["A"], timeout=60.0)
    settlement = await only(watch)
    assert (type(settlement.error), settlement.polls) == (SettlementTimeoutError, 1)
    assert watch.statistics() == stats(keys=1, settled=1, requests=1, retries=0)
