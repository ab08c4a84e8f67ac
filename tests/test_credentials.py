"""Credentials: where they come from, how often a vault is asked, and that nobody sees them."""

import base64
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from little_pay_async import APIConnectionError, ConfigurationError
from little_pay_async._credentials import Authorization, Credential, hidden
from little_pay_async._masking import Secret

from .ids import shown

pytestmark = pytest.mark.anyio

VARIABLES = {
    "api_key": "LITTLE_PAY_API_KEY",
    "client_id": "LITTLE_PAY_CLIENT_ID",
    "client_secret": "LITTLE_PAY_CLIENT_SECRET",
    "token_id": "LITTLE_PAY_TOKEN_ID",
}
RENEWABLE = ("api_key", "client_secret")


@pytest.fixture(autouse=True)
def no_credentials_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


class Vault:
    """Gives out canary-1, canary-2, ...; each answer waits until the vault is open."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = anyio.Event()

    async def __call__(self) -> str:
        self.asked += 1
        number = self.asked
        await self.open.wait()
        return f"canary-{number}"


async def opened_vault() -> Vault:
    vault = Vault()
    vault.open.set()
    return vault


# Where they come from


@pytest.mark.parametrize("argument", VARIABLES)
async def test_the_argument_goes_before_the_environment(
    argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[argument], "from-the-environment")
    assert (await Credential(argument, None).get()).reveal() == "from-the-environment"
    assert (await Credential(argument, Secret("given")).get()).reveal() == "given"


@pytest.mark.parametrize("variable_is", [None, ""])
@pytest.mark.parametrize("argument", VARIABLES)
async def test_a_missing_one_is_no_error_until_it_is_needed(
    argument: str, variable_is: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable_is is not None:
        monkeypatch.setenv(VARIABLES[argument], variable_is)
    credential = Credential(argument, None)
    with pytest.raises(ConfigurationError, match=f"^{argument}: .*{VARIABLES[argument]}"):
        await credential.get()


async def call_object() -> str:
    return "canary"


@pytest.mark.parametrize("argument", RENEWABLE)
@pytest.mark.parametrize(
    "source",
    [
        lambda: "canary",
        call_object,
        functools.partial(str, "canary"),
        functools.partial(call_object),
        lambda: call_object(),  # noqa: PLW0108 - no coroutine function, but returns an awaitable
        type("Vault", (), {"__call__": lambda _: "canary"})(),
    ],
    ids=["sync", "async", "partial", "async partial", "returns an awaitable", "an object"],
)
async def test_callables(argument: str, source: Callable[[], str | Awaitable[str]]) -> None:
    credential = Credential(argument, source)
    assert credential.renewable
    assert (await credential.get()).reveal() == "canary"


NOT_PRINTABLE = ["canary\n", "canary\r\nX: y", " canary", "can ary", "canary\x00", "canäry", "\t"]


@pytest.mark.parametrize("value", NOT_PRINTABLE, ids=repr)
@pytest.mark.parametrize("argument", VARIABLES)
def test_what_would_break_a_header(
    argument: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{argument}: ") as caught:
        Credential(argument, Secret(value))
    assert "can" not in str(caught.value).replace("can't", "")
    if "\x00" not in value:  # which no environment can hold
        monkeypatch.setenv(VARIABLES[argument], value)
        with pytest.raises(ConfigurationError, match=f"^{argument}: "):
            Credential(argument, None)


@pytest.mark.parametrize("value", [b"canary", 1, ["canary"], {"canary": 1}, 1.5, True], ids=repr)
@pytest.mark.parametrize("argument", VARIABLES)
def test_wrong_types(argument: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{argument}: give a str") as caught:
        Credential(argument, hidden(value))
    assert "canary" not in repr(caught.value)


@pytest.mark.parametrize("argument", ["client_id", "token_id"])
def test_only_what_is_rotated_may_be_a_callable(argument: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{argument}: give a str"):
        Credential(argument, lambda: "canary")


# How often a vault is asked


async def test_many_that_need_it_at_once_ask_once() -> None:
    vault = Vault()
    credential = Credential("api_key", vault)
    got: list[str] = []

    async def need() -> None:
        got.append((await credential.get()).reveal())

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(need)
        await anyio.wait_all_tasks_blocked()
        assert (vault.asked, got) == (1, [])
        vault.open.set()
    assert got == ["canary-1"] * 100
    assert vault.asked == 1
    await need()
    assert vault.asked == 1


async def test_after_a_refusal_it_is_asked_again_once() -> None:
    vault = await opened_vault()
    credential = Credential("api_key", vault)
    refused = await credential.get()
    for _ in range(10):  # ten requests under way had the same key, and each was refused
        credential.forget(refused)
        assert (await credential.get()).reveal() == "canary-2"
    assert vault.asked == 2


async def test_refusals_at_once_ask_once() -> None:
    vault = await opened_vault()
    credential = Credential("api_key", vault)
    refused = await credential.get()
    vault.open = anyio.Event()

    async def refused_request() -> None:
        credential.forget(refused)
        assert (await credential.get()).reveal() == "canary-2"

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(refused_request)
        await anyio.wait_all_tasks_blocked()
        vault.open.set()
    assert vault.asked == 2


async def test_a_vault_that_gives_the_refused_one_again() -> None:
    asked: list[None] = []
    credential = Credential("api_key", lambda: asked.append(None) or "canary")
    for times in (1, 2, 3):
        credential.forget(await credential.get())
        assert len(asked) == times


async def test_a_fixed_one_is_not_forgotten() -> None:
    credential = Credential("api_key", Secret("canary"))
    assert not credential.renewable
    credential.forget(await credential.get())
    assert (await credential.get()).reveal() == "canary"


async def test_who_is_cancelled_while_asking_holds_up_nobody() -> None:
    vault = Vault()
    credential = Credential("api_key", vault)
    got: list[str] = []
    asking = anyio.CancelScope()

    async def first() -> None:
        with asking:
            await credential.get()

    async def second() -> None:
        got.append((await credential.get()).reveal())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        asking.cancel()
        await anyio.wait_all_tasks_blocked()
        vault.open.set()
    assert got == ["canary-2"]


# Vaults that fail


class VaultError(Exception):
    pass


async def test_a_vault_that_fails_and_recovers() -> None:
    answers: list[str | Exception] = [VaultError("sealed"), "canary"]

    def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    credential = Credential("api_key", ask)
    with pytest.raises(APIConnectionError, match=r"^api_key: .*VaultError") as caught:
        await credential.get()
    assert isinstance(caught.value.__cause__, VaultError)
    assert not caught.value.sent
    assert (await credential.get()).reveal() == "canary"


@pytest.mark.parametrize(
    "answer", [None, b"canary", 1, ["canary"], "", *NOT_PRINTABLE, lambda: "canary"], ids=shown
)
@pytest.mark.parametrize("argument", RENEWABLE)
async def test_what_a_vault_may_not_answer(argument: str, answer: Any) -> None:
    async def later() -> Any:
        await anyio.lowlevel.checkpoint()
        return answer

    for source in (lambda: answer, later):
        credential = Credential(argument, source)
        with pytest.raises(ConfigurationError, match=f"^{argument}: ") as caught:
            await credential.get()
        assert "canary" not in repr(caught.value)
        assert credential.known == []


# Nobody sees them


async def test_repr_is_masked() -> None:
    credential = Credential("api_key", Secret("canary"))
    authorization = await Authorization.api_key(credential)
    assert "canary" not in f"{credential!r} {credential} {authorization!r} {credential.known!r}"
    assert "api_key" in repr(credential)


async def test_what_is_known_is_masked_in_answers_also_after_a_rotation() -> None:
    credential = Credential("api_key", await opened_vault())
    assert credential.known == []
    refused = await credential.get()
    assert credential.known == [refused]
    credential.forget(refused)
    assert credential.known == [refused]  # the answer that refused it may still be read
    renewed = await credential.get()
    assert set(credential.known) == {refused, renewed}


# As requests carry them


async def test_the_api_key_goes_into_its_header() -> None:
    authorization = await Authorization.api_key(Credential("api_key", Secret("canary")))
    assert (authorization.header, authorization.value.reveal()) == ("X-API-KEY", "canary")


async def test_basic() -> None:
    authorization = await Authorization.basic(
        Credential("client_id", Secret("user")), Credential("client_secret", Secret("pass:word"))
    )
    scheme, _, pair = authorization.value.reveal().partition(" ")
    assert (authorization.header, scheme) == ("Authorization", "Basic")
    assert base64.b64decode(pair, validate=True) == b"user:pass:word"


@pytest.mark.parametrize("kind", ["api_key", "basic"])
async def test_renewing_asks_again(kind: str) -> None:
    vault = await opened_vault()

    async def authorization() -> Authorization:
        if kind == "api_key":
            return await Authorization.api_key(source)
        return await Authorization.basic(Credential("client_id", Secret("user")), source)

    source = Credential("api_key" if kind == "api_key" else "client_secret", vault)
    old = await authorization()
    assert old.renew()
    new = await authorization()
    assert new != old
    assert old.renew()  # refused late: the new one stays
    assert await authorization() == new
    assert vault.asked == 2


async def test_a_fixed_one_cannot_be_renewed() -> None:
    credential = Credential("api_key", Secret("canary"))
    authorization = await Authorization.api_key(credential)
    assert not authorization.renew()
    assert await Authorization.api_key(credential) == authorization
