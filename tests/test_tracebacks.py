"""Error trackers send the local variables of every frame: none of ours holds what is private."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

import little_pay_async
from little_pay_async import (
    AsyncLittlePay,
    ConfigurationError,
    InvalidInputError,
    LittlePayError,
    Msisdn,
)

from .frames import frames_of_ours, leaks

NUMBER = "712345678"
SECRET = "canary"


def make(**options: Any) -> AsyncLittlePay:
    return AsyncLittlePay(**options, transport=httpx.MockTransport(lambda _: httpx.Response(500)))


def test_frames_are_found() -> None:
    """What the other tests look for can be seen at all."""
    with pytest.raises(InvalidInputError) as caught:
        little_pay_async._wire.key_of("canary\n")
    assert leaks(caught.value, SECRET) == ["key_of: key"]


@pytest.mark.parametrize(
    "text", [f"+254{NUMBER}x", f"0{NUMBER}", f"+254{NUMBER}0", f"+999{NUMBER}", f"+254{NUMBER}\0"]
)
@pytest.mark.parametrize(
    "parse", [Msisdn.parse, Msisdn.unchecked, Msisdn], ids=["parse", "unchecked", "class"]
)
@pytest.mark.threat("T17")
def test_wrong_phone_numbers(text: str, parse: Callable[[str], Msisdn]) -> None:
    if parse is not Msisdn.parse and text.isdigit():
        text += "+"
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    assert list(frames_of_ours(caught.value))
    assert leaks(caught.value, NUMBER) == []


def test_a_right_phone_number_with_a_wrong_region() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Msisdn.parse(f"+254{NUMBER}", "Kenya")
    assert leaks(caught.value, NUMBER) == []


WRONG: dict[str, dict[str, Any]] = {
    "api_key with a newline": {"api_key": f"{SECRET}\n"},
    "api_key in bytes": {"api_key": SECRET.encode()},
    "api_key in a list": {"api_key": [SECRET]},
    "client_secret in bytes": {"client_secret": SECRET.encode()},
    "client_id with a space": {"client_id": f"{SECRET} "},
    "token_id in bytes": {"token_id": SECRET.encode()},
    "base_url with a password": {"base_url": f"https://user:{SECRET}@pay.example"},
    "base_url in bytes": {"base_url": f"https://{SECRET}".encode()},
    "base_url unencrypted": {"base_url": f"http://{SECRET}.example"},
    "proxy with a password": {"proxy": f"ftp://user:{SECRET}@proxy.example", "transport": None},
    "proxy with a wrong port": {"proxy": f"http://u:{SECRET}@h:99999", "transport": None},
    "proxy in bytes": {"proxy": f"http://u:{SECRET}@h".encode(), "transport": None},
    "another argument": {"api_key": SECRET, "client_secret": SECRET, "timeout": -1},
    "an hold": {"token_id": SECRET, "hold": "soon"},
    "app_info": {"api_key": SECRET, "app_info": "sh op"},
    "max_connections": {"proxy": f"http://u:{SECRET}@h", "max_connections": 0, "transport": None},
    "a proxy and a transport": {"proxy": f"http://u:{SECRET}@h"},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
@pytest.mark.threat("T17")
def test_wrong_arguments_of_a_session(options: dict[str, Any]) -> None:
    # In place of `make`: its own frame, being the caller's, may hold what the caller gave.
    arguments = {"transport": httpx.MockTransport(lambda _: httpx.Response(500))} | options
    with pytest.raises(ConfigurationError) as caught:
        AsyncLittlePay(**arguments)
    assert SECRET not in f"{caught.value!r} {caught.value.args}"
    assert list(frames_of_ours(caught.value))
    assert leaks(caught.value, SECRET) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LITTLE_PAY_API_KEY", f"{SECRET}\n"),
        ("LITTLE_PAY_TOKEN_ID", f"{SECRET} "),
        ("LITTLE_PAY_BASE_URL", f"https://user:{SECRET}@pay.example"),
        ("HTTPS_PROXY", f"ftp://user:{SECRET}@proxy.example"),
    ],
)
def test_wrong_variables(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        AsyncLittlePay()
    assert leaks(caught.value, SECRET) == []


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [f"{SECRET}\n", SECRET.encode(), [SECRET]], ids=repr)
async def test_wrong_answers_of_a_vault(answer: Any) -> None:
    async with make(api_key=lambda: answer) as pay:
        with pytest.raises(ConfigurationError) as caught:
            await pay.status("ORDER42")
    assert leaks(caught.value, SECRET) == []


CREATE: dict[str, Any] = {
    "amount": 1,
    "key": "ORDER42",
    "description": "Tickets",
    "callback_url": "https://shop.example/callbacks",
}
CALLS: dict[str, Callable[[AsyncLittlePay], Awaitable[object]]] = {
    "process, number": lambda pay: pay.process("ref", "MPESA", f"0{NUMBER}"),
    "process, provider": lambda pay: pay.process("ref", "NOBODY", f"+254{NUMBER}"),
    "process, intent": lambda pay: pay.process("", "MPESA", f"+254{NUMBER}"),
    "collect, number": lambda pay: pay.collect(**CREATE, provider="MPESA", mobile=f"0{NUMBER}"),
    "collect, provider": lambda pay: pay.collect(**CREATE, provider="", mobile=f"+254{NUMBER}"),
    "collect, amount": lambda pay: pay.collect(
        **CREATE | {"amount": 0}, provider="MPESA", mobile=f"+254{NUMBER}"
    ),
    "create, address": lambda pay: pay.create_intent(
        **CREATE, billing_address={"phone": f"+254{NUMBER}"}
    ),
    "create, amount": lambda pay: pay.create_intent(
        **CREATE | {"amount": 0}, billing_address={"phone_number": f"+254{NUMBER}"}
    ),
    "create, data": lambda pay: pay.create_intent(
        **CREATE, custom_data={"to": f"+254{NUMBER}", "at": object()}
    ),
    "request, json": lambda pay: pay.request("POST", "/x", json={f"+254{NUMBER}": object()}),
    "request, path": lambda pay: pay.request("POST", "x", json={"to": f"+254{NUMBER}"}),
    "request, answer": lambda pay: pay.request("POST", "/x", json={"to": f"+254{NUMBER}"}),
    "process, answer": lambda pay: pay.process("ref", "MPESA", f"+254{NUMBER}"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.threat("T24")
async def test_failing_calls(call: Callable[[AsyncLittlePay], Awaitable[object]]) -> None:
    async with make(api_key=SECRET, client_id=SECRET, client_secret=SECRET, token_id="t") as pay:
        with pytest.raises(LittlePayError) as caught:
            await call(pay)
    assert list(frames_of_ours(caught.value))
    assert leaks(caught.value, NUMBER) == []
    assert leaks(caught.value, SECRET) == []
