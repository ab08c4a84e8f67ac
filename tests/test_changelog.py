"""CHANGELOG.md: its form, the one version, and that no change of the package goes untold."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import httpx
import pytest

import little_pay_async

from .sessions import session

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "checks" / "changelog.py"
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CHECK = runpy.run_path(str(SCRIPT))
WELL_FORMED = """\
# Changelog

All notable changes.

## [Unreleased]

## [0.10.0] - 2026-03-01

### Added

- One thing, which takes
  two lines.

## [0.9.0] - 2026-02-28 [YANKED]

### Fixed

- Another.
"""
ENVIRONMENT = {  # with no repository but the one that is made here, and nobody's settings
    name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "GITHUB_"))
} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{
        f"GIT_{who}_{what}": "shop@shop.example"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


def test_ours_is_in_form() -> None:
    assert CHECK["faults"](CHANGELOG) == []


def test_one_in_form() -> None:
    assert CHECK["faults"](WELL_FORMED) == []
    assert CHECK["releases"](WELL_FORMED) == ["0.10.0", "0.9.0"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("# Changelog", "# History"),
        ("## [Unreleased]\n\n", ""),
        ("## [0.10.0] - 2026-03-01", "## 0.10.0 - 2026-03-01"),
        ("## [0.10.0] - 2026-03-01", "## [0.10.0]"),
        ("2026-03-01", "01.03.2026"),
        ("2026-03-01", "2026-03-32"),
        ("2026-03-01", "2026-02-27"),
        ("0.10.0", "0.8.0"),
        ("### Added", "### New"),
        ("### Added\n\n", ""),
        ("- One thing, which takes\n  two lines.\n", ""),
        ("- One", "* One"),
        ("  two lines.\n", "  two lines.\n\n### Added\n\n- Yet another.\n"),
    ],
)
def test_one_out_of_form(right: str, wrong: str) -> None:
    assert right in WELL_FORMED
    assert CHECK["faults"](WELL_FORMED.replace(right, wrong, 1)) != []


# The version stands in `_version.py`


def test_the_installed_package_has_the_version() -> None:
    assert metadata.version("little-pay-async") == little_pay_async.__version__


def test_the_version_is_that_of_the_newest_release_in_the_changelog() -> None:
    """Or it is that of the first release, which is still to come."""
    versions = CHECK["releases"](CHANGELOG)
    assert versions[:1] == ([little_pay_async.__version__] if versions else [])


@pytest.mark.anyio
async def test_the_user_agent_has_the_version() -> None:
    seen: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["User-Agent"])
        return httpx.Response(404)

    async with session("https://pay.example", transport=httpx.MockTransport(note)) as pay:
        with pytest.raises(little_pay_async.NotFoundError):
            await pay.status("ORDER42")
    assert seen == [f"little-pay-async/{little_pay_async.__version__}"]


def test_no_other_file_has_the_version() -> None:
    written = re.compile(rf"(?<![\d.]){re.escape(little_pay_async.__version__)}(?![\d.]*\d)")
    files = [ROOT / "noxfile.py", ROOT / "mkdocs.yml", *(ROOT / "little_pay_async").rglob("*.py")]
    found = [path.name for path in files if written.search(path.read_text(encoding="utf-8"))]
    assert found == ["_version.py"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[0]
    assert 'dynamic = ["version"]' in project
    assert not written.search(project)


# What changed


class Repository:
    """A repository with a released package, in which something changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for file in ("little_pay_async/_version.py", "_little_pay_async_pytest.py", "README.md"):
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text("", encoding="utf-8")
        self.write("little_pay_async/_version.py", '__version__ = "0.10.0"\n')
        self.write("CHANGELOG.md", WELL_FORMED)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Release")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, env=ENVIRONMENT, check=True)  # noqa: S607 - git's, wherever it is

    def write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text, encoding="utf-8")

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def check(self, *arguments: str, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            cwd=self.folder,
            env=ENVIRONMENT | environment,
            check=False,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Repository(tmp_path)


def test_before_the_first_tag_nothing_is_counted(repository: Repository) -> None:
    repository.write("_little_pay_async_pytest.py", "changed = True\n")
    repository.commit("A change")
    assert repository.check() == (0, "")


@pytest.mark.parametrize("how", ["since", "pull request", "last tag"])
def test_a_change_of_the_package_wants_a_line(repository: Repository, how: str) -> None:
    arguments, environment = [], {}
    if how == "since":
        repository.git("branch", "base")
        arguments = ["--since=base"]
    elif how == "pull request":
        repository.git("update-ref", "refs/remotes/origin/main", "HEAD")
        environment = {"GITHUB_BASE_REF": "main"}
    else:
        repository.git("tag", "v0.10.0")
    repository.write("README.md", "Another word.\n")
    repository.commit("A word")
    assert repository.check(*arguments, **environment) == (0, "")
    repository.write("little_pay_async/_version.py", '__version__ = "0.10.0"\nmore = True\n')
    repository.commit("More")
    code, said = repository.check(*arguments, **environment)
    assert code == 1
    assert re.search(r"^CHANGELOG.md: no line for what this changed: [0-9a-f]+ More$", said)
    more = WELL_FORMED.replace("[Unreleased]\n", "[Unreleased]\n\n### Added\n\n- More.\n")
    repository.write("CHANGELOG.md", more)
    repository.commit("And its line")
    assert repository.check(*arguments, **environment) == (0, "")


def test_a_change_that_no_user_notices(repository: Repository) -> None:
    repository.git("tag", "v0.10.0")
    repository.write("_little_pay_async_pytest.py", "tidy = True\n")
    repository.commit("Tidied\n\nChangelog: none")
    assert repository.check() == (0, "")
    repository.write("_little_pay_async_pytest.py", "tidy = False\n")
    repository.commit("Untidied")
    code, said = repository.check()
    assert (code, said.count("\n")) == (1, 1)


def test_a_base_that_is_not_there(repository: Repository) -> None:
    code, said = repository.check(GITHUB_BASE_REF="main")
    assert code == 1
    assert said.startswith("origin/main is not here")


def test_what_may_be_released(repository: Repository) -> None:
    assert repository.check("--release=v0.10.0") == (0, "")
    assert repository.check("--release=v0.11.0")[0] == 1
    repository.write("little_pay_async/_version.py", '__version__ = "0.11.0"\n')
    assert "the newest release in it is not 0.11.0" in repository.check("--release=v0.11.0")[1]
    repository.write("little_pay_async/_version.py", '__version__ = "0.10.0"\n')
    more = WELL_FORMED.replace("[Unreleased]\n", "[Unreleased]\n\n### Added\n\n- More.\n")
    repository.write("CHANGELOG.md", more)
    assert "unreleased" in repository.check("--release=v0.10.0")[1]
