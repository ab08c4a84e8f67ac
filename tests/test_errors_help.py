"""Every error says what happened, whether money may have moved, what to do, and where to read."""

import ast
import contextlib
import pickle
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import little_pay_async as lp
from little_pay_async import AsyncLittlePay, LittlePayError

from .canaries import MOBILE, found_in
from .faults.scripts import cut
from .servers import (
    Script,
    ScriptedServer,
    closes,
    is_silent,
    payment,
    refusing_port,
    resets,
    response,
    sends,
    server_tls,
)
from .sessions import MONEY, OPERATIONS, session
from .signers import BODY, refusal, signed

ROOT = Path(__file__).parent.parent
PACKAGE = Path(lp.__file__).parent

UNMOVED = "No money was moved by this."
UNSENT = "Nothing was sent, so no money was moved by this."
MAY_HAVE = "Money may have moved."

Act = Callable[[AsyncLittlePay], Awaitable[object]]


async def never(_: object) -> None:
    raise AssertionError


def status(line: str, **headers: str) -> Script:
    return sends(response(b'{"message": "made up"}', line, headers))


@contextlib.asynccontextmanager
async def to(
    script: Script, **options: Any
) -> AsyncIterator[tuple[AsyncLittlePay, ScriptedServer]]:
    async with (
        ScriptedServer(script) as server,
        session(server, max_retries=0, **options) as pay,
    ):
        yield pay, server


async def error_of(act: Act, pay: AsyncLittlePay) -> LittlePayError:
    with pytest.raises(LittlePayError) as caught:
        await act(pay)
    return caught.value


def check(error: LittlePayError, cls: type[LittlePayError], money: str, advice: str) -> None:
    assert type(error) is cls
    text = str(error)
    assert error.money == money
    assert re.search(advice, error.advice), error.advice
    assert text == f"{error.what} {money} {error.advice} See {error.help}"
    assert "\n" not in text
    assert error.what.endswith((".", "?", "!"))
    assert error.help == f"docs/errors.md#{cls.__name__.lower()}"
    assert list(found_in(text + repr(error) + repr(error.args))) == []
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.advice, again.help) == (text, error.advice, error.help)


# What the server does, and what comes of a GET: the class, and what is to be done.
OF_A_GET: dict[str, tuple[Script, type[LittlePayError], str]] = {
    "400": (status("400 Bad Request"), lp.BadRequestError, "Mend"),
    "422": (status("422 Unprocessable"), lp.BadRequestError, "Mend"),
    "401": (status("401 Unauthorized"), lp.AuthenticationError, "credential"),
    "403": (status("403 Forbidden"), lp.PermissionDeniedError, "dashboard"),
    "404": (status("404 Not Found"), lp.NotFoundError, "does not mean that it is unpaid"),
    "409": (status("409 Conflict"), lp.ConflictError, "status"),
    "429": (status("429 Too Many Requests"), lp.RateLimitError, "Wait a while"),
    "429 with a time": (
        status("429 Too Many Requests", **{"Retry-After": "7"}),
        lp.RateLimitError,
        "Wait 7 s",
    ),
    "418": (status("418 A Teapot"), lp.APIStatusError, "its message"),
    "500": (status("500 Internal Server Error"), lp.ServerError, "later"),
    "HTML": (
        sends(response(b"<html>", content_type="text/html")),
        lp.UnexpectedResponseError,
        "base_url",
    ),
    "a reset": (resets, lp.APIConnectionError, "tried again"),
    "the end": (closes, lp.APIConnectionError, "tried again"),
    "half an answer": (cut(0.9), lp.APIConnectionError, "tried again"),
    "silence": (is_silent, lp.APITimeoutError, "tried again"),
}
# Of these a money request is a plain error: they say clearly that it was refused.
CLEAR = ("400", "422", "401", "403", "404", "409", "429", "429 with a time", "418")


def money_of(cls: type[LittlePayError]) -> str:
    if cls is lp.ConflictError:
        return "No money was moved by this, but an earlier request may have taken effect."
    return UNMOVED


@pytest.mark.anyio
@pytest.mark.parametrize("name", OF_A_GET)
async def test_of_a_question(name: str) -> None:
    script, cls, advice = OF_A_GET[name]
    async with to(script, timeout=0.5 if name == "silence" else 30.0) as (pay, _):
        check(await error_of(OPERATIONS["status"], pay), cls, money_of(cls), advice)


@pytest.mark.anyio
@pytest.mark.parametrize("operation", MONEY)
@pytest.mark.parametrize("name", OF_A_GET)
async def test_of_a_money_request(name: str, operation: str) -> None:
    script, cls, advice = OF_A_GET[name]
    async with to(script, timeout=0.5 if name == "silence" else 30.0) as (pay, server):
        error = await error_of(MONEY[operation], pay)
        assert len(server.requests) == 1
    if name in CLEAR:
        check(error, cls, money_of(cls), advice)
        return
    told = "dashboard" if operation == "refund" else r"pay\.status\('.+'\)` tells.+resolve\(pay\)"
    check(error, lp.OutcomeUnknownError, MAY_HAVE, f"Do not send it again: .*{told}")
    cause = error.__cause__
    assert isinstance(cause, LittlePayError)
    check(cause, cls, MAY_HAVE, "Do not send it again")


@pytest.mark.anyio
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_where_nothing_left(operation: str) -> None:
    async with session(f"http://127.0.0.1:{refusing_port()}", max_retries=0) as pay:
        error = await error_of(OPERATIONS[operation], pay)
        check(error, lp.APIConnectionError, UNSENT, "tried again")
        await pay.aclose()
        check(
            await error_of(OPERATIONS[operation], pay),
            lp.SessionClosedError,
            UNMOVED,
            "new session",
        )


@pytest.mark.anyio
async def test_where_tls_fails() -> None:
    async with ScriptedServer(never, tls=server_tls()) as server:
        nobodys = ssl.create_default_context()  # it does not know who has signed
        async with session(server, max_retries=0, ssl_context=nobodys) as pay:
            error = await error_of(MONEY["process"], pay)
    check(error, lp.APIConnectionError, UNSENT, "Check certificates")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "act",
    [
        lambda pay: pay.refund("ORDER42", 1.1, reason="returned"),
        lambda pay: pay.status(""),
        lambda pay: pay.process("REF1", "MPESA", MOBILE[3:]),
    ],
    ids=["a float", "no key", "a number without its country"],
)
async def test_of_what_is_refused_before_it_is_sent(act: Act) -> None:
    async with to(never) as (pay, server):
        check(await error_of(act, pay), lp.InvalidInputError, UNSENT, "argument")
        assert server.requests == []


def test_of_a_setting() -> None:
    with pytest.raises(lp.ConfigurationError) as caught:
        AsyncLittlePay(timeout=-1)
    check(caught.value, lp.ConfigurationError, UNMOVED, "setting")


@pytest.mark.anyio
async def test_of_a_payment_that_is_not_final() -> None:
    async with to(sends(response(payment("PENDING", key="ORDER42")))) as (pay, _):
        error = await error_of(lambda pay: pay.wait("ORDER42", timeout=0.2), pay)
    check(
        error,
        lp.SettlementTimeoutError,
        "Money may have moved, or may still.",
        "Do not charge again",
    )


@pytest.mark.parametrize(
    ("cls", "error"),
    [
        (lp.InvalidSignatureError, lambda: refusal(BODY + b" ")),
        (lp.StaleCallbackError, lambda: refusal(now=0.0)),
        (lp.CallbackError, lambda: refusal(b"{}", signed(b"{}"))),
    ],
    ids=["forged", "stale", "none"],
)
def test_of_a_callback(cls: type[LittlePayError], error: Callable[[], LittlePayError]) -> None:
    check(error(), cls, "It says nothing about money.", "Answer 400")


# All of them


def test_every_class_has_its_place_in_the_documentation() -> None:
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (\w+)$", text, flags=re.MULTILINE)
    classes = {
        cls
        for cls in vars(lp).values()
        if isinstance(cls, type) and issubclass(cls, LittlePayError)
    }
    assert sorted(headings) == sorted(cls.__name__ for cls in classes - {LittlePayError})
    for heading in headings:
        assert getattr(lp, heading).help == f"docs/errors.md#{heading.lower()}"
    sections = re.split(r"^##+ ", text, flags=re.MULTILINE)
    for heading in headings:
        (section,) = [part for part in sections if part.startswith(f"{heading}\n")]
        assert "- May money have moved? " in section
        assert "- What to do: " in section


def test_every_class_that_is_raised_is_one_of_these() -> None:
    seen = {cls for _, cls, _ in OF_A_GET.values()} | {
        *(lp.OutcomeUnknownError, lp.SessionClosedError, lp.InvalidInputError),
        *(lp.ConfigurationError, lp.SettlementTimeoutError),
        *(lp.CallbackError, lp.InvalidSignatureError, lp.StaleCallbackError),
    }
    names = {
        name
        for name, cls in vars(lp).items()
        if isinstance(cls, type) and issubclass(cls, LittlePayError)
    }
    made = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                made |= {name} & names
    assert made <= {cls.__name__ for cls in seen}
    assert names - {"LittlePayError"} == {cls.__name__ for cls in seen}


def test_an_applications_own_error_is_helped_by_ours() -> None:
    class OutOfTicketsError(lp.InvalidInputError):
        pass

    error = OutOfTicketsError("tickets: there are none left")
    assert str(error).startswith("tickets: there are none left. Nothing was sent")
    assert error.help == "docs/errors.md#invalidinputerror"


@pytest.mark.anyio
async def test_the_readme_shows_one_as_it_is() -> None:
    async with to(sends(response(b"", "502 Bad Gateway"))) as (pay, _):
        error = await error_of(MONEY["process"], pay)
    assert f"\n{error}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


# Request ids


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"X-Request-ID": "req-1"}, "req-1"),
        ({"CF-Ray": "8f1-NBO"}, "8f1-NBO"),
        ({"X-Request-ID": "req-1", "CF-Ray": "8f1-NBO"}, "req-1"),
        ({"X-Request-ID": f"for {MOBILE}"}, "for ***"),
        ({"X-Request-ID": "9" * 5000}, "***"),
        ({}, None),
    ],
)
async def test_request_ids(headers: dict[str, str], found: str | None) -> None:
    async with to(sends(response(payment("COMPLETED", key="ORDER42"), headers=headers))) as (
        pay,
        server,
    ):
        answer = await pay.status("ORDER42")
        assert answer.request_id == found or (found == "***" and not answer.request_id)
        assert pickle.loads(pickle.dumps(answer)).request_id == answer.request_id
        assert "request_id" not in answer.to_dict()
        server.script = sends(response(b"{}", "503 No", headers))
        refused = await error_of(OPERATIONS["status"], pay)
        unknown = await error_of(MONEY["process"], pay)
    for error in (refused, unknown):
        assert error.request_id == answer.request_id
        assert (f"(request id {found})" in str(error)) == bool(answer.request_id)
        assert pickle.loads(pickle.dumps(error)).request_id == error.request_id
