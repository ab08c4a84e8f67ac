"""What every test shares: the event loops it runs on and how hypothesis searches."""

import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from importlib.util import find_spec
from inspect import iscoroutinefunction

import anyio
import pytest
from hypothesis import settings

from .leak_scan import LeakScan

# On a build machine the same commit gives the same examples; elsewhere every run looks at new ones.
# No deadlines: a shared machine that stalls for a moment says nothing about the code.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# Where the tests are started in the background, a shell has SIGINT ignored, and the commands that
# they start would inherit that: Ctrl-C would do nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest-timeout ends the whole run, since neither uvloop nor trio lets a signal interrupt a test.
# An async test that hangs is cancelled well before that, and its traceback says where it waited.
ASYNC_TEST_SECONDS = 30


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("asyncio", {"debug": True}), id="asyncio-debug"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """The event loop that an async test runs on; `pytest.mark.asyncio_only` leaves trio out."""
    return request.param


def pytest_addoption(parser: pytest.Parser) -> None:
    every = "look at every exception that leaves a frame of the package (Python 3.12)"
    parser.addoption("--every-raise", action="store_true", help=every)


def pytest_configure(config: pytest.Config) -> None:
    """Have every test fail in which the library shows a canary."""
    scan = LeakScan(every_raise=config.getoption("--every-raise"))
    config.pluginmanager.register(scan, "leak_scan")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Drop the trio variant of what is marked `asyncio_only`."""
    items[:] = [
        item
        for item in items
        if item.get_closest_marker("asyncio_only") is None or not _runs_on_trio(item)
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Let no async test wait for ever."""
    if iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = _bounded(pyfuncitem.obj)


def pytest_report_header() -> str:
    """Say which copy of the package is under test: it should be the installed one."""
    spec = find_spec("little_pay_async")
    return f"package under test: {spec.origin if spec else 'not installed'}"


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def bounded(**arguments: object) -> None:
        with anyio.fail_after(ASYNC_TEST_SECONDS):
            await test(**arguments)

    return bounded


def _runs_on_trio(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    backend = callspec.params.get("anyio_backend") if callspec else None
    return isinstance(backend, tuple) and backend[0] == "trio"
