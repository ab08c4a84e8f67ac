"""FastAPI: the session's life, the dependency, and payments as answers."""

import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anyio
import httpx
import pydantic
import pytest
from fastapi import APIRouter, FastAPI, WebSocket

from little_pay_async import (
    AsyncLittlePay,
    Attempt,
    BillingAddress,
    ConfigurationError,
    Payment,
    PaymentStatus,
    Provider,
    Settlement,
)
from little_pay_async.integrations.fastapi import LittlePay, little_pay_lifespan
from little_pay_async.sandbox import Sandbox

from ..frames import frames_of_ours, leaks
from .serving import client, on_uvicorn

pytestmark = pytest.mark.anyio
on_sockets = pytest.mark.asyncio_only

INTENT: dict[str, Any] = {
    "amount": 100,
    "description": "2 tickets",
    "callback_url": "https://shop.example/callbacks",
}
CANARY = "CANARY-access-token"
PAYMENT = Payment(
    date=datetime(2026, 1, 31, 12, tzinfo=UTC),
    status=PaymentStatus("UNDER_REVIEW"),
    key="ORDER42",
    amount=Decimal("1.10"),
    provider=Provider.MPESA,
    attempts=(Attempt(reference="REF1", status=PaymentStatus.PENDING),),
    billing_address=BillingAddress(first_name="Amina", phone_number="254712345678"),
    access_token=CANARY,
    raw={"accessToken": CANARY},
)


@contextlib.asynccontextmanager
async def visiting(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Start an app without a server, on any event loop."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app.test") as http,
    ):
        yield http


@contextlib.asynccontextmanager
async def options_of(sandbox: Sandbox) -> AsyncIterator[dict[str, Any]]:
    yield {**sandbox.credentials, "transport": sandbox.transport}


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("API_KEY", "CLIENT_ID", "CLIENT_SECRET", "TOKEN_ID", "BASE_URL"):
        monkeypatch.delenv(f"LITTLE_PAY_{name}", raising=False)
    return monkeypatch


# The session's life


def add_routes(app: FastAPI | APIRouter) -> None:
    @app.get("/pay/{key}")
    async def pay_for(key: str, pay: LittlePay) -> Payment:
        intent = await pay.create_intent(key=key, **INTENT)
        return await pay.status(intent)

    @app.get("/session")
    async def session(pay: LittlePay) -> str:
        return f"{id(pay)} {pay!r}"


def alone(lifespan: Any) -> FastAPI:
    return FastAPI(lifespan=lifespan)


def beside_the_apps_own(lifespan: Any) -> FastAPI:
    @contextlib.asynccontextmanager
    async def own(_: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        yield {"database": "open"}

    app = FastAPI(lifespan=own)
    app.include_router(APIRouter(lifespan=lifespan))
    return app


def inside_the_apps_own(lifespan: Any) -> FastAPI:
    @contextlib.asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        async with lifespan(app) as state:
            assert isinstance(state["little_pay"], AsyncLittlePay)
            yield {**state, "database": "open"}

    return FastAPI(lifespan=own)


def inside_one_that_yields_no_state(lifespan: Any) -> FastAPI:
    @contextlib.asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app):
            yield

    return FastAPI(lifespan=own)


LIFESPANS = [alone, beside_the_apps_own, inside_the_apps_own, inside_one_that_yields_no_state]


@pytest.mark.parametrize("make_app", LIFESPANS)
async def test_the_session_lives_as_long_as_the_app(make_app: Any) -> None:
    async with Sandbox() as sandbox:
        app = make_app(little_pay_lifespan(**sandbox.credentials, transport=sandbox.transport))
        add_routes(app)
        async with visiting(app) as http:
            assert (await http.get("/pay/ORDER42")).json()["status"] == "PENDING"
            pay = app.state.little_pay
            assert "open" in repr(pay)
        assert "closed" in repr(pay)
        assert not hasattr(app.state, "little_pay")


@on_sockets
@pytest.mark.parametrize("make_app", LIFESPANS)
async def test_on_a_server(make_app: Any) -> None:
    async with Sandbox() as sandbox, sandbox.serve() as url:
        app = make_app(little_pay_lifespan(**sandbox.credentials, base_url=url))
        add_routes(app)
        async with on_uvicorn(app) as base_url, client(base_url) as http:
            assert (await http.get("/pay/ORDER42")).json()["status"] == "PENDING"


async def test_each_start_makes_a_new_session() -> None:
    async with Sandbox() as sandbox:
        app = FastAPI(lifespan=little_pay_lifespan(**sandbox.credentials))
        sessions = []
        for _ in range(2):
            async with app.router.lifespan_context(app) as state:
                sessions.append(state["little_pay"])
        assert sessions[0] is not sessions[1]


@on_sockets
async def test_event_loops_that_run_one_app_share_no_session() -> None:
    app = FastAPI(lifespan=little_pay_lifespan(api_key="a"))
    add_routes(app)
    both = threading.Barrier(2, timeout=20)
    seen: list[str] = []

    async def serve_and_ask() -> None:
        async with on_uvicorn(app) as url, client(url) as http:
            await anyio.to_thread.run_sync(both.wait)  # the other one runs too
            first = (await http.get("/session")).json()
            assert first == (await http.get("/session")).json()
            seen.append(first.split()[0])
            await anyio.to_thread.run_sync(both.wait)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve_and_ask)
        await anyio.to_thread.run_sync(functools.partial(anyio.run, serve_and_ask))
    assert len(set(seen)) == 2


@on_sockets
async def test_the_dependency_works_wherever_dependencies_do() -> None:
    async with Sandbox() as sandbox:
        lifespan = little_pay_lifespan(**sandbox.credentials, transport=sandbox.transport)
        app, part = FastAPI(lifespan=lifespan), FastAPI()
        router = APIRouter(prefix="/router")
        add_routes(router)
        add_routes(part)
        app.include_router(router)
        app.mount("/mounted", part)

        @app.get("/sync")
        def sync_route(pay: LittlePay) -> str:
            return repr(pay)

        async with on_uvicorn(app) as url, client(url) as http:
            assert (await http.get("/router/pay/A1")).status_code == 200
            assert (await http.get("/mounted/pay/B2")).status_code == 200
            assert "open" in (await http.get("/sync")).text


async def test_the_dependency_works_in_websockets() -> None:
    async with Sandbox() as sandbox:
        app = FastAPI(lifespan=little_pay_lifespan(**sandbox.credentials))

        @app.websocket("/ws")
        async def talk(websocket: WebSocket, pay: LittlePay) -> None:
            await websocket.accept()
            await websocket.send_text(repr(pay))
            await websocket.close()

        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "websocket",
            "path": "/ws",
            "query_string": b"",
            "headers": [],
            "subprotocols": [],
        }
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)
        assert "open" in sent[1]["text"]


async def test_without_the_lifespan_the_dependency_says_what_to_do() -> None:
    app = FastAPI()
    add_routes(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app.test") as http:
        with pytest.raises(RuntimeError, match="little_pay_lifespan"):
            await http.get("/session")


# What is missing


MISSING = {
    "all": ({}, ["LITTLE_PAY_API_KEY"]),
    "the key": (
        {"client_id": "a", "client_secret": "b", "token_id": "c"},
        ["LITTLE_PAY_API_KEY"],
    ),
    "one of three": (
        {"api_key": "k", "client_id": "a", "token_id": "c"},
        ["LITTLE_PAY_CLIENT_SECRET"],
    ),
    "two and the key": (
        {"client_id": "a"},
        ["LITTLE_PAY_API_KEY", "LITTLE_PAY_CLIENT_SECRET", "LITTLE_PAY_TOKEN_ID"],
    ),
}


@pytest.mark.parametrize("given", MISSING)
async def test_a_missing_credential_is_named_when_the_app_starts(
    given: str, no_credentials: pytest.MonkeyPatch
) -> None:
    options, named = MISSING[given]
    app = FastAPI(lifespan=little_pay_lifespan(**options))  # no error yet
    with pytest.raises(ConfigurationError) as caught:
        async with app.router.lifespan_context(app):
            pass
    for variable in named:
        assert variable in str(caught.value)
    assert str(caught.value).count("LITTLE_PAY_") == len(named)


async def test_an_app_that_creates_no_payments_needs_the_key_alone(
    no_credentials: pytest.MonkeyPatch,
) -> None:
    app = FastAPI(lifespan=little_pay_lifespan())
    no_credentials.setenv("LITTLE_PAY_API_KEY", "from-the-environment-when-it-starts")
    async with app.router.lifespan_context(app) as state:
        assert "open" in repr(state["little_pay"])


async def test_a_wrong_setting_is_an_error_when_the_app_starts() -> None:
    app = FastAPI(lifespan=little_pay_lifespan(api_key="a", hold=-1))
    with pytest.raises(ConfigurationError, match="hold"):
        async with app.router.lifespan_context(app):
            pass


@on_sockets
async def test_a_server_does_not_start_without_credentials(
    no_credentials: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI(lifespan=little_pay_lifespan())
    with pytest.raises(RuntimeError, match="did not start"):
        async with on_uvicorn(app):
            pass
    assert "set LITTLE_PAY_API_KEY" in caplog.text


async def test_no_local_variable_of_ours_shows_a_credential() -> None:
    app = FastAPI(lifespan=little_pay_lifespan(api_key=CANARY, hold=-1))
    with pytest.raises(ConfigurationError) as caught:
        async with app.router.lifespan_context(app):
            pass
    assert len(list(frames_of_ours(caught.value))) >= 3
    assert leaks(caught.value, CANARY) == []


# Payments as answers


def app_that_answers() -> FastAPI:
    app = FastAPI()
    settlement = Settlement(key="ORDER42", payment=PAYMENT, error=None, elapsed=1.5, polls=2)

    class Order(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=False)
        number: int
        payment: Payment | None

    @app.get("/annotated")
    async def annotated() -> Payment:
        return PAYMENT

    @app.get("/bare")
    async def bare():  # type: ignore[no-untyped-def] # noqa: ANN202 - so users write it
        return PAYMENT

    @app.get("/bare-list")
    async def bare_list():  # type: ignore[no-untyped-def] # noqa: ANN202
        return [PAYMENT]

    @app.get("/list")
    async def many() -> list[Payment]:
        return [PAYMENT]

    @app.get("/model")
    async def model() -> Order:
        return Order(number=1, payment=PAYMENT)

    @app.get("/sync")
    def sync() -> Payment:
        return PAYMENT

    @app.get("/settlement")
    async def settled() -> Settlement:
        return settlement

    @app.get("/without-payer", response_model_exclude={"billing_address"})
    async def without_payer() -> Payment:
        return PAYMENT

    @app.get("/status-alone", response_model_include={"status"})
    async def status_alone() -> Payment:
        return PAYMENT

    @app.get("/without-none", response_model_exclude_none=True)
    async def without_none() -> Payment:
        return PAYMENT

    return app


async def answered(path: str) -> Any:
    transport = httpx.ASGITransport(app_that_answers())
    async with httpx.AsyncClient(transport=transport, base_url="http://app.test") as http:
        answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    assert CANARY not in answer.text
    assert "raw" not in answer.text
    return answer.json()


async def test_a_route_may_return_a_payment() -> None:
    plain = PAYMENT.to_dict()
    assert plain["amount"] == "1.10"
    assert plain["status"] == "UNDER_REVIEW"
    for path in ("/annotated", "/bare", "/sync"):
        assert await answered(path) == plain, path
    assert await answered("/list") == await answered("/bare-list") == [plain]
    assert await answered("/model") == {"number": 1, "payment": plain}
    assert (await answered("/settlement"))["payment"] == plain


async def test_what_a_route_leaves_out_stays_out() -> None:
    assert "254712345678" in str(await answered("/annotated"))
    assert "254712345678" not in str(await answered("/without-payer"))
    assert await answered("/status-alone") == {"status": "UNDER_REVIEW"}
    without_none = await answered("/without-none")
    assert without_none["billing_address"] == {
        "first_name": "Amina",
        "phone_number": "254712345678",
    }
    assert "currency" not in without_none


async def test_the_openapi_document_shows_a_payments_fields() -> None:
    document = app_that_answers().openapi()
    content = document["paths"]["/annotated"]["get"]["responses"]["200"]["content"]
    schema = content["application/json"]["schema"]
    assert schema["properties"].keys() == PAYMENT.to_dict().keys()
    assert schema["properties"]["amount"]["anyOf"][0] == {"type": "string", "format": "decimal"}
    assert schema["properties"]["date"] == {"type": "string", "format": "date-time"}


async def test_nobody_makes_a_payment_by_sending_one() -> None:
    adapter = pydantic.TypeAdapter(Payment)
    with pytest.raises(pydantic.ValidationError):
        adapter.validate_python(PAYMENT.to_dict())
    with pytest.raises(pydantic.ValidationError):
        adapter.validate_json('{"status": "COMPLETED"}')
    assert adapter.validate_python(PAYMENT) is PAYMENT
