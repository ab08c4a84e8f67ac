"""Every log record, provoked, and held to the table in docs/observability.md."""

import ast
import datetime as dt
import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

import little_pay_async
from little_pay_async import LittlePayError, OutcomeUnknownError, PaymentStatus

from .servers import (
    Exchange,
    ScriptedServer,
    answers_well,
    in_turn,
    resets,
    response,
    right_answer,
    sends,
)
from .sessions import COLLECT, OPERATIONS, session

pytestmark = pytest.mark.anyio

PACKAGE = Path(little_pay_async.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "observability.md"
# What a record has by itself; a field of that name would be a KeyError of logging's.
OF_LOGGING = {*vars(logging.makeLogRecord({})), "message", "asctime"}


def listed() -> dict[tuple[str, str, str], set[str]]:
    """Return the table: logger, level and message of each record, and its fields."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Logs\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {
        (logger.strip("` "), level.strip(), message.strip(" `")): set(re.findall(r"`(\w+)`", names))
        for logger, level, message, names in rows
    }


def in_the_code() -> Iterator[tuple[str, str, str]]:
    """Give logger, level and message of each call of a logger's, as the code has it."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = [
            call.args[0].value
            for call in calls
            if ast.unparse(call.func) == "logging.getLogger"
            and isinstance(call.args[0], ast.Constant)
        ]
        for call in calls:
            owner, _, method = ast.unparse(call.func).rpartition(".")
            if owner.strip("_") == "logger" and method in {
                *("debug", "info", "warning", "error", "exception", "critical", "log")
            }:
                assert isinstance(call.args[0], ast.Constant), path
                level = "ERROR" if method == "exception" else method.upper()
                yield f"{names[0]}", level, str(call.args[0].value)


def test_the_table_lists_all_that_the_code_logs() -> None:
    assert set(listed()) == set(in_the_code())


def test_no_field_has_a_name_of_logging_s() -> None:
    assert not set().union(*listed().values()) & OF_LOGGING


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    kept: list[logging.LogRecord] = []
    handler, ours = Keeping(), logging.getLogger("little_pay_async")
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    yield kept
    ours.setLevel(logging.NOTSET)
    ours.removeHandler(handler)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in OF_LOGGING}


def take(records: list[logging.LogRecord], level: str, message: str) -> list[dict[str, Any]]:
    """Return the fields of the records of one row, which must be those that the row says."""
    found = [
        (record.name, fields(record))
        for record in records
        if record.levelname == level and record.msg == message
    ]
    assert found, [(record.levelname, record.msg) for record in records]
    for logger, there in found:
        assert there.keys() == listed()[logger, level, message]
    return [there for _, there in found]


REQUEST = "%s %s: %s in %.3f s"
RETRY = "%s: sending again in %.2f s after %s"
UNKNOWN = "%s: outcome unknown"


async def test_each_request_is_logged_at_debug(records: list[logging.LogRecord]) -> None:
    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for operation in OPERATIONS.values():
            await operation(pay)
        await pay.long_poll("ORDER42")
        await pay.request("GET", "/api/other/123456789012", auth=None)
    logged = take(records, "DEBUG", REQUEST)
    assert all(found.pop("elapsed") >= 0 for found in logged)
    assert all(found.pop("error_type") is None and found.pop("tries") == 1 for found in logged)
    assert all(found.pop("status_code") == 200 for found in logged)
    seen = {
        (found["operation"], found["method"], found["url_template"], found["key"], found["held"])
        for found in logged
    }
    assert seen == {
        ("create_intent", "POST", "/api/payments/{token_id}/pay", "ORDER42", False),
        ("process", "POST", "/pay/{reference}/process", "REF1", False),
        ("refund", "POST", "/api/refund/{key}", "ORDER42", False),
        ("status", "GET", "/api/payments-v2/{key}", "ORDER42", False),
        ("status", "GET", "/api/payments-v2/{key}", "ORDER42", True),
        ("request", "GET", None, None, False),
    }
    assert any("/api/other/***" in record.getMessage() for record in records)


@pytest.mark.parametrize("operation", ["status", "long_poll", "wait"])
async def test_a_retry_is_logged_at_info(operation: str, records: list[logging.LogRecord]) -> None:
    script = in_turn(sends(response(b"", "500 Oops")), answers_well)
    async with ScriptedServer(script) as server, session(server) as pay:
        await getattr(pay, operation)("ORDER42")
    [logged] = take(records, "INFO", RETRY)
    assert logged == {
        "operation": operation,
        "key": "ORDER42",
        "error_type": "ServerError",
        "status_code": 500,
        "tries": 1,
        "delay": 0.0,
    }


async def test_an_unknown_outcome_is_logged_as_a_warning(records: list[logging.LogRecord]) -> None:
    async with ScriptedServer(resets) as server, session(server) as pay:
        with pytest.raises(OutcomeUnknownError):
            await OPERATIONS["process"](pay)
    [logged] = take(records, "WARNING", UNKNOWN)
    assert logged.pop("elapsed") >= 0
    assert logged == {
        "operation": "process",
        "key": "REF1",
        "method": "POST",
        "url_template": "/pay/{reference}/process",
        "held": False,
        "status_code": None,
        "error_type": "OutcomeUnknownError",
        "tries": 1,
    }


async def test_an_outcome_that_collect_can_t_tell_is_logged_as_a_warning(
    records: list[logging.LogRecord],
) -> None:
    async def knows_no_status(exchange: Exchange) -> None:
        get = exchange.request.method == "GET"
        await exchange.send(response(b"", "404 No") if get else right_answer(exchange.request))

    async with ScriptedServer(knows_no_status) as server, session(server) as pay:
        with pytest.raises(OutcomeUnknownError):
            await pay.collect(**COLLECT)
    [logged] = take(records, "WARNING", "collect: outcome unknown")
    assert logged == {
        "operation": "process",
        "key": "ORDER42",
        "error_type": "OutcomeUnknownError",
    }


def callback(key: str, status: str) -> Any:
    nothing = dict.fromkeys(
        ["reference", "amount", "currency", "provider", "billing_address", "raw"]
    )
    date = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return SimpleNamespace(key=key, status=PaymentStatus(status), date=date, **nothing)


async def test_a_contradiction_is_logged_as_a_warning(records: list[logging.LogRecord]) -> None:
    async with (
        ScriptedServer(answers_well) as server,
        session(server) as pay,
        pay.watch(["ORDER42"]) as watch,
    ):
        async for _ in watch:
            assert watch.deliver(callback("ORDER42", "FAILED")) is False
    [logged] = take(records, "WARNING", "a second, different final answer is dropped: %s after %s")
    assert logged == {"key": "ORDER42", "status": "FAILED", "first_status": "COMPLETED"}


# --- Integrations. What taskiq does is real in tests/integrations; here it is made to fail.


class BrokerError(Exception):
    pass


async def fails(*_: object, **__: object) -> None:
    raise BrokerError


async def test_callbacks_that_are_refused_or_fail(records: list[logging.LogRecord]) -> None:
    from little_pay_async.callbacks import CallbackVerifier
    from little_pay_async.integrations._receiving import Body, Receiver
    from little_pay_async.sandbox import Sandbox

    async with (
        Sandbox() as sandbox,
        little_pay_async.AsyncLittlePay(**sandbox.credentials, transport=sandbox.transport) as pay,
    ):
        intent = await pay.create_intent(
            amount=1, key="ORDER42", description="x", callback_url="https://shop.example/c"
        )
        await pay.process(intent, "MPESA", "+254712345678")
        sandbox.settle("ORDER42", "COMPLETED")
        raw, headers = sandbox.signed_callback("ORDER42")
        receiver = Receiver(fails, CallbackVerifier((sandbox.public_key,)))
        body = Body()
        body.add(raw)
        assert await receiver.answer(body, headers) == 500
        assert await receiver.answer(Body(), headers) == 400
    [failed] = take(
        records, "ERROR", "on_callback raised: answered 500, so that Little Pay tries again"
    )
    assert failed == {
        "operation": "callback",
        "key": "ORDER42",
        "status": "COMPLETED",
        "error_type": "BrokerError",
    }
    [refused] = take(records, "WARNING", "a callback was refused: %s")
    assert refused == {"operation": "callback", "error_type": "InvalidSignatureError"}


async def test_stints_that_fail(records: list[logging.LogRecord]) -> None:
    from little_pay_async.integrations._stints import Stints

    async with ScriptedServer(answers_well) as server, session(server) as pay:
        for script in (answers_well, sends(response(b"", "401 No"))):
            server.script = script
            logged = len(records)
            async with anyio.create_task_group() as tasks:
                # It takes all its time, since what has failed is left for another.
                tasks.start_soon(partial(Stints(pay, 60).watch, ["ORDER42"], fails, timeout=60))
                while records[logged:] == [] or records[-1].levelname == "DEBUG":
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
    [report] = take(
        records, "ERROR", "a settlement could not be reported: the payment is asked for again"
    )
    assert report == {"operation": "report", "key": "ORDER42", "error_type": "BrokerError"}
    [hopeless] = take(records, "WARNING", "%d payments can't be asked for: %s")
    assert hopeless == {"operation": "watch", "pending": 1, "error_type": "AuthenticationError"}


@pytest.mark.asyncio_only
async def test_workers_that_fail(
    records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskiq.exceptions import NoResultError

    from little_pay_async.integrations import _taskiq_worker, taskiq

    async def requeue() -> None:
        if not requeued:
            requeued.append(None)
            raise BrokerError
        raise NoResultError

    requeued: list[None] = []
    monkeypatch.setattr(_taskiq_worker, "_AFTER_A_FAILURE", 0)
    await _taskiq_worker.Worker(None, None).do(fails)  # type: ignore[arg-type]
    context: Any = SimpleNamespace(
        requeue=requeue, is_ackable=True, ack=fails, message=SimpleNamespace(task_id="T1")
    )
    with pytest.raises(NoResultError):
        await _taskiq_worker.hand_back(context)

    class Stop(BaseException):
        pass

    class Kicker:
        tries = 0

        def with_broker(self, _: object) -> "Kicker":
            return self

        def with_task_id(self, _: object) -> "Kicker":
            return self

        async def kiq(self) -> None:
            self.tries += 1
            raise BrokerError if self.tries == 1 else Stop

    kicker = Kicker()
    monkeypatch.setattr(taskiq, "_called", SimpleNamespace(kicker=lambda: kicker))
    with pytest.raises(Stop):
        await taskiq._call(None, every=0)  # type: ignore[arg-type]
    expected = {
        "payments can't be waited for: they are handed back": ("stint", None),
        "the broker is not to be reached: what was left is kept meanwhile": ("hand_back", "T1"),
        "a task was handed back, but not acknowledged: it may come twice": ("acknowledge", "T1"),
        "the broker is not to be reached": ("call", None),
    }
    for message, (operation, task_id) in expected.items():
        [logged] = take(records, "ERROR", message)
        assert logged.pop("task_id", None) == task_id
        assert logged == {"operation": operation, "error_type": "BrokerError"}


async def test_nothing_is_printed_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    async with ScriptedServer(resets) as server, session(server) as pay:
        for operation in OPERATIONS.values():
            with pytest.raises(LittlePayError):
                await operation(pay)
    assert logging.getLogger("little_pay_async").handlers  # else logging's last resort prints
    assert capfd.readouterr() == ("", "")
