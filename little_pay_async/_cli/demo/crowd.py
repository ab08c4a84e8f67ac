"""A thousand payments, pending all at once and watched by one watch."""

from typing import Protocol

import anyio
import attrs

from little_pay_async._cli.demo.purchases import CALLBACK_URL
from little_pay_async._cli.outcomes import Tally, outcome_of
from little_pay_async._cli.watching import with_ticks
from little_pay_async._client import AsyncLittlePay
from little_pay_async._watch import Watch
from little_pay_async.sandbox import Sandbox

_CREATED_AT_ONCE = 40
_EVERY_SO_MANY_FAIL = 20
_SETTLED_AT_ONCE = 10
_SECONDS_BETWEEN = 0.02
# For so long payers wait until all polls are held: where files are few, they never are.
_SECONDS_TO_PARK = 3.0
_TIMEOUT = 60.0


@attrs.define(kw_only=True)
class Crowd:
    """The payments that are watched all at once.

    Attributes:
        size: How many there are.
        created: How many have an intent already.
        tally: What became of those that have settled.
        held: How many polls were under way when the payers began to answer.
        took: Seconds that the watch took.
    """

    size: int
    created: int = 0
    tally: Tally = attrs.field(factory=Tally)
    held: int = 0
    took: float = 0.0

    @property
    def keys(self) -> list[str]:
        """The merchant keys."""
        return [f"CROWD{number:05}" for number in range(1, self.size + 1)]

    @property
    def settled(self) -> int:
        """How many have their final status."""
        return self.tally.completed + self.tally.failed

    @property
    def as_expected(self) -> bool:
        """Whether all settled, as many of them FAILED as should."""
        failed = self.size // _EVERY_SO_MANY_FAIL
        return self.tally == Tally(completed=self.size - failed, failed=failed)


class Audience(Protocol):
    """Who is told."""

    def created(self, crowd: Crowd) -> None:
        """Show how many have been created."""

    def watched(self, crowd: Crowd, watch: Watch) -> None:
        """Show how the watch is getting on."""


async def create_crowd(pay: AsyncLittlePay, crowd: Crowd, audience: Audience) -> None:
    """Create the intents.

    Raises:
        LittlePayError: One can't be created.
    """
    keys = iter(crowd.keys)

    async def create() -> None:
        for key in keys:
            await pay.create_intent(
                amount=100, key=key, description="One of many", callback_url=CALLBACK_URL
            )
            crowd.created += 1
            audience.created(crowd)

    async with anyio.create_task_group() as tasks:
        for _ in range(_CREATED_AT_ONCE):
            tasks.start_soon(create)


async def watch_crowd(
    pay: AsyncLittlePay, sandbox: Sandbox, crowd: Crowd, audience: Audience
) -> None:
    """Watch all of them while their payers answer.

    Raises:
        LittlePayError: What makes every key hopeless.
    """
    began = anyio.current_time()
    async with (
        anyio.create_task_group() as tasks,
        pay.watch(crowd.keys, timeout=_TIMEOUT) as watch,
    ):
        tasks.start_soon(_answer, sandbox, crowd, watch)
        async for settlement in with_ticks(watch):
            if settlement is not None:
                crowd.tally.count(outcome_of(settlement))
            crowd.took = anyio.current_time() - began
            audience.watched(crowd, watch)


async def _answer(sandbox: Sandbox, crowd: Crowd, watch: Watch) -> None:
    """Have the payers answer, some at a time, once all polls that fit are held."""
    with anyio.move_on_after(_SECONDS_TO_PARK):
        while crowd.held < crowd.size:
            await anyio.sleep(_SECONDS_BETWEEN)
            crowd.held = watch.statistics().in_flight
    for number, key in enumerate(crowd.keys, start=1):
        sandbox.settle(key, "FAILED" if number % _EVERY_SO_MANY_FAIL == 0 else "COMPLETED")
        if number % _SETTLED_AT_ONCE == 0:
            await anyio.sleep(_SECONDS_BETWEEN)
