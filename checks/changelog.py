"""Whether CHANGELOG.md is in form, and has something to say of what changed in the package.

What changed is counted from `--since`, or from the branch that a pull request is for, or from the
last tag; where there is none of them, as before the first release, the form alone is looked at.
A commit of which a user notices nothing says so in a line of its message: `Changelog: none`.
"""

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path

CHANGELOG = Path("CHANGELOG.md")
VERSION = Path("little_pay_async/_version.py")
OF_USERS = ("_little_pay_async_pytest.py", "little_pay_async")
EXEMPT = "^Changelog: none$"
# Keep a Changelog's, and one of ours.
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limitations"}
RELEASE = re.compile(r"## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)( \[YANKED\])?")


def releases(text: str) -> list[str]:
    """Return the versions that have a heading, the newest first."""
    return [found[1] for line in text.splitlines() if (found := RELEASE.fullmatch(line))]


def faults(text: str) -> list[str]:
    """Return what is wrong with the form of a changelog."""
    lines = text.splitlines()
    found: list[str] = []
    if lines[:1] != ["# Changelog"]:
        found.append("it does not begin with '# Changelog'")
    headings = [line for line in lines if line.startswith("## ")]
    if headings[:1] != ["## [Unreleased]"]:
        found.append("its first section is not '## [Unreleased]'")
    found += [
        f"no heading of a release: {line}" for line in headings[1:] if not RELEASE.fullmatch(line)
    ]
    if found:
        return found
    dated: list[tuple[tuple[int, ...], date]] = []
    for line in headings[1:]:
        version, day, _ = RELEASE.findall(line)[0]
        try:
            dated.append((tuple(map(int, version.split("."))), date.fromisoformat(day)))
        except ValueError:
            found.append(f"no date: {line}")
    for (newer, later), (older, earlier) in pairwise(dated):
        if newer <= older or later < earlier:
            found.append(f"{newer} of {later} stands over {older} of {earlier}")
    for section in re.split(r"(?m)^## ", text)[1:]:
        found += faults_of_section(*section.split("\n", 1))
    return found


def faults_of_section(heading: str, body: str) -> list[str]:
    """Return what is wrong with what stands under the heading of a release."""
    kinds = re.findall(r"(?m)^### (.*)$", body)
    found = [f"{heading}: no kind of change: {kind}" for kind in kinds if kind not in KINDS]
    found += [f"{heading}: twice: {kind}" for kind in KINDS if kinds.count(kind) > 1]
    for part in re.split(r"(?m)^### .*$", body)[1:]:
        if not part.strip():
            found.append(f"{heading}: a kind of change with no change")
    found += [
        f"{heading}: neither a change nor its second line: {line}"
        for line in body.splitlines()
        if line and not line.startswith(("- ", "  ", "### ", "["))
    ]
    if heading != "[Unreleased]" and not kinds:
        found.append(f"{heading}: it says nothing")
    return found


def faults_of_release(tag: str, text: str) -> list[str]:
    """Return what speaks against releasing what is here under a tag."""
    version = runpy.run_path(str(VERSION))["__version__"]
    unreleased = text.partition("## [Unreleased]")[2].partition("\n## ")[0]
    found = []
    if tag != f"v{version}":
        found.append(f"the tag {tag} is not that of version {version}")
    if releases(text)[:1] != [version]:
        found.append(f"the newest release in it is not {version}")
    if unreleased.strip():
        found.append("something is unreleased in it")
    return found


def git(*arguments: str) -> str:
    """Return what git says, or nothing where it does not know or is not."""
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", *arguments], check=False, capture_output=True, text=True)  # noqa: S603, S607 - git's, wherever it is
    return done.stdout.strip()


def base(since: str | None) -> str | None:
    """Return the commit from which changes are counted, if there is one."""
    branch = os.environ.get("GITHUB_BASE_REF")
    if since is None and branch:
        since = f"origin/{branch}"
    if since is None:
        since = git("describe", "--tags", "--abbrev=0", "--match=v*") or None
    if since is None:
        return None
    if commit := git("merge-base", since, "HEAD"):
        return commit
    raise SystemExit(f"{since} is not here, or not of this history: nothing can be counted from it")


def not_told(since: str | None) -> list[str]:
    """Return the commits that changed the package since then, if the changelog has none of it."""
    commit = base(since)
    if commit is None or git("diff", "--name-only", commit, "--", str(CHANGELOG)):
        return []
    counted = ("log", "--no-merges", "--format=%h %s", "--invert-grep", f"--grep={EXEMPT}")
    return git(*counted, f"{commit}..HEAD", "--", *OF_USERS).splitlines()


def main() -> int:
    """Say what is wrong, if anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--since", metavar="REF", help="count what changed from here")
    parser.add_argument("--release", metavar="TAG", help="can this be released as TAG?")
    arguments = parser.parse_args()
    text = CHANGELOG.read_text(encoding="utf-8")
    found = faults(text)
    if arguments.release:
        found += faults_of_release(arguments.release, text)
    found += [f"no line for what this changed: {line}" for line in not_told(arguments.since)]
    for fault in found:
        sys.stderr.write(f"{CHANGELOG}: {fault}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
