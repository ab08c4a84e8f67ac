"""Whether an sdist has the files it should have, and whether anybody who builds gets the same.

The distributions are built once more from the unpacked sdist, in a folder of another name, with
files of another date, for another user's umask, time zone, language and order of hashes: every byte
of the sdist and of the wheel must be as before.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# What git has and a distribution of sources has not.
NOT_IN_SDIST = (".ci/", ".gitattributes", ".github/", ".pre-commit-config.yaml")
ELSEWHERE = {"PYTHONHASHSEED": "7", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}
LONG_AGO = 1_000_000_000


def faults_of_sdist(sdist: Path) -> list[str]:
    """Return what an sdist lacks of the files that git tracks, and what it has besides."""
    if not Path(".git").exists():
        sys.stderr.write("the sdist's files were not looked at: this is no checkout of git\n")
        return []
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - git's, wherever it is
        check=True,
        capture_output=True,
        text=True,
    )
    tracked = {name for name in listed.stdout.split("\0") if name}
    expected = {name for name in tracked if not name.startswith(NOT_IN_SDIST)} | {"PKG-INFO"}
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    return [
        *(f"the sdist lacks {name}" for name in sorted(expected - files)),
        *(f"the sdist has {name}, which git does not track" for name in sorted(files - expected)),
    ]


def build(folder: Path, into: Path, **environment: str) -> None:
    """Build both distributions of what is in a folder."""
    subprocess.run(  # noqa: S603 - the environment's own
        [sys.executable, "-m", "build", "--quiet", "--outdir", str(into)],
        cwd=folder,
        env=os.environ | environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def build_again(sdist: Path, folder: Path) -> Path:
    """Build what an sdist has in it, under other circumstances, and return where that is."""
    umask = os.umask(0o077)
    try:
        with tarfile.open(sdist) as archive:
            # Not in every Python 3.11 is there a filter, and the archive is our own.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            archive.extractall(folder)  # noqa: S202
        source = next(folder.iterdir()).rename(folder / "under another name")
        for path in source.rglob("*"):
            os.utime(path, (LONG_AGO, LONG_AGO))
            path.chmod(path.stat().st_mode & 0o700)
        build(source, folder / "again", **ELSEWHERE)
    finally:
        os.umask(umask)
    return folder / "again"


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each distribution in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*-*.*")
    }


def main() -> int:
    """Build into a folder, and say what is wrong, if anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path, help="the folder, which is emptied first")
    dist: Path = parser.parse_args().dist.resolve()
    shutil.rmtree(dist, ignore_errors=True)
    build(Path(), dist)
    (sdist,) = dist.glob("*.tar.gz")
    found = faults_of_sdist(sdist)
    first = hashes(dist)
    with tempfile.TemporaryDirectory() as folder:
        second = hashes(build_again(sdist, Path(folder)))
    for name in sorted(first.keys() | second.keys()):
        sys.stdout.write(f"sha256:{first.get(name)} {name}\n")
        if first.get(name) != second.get(name):
            found.append(f"{name} was another, {second.get(name)}, when it was built elsewhere")
    for fault in found:
        sys.stderr.write(f"{fault}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
