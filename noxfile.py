"""Every check of this project: `nox` runs the usual ones, `nox --list` names them all."""

import json
import shutil
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "changelog", "tests", "coverage", "docs"]
nox.options.error_on_missing_interpreters = False  # what the machine has is tested, in CI too
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "virtualenv"  # the same installer everywhere

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
# What the tests exercise; the base dependencies alone are what `package` installs.
EXTRAS = ".[aiohttp,callbacks,cli,fastapi,otel,sandbox,taskiq,uvloop]"
# The working directory stays off sys.path: the installed package is the one that is run.
INSTALLED_ONLY = {"PYTHONSAFEPATH": "1"}
LOCK = "requirements-dev.lock"


def group(name: str) -> list[str]:
    """The requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def needed() -> list[str]:
    """What the lock must cover: the package's requirements, its extras' and what develops it."""
    project = PYPROJECT["project"]
    extras = [project["optional-dependencies"][extra] for extra in EXTRAS[2:-1].split(",")]
    return [*project["dependencies"], *chain.from_iterable(extras), *group("dev")]


@nox.session
def lint(session: nox.Session) -> None:
    """Format, style, and who may import whom."""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, and that every public name is fully typed, with what the lock names."""
    session.install("--require-hashes", "--requirement", LOCK)
    session.install("--no-deps", ".")
    session.install("--no-index", *needed())  # all is there, or the lock is stale
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "little_pay_async", "--ignoreexternal")


@nox.session
def api(session: nox.Session) -> None:
    """Whether the public API is the recorded one; `-- --write` records what it is now."""
    session.install(*(asked for asked in group("test") if asked.startswith("griffelib")))
    session.run("python", "checks/public_api.py", *session.posargs)


@nox.session(venv_backend="none")
def changelog(session: nox.Session) -> None:
    """CHANGELOG.md's form, and a line for what changed; `-- --since=main`, `-- --release=v1.0`."""
    session.run(sys.executable, "checks/changelog.py", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite on each Python that the machine has."""
    session.install(EXTRAS, *group("test"))
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs, env=INSTALLED_ONLY)


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
    session.run("python", "-m", "pytest", "-n", "auto", today, *session.posargs, env=INSTALLED_ONLY)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the whole suite; the least of it stands in pyproject.toml."""
    session.install(EXTRAS, *group("test"))
    session.run("coverage", "erase")
    parallel = ("-n", "auto")
    session.run("coverage", "run", "-m", "pytest", *parallel, *session.posargs, env=INSTALLED_ONLY)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Run the code blocks of README.md and docs/, and build the site, its links checked."""
    session.install(EXTRAS, *group("docs"))
    documents = ["README.md", *sorted(str(document) for document in Path("docs").glob("*.md"))]
    session.run("python", "-m", "pytest", *documents, env=INSTALLED_ONLY)
    site = Path(session.create_tmp()).resolve() / "site"
    session.run("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site))
    session.log(f"The site is at {site}")


@nox.session
def faults(session: nox.Session) -> None:
    """Every fault x operation x plain and TLS x transport; writes docs/what-happens-when.md."""
    session.install(EXTRAS, *group("test"))
    session.run(
        *("python", "-m", "pytest", "tests/faults", "--every-cell", *session.posargs),
        env=INSTALLED_ONLY,
    )


@nox.session
def cancellation(session: nox.Session) -> None:
    """Every operation, cancelled before each step that it takes; the suite has some of them."""
    session.install(EXTRAS, *group("test"))
    every = INSTALLED_ONLY | {"EVERY_STEP": "1"}
    session.run("python", "-m", "pytest", "tests/cancellation", *session.posargs, env=every)


@nox.session
def fragments(session: nox.Session) -> None:
    """Every prefix and every split of every documented answer; the suite has some of them."""
    session.install(EXTRAS, *group("test"))
    every = INSTALLED_ONLY | {"EVERY_FRAGMENT": "1"}
    session.run("python", "-m", "pytest", "tests/fragments", *session.posargs, env=every)


@nox.session
def soak(session: nox.Session) -> None:
    """What takes long: restarts under load, leaks, a real proxy, many payments in bad weather."""
    session.install(EXTRAS, *group("test"))
    long = INSTALLED_ONLY | {"SOAK": "1"}
    session.run(
        *("python", "-m", "pytest", "-s", "--timeout=7200", "-o", "python_files=soak_*.py"),
        *(session.posargs or ["tests/soak", "tests/test_money_model.py"]),
        env=long,
    )


@nox.session(python=[python for python in PYTHONS if python != "3.11"])  # by sys.monitoring
def secrets(session: nox.Session) -> None:
    """The tests of the client, with a look at every exception that leaves a frame of ours."""
    session.install(EXTRAS, *group("test"))
    chosen = session.posargs or [*map(str, sorted(Path("tests").glob("test_client*.py")))]
    session.run("python", "-m", "pytest", "--every-raise", *chosen, env=INSTALLED_ONLY)


@nox.session
def lock(session: nox.Session) -> None:
    """Write the lock of what is developed with, for every platform; `-- --check`: is it stale?"""
    session.install("uv")
    written = Path(session.create_tmp()).resolve() / LOCK
    if Path(LOCK).exists() and "--upgrade" not in session.posargs:
        shutil.copy(LOCK, written)  # what is in it stays, as far as pyproject.toml allows
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", "--quiet", "--universal"),
        *("--python-version", PYTHONS[0], "--group", "dev", "--generate-hashes"),
        *(f"--extra={extra}" for extra in EXTRAS[2:-1].split(",")),
        # It names packages and hashes, and nothing of the machine on which it was made.
        *("--no-header", "--no-annotate", "--no-emit-index-url", "--output-file", str(written)),
        silent=True,
    )
    if "--check" not in session.posargs:
        shutil.copy(written, LOCK)
    elif written.read_text() != Path(LOCK).read_text():
        session.error(f"{LOCK} is stale: run `nox -s lock`")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what the lock names; skipped where nobody can be asked."""
    session.install("pip-audit")
    report = Path(session.create_tmp()).resolve() / "audit.json"
    report.unlink(missing_ok=True)
    session.run(
        *("pip-audit", "--requirement", LOCK, "--require-hashes", "--disable-pip"),
        *("--progress-spinner=off", "--format=json", "--output", str(report), *session.posargs),
        success_codes=[0, 1],  # 1: something was found, or nobody could be asked
        silent=True,
    )
    if not report.exists():
        session.skip("NOTHING WAS AUDITED: the advisory service is not reachable")
    packages = json.loads(report.read_text())["dependencies"]
    # It calls "no known vulnerabilities" what it could not ask for.
    passed_over = [package["name"] for package in packages if "skip_reason" in package]
    if len(passed_over) == len(packages):
        session.skip("NOTHING WAS AUDITED: the advisory service knows none of the packages")
    found = [
        f"{package['name']} {package['version']}: {problem['id']}"
        for package in packages
        for problem in package.get("vulns", ())
    ]
    if passed_over:
        session.warn(f"not audited: {', '.join(passed_over)}")
    if found:
        session.error("vulnerable: " + ", ".join(found))
    session.log(f"audited {len(packages) - len(passed_over)} packages: nothing is known of them")


@nox.session
def fleet(session: nox.Session) -> None:
    """5,000 payments over 4 workers on a real Redis, of which two die half-way; `-- 1000` fewer."""
    session.install(EXTRAS, *group("test"))
    keys = session.posargs[0] if session.posargs else "5000"
    session.run(
        *("python", "-m", "pytest", "-s", "tests/integrations/test_taskiq_fleet.py"),
        env=INSTALLED_ONLY | {"FLEET_KEYS": keys},
    )


@nox.session
def fuzz(session: nox.Session) -> None:
    """Coverage-guided fuzzing by atheris, 60 s a target; `-- 300 http1` for longer and for one."""
    session.install(EXTRAS, *group("fuzz"))
    session.run("python", "fuzz/run.py", *session.posargs)


@nox.session
def pictures(session: nox.Session) -> None:
    """Make the pictures in docs/images anew; those of the sandbox's page need Chromium."""
    session.install(".[cli]", "playwright")
    session.run("python", "benchmarks/pages.py")  # from results.json
    session.run("python", "docs/terminals.py", env=INSTALLED_ONLY)
    session.run("python", "docs/pictures.py", env=INSTALLED_ONLY)


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


def environment(session: nox.Session, folder: Path, *requirements: str) -> str:
    """Make an environment of its own with these alone, and return its Python."""
    session.run("python", "-m", "venv", "--clear", str(folder))
    python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "--quiet", *requirements, external=True)
    session.run(python, "-m", "pip", "check", external=True)
    return python


@nox.session
def package(session: nox.Session) -> None:
    """Build into dist/, look into what was built, and use the wheel as its users do."""
    session.install(*group("package"))
    folder, dist = Path(session.create_tmp()).resolve(), Path("dist").resolve()
    checks, tests = Path("checks").resolve(), Path("tests").resolve()
    session.run("python", "checks/distributions.py", str(dist))
    wheel, sdist = next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.run("check-wheel-contents", str(wheel))
    # There is no address to write to: who has something to say says it in the repository.
    session.run("pyroma", "--min=10", "--skip-tests=AuthorEmail", str(sdist), silent=True)
    session.chdir(folder)
    python = environment(session, folder / "bare", str(wheel))
    show = "import little_pay_async as it; print('imported', it.__version__, 'from', it.__file__)"
    session.run(python, "-P", "-c", show, external=True)
    # What a user's type checkers see.
    python = environment(session, folder / "typed", str(wheel), *group("types"))
    modules = ("user_types/mistakes.py", "typing/models.py", "typing/public.py")
    project = project_of(folder / "types", [tests / module for module in modules])
    session.chdir(project)
    session.run(python, str(checks / "typed.py"), external=True)
    # What a user's project has: the library, its sandbox, and what runs its tests.
    python = environment(
        session, folder / "with_sandbox", f"{wheel}[sandbox]", "pytest", "pytest-asyncio"
    )
    project = project_of(folder / "shop", (tests / "user_projects").glob("*.py"), prefix="test_")
    (project / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    session.chdir(project)
    session.run(python, "-m", "pytest", "-rs", external=True)


def project_of(project: Path, modules: Iterable[Path], *, prefix: str = "") -> Path:
    """Make a project of a user with these modules, and return where it is."""
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    for module in modules:
        shutil.copy(module, project / f"{prefix}{module.name}")
    return project
