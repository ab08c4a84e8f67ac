"""The command `demo`: what it shows, and that it notices what comes out otherwise."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest
from rich.console import Console

from little_pay_async import PaymentStatus
from little_pay_async._cli.demo import JsonStage, TerminalStage, crowd, play, purchases

from .pictures import shape, shapes_in

play_module = sys.modules[play.__module__]  # whose name the function has taken

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop will do: the command runs on that of asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The demo needs nothing of the environment, and no proxy keeps it from its sandbox."""
    for name in list(os.environ):
        if name.startswith("LITTLE_PAY_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    yield
    os.environ.pop("no_proxy", None)  # set by the demo, for its own process


@pytest.mark.timeout(300)  # it takes seconds, but where it is measured on a busy machine
def test_the_whole_of_it_as_a_process() -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "little_pay_async", "demo"], capture_output=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b""), ran.stderr.decode()
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    *payments, many = [line for line in lines if line["event"] == "outcome"]
    assert [(line["provider"], line["status"], line["refund"]) for line in payments] == [
        ("MPESA", "COMPLETED", None),
        ("AIRTEL", "FAILED", None),
        ("MTN", "COMPLETED", "COMPLETED"),
    ]
    assert many["text"] == "1,000 of 1,000 settled"
    assert many["settled"] == many["keys"] == many["completed"] + many["failed"] == 1_000
    assert many["failed"] == 50
    assert lines[0]["url"].startswith("http://127.0.0.1:")
    assert any(line["event"] == "watching" and 0 < line["settled"] < 1_000 for line in lines)
    assert lines[-1]["as_expected"] is True


async def test_on_a_terminal() -> None:
    console = Console(
        record=True, force_terminal=True, width=80, highlight=False, file=io.StringIO()
    )
    code = await play(TerminalStage(console), size=40)
    shown = console.export_text()
    assert code == 0
    assert "the handset rings" in shown
    table = shown[shown.index("Outcome") :]
    for said in (
        "Tickets",
        "✓ COMPLETED",
        "✗ FAILED: The payer declined",
        "✓ COMPLETED, refunded",
        "40 of 40 settled",
        "✓ 38 ✗ 2, 40 held at once",
        "Everything came out as expected",
    ):
        assert said in table
    assert "254700000001" not in shown, "phone numbers are masked"
    assert "254*******01" in shown
    # The picture in the documents shows it as it is today: else run `nox -s pictures`.
    prompt, *pictured = shapes_in("demo.svg")
    assert prompt == shape("$ little-pay demo")
    assert all(line in shape(shown) for line in pictured)
    end = [shape(line) for line in shown[shown.index("Payment  ") :].splitlines()]
    assert pictured[-len([line for line in end if line]) :] == [line for line in end if line]


async def test_a_payment_that_comes_out_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(purchases.Purchase, "as_expected", False)
    assert await play(JsonStage(), size=20) == 3
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["as_expected"] is False


async def test_a_payment_that_can_not_be_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = purchases.purchases_to_make()[0]
    monkeypatch.setattr(play_module, "purchases_to_make", lambda: [twice, attrs.evolve(twice)])
    assert await play(JsonStage(), size=20) == 3
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    outcomes = [line for line in shown if line["event"] == "outcome"][:2]
    assert sum(line["status"] == "COMPLETED" for line in outcomes) == 1
    assert any("ConflictError" in (line["error"] or "") for line in outcomes)


async def test_a_crowd_that_comes_out_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    monkeypatch.setattr(crowd.Crowd, "as_expected", False)
    assert await play(TerminalStage(console), size=20) == 3
    assert "Not everything came out as expected" in console.export_text()


def test_what_is_expected_of_a_payment() -> None:
    tickets, basket, bus = purchases.purchases_to_make()
    assert not tickets.as_expected
    assert (tickets.expected, basket.expected) == (PaymentStatus.COMPLETED, PaymentStatus.FAILED)
    assert bus.to_refund


@pytest.mark.parametrize(
    ("completed", "failed", "not_settled", "well"),
    [(95, 5, 0, True), (94, 5, 1, False), (94, 6, 0, False), (94, 5, 0, False)],
)
def test_what_is_expected_of_the_crowd(
    completed: int, failed: int, not_settled: int, *, well: bool
) -> None:
    many = crowd.Crowd(size=100)
    many.tally.completed, many.tally.failed = completed, failed
    many.tally.not_settled = not_settled
    assert many.as_expected is well
