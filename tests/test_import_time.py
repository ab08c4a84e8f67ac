"""Importing the package is quick and loads nothing that is not needed yet."""

import json
import os
import subprocess
import sys

LIMIT = 1.4  # times the cost of importing httpx and cattrs, which the package cannot do without
RUNS = 7
NOT_NEEDED_YET = {
    *("aiohttp", "click", "cryptography", "fastapi", "phonenumbers", "rich", "starlette"),
    *("taskiq", "trio", "uvicorn", "uvloop"),
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Measuring coverage would be part of what is measured.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )


def microseconds(*modules: str) -> int:
    """What importing `modules` costs a fresh interpreter, all that they import included."""
    report = run("-X", "importtime", "-c", f"import {', '.join(modules)}").stderr
    costs: dict[str, int] = {}
    for line in report.splitlines():
        _, cumulative, name = line.removeprefix("import time:").split("|")
        if cumulative.strip().isdigit() and not name.startswith("  "):
            costs[name.strip()] = int(cumulative)
    return sum(costs[module] for module in modules)


def packages_loaded_by(module: str) -> set[str]:
    script = f"import {module}, json, sys; print(json.dumps([*sys.modules]))"
    return {name.partition(".")[0] for name in json.loads(run("-c", script).stdout)}


def test_import_is_quick() -> None:
    ours, theirs = [], []
    for _ in range(RUNS):  # in turns: a busy moment of the machine slows both
        theirs.append(microseconds("httpx", "cattrs"))
        ours.append(microseconds("little_pay_async"))
    assert min(ours) <= LIMIT * min(theirs)


def test_import_loads_no_extra() -> None:
    loaded = packages_loaded_by("little_pay_async") - packages_loaded_by("httpx")
    assert "little_pay_async" in loaded
    assert loaded & NOT_NEEDED_YET == set()
