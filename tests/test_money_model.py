"""A model of the money: whatever happens on the way, what the client says is what the bank knows.

The client is real, with its settings as they come, and so are the sockets between it and the
server; only the clock is not: it jumps to the next timer when nothing has come for a moment.

`nox -s soak` looks at many more examples.
"""

import asyncio
import logging
import os
import selectors
import socket
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, ClassVar, TypeVar

import anyio
import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from little_pay_async import (
    APIConnectionError,
    AsyncLittlePay,
    LittlePayError,
    OutcomeUnknownError,
    Payment,
    Refund,
    SettlementTimeoutError,
)

from .fickle_bank import (
    COMPLETED,
    FAILED,
    KINDS,
    PENDING,
    UNREAD,
    Bank,
    Fate,
    Fault,
    Post,
    reference_of,
)
from .servers import ScriptedServer, client_tls, server_tls
from .sessions import CREDENTIALS, MOBILE
from .test_client_secrets import check_nothing_shown, shown_by

T = TypeVar("T")

MOMENT = 0.001  # real seconds: within it what was sent on loopback has come
TURN = 1e-6  # virtual seconds that a turn of the loop takes
WAIT = 1000.0
HOLD = 90.0  # the session's; a process held for longer is one that is lost
# The longest that four faults in a row can hold up a wait: each says to ask again after 150 s.
LOST_BY_WEATHER = 700.0


class HurriedLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with real sockets whose clock jumps when nothing has come for a moment."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(HurriedSelector(self))

    def time(self) -> float:
        return self.now

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:  # type: ignore[override]
        """Do it here: the clock would not wait for a thread."""
        return socket.getaddrinfo(host, port, **how)


class HurriedSelector(selectors.DefaultSelector):
    def __init__(self, loop: HurriedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # A turn takes time: asyncio's timers ring a nanosecond early, and some are then set again.
        self._loop.now += TURN
        events = super().select(MOMENT if timeout is None or timeout > 0 else 0)
        if not events:
            if timeout is None:
                raise RuntimeError("everything waits for ever")
            self._loop.now += max(0.0, timeout)
        return events


class Log(logging.Handler):
    """Keeps every record of every logger."""

    LOGGERS = ("", "little_pay_async", "httpx", "httpcore", "anyio", "asyncio")

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self._levels = {name: logging.getLogger(name).level for name in self.LOGGERS}

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def start(self) -> None:
        logging.getLogger().addHandler(self)
        for name in self.LOGGERS:
            logging.getLogger(name).setLevel(logging.DEBUG)

    def stop(self) -> None:
        logging.getLogger().removeHandler(self)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    def taken(self) -> Iterator[tuple[str, str]]:
        """Give what was logged since this was asked for last."""
        records, self.records = self.records, []
        for record in records:
            yield f"log of {record.name}", record.getMessage()
            yield f"record of {record.name}", repr(vars(record))


@attrs.frozen
class Call:
    """One call of the client's.

    Attributes:
        operation: What it does.
        key: The merchant key of the payment that it is about.
        held: Is its process a long poll?
    """

    operation: str
    key: str
    held: bool = False

    SENDS: ClassVar = {
        "create_intent": ["create_intent"],
        "process": ["process"],
        "refund": ["refund"],
        "collect": ["create_intent", "process"],
        "status": [],
        "wait": [],
    }

    @property
    def posts(self) -> list[str]:
        """The money requests that it may send, one of each."""
        return self.SENDS[self.operation]

    def make(self, pay: AsyncLittlePay) -> Awaitable[object]:
        key, reference, mobile = self.key, reference_of(self.key), f"+{MOBILE}"
        order: dict[str, Any] = {
            "amount": 100,
            "key": key,
            "description": "2 tickets",
            "callback_url": "https://shop.example/callbacks",
        }
        match self.operation:
            case "create_intent":
                return pay.create_intent(**order, billing_address={"phone_number": mobile})
            case "process":
                return pay.process(reference, "MPESA", mobile, long_poll=self.held)
            case "refund":
                return pay.refund(key, 100, reason="returned")
            case "collect":
                return pay.collect(**order, provider="MPESA", mobile=mobile, timeout=WAIT)
            case "status":
                return pay.status(key)
            case _:
                return pay.wait(key, timeout=WAIT)


WEATHER = st.lists(
    st.builds(
        Fault,
        st.sampled_from(KINDS),
        st.sampled_from(["at once", "afterwards", "never"]),
    ),
    max_size=4,
)
FATES = st.builds(
    Fate, st.sampled_from([COMPLETED, FAILED]), st.sampled_from([0.0, 0.2, 40.0, 500.0, 1e6])
)
# Which payment: the latest, the one before it, ...
AGO = st.integers(1, 4)


class MoneyMachine(RuleBasedStateMachine):
    """Makes calls in all weathers, and compares what they say with what the bank knows."""

    tls = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = HurriedLoop()
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.bank = Bank()
        self.keys = ["NOWHERE", "NEITHER", "NOR", "HERE"]  # of which there is no intent
        self.restart: asyncio.Task[None] | None = None
        self.log = Log()
        self.log.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # Rules

    @initialize(longest_hold=st.sampled_from([0.0, 60.0, 1_000.0]))
    def open(self, longest_hold: float) -> None:
        self.bank.longest_hold = longest_hold
        for key in self.keys:
            self.bank.fates[key] = Fate()
        ready = self.loop.create_future()
        self.leaving = self.loop.create_future()
        self.host = self.loop.create_task(self.stay(ready))
        self.run(self.either(ready))

    async def either(self, ready: asyncio.Future[None]) -> None:
        await asyncio.wait([ready, self.host], return_when=asyncio.FIRST_COMPLETED)
        if self.host.done():
            self.host.result()

    async def stay(self, ready: asyncio.Future[None]) -> None:
        tls = server_tls() if self.tls else None
        self.server = ScriptedServer(self.bank.script, tls=tls, greeting=self.bank.greeting)
        async with self.server:
            self.pay = AsyncLittlePay(
                **CREDENTIALS, base_url=self.server.base_url, ssl_context=client_tls()
            )
            async with self.pay:
                ready.set_result(None)
                await self.leaving
            await self.server.until(lambda: self.server.open == 0)

    def new_key(self, fate: Fate) -> str:
        key = f"ORDER{len(self.keys)}"
        self.keys.append(key)
        self.bank.fates[key] = fate
        return key

    @rule(fate=FATES, weather=WEATHER)
    def create_intent(self, fate: Fate, weather: list[Fault]) -> None:
        self.make([Call("create_intent", self.new_key(fate))], weather)

    @rule(ago=AGO, weather=WEATHER)
    def create_intent_again(self, ago: int, weather: list[Fault]) -> None:
        self.make([Call("create_intent", self.keys[-ago])], weather)

    @rule(ago=AGO, held=st.booleans(), weather=WEATHER)
    def process(self, ago: int, held: bool, weather: list[Fault]) -> None:
        self.make([Call("process", self.keys[-ago], held)], weather)

    @rule(fate=FATES, weather=WEATHER)
    def collect(self, fate: Fate, weather: list[Fault]) -> None:
        self.make([Call("collect", self.new_key(fate))], weather)

    @rule(ago=AGO, weather=WEATHER)
    def collect_again(self, ago: int, weather: list[Fault]) -> None:
        self.make([Call("collect", self.keys[-ago])], weather)

    @rule(ago=AGO, fate=st.sampled_from([COMPLETED, FAILED, PENDING]), weather=WEATHER)
    def refund(self, ago: int, fate: Any, weather: list[Fault]) -> None:
        self.bank.refund_fate = fate
        self.make([Call("refund", self.keys[-ago])], weather)

    @rule(fate=FATES, held=st.booleans(), weather=WEATHER)
    def process_a_new_intent(self, fate: Fate, held: bool, weather: list[Fault]) -> None:
        key = self.new_key(fate)
        self.make([Call("create_intent", key)], [])
        self.make([Call("process", key, held)], weather)

    @rule(fate=st.sampled_from([COMPLETED, FAILED, PENDING]), weather=WEATHER)
    def refund_what_was_paid(self, fate: Any, weather: list[Fault]) -> None:
        self.bank.refund_fate = fate
        key = self.new_key(Fate())
        self.make([Call("collect", key)], [])
        self.make([Call("refund", key)], weather)

    @rule(ago=AGO, weather=WEATHER)
    def status(self, ago: int, weather: list[Fault]) -> None:
        self.make([Call("status", self.keys[-ago])], weather)

    @rule(ago=AGO, weather=WEATHER)
    def wait(self, ago: int, weather: list[Fault]) -> None:
        self.make([Call("wait", self.keys[-ago])], weather)

    @rule(
        operations=st.permutations(["process", "refund", "wait", "status"]),
        fate=FATES,
        weather=WEATHER,
    )
    def all_at_once(self, operations: list[str], fate: Fate, weather: list[Fault]) -> None:
        calls = [Call(name, self.keys[-ago]) for ago, name in enumerate(operations, start=1)]
        self.make([*calls, Call("collect", self.new_key(fate))], weather)

    @rule(after=st.sampled_from([0.0, 0.1, 30.0]), down=st.sampled_from([0.0, 0.7, 200.0]))
    def have_the_server_restarted(self, after: float, down: float) -> None:
        """While the next calls are made."""
        if self.restart is None or self.restart.done():
            self.restart = self.loop.create_task(self.restart_server(after, down))

    async def restart_server(self, after: float, down: float) -> None:
        await anyio.sleep(after)
        await self.server.stop()
        await anyio.sleep(down)
        await self.server.start()

    @rule(seconds=st.sampled_from([1.0, 100.0, 5_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(anyio.sleep(seconds))

    # What must hold

    def make(self, calls: list[Call], weather: list[Fault]) -> None:
        self.bank.weather.clear()
        self.bank.weather.extend(weather)
        self.run(self.make_all(calls))

    async def make_all(self, calls: list[Call]) -> None:
        steady = self.restart is None or self.restart.done()
        fair = steady and not self.bank.weather
        all_read = steady and not any(fault.kind in UNREAD for fault in self.bank.weather)
        posted, begun = len(self.bank.posts), self.loop.time()
        outcomes = await asyncio.gather(*(outcome_of(call, self.pay) for call in calls))
        posts = self.bank.posts[posted:]
        # How it stood when they ended; what is "afterwards" is no business of theirs.
        truths = [self.bank.status_of(call.key) for call in calls]
        while self.bank.busy:  # noqa: ASYNC110 - in virtual time
            await anyio.sleep(0.1)
        for call, outcome, truth in zip(calls, outcomes, truths, strict=True):
            own = [post for post in posts if of(call, post)]
            self.check_ledger(call, own)
            self.check_outcome(call, outcome, truth, own)
            if fair and not (call.held and self.bank.fates[call.key].seconds > HOLD):
                assert not isinstance(outcome, OutcomeUnknownError | APIConnectionError), outcome
            if all_read and isinstance(outcome, OutcomeUnknownError):
                assert own, "unknown, but nothing was sent"
            if isinstance(outcome, SettlementTimeoutError):
                self.check_timeout(call, begun)
            if isinstance(outcome, LittlePayError):
                check_nothing_shown(shown_by(outcome))
            check_nothing_shown(iter([(call.operation, repr(outcome))]))
        assert not [post for post in posts if not any(of(call, post) for call in calls)]
        check_nothing_shown(self.log.taken())
        check_nothing_shown(iter([("session", repr(self.pay))]))

    def check_ledger(self, call: Call, own: list[Post]) -> None:
        """Nothing reached the server twice, and nothing on a connection that may be dead."""
        for operation in call.posts:
            assert len([post for post in own if post.operation == operation]) <= 1, own
        assert all(post.fresh for post in own), own

    def check_outcome(self, call: Call, outcome: object, truth: object, own: list[Post]) -> None:
        match outcome:
            case Payment():
                assert outcome.reference == reference_of(call.key), outcome
                assert outcome.key in {None, call.key}, outcome
                assert outcome.status in {PENDING, truth}, (outcome, truth)
            case Refund():
                assert outcome.status is self.bank.refunds[call.key]
            case SettlementTimeoutError():
                assert call.operation in {"wait", "collect"}
                assert outcome.last is None or outcome.last.status is PENDING
            case OutcomeUnknownError():
                assert call.posts, "nothing was sent that could have an outcome"
            case LittlePayError():
                self.check_without_effect(call, outcome, own)
        for post in own:
            # `collect` may find out by itself: that is checked above.
            if post.answered is False and call.operation != "collect":
                assert isinstance(outcome, OutcomeUnknownError), (outcome, post)
            if post.answered is False and post.operation == "process" and post.effective:
                allowed = Payment | SettlementTimeoutError | OutcomeUnknownError
                assert isinstance(outcome, allowed), (outcome, post)

    def check_without_effect(self, call: Call, error: LittlePayError, own: list[Post]) -> None:
        """An error that is none of the above says that no money moved, nor will."""
        last = call.posts[-1:]  # `collect` may leave an intent
        assert not [post for post in own if post.effective and post.operation in last], error
        if isinstance(error, APIConnectionError) and not error.sent:
            assert not [post for post in own if post.operation in last], error

    def check_timeout(self, call: Call, begun: float) -> None:
        """Who gives up had time enough, and the payment was not final long ago."""
        ended = self.loop.time()
        assert ended - begun > WAIT - 0.1
        settled = self.bank.fates[call.key].settles_at
        fate_is_late = settled is None or settled > ended - LOST_BY_WEATHER
        assert fate_is_late, "it was final, and not found out"

    # The end

    def teardown(self) -> None:
        try:
            if hasattr(self, "host"):
                self.run(self.look_back())
                self.leaving.set_result(None)
                self.run(asyncio.wait_for(self.host, 100))
                assert not asyncio.all_tasks(self.loop)
                check_nothing_shown(self.log.taken())
                assert not self.problems
        finally:
            self.log.stop()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()

    async def look_back(self) -> None:
        """When the weather is fair again, each payment can be told, and new ones made."""
        self.bank.weather.clear()
        if self.restart is not None:
            await self.restart
        await self.make_all([Call("status", key) for key in self.keys])
        await self.make_all([Call("collect", self.new_key(Fate()))])
        assert (await self.pay.status(self.keys[-1])).status is COMPLETED


def of(call: Call, post: Post) -> bool:
    """Return whether a money request is one of a call's; of half an intent the key is not known."""
    return post.operation in call.posts and post.key in {call.key, ""}


async def outcome_of(call: Call, pay: AsyncLittlePay) -> object:
    try:
        return await call.make(pay)
    except LittlePayError as error:
        return error


class MoneyByTlsMachine(MoneyMachine):
    tls = True


def thoroughly(examples: int) -> settings:
    more = 50 if os.environ.get("SOAK") else 1
    return settings(
        max_examples=examples * more,
        stateful_step_count=12,
        suppress_health_check=[HealthCheck.too_slow],  # of the machine
    )


TestMoney = MoneyMachine.TestCase
TestMoney.settings = thoroughly(12)
TestMoneyByTls = MoneyByTlsMachine.TestCase
TestMoneyByTls.settings = thoroughly(6)
