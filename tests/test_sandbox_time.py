"""`Sandbox.advance`: time that passes at once.

In event loops of their own: the time of the other tests' loops stays as it is, as does the limit on
how long those may take.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import anyio
import httpx
import pytest
import trio.testing
import uvloop

from little_pay_async.sandbox import Sandbox

from .sandboxes import Visitor, in_process

Scenario = Callable[[Sandbox], Awaitable[None]]
WEEK = 604_800.0


async def in_sandbox(scenario: Scenario) -> None:
    async with Sandbox() as sandbox:
        await scenario(sandbox)


@pytest.fixture(params=["asyncio", "asyncio-debug", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Run a scenario in an event loop of its own."""

    def run(scenario: Scenario) -> None:
        if request.param == "trio":
            trio.run(in_sandbox, scenario, clock=trio.testing.MockClock(rate=1))
        else:
            asyncio.run(in_sandbox(scenario), debug="debug" in request.param)

    return run


def test_a_week_takes_no_week(run: Callable[[Scenario], None]) -> None:
    async def scenario(sandbox: Sandbox) -> None:
        began = anyio.current_time()
        await sandbox.advance(WEEK)
        assert WEEK <= anyio.current_time() - began < WEEK + 60

    began = time.monotonic()
    run(scenario)
    assert time.monotonic() - began < 60


def test_each_in_its_time_and_in_its_turn(run: Callable[[Scenario], None]) -> None:
    """A timer that is begun when another one rings is not late."""
    rung: list[tuple[str, float]] = []

    async def scenario(sandbox: Sandbox) -> None:
        began = anyio.current_time()

        async def ring(name: str, *pauses: float) -> None:
            for pause in pauses:
                await anyio.sleep(pause)
                rung.append((name, anyio.current_time() - began))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ring, "often", 30, 30, 30, 30)
            tasks.start_soon(ring, "once", 75)
            tasks.start_soon(ring, "late", 130)
            await sandbox.advance(125)
            assert [name for name, _ in rung] == ["often", "often", "once", "often", "often"]
            tasks.cancel_scope.cancel()

    run(scenario)
    for (_, at), due in zip(rung, [30, 60, 75, 90, 120], strict=True):
        assert due <= at < due + 10


def test_what_is_due_at_the_end_is_done(run: Callable[[Scenario], None]) -> None:
    done: list[str] = []

    async def scenario(sandbox: Sandbox) -> None:
        async def work() -> None:
            await anyio.sleep(60)
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            done.append("work")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await anyio.lowlevel.checkpoint()
            await sandbox.advance(60.001)
            assert done == ["work"]

    run(scenario)


def test_two_at_once(run: Callable[[Scenario], None]) -> None:
    async def scenario(sandbox: Sandbox) -> None:
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sandbox.advance, 60)
            tasks.start_soon(sandbox.advance, 90)
        assert 90 <= anyio.current_time() - began < 120

    began = time.monotonic()
    run(scenario)
    assert time.monotonic() - began < 20  # the second does not wait for what the first has left


def test_cancelled_on_its_way(run: Callable[[Scenario], None]) -> None:
    async def scenario(sandbox: Sandbox) -> None:
        with anyio.move_on_after(60) as scope:
            await sandbox.advance(WEEK)
        assert scope.cancelled_caught
        began = time.monotonic()
        await anyio.sleep(0.05)  # as long as ever
        assert time.monotonic() - began >= 0.04

    run(scenario)


def test_sockets_keep_up() -> None:
    """What is on its way between sockets of this process arrives before the next timer rings."""

    async def scenario(sandbox: Sandbox) -> None:
        async with (
            sandbox.serve() as url,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=httpx.Timeout(30)) as http,
        ):
            visitor = Visitor(sandbox, http)
            for number in range(6):
                created: list[httpx.Response] = []

                async def create(key: str, into: list[httpx.Response] = created) -> None:
                    into.append(await visitor.create(key))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(create, f"ORDER{number}")
                    await sandbox.advance(100)
                assert [answer.status_code for answer in created] == [200]

    asyncio.run(in_sandbox(scenario))


def test_the_sandbox_sees_it(run: Callable[[Scenario], None]) -> None:
    async def scenario(sandbox: Sandbox) -> None:
        async with in_process(sandbox) as http:
            visitor = Visitor(sandbox, http)
            reference = await visitor.reference()
            await visitor.process(reference, "254700000005")
            answers: list[httpx.Response] = []

            async def poll() -> None:
                answers.append(await visitor.status(held=True))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(poll)
                await sandbox.advance(4)
                assert answers == []
                await sandbox.advance(2)
                assert answers[0].json()["data"]["status"] == "COMPLETED"
            await visitor.create("LATE")
            await sandbox.advance(1_801)
            assert (await visitor.status("LATE")).json()["data"]["status"] == "FAILED"

    run(scenario)


def test_nothing_is_said_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """A loop in debug mode warns of steps that take long; none does."""

    async def scenario(sandbox: Sandbox) -> None:
        asyncio.get_running_loop().slow_callback_duration = 30
        await sandbox.advance(WEEK)

    with caplog.at_level(logging.WARNING, "asyncio"):
        asyncio.run(in_sandbox(scenario), debug=True)
    assert caplog.records == []


def test_uvloop_has_a_time_of_its_own() -> None:
    async def scenario(sandbox: Sandbox) -> None:
        with pytest.raises(RuntimeError, match=r"^uvloop keeps its time to itself"):
            await sandbox.advance(1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(in_sandbox(scenario))


def test_trio_needs_a_mock_clock() -> None:
    async def scenario(sandbox: Sandbox) -> None:
        with pytest.raises(RuntimeError, match="MockClock"):
            await sandbox.advance(1)

    trio.run(in_sandbox, scenario)
