"""Credentials of a session: where they come from, and what happens when one is refused."""

import base64
from typing import Any

import anyio
import pytest

from little_pay_async import (
    APIConnectionError,
    AsyncLittlePay,
    AuthenticationError,
    ConfigurationError,
)

from .servers import (
    Exchange,
    ScriptedServer,
    answers_well,
    intent,
    response,
    takes_only,
)
from .sessions import CREDENTIALS, INTENT, OPERATIONS, session

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("operation", "argument"),
    [
        ("status", "api_key"),
        ("refund", "api_key"),
        ("create_intent", "client_id"),
        ("create_intent", "client_secret"),
        ("create_intent", "token_id"),
    ],
)
async def test_a_missing_credential_is_named(
    operation: str, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"LITTLE_PAY_{argument.upper()}"
    monkeypatch.delenv(variable, raising=False)
    async with ScriptedServer(answers_well) as server, session(server, **{argument: None}) as pay:
        with pytest.raises(ConfigurationError) as caught:
            await OPERATIONS[operation](pay)
        assert argument in str(caught.value)
        assert variable in str(caught.value)
        await OPERATIONS["process"](pay)  # needs none
    assert len(server.requests) == 1


async def test_what_is_left_out_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedServer(answers_well) as server:
        for argument, value in CREDENTIALS.items():
            monkeypatch.setenv(f"LITTLE_PAY_{argument.upper()}", f"{value}-env")
        monkeypatch.setenv("LITTLE_PAY_BASE_URL", f"{server.base_url}/prefix/")
        async with AsyncLittlePay() as pay:
            for operation in OPERATIONS.values():
                await operation(pay)
    assert server.requests[0].header("x-api-key") == f"{CREDENTIALS['api_key']}-env"
    assert [request.target for request in server.requests] == [
        "/prefix/api/payments-v2/ORDER42",
        "/prefix/pay/REF1/process",
        "/prefix/api/refund/ORDER42",
        f"/prefix/api/payments/{CREDENTIALS['token_id']}-env/pay",
    ]


class Vault:
    """Gives another key each time that it is asked."""

    def __init__(self, *, is_async: bool) -> None:
        self.asked = 0
        self._is_async = is_async

    def source(self) -> Any:
        return self._later if self._is_async else self._now

    def _now(self) -> str:
        self.asked += 1
        return f"key-{self.asked}"

    async def _later(self) -> str:
        await anyio.lowlevel.checkpoint()
        return self._now()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_refused_key_is_asked_for_again_once_on_a_get(is_async: bool) -> None:
    vault = Vault(is_async=is_async)
    async with (
        ScriptedServer(takes_only("key-2")) as server,
        session(server, api_key=vault.source(), max_retries=0) as pay,
    ):
        assert vault.asked == 0
        await pay.status("ORDER42")
        await pay.status("ORDER42")
        sent = [request.header("x-api-key") for request in server.requests]
        assert sent == ["key-1", "key-2", "key-2"]
        assert vault.asked == 2
        server.script = takes_only("none")
        with pytest.raises(AuthenticationError) as caught:
            await pay.status("ORDER42")
        assert caught.value.tries == 2
        assert vault.asked == 3
        assert len(server.requests) == 5


async def test_a_refused_key_is_raised_on_a_refund_and_asked_for_again_by_the_next_call() -> None:
    vault = Vault(is_async=True)
    async with (
        ScriptedServer(takes_only("key-2")) as server,
        session(server, api_key=vault.source()) as pay,
    ):
        with pytest.raises(AuthenticationError):
            await pay.refund("ORDER42", 1)
        assert (vault.asked, len(server.requests)) == (1, 1)
        await pay.refund("ORDER42", 1)
        assert (vault.asked, len(server.requests)) == (2, 2)


async def test_a_refused_client_secret_is_asked_for_again_by_the_next_call() -> None:
    secrets = iter(["old", "new"])

    async def script(exchange: Exchange) -> None:
        sent = base64.b64decode((exchange.request.header("authorization") or "")[6:])
        answer = response(intent()) if sent.endswith(b":new") else response(b"", "401 No")
        await exchange.send(answer)

    async with (
        ScriptedServer(script) as server,
        session(server, client_secret=lambda: next(secrets)) as pay,
    ):
        with pytest.raises(AuthenticationError):
            await pay.create_intent(**INTENT)
        await pay.create_intent(**INTENT)
    assert len(server.requests) == 2


async def test_a_fixed_key_that_is_refused_is_not_tried_again() -> None:
    async with ScriptedServer(takes_only("none")) as server, session(server) as pay:
        with pytest.raises(AuthenticationError):
            await pay.status("ORDER42")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "broken",
    [lambda: 7, lambda: "", lambda: "a\nb"],
    ids=["a number", "empty", "two lines"],
)
async def test_a_vault_that_gives_no_key(broken: Any) -> None:
    async with ScriptedServer(answers_well) as server, session(server, api_key=broken) as pay:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="api_key"):
                await pay.status("ORDER42")
    assert server.connections == 0


async def test_a_vault_that_raises_is_asked_again() -> None:
    asked = 0

    def vault() -> str:
        nonlocal asked
        asked += 1
        raise ZeroDivisionError

    async with ScriptedServer(answers_well) as server, session(server, api_key=vault) as pay:
        with pytest.raises(APIConnectionError, match=r"api_key.*ZeroDivisionError") as caught:
            await pay.status("ORDER42")
    assert not caught.value.sent
    assert asked == 3
    assert server.connections == 0
