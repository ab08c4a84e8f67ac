"""Fuzzes the targets beside it: `python run.py SECONDS [TARGET...]`, each for so many seconds.

What fails is shown with the input it fails of, which is kept in `.fuzz/`, where what was found
before is gone on with: `python one.py TARGET SECONDS FOLDER` for one alone.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOUND = HERE.parent / ".fuzz"
TARGETS = ("http1", "wire", "arguments", "msisdn", "callbacks")
SECONDS = "60"


def main(seconds: str = SECONDS, *targets: str) -> None:
    FOUND.mkdir(exist_ok=True)
    results = {target: executions(target, seconds) for target in targets or TARGETS}
    for target, number in results.items():
        print(f"{target}: {number:,} executions in {seconds} s")
    record(", ".join(f"{target} {number:,}" for target, number in results.items()), seconds)


def executions(target: str, seconds: str) -> int:
    """Fuzz one target, in a process of its own, and return how often."""
    print(f"{target}: {seconds} s", flush=True)
    command = [sys.executable, str(HERE / "one.py"), target, seconds, str(FOUND)]
    with (FOUND / f"{target}.log").open("w+") as log:
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        log.seek(0)
        said = log.read()
    done = re.search(r"^Done (\d+) runs", said, re.MULTILINE)
    if ended.returncode or done is None:
        sys.exit(said[-8000:])
    return int(done[1])


def record(found: str, seconds: str) -> None:
    """Keep the figures with those of the other sessions."""
    figures = HERE.parent / "tests" / "faults" / "figures.py"
    text = f"executions, {seconds} s each, without a finding: {found}"
    subprocess.run([sys.executable, str(figures), "fuzzing", text], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
