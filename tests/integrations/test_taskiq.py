"""taskiq: sessions of workers, stints, and reports, with a broker in memory."""

import contextlib
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
import taskiq
from taskiq import AsyncBroker, InMemoryBroker, TaskiqDepends
from taskiq.exceptions import SendTaskError
from taskiq.result_backends.dummy import DummyResultBackend

from little_pay_async import (
    AsyncLittlePay,
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    Settlement,
    SettlementTimeoutError,
)
from little_pay_async.integrations import _taskiq_worker
from little_pay_async.integrations import taskiq as integration
from little_pay_async.integrations.taskiq import (
    LittlePay,
    Progress,
    settle,
    settle_many,
    setup,
)
from little_pay_async.sandbox import Sandbox, Weather

from ..sandboxes import INTENT, Ledger, waiting

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]

KEYS = [f"ORDER{number}" for number in range(6)]


class Hook:
    """Keeps what has settled, and may fail."""

    def __init__(self, *, failures: int = 0) -> None:
        self.settled: list[Settlement] = []
        self.failures = failures
        self.calls = 0
        self._news = anyio.Event()

    async def __call__(self, settlement: Settlement) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise OSError("the database is gone")
        self.settled.append(settlement)
        self._news.set()
        self._news = anyio.Event()

    async def until(self, number: int) -> None:
        while len(self.settled) < number:
            await self._news.wait()

    def keys(self) -> list[str]:
        return sorted(settlement.key for settlement in self.settled)


def order(sandbox: Sandbox, *keys: str) -> None:
    for key in keys:
        assert sandbox.book.add(INTENT | {"key": key}, anyio.current_time()) is not None


class Fleet:
    """A sandbox and a broker whose worker is in this process."""

    def __init__(self, sandbox: Sandbox, ledger: Ledger, broker: InMemoryBroker) -> None:
        self.sandbox = sandbox
        self.ledger = ledger
        self.broker = broker

    def order(self, *keys: str) -> None:
        order(self.sandbox, *keys)

    async def result(self, task: Any) -> Any:
        await self.broker.wait_all()
        return await task.get_result()


@contextlib.asynccontextmanager
async def fleet(
    *, on_settled: Any = None, stint: float = 20.0, prepare: Any = None, **options: Any
) -> AsyncIterator[Fleet]:
    broker = InMemoryBroker(max_stored_results=-1)
    async with Sandbox() as sandbox:
        sandbox.requests = ledger = Ledger()
        given: Any = {**sandbox.credentials, "transport": sandbox.transport} | options
        setup(broker, on_settled=on_settled, stint=stint, **given)
        if prepare is not None:
            prepare(broker)
        await broker.startup()
        try:
            yield Fleet(sandbox, ledger, broker)
        finally:
            await broker.shutdown()


async def test_a_key_is_waited_for() -> None:
    hook = Hook()
    async with fleet(on_settled=hook) as it:
        it.order("ORDER1")
        task = await settle.kiq("ORDER1")
        await it.ledger.until(1)
        assert not await task.is_ready()
        it.sandbox.settle("ORDER1", "FAILED", "The payer declined")
        result = await it.result(task)
    assert not result.is_err, "a FAILED payment is a result"
    assert result.return_value["payment"]["status"] == "FAILED"
    assert result.return_value == hook.settled[0].to_dict()


async def test_what_has_not_settled_is_handed_back_until_it_has() -> None:
    hook = Hook()
    async with fleet(on_settled=hook, stint=0.05) as it:
        it.order("ORDER1")
        task = await settle.kiq("ORDER1")
        await it.ledger.until(3)  # its third stint
        assert not await task.is_ready()
        it.sandbox.settle("ORDER1", "COMPLETED")
        await hook.until(1)
        result = await it.result(task)
    assert result.return_value["payment"]["status"] == "COMPLETED"
    assert int(result.labels["X-Taskiq-requeue"]) >= 2
    assert hook.calls == 1


async def test_the_timeout_counts_over_all_stints() -> None:
    hook = Hook()
    async with fleet(on_settled=hook, stint=0.1) as it:
        it.order("ORDER1")
        task = await settle.kiq("ORDER1", timeout=0.05)
        result = await it.result(task)
    assert result.is_err
    assert isinstance(result.error, SettlementTimeoutError)
    assert isinstance(hook.settled[0].error, SettlementTimeoutError)


async def test_a_key_that_nobody_knows_is_an_error_of_its_own() -> None:
    hook = Hook()
    async with fleet(on_settled=hook) as it:
        it.order("ORDER1")
        it.sandbox.settle("ORDER1", "COMPLETED")
        settling = await settle_many(["ORDER1", "NOBODYS", "no key\n"])
        results = {key: await it.result(task) for key, task in settling.tasks.items()}
        progress = await settling.progress()
    assert {key: result.is_err for key, result in results.items()} == {
        "ORDER1": False,
        "NOBODYS": True,
        "no key\n": True,
    }
    assert "404" in str(results["NOBODYS"].error)
    assert results["NOBODYS"].return_value["error"] == str(results["NOBODYS"].error)
    assert progress == Progress(keys=3, settled=3)
    assert len(hook.settled) == 3


async def test_many_keys_are_watched_in_batches() -> None:
    hook = Hook()
    async with fleet(on_settled=hook, stint=0.2) as it:
        it.order(*KEYS)
        settling = await settle_many([*KEYS, *KEYS], batch=4)
        assert len(settling.batches) == 2
        assert list(settling.tasks) == KEYS
        await it.ledger.until(len(KEYS))
        assert await settling.progress() == Progress(keys=6, settled=0)
        for key in KEYS[:3]:
            it.sandbox.settle(key, "COMPLETED")
        await hook.until(3)
        for key in KEYS[3:]:
            it.sandbox.settle(key, "FAILED")
        batches = await taskiq.gather(*settling.batches, timeout=20)
        assert [batch.return_value for batch in batches] == [4, 2]
        assert await settling.progress() == Progress(keys=6, settled=6)
        found = {key: await it.result(task) for key, task in settling.tasks.items()}
    assert hook.keys() == KEYS
    assert hook.calls == len(KEYS)
    for key in KEYS:
        status = "COMPLETED" if key in KEYS[:3] else "FAILED"
        assert found[key].return_value["payment"]["status"] == status


async def test_progress_is_noted_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integration, "_BETWEEN_NOTES", 0.0)
    hook = Hook()
    async with fleet(on_settled=hook) as it:
        it.order(*KEYS)
        settling = await settle_many(KEYS)
        it.sandbox.settle(KEYS[0], "COMPLETED")
        await hook.until(1)
        it.sandbox.settle(KEYS[1], "COMPLETED")
        await hook.until(2)
        assert (await settling.progress()).settled in {1, 2}  # the second is about to be noted


async def test_what_a_run_has_reported_is_not_asked_for_again() -> None:
    hook = Hook()
    async with fleet(on_settled=hook) as it:
        it.order(*KEYS)
        for key in KEYS:
            it.sandbox.settle(key, "COMPLETED")
        first = await settle_many(KEYS[:4], run="today")
        await taskiq.gather(*first.batches)
        asked = len(it.ledger)
        again = await settle_many(KEYS, run="today")
        await taskiq.gather(*again.batches)
        assert await again.progress() == Progress(keys=6, settled=6)
        assert len(it.ledger) == asked + 2
        tomorrow = await settle_many(KEYS[:1], run="tomorrow")
        await taskiq.gather(*tomorrow.batches)
        assert len(it.ledger) == asked + 3
        assert not tomorrow.tasks.keys() - {KEYS[0]}
    assert hook.calls == 7


async def test_a_callback_elsewhere_and_a_poll_settle_a_key_once() -> None:
    """The callback reaches a process that does not wait; both know the run's name."""
    hook = Hook()
    async with fleet(on_settled=hook) as it:
        it.order("ORDER1")
        waits = await settle_many(["ORDER1"], run="orders")
        await it.ledger.until(1)
        entry = it.sandbox.book.find("ORDER1")
        assert entry is not None
        entry.status = "COMPLETED"  # but the poll that is held is not answered
        called_back = await settle_many(["ORDER1"], run="orders")
        await taskiq.gather(*called_back.batches, timeout=20)
        assert hook.keys() == ["ORDER1"]
        entry.wake()
        await taskiq.gather(*waits.batches, timeout=20)
        assert await waits.progress() == Progress(keys=1, settled=1)
    assert hook.calls == 1


async def test_a_task_that_comes_twice_reports_once() -> None:
    hook = Hook()
    async with fleet(on_settled=hook) as it:
        it.order("ORDER1")
        first = await settle.kicker().with_task_id("once").kiq("ORDER1")
        await it.ledger.until(1)
        entry = it.sandbox.book.find("ORDER1")
        assert entry is not None
        entry.status = "COMPLETED"  # but the poll that is held is not answered
        second = await settle.kicker().with_task_id("once").kiq("ORDER1")
        await second.wait_result(timeout=20)
        entry.wake()
        await it.result(first)
        asked = len(it.ledger)
        await settle.kicker().with_task_id("once").kiq("ORDER1")
        result = await it.result(first)
        assert len(it.ledger) == asked == 2
    assert result.return_value["payment"]["status"] == "COMPLETED"
    assert hook.calls == 1


async def test_a_report_that_fails_is_made_again() -> None:
    hook = Hook(failures=2)
    async with fleet(on_settled=hook, stint=0.05) as it:
        it.order(*KEYS)
        for key in KEYS:
            it.sandbox.settle(key, "COMPLETED")
        settling = await settle_many(KEYS)
        await taskiq.gather(*settling.batches, timeout=20)
        results = [await it.result(task) for task in settling.tasks.values()]
    assert hook.keys() == KEYS
    assert hook.calls == len(KEYS) + 2
    assert not any(result.is_err for result in results)


async def test_a_report_that_failed_once_too_often_is_not_made_a_timeout() -> None:
    hook = Hook(failures=3)
    async with fleet(on_settled=hook, stint=0.05) as it:
        it.order("ORDER1")
        it.sandbox.settle("ORDER1", "COMPLETED")
        settling = await settle_many(["ORDER1"], timeout=0.04)
        await taskiq.gather(*settling.batches, timeout=20)
    assert hook.settled[0].error is None


async def test_a_hook_may_be_sync_and_block() -> None:
    told = []
    async with fleet(on_settled=told.append) as it:
        it.order("ORDER1")
        it.sandbox.settle("ORDER1", "COMPLETED")
        await it.result(await settle.kiq("ORDER1"))
    assert [settlement.key for settlement in told] == ["ORDER1"]


async def test_no_hook_and_no_result_backend() -> None:
    def without(broker: AsyncBroker) -> None:
        broker.with_result_backend(DummyResultBackend())

    hook = Hook()
    async with fleet(on_settled=hook, prepare=without) as it:
        it.order(*KEYS)
        for key in KEYS:
            it.sandbox.settle(key, "COMPLETED")
        settling = await settle_many(KEYS)
        await it.broker.wait_all()
        assert await settling.progress() == Progress(keys=6, settled=0)
    assert hook.keys() == KEYS


async def test_a_result_backend_that_fails_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_taskiq_worker, "_AFTER_A_FAILURE", 0.01)
    hook = Hook()
    async with fleet(on_settled=hook, stint=0.05) as it:
        it.order(*KEYS)
        for key in KEYS:
            it.sandbox.settle(key, "COMPLETED")
        asks = {"failures": 3}
        right = it.broker.result_backend.is_result_ready

        async def fails_at_first(task_id: str) -> bool:
            if asks["failures"]:
                asks["failures"] -= 1
                raise ConnectionError("no result backend")
            return await right(task_id)

        monkeypatch.setattr(it.broker.result_backend, "is_result_ready", fails_at_first)
        settling = await settle_many(KEYS)
        task = await settle.kiq(KEYS[0])
        await hook.until(len(KEYS) + 1)
        await it.broker.wait_all()
        monkeypatch.undo()
        assert not (await it.result(task)).is_err
        assert await settling.progress() == Progress(keys=6, settled=6)
    assert "they are handed back" in caplog.text


async def test_a_refused_credential_is_waited_out() -> None:
    """It may be put right meanwhile: no key is lost by it."""
    hook = Hook()
    keys = ["wrong"]
    async with fleet(on_settled=hook, stint=0.05, api_key=lambda: keys[0]) as it:
        it.order(*KEYS)
        for key in KEYS:
            it.sandbox.settle(key, "COMPLETED")
        settling = await settle_many(KEYS)
        await it.ledger.until(2)
        assert not await settling.batches[0].is_ready()
        keys[0] = it.sandbox.credentials["api_key"]
        await taskiq.gather(*settling.batches, timeout=20)
    assert hook.keys() == KEYS
    assert all(settlement.error is None for settlement in hook.settled)


async def test_a_credential_that_stays_refused_is_each_keys_error() -> None:
    hook = Hook()
    async with fleet(on_settled=hook, stint=5.0, api_key="wrong") as it:
        it.order(*KEYS)
        settling = await settle_many(KEYS, timeout=0.1)
        await taskiq.gather(*settling.batches, timeout=20)
        assert await settling.progress() == Progress(keys=6, settled=6)
    assert hook.keys() == KEYS
    assert all(isinstance(settlement.error, AuthenticationError) for settlement in hook.settled)


async def test_a_worker_that_stops_hands_back_what_it_waits_for() -> None:
    hook = Hook()
    async with fleet(on_settled=hook) as it:
        it.order(*KEYS)
        settling = await settle_many(KEYS)
        task = await settle.kiq(KEYS[0])
        await it.ledger.until(len(KEYS) + 1)
        handed_back: list[str] = []

        async def kick(message: Any) -> None:
            handed_back.append(message.task_name)

        it.broker.kick = kick  # type: ignore[method-assign]
        worker = it.broker.state.little_pay
        with anyio.fail_after(10):
            await worker.stints.stop()
        assert sorted(handed_back) == ["little_pay_async:settle", "little_pay_async:settle_batch"]
        assert not any(waiting(it.sandbox, key) for key in KEYS)
        assert await settling.progress() == Progress(keys=6, settled=0)
        assert not await task.is_ready()
    assert hook.calls == 0


async def test_a_report_under_way_is_finished_before_a_worker_stops() -> None:
    begun, go_on, reported = anyio.Event(), anyio.Event(), []

    async def slow(settlement: Settlement) -> None:
        begun.set()
        await go_on.wait()
        reported.append(settlement.key)

    async with fleet(on_settled=slow) as it, anyio.create_task_group() as tasks:
        it.order("ORDER1")
        it.sandbox.settle("ORDER1", "COMPLETED")
        task = await settle.kiq("ORDER1")
        await begun.wait()
        tasks.start_soon(it.broker.state.little_pay.stints.stop)
        await anyio.wait_all_tasks_blocked()
        assert reported == []
        go_on.set()
        assert not (await it.result(task)).is_err
    assert reported == ["ORDER1"]


async def test_what_can_not_be_handed_back_is_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Hook()
    async with fleet(on_settled=hook, stint=0.05) as it:
        it.order("ORDER1")
        task = await settle.kiq("ORDER1")
        right, refused = it.broker.kick, []

        async def kick(message: Any) -> None:
            if not refused:
                refused.append(message)
                raise ConnectionError("no broker")
            it.sandbox.settle("ORDER1", "COMPLETED")
            await right(message)

        monkeypatch.setattr(it.broker, "kick", kick)
        await hook.until(1)
        assert not (await it.result(task)).is_err
    assert "the broker is not to be reached" in caplog.text


async def test_the_session_is_a_dependency_and_closed_with_the_worker() -> None:
    broker = InMemoryBroker()

    @broker.task
    async def look(key: str, pay: LittlePay = TaskiqDepends()) -> str:
        return (await pay.status(key)).status

    @broker.task
    async def whose(pay: LittlePay) -> int:
        return id(pay)

    async with Sandbox() as sandbox:
        options: Any = {**sandbox.credentials, "transport": sandbox.transport}
        setup(broker, **options)
        order(sandbox, "ORDER1")
        await broker.startup()
        result = await (await look.kiq("ORDER1")).wait_result(timeout=20)
        one, two = [await (await whose.kiq()).wait_result(timeout=20) for _ in range(2)]  # type: ignore[call-arg]
        pay: AsyncLittlePay = broker.state.little_pay.stints.session
        await broker.shutdown()
        assert pay.http.is_closed
    assert result.return_value == "PENDING"
    assert one.return_value == two.return_value


async def test_a_worker_without_credentials_does_not_start() -> None:
    broker = InMemoryBroker()
    setup(broker, client_id="half of it")
    with pytest.raises(ConfigurationError, match="LITTLE_PAY_API_KEY"):
        await broker.startup()


async def test_a_task_of_a_broker_that_was_not_set_up_says_so() -> None:
    broker = InMemoryBroker()
    task = await settle.kicker().with_broker(broker).kiq("ORDER1")
    result = await task.wait_result(timeout=20)
    with pytest.raises(RuntimeError, match="setup"):
        result.raise_for_error()


async def test_nothing_is_sent_before_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integration._tasks, "_default_broker", None)
    with pytest.raises(RuntimeError, match="setup"):
        await settle_many(KEYS)
    with pytest.raises(SendTaskError):
        await settle.kiq("ORDER1")


@pytest.mark.parametrize(
    "call",
    [
        lambda: settle_many("ORDER1"),
        lambda: settle_many([7]),  # type: ignore[list-item]
        lambda: settle_many(KEYS, timeout=-1),
        lambda: settle_many(KEYS, batch=0),
    ],
    ids=["a string", "no string", "no timeout", "no batch"],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(
    call: Callable[[], Any],
) -> None:
    with pytest.raises(InvalidInputError):
        await call()


async def test_no_keys_are_done_at_once() -> None:
    async with fleet():
        settling = await settle_many([])
        assert await settling.progress() == Progress(keys=0, settled=0)
    assert settling.batches == ()


class Streams(InMemoryBroker):
    """Has the setting of a broker that takes over what is idle for long, in milliseconds."""

    def __init__(self, idle_timeout: int) -> None:
        super().__init__()
        self.idle_timeout = idle_timeout


@pytest.mark.parametrize(
    ("idle_timeout", "stint", "length"),
    [(600_000, None, 60.0), (30_000, None, 10.0), (30_000, 10.0, 10.0), (3_000, 0.5, 0.5)],
)
async def test_a_stint_is_a_third_of_the_idle_timeout_at_the_most(
    idle_timeout: int, stint: float | None, length: float
) -> None:
    broker = Streams(idle_timeout)
    async with Sandbox() as sandbox:
        options: Any = {**sandbox.credentials, "transport": sandbox.transport}
        setup(broker, stint=stint, **options)
        await broker.startup()
        assert broker.state.little_pay.stints.length == length
        await broker.shutdown()


@pytest.mark.parametrize("stint", [10.1, 0, float("nan"), True, "5"])
async def test_a_stint_that_is_too_long_or_none_is_refused(stint: Any) -> None:
    with pytest.raises(ConfigurationError, match="stint"):
        setup(Streams(30_000), stint=stint)


async def test_workers_are_called_to_look_for_what_the_dead_have_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """taskiq-redis looks after each message that comes, and in a quiet queue none does."""
    broker = Streams(60)
    called, went = anyio.Event(), []

    async def kick(message: Any) -> None:
        went.append(message.task_name)
        if len(went) > 1:
            called.set()
        raise ConnectionError("no broker")

    broker.kick = kick  # type: ignore[method-assign]
    async with Sandbox() as sandbox:
        options: Any = {**sandbox.credentials, "transport": sandbox.transport}
        setup(broker, **options)
        await broker.startup()
        await called.wait()
        await broker.shutdown()
    assert set(went) == {"little_pay_async:call"}
    assert "the broker is not to be reached" in caplog.text


async def test_bad_weather_is_nothing_to_the_keys() -> None:
    hook = Hook()
    async with fleet(on_settled=hook, stint=2.0) as it:
        it.order(*KEYS)
        it.sandbox.weather = Weather(kind="bad_gateway", times=4)
        settling = await settle_many(KEYS)
        for key in KEYS:
            it.sandbox.settle(key, "COMPLETED")
        await taskiq.gather(*settling.batches, timeout=25)
    assert hook.keys() == KEYS
    assert all(settlement.error is None for settlement in hook.settled)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.modules['taskiq'] = None", "run pip install 'little-pay-async[taskiq]'"),
        ("sys.modules['taskiq_redis'] = sys.modules['cryptography'] = None", "it is there"),
    ],
    ids=["without", "with"],
)
def test_it_needs_taskiq_and_says_so(code: str, said: str) -> None:
    code = f"import sys; {code}\nimport little_pay_async.integrations.taskiq\nprint('it is there')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout or done.stderr).strip().endswith(said)


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
