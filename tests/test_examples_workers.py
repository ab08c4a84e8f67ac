"""The fleet of workers and the reconciliation run as they say."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from .integrations.fleets import needs_redis

ROOT = Path(__file__).parent.parent
RECONCILE = [sys.executable, "-W", "error", "examples/reconcile.py", "examples/payments.csv"]
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith("LITTLE_PAY_")
}


def outcomes_in(file: Path) -> dict[str, str]:
    # Read in one go, and whole lines alone: it may be being written.
    text = file.read_bytes().decode()
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    found = {row["key"]: row["status"] for row in rows}
    assert len(found) == len(rows), "each has one row"
    return found


def test_a_reconciliation_goes_on_after_ctrl_c(tmp_path: Path) -> None:
    outcomes = tmp_path / "outcomes.csv"
    command = [*RECONCILE, str(outcomes)]
    first = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        assert first.stderr is not None
        said = [next(line for line in first.stderr if "pending" in line)]
        while len(outcomes_in(outcomes)) < 4:
            assert first.poll() is None
            os.sched_yield()  # two of three end by themselves, the third never does
        first.send_signal(signal.SIGINT)
        said += [first.communicate(timeout=20)[1]]
    finally:
        first.kill()
    assert first.returncode == 130
    assert "2 left" in said[-1]
    assert "Traceback" not in said[-1]

    done = outcomes_in(outcomes)
    assert set(done.values()) == {"COMPLETED", "FAILED"}
    again = subprocess.run(
        command,
        cwd=ROOT,
        env=ENVIRONMENT | {"SECONDS_TO_WAIT": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr  # to a new sandbox these two are the first two
    assert "6 payments, 2 to ask for" in again.stderr
    after = outcomes_in(outcomes)
    assert len(after) == 6
    assert done.items() <= after.items()


def test_what_does_not_end_is_left_for_another_time(tmp_path: Path) -> None:
    outcomes = tmp_path / "outcomes.csv"
    done = subprocess.run(
        [*RECONCILE, str(outcomes)],
        cwd=ROOT,
        env=ENVIRONMENT | {"SECONDS_TO_WAIT": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "2 left" in done.stderr
    assert len(outcomes_in(outcomes)) == 4


@needs_redis
def test_the_fleet() -> None:
    done = subprocess.run(
        [sys.executable, "examples/taskiq_fleet/play.py"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "15 orders are COMPLETED\n15 orders are FAILED\n" in done.stdout
    paid = re.findall(r"^(ORDER\d+) is ", done.stdout, re.MULTILINE)
    assert len(paid) == len(set(paid)) == 30
    assert "Traceback" not in done.stderr
