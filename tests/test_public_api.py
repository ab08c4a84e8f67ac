"""The public API is the recorded one, and a change of it would be seen."""

import difflib
import re
import runpy
import shutil
from pathlib import Path

import griffe
import pytest

ROOT = Path(__file__).parent.parent
API = runpy.run_path(str(ROOT / "checks" / "public_api.py"))
RECORD = (ROOT / "tests" / "public_api.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ours() -> list[griffe.Module]:
    return API["load"](ROOT)


def test_it_is_the_recorded_one(ours: list[griffe.Module]) -> None:
    now = API["render"](*ours).splitlines()
    changes = [*difflib.unified_diff(RECORD.splitlines(), now, "recorded", "now", n=1, lineterm="")]
    meant = "Is that meant? Then: nox -s api -- --write, and a line in CHANGELOG.md"
    assert not changes, "\n".join(["the public API is another", *changes, meant])


def copy(folder: Path) -> Path:
    """Copy the package and the plugin, to break them."""
    package, plugin = API["NAMES"]
    shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / f"{plugin}.py", folder)
    return folder / package


@pytest.mark.parametrize(
    ("edit", "gone", "kind"),
    [
        pytest.param(
            ("_client.py", r"async def refund\(", "async def pay_back("),
            "async def refund(",
            griffe.BreakageKind.OBJECT_REMOVED,
            id="a method is renamed",
        ),
        pytest.param(
            ("_client.py", r"        reason: str \| None = None,\n", ""),
            "reason: str | None = None,",
            griffe.BreakageKind.PARAMETER_REMOVED,
            id="a parameter is gone",
        ),
        pytest.param(
            ("_client.py", r"max_retries: int = 2,", "max_retries: int = 9,"),
            "max_retries: int = 2,",
            griffe.BreakageKind.PARAMETER_CHANGED_DEFAULT,
            id="a default is another",
        ),
        pytest.param(
            ("_models.py", r"    provider_reference: str \| None = None\n", ""),
            "provider_reference: str | None = None",
            griffe.BreakageKind.OBJECT_REMOVED,
            id="a field is gone",
        ),
        pytest.param(
            ("_wire/arguments.py", r"(?m)^(type )?Key\b.* = .*$", "Key = str"),
            "little_pay_async._wire.arguments.Key = str | PaymentIntent | Payment",
            None,  # its name is not public, but what it stands for is
            id="fewer types are taken",
        ),
    ],
)
def test_a_change_is_seen(
    tmp_path: Path,
    ours: list[griffe.Module],
    edit: tuple[str, str, str],
    gone: str,
    kind: griffe.BreakageKind | None,
) -> None:
    package = copy(tmp_path)
    room, pattern, replacement = edit
    source = (package / room).read_text(encoding="utf-8")
    broken, times = re.subn(pattern, replacement, source, count=1)
    assert times == 1
    (package / room).write_text(broken, encoding="utf-8")
    theirs = API["load"](tmp_path)
    before, after = (API["render"](*modules).splitlines() for modules in (ours, theirs))
    changes = difflib.unified_diff(before, after, lineterm="")
    assert gone in [line[1:].strip() for line in changes if line.startswith("-")]
    if kind is not None:
        breaking = griffe.find_breaking_changes(ours[0], theirs[0])
        assert kind in {breakage.kind for breakage in breaking}


def test_what_is_private_is_not_in_it() -> None:
    for line in RECORD.partition("names that signatures use")[0].splitlines()[1:]:
        name = re.match(r" *(?:async )?(?:class |def |property )?(\w+)", line)
        assert not name or re.match(r"[^_]|__\w+__$", name[1]), line
