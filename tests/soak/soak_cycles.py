"""Very many requests in one session: neither memory nor descriptors nor tasks grow."""

import asyncio
import gc
import os
import ssl
from pathlib import Path

import attrs
import pytest

from little_pay_async import AsyncLittlePay

from ..sessions import CREDENTIALS, MOBILE
from .parked import new_certificate, parking, report

WARM_UP = 5_000
MIB = 1024 * 1024


@attrs.frozen
class Use:
    """What this process has at a moment."""

    memory: int
    descriptors: int
    tasks: int


def use_now() -> Use:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    return Use(memory, len([*Path("/proc/self/fd").iterdir()]), len(asyncio.all_tasks()))


async def cycles(pay: AsyncLittlePay, number: int) -> None:
    """Make so many requests, a twentieth of them of money; they end with four at once."""
    for _ in range(number // 20):
        for _ in range(11):
            await pay.status("ORDER42")
        await pay.process("REF1", "MPESA", f"+{MOBILE}")
        await pay.refund("ORDER42", 100)
        await pay.status("ORDER42")
        await pay.check(["A", "B"])
        await pay.check(["A", "B", "C", "D"])


async def measure(number: int, *, tls: bool) -> tuple[Use, Use]:
    with new_certificate(tls=tls) as (authority, certificate):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with parking(certificate) as server:
            url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
            async with AsyncLittlePay(**CREDENTIALS, base_url=url, ssl_context=context) as pay:
                await cycles(pay, WARM_UP)
                before = use_now()
                await cycles(pay, number)
                return before, use_now()


@pytest.mark.parametrize(
    ("number", "tls"), [(100_000, False), (20_000, True)], ids=["plain", "TLS"]
)
def test_nothing_grows(number: int, tls: bool) -> None:
    before, after = asyncio.run(measure(number, tls=tls))
    grown = (after.memory - before.memory) / MIB
    assert grown < 4
    assert (after.descriptors, after.tasks) == (before.descriptors, before.tasks)
    text = (
        f"{number:,} requests after {WARM_UP:,} to warm up: resident memory grown by "
        f"{grown:.2f} MiB, {after.descriptors} descriptors and {after.tasks} tasks as before"
    )
    report(f"leaks, {'TLS' if tls else 'plain'}", text)
