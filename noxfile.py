"""Every check of this project: `nox` runs the usual ones, `nox --list` names them all."""

import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests", "coverage", "docs"]
nox.options.error_on_missing_interpreters = False  # what the machine has is tested, in CI too
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "virtualenv"  # the same installer everywhere

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
# What the tests exercise; the base dependencies alone are what `package` installs.
EXTRAS = ".[aiohttp,callbacks,cli,fastapi,sandbox,uvloop]"
# The working directory stays off sys.path: the installed package is the one that is run.
INSTALLED_ONLY = {"PYTHONSAFEPATH": "1"}


def group(name: str) -> list[str]:
    """The requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


@nox.session
def lint(session: nox.Session) -> None:
    """Format, style, and who may import whom."""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, and that every public name is fully typed."""
    session.install(EXTRAS, *group("types"), *group("test"), "nox")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "little_pay_async", "--ignoreexternal")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite on each Python that the machine has."""
    session.install(EXTRAS, *group("test"))
    session.run("python", "-m", "pytest", *session.posargs, env=INSTALLED_ONLY)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The whole suite on the lowest versions that pyproject.toml allows of direct dependencies."""
    versions = Path(session.create_tmp()) / "lowest.txt"
    extras = [f"--extra={extra}" for extra in EXTRAS[2:-1].split(",")]
    session.install("uv")
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", "--quiet", "--no-header"),
        *("--resolution=lowest-direct", "--python", session.virtualenv.location, *extras),
        *("--output-file", str(versions)),
        silent=True,
    )
    session.install(EXTRAS, *group("test"), "--constraint", str(versions))
    # Old dependencies are slower to import: the budget is for those of today.
    today = "--deselect=tests/test_import_time.py::test_import_is_quick"
    session.run("python", "-m", "pytest", today, *session.posargs, env=INSTALLED_ONLY)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the whole suite; the least of it stands in pyproject.toml."""
    session.install(EXTRAS, *group("test"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs, env=INSTALLED_ONLY)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Run the code blocks of README.md and docs/."""
    session.install(EXTRAS, *group("docs"))
    documents = ["README.md", *sorted(str(document) for document in Path("docs").glob("*.md"))]
    session.run("python", "-m", "pytest", *documents, env=INSTALLED_ONLY)


@nox.session
def faults(session: nox.Session) -> None:
    """Every fault x operation x plain and TLS x transport; writes docs/what-happens-when.md."""
    session.install(EXTRAS, *group("test"))
    session.run(
        *("python", "-m", "pytest", "tests/faults", "--every-cell", *session.posargs),
        env=INSTALLED_ONLY,
    )


@nox.session
def fragments(session: nox.Session) -> None:
    """Every prefix and every split of every documented answer; the suite has some of them."""
    session.install(EXTRAS, *group("test"))
    every = INSTALLED_ONLY | {"EVERY_FRAGMENT": "1"}
    session.run("python", "-m", "pytest", "tests/fragments", *session.posargs, env=every)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Coverage-guided fuzzing by atheris, 60 s a target; `-- 300 http1` for longer and for one."""
    session.install(EXTRAS, *group("fuzz"))
    session.run("python", "fuzz/run.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """CPU and memory per parked poll, next to other clients; `-- --quick` for a small run."""
    session.install(EXTRAS, *group("bench"))
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """What a new user runs first."""
    session.install(".[cli]")
    session.run("little-pay", "demo", *session.posargs, env=INSTALLED_ONLY)


@nox.session
def package(session: nox.Session) -> None:
    """Build the distributions, look into them, and import the wheel from a bare environment."""
    session.install(*group("package"))
    folder = Path(session.create_tmp()).resolve()
    dist, bare = folder / "dist", folder / "bare"
    for old in dist.glob("*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True)
    wheel, sdist = next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.run("check-wheel-contents", str(wheel))
    session.run("python", "-m", "venv", "--clear", str(bare))
    python = str(bare / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
    session.run(python, "-m", "pip", "check", external=True)
    session.chdir(folder)
    show = "import little_pay_async as it; print('imported', it.__version__, 'from', it.__file__)"
    session.run(python, "-P", "-c", show, external=True)
