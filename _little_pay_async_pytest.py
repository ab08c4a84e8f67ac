"""The pytest plugin: `little_pay_sandbox`, a Little Pay for one test, and `little_pay`, a session.

For tests that anyio's plugin runs, on any event loop; for pytest-asyncio's, in both of its modes
and on loops of any scope; and for tests that are no coroutines.

A module outside of the package, since pytest imports every plugin at its start: importing the
package takes longer than many a test. What is needed is imported where a fixture is asked for.
"""

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from little_pay_async import AsyncLittlePay
    from little_pay_async.sandbox import Sandbox

# ruff: noqa: PLC0415 - see above


@pytest.fixture
def little_pay_sandbox(request: pytest.FixtureRequest) -> "Iterator[Sandbox]":
    """A Little Pay of the test's own, that moves no money; see `little_pay_async.sandbox`."""
    try:
        from little_pay_async.sandbox import Sandbox
    except ImportError as error:
        pytest.fail(
            f"little_pay_sandbox: {error.name} is not installed: "
            "run pip install 'little-pay-async[sandbox]'",
            pytrace=False,
        )
    if _is_of_anyio(request):
        yield request.getfixturevalue("_little_pay_sandbox_in_block")
        return
    with Sandbox.without_block() as sandbox:
        yield sandbox


@pytest.fixture
def little_pay(
    request: pytest.FixtureRequest, little_pay_sandbox: "Sandbox"
) -> "Iterator[AsyncLittlePay]":
    """A session with the test's sandbox, opened at its first use and closed after the test."""
    if _is_of_anyio(request):
        yield request.getfixturevalue("_little_pay_in_block")
        return
    # pytest-asyncio's: what was set up before is still there when the session is to be closed.
    for name in tuple(request.fixturenames):
        if name.endswith("_scoped_runner"):
            request.getfixturevalue(name)
    import httpx

    from little_pay_async import AsyncLittlePay

    loops: list[asyncio.AbstractEventLoop] = []

    async def note(_: httpx.Request) -> None:
        if not loops:
            loops.append(asyncio.get_running_loop())

    # The client is the session's own but for this: where the loop ended first, closed by the test
    # or its runner, there is nothing left to be closed, and nothing to be warned of.
    client = httpx.AsyncClient(
        transport=little_pay_sandbox.transport,
        trust_env=False,
        timeout=None,  # noqa: S113 - the session's own
        event_hooks={"request": [note]},
    )
    pay = AsyncLittlePay(
        **little_pay_sandbox.credentials, http_client=client, max_connections=_CONNECTIONS
    )
    yield pay
    for loop in loops:
        if not (loop.is_closed() or loop.is_running()):
            loop.run_until_complete(pay.aclose())


_CONNECTIONS = 10_000  # there are none; it is how many polls a watch may have in flight


@pytest.fixture
async def _little_pay_sandbox_in_block() -> "AsyncIterator[Sandbox]":
    from little_pay_async.sandbox import Sandbox

    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def _little_pay_in_block(little_pay_sandbox: "Sandbox") -> "AsyncIterator[AsyncLittlePay]":
    from little_pay_async import AsyncLittlePay

    async with AsyncLittlePay(
        **little_pay_sandbox.credentials,
        transport=little_pay_sandbox.transport,
        max_connections=_CONNECTIONS,
    ) as pay:
        yield pay


def _is_of_anyio(request: pytest.FixtureRequest) -> bool:
    """Return whether anyio's plugin runs the test, and so its async fixtures, in one task."""
    return "anyio_backend" in request.fixturenames
