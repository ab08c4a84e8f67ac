"""Importing the package is quick and loads nothing that is not needed yet."""

import json
import os
import subprocess
import sys

LIMIT = 1.4  # times the cost of importing httpx and cattrs, which the package cannot do without
RUNS = 7
# Where click is installed httpx loads it, and rich with it, which would hide much of our own cost.
WITHOUT_CLICK = "import sys; sys.modules['click'] = None"
NOT_NEEDED_YET = {
    *("aiohttp", "click", "cryptography", "fastapi", "phonenumbers", "rich", "starlette"),
    *("taskiq", "trio", "uvicorn", "uvloop"),
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Measuring coverage, and compiling anew each time, would be part of what is measured.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE") and name != "PYTHONDONTWRITEBYTECODE"
    }
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )


def costs(*modules: str) -> dict[str, int]:
    """Microseconds that importing `modules` spends in each module that they need."""
    report = run("-X", "importtime", "-c", f"{WITHOUT_CLICK}; import {', '.join(modules)}").stderr
    needed: dict[str, int] = {}
    tree: dict[str, int] = {}  # a module comes after what it imports, and less indented
    for line in report.splitlines()[1:]:
        spent, _, name = line.removeprefix("import time:").split("|")
        tree[name.strip()] = int(spent)
        if not name.startswith("  "):
            needed |= tree if name.strip() in modules else {}
            tree = {}
    assert set(modules) <= set(needed)
    return needed


def quickest(runs: list[dict[str, int]]) -> int:
    """The sum of the least that each module took: what is left when nothing else disturbs."""
    return sum(min(run.get(module, 0) for run in runs) for module in runs[0])


def packages_loaded_by(module: str) -> set[str]:
    script = f"import {module}, json, sys; print(json.dumps([*sys.modules]))"
    return {name.partition(".")[0] for name in json.loads(run("-c", script).stdout)}


def test_import_is_quick() -> None:
    ours, theirs = [], []
    for _ in range(RUNS):  # in turns: a busy moment of the machine slows both
        theirs.append(costs("httpx", "cattrs"))
        ours.append(costs("little_pay_async"))
    ratio = quickest(ours) / quickest(theirs)
    assert ratio <= LIMIT


def test_import_loads_no_extra() -> None:
    loaded = packages_loaded_by("little_pay_async") - packages_loaded_by("httpx")
    assert "little_pay_async" in loaded
    assert loaded & NOT_NEEDED_YET == set()
