"""The workflows call nothing but nox, and the hooks are of the versions that nox has."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"

pytestmark = pytest.mark.skipif(not GITHUB.exists(), reason="a distribution has no workflows")

# What a workflow may run besides nox: what nox itself and the tests need of the machine.
PREPARES = (
    "python -m pip install nox",
    "sudo apt-get -qq update && sudo apt-get -qq install -y redis-server",
)
# These are for people: they take long, measure the machine, or write files.
FOR_PEOPLE = {"bench", "demo", "fleet", "fuzz", "lock", "pictures", "soak", "tests"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps() -> list[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Each step of each job of each workflow, with the job."""
    return [
        (path, job, step)
        for path in sorted((GITHUB / "workflows").glob("*.yml"))
        for job in load(path)["jobs"].values()
        for step in job["steps"]
    ]


def sessions_of(job: dict[str, Any], command: str) -> set[str]:
    """The names of the sessions that a step runs, whatever the matrix says."""
    matrix = job.get("strategy", {}).get("matrix", {})
    values = [
        value
        for name, found in matrix.items()
        for value in ([entry["session"] for entry in found] if name == "include" else found)
    ]
    named = re.sub(r"\$\{\{ matrix\.\w+ \}\}", " ".join(map(str, values)), command)
    named = named.partition("nox -s ")[2].partition(" -- ")[0]
    return {name.partition("-3.")[0] for name in named.split()}


def declared_sessions() -> set[str]:
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    return set(re.findall(r"^@nox\.session.*\ndef (\w+)\(", text, flags=re.MULTILINE))


def test_every_step_is_nox_or_prepares_it() -> None:
    commands = [step["run"] for _, _, step in steps() if "run" in step]
    assert len(commands) > 5
    for command in commands:
        code = command.partition("#")[0].strip()
        assert code in PREPARES or re.fullmatch(r"nox -s [^;&|`]+", code), command


def test_every_session_is_run_or_for_people() -> None:
    run = set().union(*(sessions_of(job, step["run"]) for _, job, step in steps() if "run" in step))
    declared = declared_sessions()
    assert {"lint", "tests", "package"} <= declared
    assert run <= declared
    assert declared - run == FOR_PEOPLE - run


def test_actions_are_pinned_by_commit_and_may_do_little() -> None:
    used = [step["uses"] for _, _, step in steps() if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
    for path in (GITHUB / "workflows").glob("*.yml"):
        workflow = load(path)
        assert workflow["permissions"] == {"contents": "read"}
        assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_the_hooks_have_the_versions_of_nox() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lint = set(project["dependency-groups"]["lint"])
    hooks = load(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    named = {need for hook in hooks for need in hook.get("additional_dependencies", ())}
    assert named
    assert named <= lint


def test_templates_and_updates_are_in_form() -> None:
    for name in ("bug_report", "feature_request"):
        form = load(GITHUB / f"ISSUE_TEMPLATE/{name}.yml")
        assert {"name", "description", "body"} <= form.keys()
        assert "phone number" in json.dumps(form) or name != "bug_report"
    assert {
        update["package-ecosystem"] for update in load(GITHUB / "dependabot.yml")["updates"]
    } >= {"github-actions"}
    assert "CHANGELOG" in (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")
