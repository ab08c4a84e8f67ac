"""aiohttp: the session's life, and apps within apps."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from little_pay_async import AsyncLittlePay, ConfigurationError
from little_pay_async.integrations.aiohttp import LITTLE_PAY, little_pay_context
from little_pay_async.sandbox import Sandbox

from ..frames import frames_of_ours, leaks
from .serving import client, on_aiohttp

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]

CANARY = "CANARY-api-key"


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("API_KEY", "CLIENT_ID", "CLIENT_SECRET", "TOKEN_ID", "BASE_URL"):
        monkeypatch.delenv(f"LITTLE_PAY_{name}", raising=False)
    return monkeypatch


async def pay_for(request: web.Request) -> web.Response:
    pay = request.config_dict[LITTLE_PAY]
    intent = await pay.create_intent(
        amount=100,
        key=request.match_info["key"],
        description="2 tickets",
        callback_url="https://shop.example/callbacks",
    )
    return web.json_response((await pay.status(intent)).to_dict())


async def test_the_session_lives_as_long_as_the_app() -> None:
    seen: list[AsyncLittlePay] = []

    async def uses_it(app: web.Application) -> AsyncIterator[None]:
        seen.append(app[LITTLE_PAY])
        yield
        assert "open" in repr(app[LITTLE_PAY])  # contexts end in the opposite order

    async with Sandbox() as sandbox, sandbox.serve() as url:
        app = web.Application()
        app.cleanup_ctx.append(little_pay_context(**sandbox.credentials, base_url=url))
        app.cleanup_ctx.append(uses_it)
        app.router.add_get("/pay/{key}", pay_for)
        async with on_aiohttp(app) as base_url, client(base_url) as http:
            assert (await http.get("/pay/ORDER42")).json()["status"] == "PENDING"
    assert "closed" in repr(seen[0])


async def test_an_app_within_the_app_finds_it() -> None:
    async with Sandbox() as sandbox, sandbox.serve() as url:
        app, part = web.Application(), web.Application()
        app.cleanup_ctx.append(little_pay_context(**sandbox.credentials, base_url=url))
        part.router.add_get("/pay/{key}", pay_for)
        app.add_subapp("/part", part)
        async with on_aiohttp(app) as base_url, client(base_url) as http:
            assert (await http.get("/part/pay/ORDER42")).status_code == 200


async def test_one_context_serves_several_apps_each_with_its_session() -> None:
    context = little_pay_context(api_key="a")
    sessions = []
    for _ in range(2):
        app = web.Application()
        app.cleanup_ctx.append(context)
        async with on_aiohttp(app):
            sessions.append(app[LITTLE_PAY])
    assert sessions[0] is not sessions[1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, ["LITTLE_PAY_API_KEY"]),
        ({"api_key": "k", "token_id": "t"}, ["LITTLE_PAY_CLIENT_ID", "LITTLE_PAY_CLIENT_SECRET"]),
        ({"api_key": "k", "hold": -1}, ["hold"]),
    ],
)
async def test_what_is_missing_or_wrong_is_an_error_when_the_app_starts(
    options: Any, named: list[str], no_credentials: pytest.MonkeyPatch
) -> None:
    app = web.Application()
    app.cleanup_ctx.append(little_pay_context(**options))
    with pytest.raises(ConfigurationError) as caught:
        async with on_aiohttp(app):
            pass
    for name in named:
        assert name in str(caught.value)


async def test_no_local_variable_of_ours_shows_a_credential() -> None:
    app = web.Application()
    app.cleanup_ctx.append(little_pay_context(api_key=CANARY, hold=-1))
    with pytest.raises(ConfigurationError) as caught:
        async with on_aiohttp(app):
            pass
    assert len(list(frames_of_ours(caught.value))) >= 3
    assert leaks(caught.value, CANARY) == []
