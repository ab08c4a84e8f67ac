"""Thousands of parked polls, and the server killed and started again three times."""

import asyncio
import ssl
import time
from collections import Counter

import attrs
import pytest

from little_pay_async import AsyncLittlePay, Settlement

from ..sessions import CREDENTIALS
from .parked import new_certificate, parking, report

KEYS = 2_000
WITHIN = 75.0


@attrs.frozen
class Restart:
    """How they came back, in seconds after the server was there again."""

    last: float
    most_in_a_second: int


async def restart_three_times(*, tls: bool) -> tuple[list[Restart], list[Settlement]]:
    keys = [f"K{number}" for number in range(KEYS)]
    restarts: list[Restart] = []
    settlements: list[Settlement] = []
    with new_certificate(tls=tls) as (authority, certificate):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with parking(certificate) as server:
            url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
            pay = AsyncLittlePay(**CREDENTIALS, base_url=url, ssl_context=context)
            async with pay, pay.watch(keys) as watch:
                await asyncio.wait_for(server.until_parked(KEYS), WITHIN)
                for _ in range(3):
                    await server.kill()
                    await server.start()
                    begun = time.monotonic()
                    await asyncio.wait_for(server.until_parked(KEYS), WITHIN)
                    came = server.since(begun)
                    by_second = Counter(int(after) for after in came)
                    restarts.append(Restart(came[-1], max(by_second.values())))
                server.settle()
                async with asyncio.timeout(WITHIN):
                    settlements = [settlement async for settlement in watch]
    return restarts, settlements


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_all_are_parked_again_and_settle(tls: bool) -> None:
    restarts, settlements = asyncio.run(restart_three_times(tls=tls))
    assert all(one.error is None for one in settlements)
    assert sorted(one.key for one in settlements) == sorted(f"K{n}" for n in range(KEYS))
    last = max(restart.last for restart in restarts)
    most = max(restart.most_in_a_second for restart in restarts)
    assert last <= WITHIN
    assert most <= KEYS / 2  # spread out: 500 connections a second are made after a loss
    text = (
        f"{KEYS:,} parked polls, the server killed and started again three times: all settled, "
        f"each once; all parked again after {last:.0f} s at the most, no more than {most:,} of "
        "them within one second"
    )
    report(f"restart, {'TLS' if tls else 'plain'}", text)
