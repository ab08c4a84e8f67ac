"""Runs the demo from its beginning to its end."""

import os

import anyio

from little_pay_async._cli import open_files
from little_pay_async._cli.demo.crowd import Crowd, create_crowd, watch_crowd
from little_pay_async._cli.demo.purchases import buy, purchases_to_make
from little_pay_async._cli.demo.stage import Stage
from little_pay_async._cli.outcomes import ALL_COMPLETED, NOT_SETTLED
from little_pay_async._client import AsyncLittlePay
from little_pay_async.sandbox import Sandbox

# What the process opens beside the two ends of each connection.
_OTHER_FILES = 100


async def play(stage: Stage, *, size: int = 1_000) -> int:
    """Play it, and return 0 only if everything came out as expected.

    Args:
        stage: Where it is shown.
        size: How many payments are watched at once.

    Raises:
        LittlePayError: What makes going on impossible.
    """
    os.environ["no_proxy"] = "*"  # no proxy leads to this process
    crowd = Crowd(size=size)
    began = anyio.current_time()
    async with (
        Sandbox() as sandbox,
        sandbox.serve() as url,
        AsyncLittlePay(
            **sandbox.credentials,
            base_url=url,
            max_connections=_connections(crowd.size),
            # Where files are few, keys take turns: this long or shorter.
            hold=10.0,
        ) as pay,
    ):
        stage.opened(url)
        purchases = purchases_to_make()
        with stage.purchases(purchases):
            async with anyio.create_task_group() as tasks:
                for purchase in purchases:
                    tasks.start_soon(buy, pay, purchase, stage)
        with stage.creating(crowd):
            await create_crowd(pay, crowd, stage)
        with stage.watching():
            await watch_crowd(pay, sandbox, crowd, stage)
    well = crowd.as_expected and all(purchase.as_expected for purchase in purchases)
    stage.ended(purchases, crowd, anyio.current_time() - began, well=well)
    return ALL_COMPLETED if well else NOT_SETTLED


def _connections(wanted: int) -> int:
    """Return how many connections fit: both of their ends are in this process."""
    limit = open_files.raise_limit()
    more = wanted + 50
    return more if limit is None else max(8, min(more, (limit - _OTHER_FILES) // 2))
