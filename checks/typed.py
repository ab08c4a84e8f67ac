"""Whether a user's type checkers see the types of the installed package.

It is run by the Python of an environment that has the wheel, mypy and pyright, in the folder of a
user's project. Both checkers are strict, and must find a fault in every line that ends with
`# refused`, and nowhere else. Without `py.typed` they would find more.
"""

import json
import subprocess
import sys
from pathlib import Path

Line = tuple[str, int]


def refused() -> set[Line]:
    """Return the lines that are said to be wrong."""
    return {
        (path.name, number)
        for path in Path().glob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# refused")
    }


def output(*command: str) -> str:
    """Return what a checker prints."""
    done = subprocess.run(  # noqa: S603 - the checkers are the environment's own
        [sys.executable, "-P", "-m", *command], check=False, capture_output=True, text=True
    )
    if done.returncode != 1:  # they found something, and were able to look
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def by_mypy() -> dict[Line, str]:
    """Return what mypy finds."""
    found = map(json.loads, output("mypy", "--strict", "--output=json", ".").splitlines())
    return {
        (fault["file"].removeprefix("./"), fault["line"]): fault["message"]
        for fault in found
        if fault["severity"] == "error"
    }


def by_pyright() -> dict[Line, str]:
    """Return what pyright finds, warnings included."""
    Path("pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")
    report = json.loads(output("pyright", "--outputjson", "--pythonpath", sys.executable))
    return {
        (Path(fault["file"]).name, fault["range"]["start"]["line"] + 1): fault["message"]
        for fault in report["generalDiagnostics"]
    }


def main() -> int:
    """Compare what is found with what is said to be wrong."""
    expected = refused()
    wrong = False
    for checker, found in (("mypy", by_mypy()), ("pyright", by_pyright())):
        for name, number in sorted(expected - found.keys()):
            sys.stderr.write(f"{checker} lets pass {name}:{number}\n")
        for name, number in sorted(found.keys() - expected):
            sys.stderr.write(f"{checker} at {name}:{number}: {found[name, number]}\n")
        wrong |= found.keys() != expected
        sys.stdout.write(f"{checker} finds the mistakes in {len(found)} lines\n")
    return int(wrong or not expected)


if __name__ == "__main__":
    sys.exit(main())
