"""Reconciliation: which of the payments in a CSV have been made? Ctrl-C, and go on later.

    python examples/reconcile.py examples/payments.csv outcomes.csv

The first file has a column `key`. The second gets a row for each payment that is COMPLETED or
FAILED, as soon as that is known; what has a row there already is not asked for again. Exit code 0:
all have one; 3: run it again later; 130: Ctrl-C.

Where no LITTLE_PAY_API_KEY is set, it plays with a sandbox in its process, which moves no money.
"""

import csv
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TextIO

import anyio

from little_pay_async import AsyncLittlePay, Msisdn, Payment
from little_pay_async.sandbox import Sandbox

COLUMNS = ["key", "status", "amount", "currency", "provider_reference", "date"]
SECONDS = float(os.environ.get("SECONDS_TO_WAIT", "60"))  # for those that are still PENDING
AT_ONCE = 500


class Outcomes:
    """The file of those that are done. Each row is written at once."""

    def __init__(self, file: TextIO, done: Iterable[str]) -> None:
        self.done = set(done)
        self._file = file
        self._rows = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        if not file.tell():
            self._rows.writeheader()

    def add(self, key: str, payment: Payment) -> None:
        self._rows.writerow(payment.to_dict() | {"key": key})
        self._file.flush()
        self.done.add(key)


async def reconcile(pay: AsyncLittlePay, keys: list[str], outcomes: Outcomes) -> None:
    pending: list[str] = []
    for start in range(0, len(keys), AT_ONCE):
        for key, found in (await pay.check(keys[start : start + AT_ONCE])).items():
            if isinstance(found, Payment) and found.status.is_final:
                outcomes.add(key, found)
            elif isinstance(found, Payment):
                pending.append(key)
            else:
                print(f"{key}: {found}", file=sys.stderr)
    print(f"{len(pending)} are still pending", file=sys.stderr, flush=True)
    async with pay.watch(pending, timeout=SECONDS) as watch:
        async for settlement in watch:
            if settlement.error is None and settlement.payment is not None:
                outcomes.add(settlement.key, settlement.payment)
            else:
                print(f"{settlement.key}: {settlement.error}", file=sys.stderr)


async def main(payments: Path, outcomes: Path) -> int:
    with payments.open(newline="", encoding="utf-8") as file:
        keys = list(dict.fromkeys(row["key"] for row in csv.DictReader(file)))
    with outcomes.open("a+", newline="", encoding="utf-8") as file:
        file.seek(0)
        done = [row["key"] for row in csv.DictReader(file)]
        rows = Outcomes(file, done)
        left = [key for key in keys if key not in rows.done]
        print(f"{len(keys)} payments, {len(left)} to ask for", file=sys.stderr, flush=True)
        try:
            async with session(left) as pay:
                await reconcile(pay, left, rows)
        finally:
            left = [key for key in keys if key not in rows.done]
            print(f"{len(left)} left", file=sys.stderr)
    return 3 if left else 0


@asynccontextmanager
async def session(keys: list[str]) -> AsyncIterator[AsyncLittlePay]:
    """Give a session with Little Pay, or with a sandbox that knows these payments."""
    if os.environ.get("LITTLE_PAY_API_KEY"):
        async with AsyncLittlePay() as pay:
            yield pay
        return
    async with (
        Sandbox() as sandbox,
        AsyncLittlePay(**sandbox.credentials, transport=sandbox.transport) as pay,
    ):
        for number, key in enumerate(keys):
            intent = await pay.create_intent(
                amount=100, key=key, description="2 tickets", callback_url="https://shop.example/"
            )
            ends = number % 3 + 1  # completed, declined, no answer
            await pay.process(intent, "MPESA", Msisdn.unchecked(f"25470000000{ends}"))
        yield pay


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        sys.exit(anyio.run(main, Path(sys.argv[1]), Path(sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit(130)
