"""The pytest plugin, in projects of users; `nox -s package` has it in an environment of its own."""

from pathlib import Path

import pytest

from .test_documents import blocks

pytest_plugins = ["pytester"]

PROJECTS = Path(__file__).parent / "user_projects"
# A session is kept, and used once its test is over.
KEPT = """
import asyncio
import pytest
from little_pay_async import SessionClosedError

kept = []

@pytest.mark.asyncio
async def test_first(little_pay, little_pay_sandbox):
    with pytest.raises(Exception, match="404"):
        await little_pay.status("NOBODY")
    kept.extend([little_pay, asyncio.get_running_loop()])

@pytest.mark.asyncio
async def test_second():
    pay, loop = kept
    assert (loop is asyncio.get_running_loop()) is SAME_LOOP
    with pytest.raises(SessionClosedError, match="the session is closed"):
        await pay.status("NOBODY")
"""
WITHOUT_EXTRA = """
import sys

sys.modules["starlette"] = None  # not to be found

def pytest_sessionstart():
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert "_little_pay_async_pytest" in loaded
    assert not loaded & {"little_pay_async", "httpx"}
"""


@pytest.fixture(autouse=True)
def _project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all plugins that this project's tests need, a user's project has these."""
    pytester.makeini(
        "[pytest]\n"
        "addopts = -p little_pay -p anyio -p pytest_asyncio.plugin\n"
        "asyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error\n"
    )
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_styles(pytester: pytest.Pytester) -> None:
    """Asyncio's strict mode, anyio on asyncio and trio, and no event loop; warnings are errors."""
    pytester.makepyfile(
        test_asyncio=(PROJECTS / "asyncio_style.py").read_text(encoding="utf-8"),
        test_in_docs=blocks("docs/testing.md", "python")[0],
        test_anyio=(PROJECTS / "anyio_style.py").read_text(encoding="utf-8"),
        test_kept=KEPT.replace("SAME_LOOP", "False"),
        test_kept_in_module=KEPT.replace("SAME_LOOP", "True").replace(
            "@pytest.mark.asyncio", "@pytest.mark.asyncio(loop_scope='module')"
        ),
    )
    ran = pytester.runpytest_subprocess()
    ran.assert_outcomes(passed=8 + 3 + 6 + 2 + 2)
    assert "Warning" not in ran.stderr.str()


def test_auto_mode(pytester: pytest.Pytester) -> None:
    """Fixtures of the user's that are coroutines may ask for the session, and end before it."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        async def order(little_pay):
            intent = await little_pay.create_intent(
                amount=1, key="ORDER42", description="x", callback_url="https://shop.example/"
            )
            yield intent
            assert (await little_pay.status(intent)).key == "ORDER42"

        async def test_paid(order, little_pay, little_pay_sandbox):
            little_pay_sandbox.settle("ORDER42", "COMPLETED")
            assert (await little_pay.wait(order)).status.is_final
            await little_pay_sandbox.advance(120)
        """
    )
    pytester.runpytest_subprocess("-o", "asyncio_mode=auto").assert_outcomes(passed=1)


def test_without_the_extra(pytester: pytest.Pytester) -> None:
    """A project that does not use the fixtures is not disturbed; one that does is told."""
    pytester.makeconftest(WITHOUT_EXTRA)
    pytester.makepyfile("def test_other(): pass\ndef test_ours(little_pay): pass")
    ran = pytester.runpytest_subprocess()
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.fnmatch_lines(["*starlette*is not installed*little-pay-async?sandbox?*"])
