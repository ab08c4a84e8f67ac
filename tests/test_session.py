"""What a session keeps to itself."""

import base64
import ssl
import sys

import httpx
import pytest

from little_pay_async import (
    AsyncLittlePay,
    BadRequestError,
    ConfigurationError,
    OutcomeUnknownError,
)

pytestmark = pytest.mark.anyio

INTENT = {
    "amount": 1,
    "key": "ORDER42",
    "description": "2 tickets",
    "callback_url": "https://shop.example/paid",
}


async def test_an_authorization_header_that_is_echoed_is_not_shown() -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"message": f"bad: {request.headers['authorization']}"})

    transport = httpx.MockTransport(echo)
    async with AsyncLittlePay(
        client_id="shop", client_secret="hush", token_id="t0ken", transport=transport
    ) as pay:
        with pytest.raises(BadRequestError) as caught:
            await pay.create_intent(**INTENT)
    pair = base64.b64encode(b"shop:hush").decode()
    for shown in (str(caught.value), repr(caught.value), caught.value.message, caught.value.body):
        assert pair not in shown


@pytest.mark.parametrize("token_id", [".", ".."])
def test_a_token_id_that_would_be_another_path_is_refused(token_id: str) -> None:
    with pytest.raises(ConfigurationError, match="token_id"):
        AsyncLittlePay(token_id=token_id)


@pytest.mark.parametrize("problem", [ssl.SSLError("boom"), ssl.SSLCertVerificationError(1, "boom")])
async def test_an_error_of_tls_that_is_not_openssl_s_own(problem: ssl.SSLError) -> None:
    def break_off(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("boom") from problem

    transport = httpx.MockTransport(break_off)
    async with AsyncLittlePay(api_key="key", transport=transport) as pay:
        with pytest.raises(OutcomeUnknownError):
            await pay.refund("ORDER42", 1)


def test_a_client_id_with_a_colon_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="client_id"):
        AsyncLittlePay(client_id="shop:hush")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_needs_a_package_that_may_be_missing(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(ConfigurationError, match=r"httpx\[socks\]") as caught:
        AsyncLittlePay(proxy=f"{scheme}://me:hush@proxy.example")
    assert "hush" not in str(caught.value)


def test_a_session_that_could_not_be_made_has_a_repr() -> None:
    """Error trackers ask for it: `self` is a local variable of its constructor."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncLittlePay(timeout=-1)
    half_made = [
        entry.frame.f_locals["self"]
        for entry in caught.traceback
        if isinstance(entry.frame.f_locals.get("self"), AsyncLittlePay)
    ]
    assert [repr(session) for session in half_made] == ["<AsyncLittlePay not made>"]
