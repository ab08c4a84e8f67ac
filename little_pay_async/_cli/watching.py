"""The work of `status` and `watch`: asks the library, counts, and has it shown."""

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from urllib.parse import unquote

import anyio
import attrs
import httpx

from little_pay_async._cli.outcomes import Outcome, Tally, outcome_of
from little_pay_async._cli.progress import TICK
from little_pay_async._cli.report import Report, print_pending
from little_pay_async._client import AsyncLittlePay
from little_pay_async._errors import ConfigurationError, LittlePayError
from little_pay_async._models import Settlement
from little_pay_async._watch import Watch


async def check_keys(keys: tuple[str, ...], *, timeout: float | None, report: Report) -> int:
    """Ask once for each key and show how it stands; return the exit code.

    Cancelled, it prints all keys: of none it is known how it stands.

    Raises:
        LittlePayError: What makes every key hopeless.
    """
    tally = Tally()
    requests: Counter[str] = Counter()

    async def count(request: httpx.Request) -> None:
        # The key is the last part of the path, and what is a slash in it is encoded.
        requests[unquote(request.url.raw_path.rpartition(b"/")[2].decode("ascii"))] += 1

    async with AsyncLittlePay() as session:
        session.http.event_hooks["request"].append(count)
        pay = session if timeout is None else session.with_options(timeout=timeout)
        began = anyio.current_time()
        try:
            found = await pay.check(keys)
        except anyio.get_cancelled_exc_class():
            _leave(keys, report)
            raise
        took = anyio.current_time() - began
    with report:
        for key, payment_or_error in found.items():
            outcome = Outcome(key=key, elapsed=took, polls=requests[key])
            if isinstance(payment_or_error, LittlePayError):
                outcome = attrs.evolve(outcome, error=payment_or_error)
            else:
                outcome = attrs.evolve(outcome, payment=payment_or_error)
            tally.count(outcome)
            report.found(outcome)
        report.summary(tally, took)
    return tally.exit_code


async def watch_keys(
    keys: Iterable[str] | AsyncIterable[str], *, timeout: float, report: Report
) -> int:
    """Watch keys until all are settled, showing each as it settles; return the exit code.

    Broken off, by cancellation too, it prints the keys that are still pending.

    Raises:
        LittlePayError: What makes every key hopeless.
        OSError: The keys can't be read, or nobody reads what is printed.
    """
    tally = Tally()
    in_hand: tuple[str, ...] = ()
    async with AsyncLittlePay() as pay:
        watch = pay.watch(keys, timeout=timeout)
        began = anyio.current_time()
        try:
            with report:
                async with watch:
                    async for settlement in with_ticks(watch):
                        if settlement is not None:
                            in_hand = (settlement.key,)
                            outcome = outcome_of(settlement)
                            report.found(outcome)
                            tally.count(outcome)
                            in_hand = ()
                        report.getting_on(watch, tally)
        except ConfigurationError:  # nothing was asked
            raise
        except BaseException:
            try:
                if tally.total:
                    report.summary(tally, anyio.current_time() - began)
            finally:  # whoever can't be shown the one may still be told the other
                _leave(in_hand + watch.pending, report)
            raise
        report.summary(tally, anyio.current_time() - began)
    return tally.exit_code


def _leave(pending: tuple[str, ...], report: Report) -> None:
    print_pending(pending)
    report.pending(pending)


async def with_ticks(watch: Watch) -> AsyncIterator[Settlement | None]:
    """Yield the settlements of a watch, and None where nothing has settled for a moment."""
    while True:
        settlement = None
        with anyio.move_on_after(TICK):  # which loses none: so says `Watch.__anext__`
            try:
                settlement = await anext(watch)
            except StopAsyncIteration:
                return
        yield settlement
