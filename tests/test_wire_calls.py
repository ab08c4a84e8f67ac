"""Requests out: what goes on the wire, and what is refused before anything does."""

import enum
import json
from collections import UserDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async import (
    BillingAddress,
    InvalidInputError,
    Msisdn,
    Payment,
    PaymentIntent,
    PaymentStatus,
    Provider,
)
from little_pay_async import _wire as wire

DOCUMENTED = Path(__file__).parent / "documented"
NOW = datetime(2024, 3, 7, tzinfo=UTC)


def create_intent(**changes: Any) -> wire.Call:
    arguments: dict[str, Any] = {
        "amount": 100,
        "key": "MM12345",
        "description": "Mobile Money Payment",
        "callback_url": "https://your-domain.com/callback",
        "currency": "KES",
        "expires_in": None,
        "return_url": None,
        "billing_address": None,
        "custom_data": None,
        "metadata": None,
    }
    return wire.create_intent(**(arguments | changes))


def refund(amount: Any = 1, *, reason: Any = None, callback_url: Any = None) -> wire.Call:
    return wire.refund("ORDER42", amount, reason=reason, callback_url=callback_url)


def other(
    method: Any = "GET", path: Any = "/x", *, json: Any = None, auth: Any = None
) -> wire.Call:
    return wire.other(method, path, json=json, auth=auth)


def sent(call: wire.Call) -> Any:
    """The JSON that goes out, with money's digits as they stand there."""
    assert call.body is not None
    return json.loads(call.body, parse_float=Decimal)


def documented(name: str) -> Any:
    return json.loads((DOCUMENTED / name).read_bytes(), parse_float=Decimal)


# What is documented


def test_create_intent_as_documented() -> None:
    call = create_intent(
        expires_in=timedelta(minutes=30), billing_address={"phone_number": "+254712345678"}
    )
    expected = documented("create-intent-request.json")
    del expected["payload"]["customData"]  # null there: left out says the same
    assert sent(call) == expected
    assert (call.method, call.auth, call.key) == ("POST", "basic", "MM12345")
    assert call.path == f"/api/payments/{wire.TOKEN_ID}/pay"


@pytest.mark.parametrize(
    ("provider", "mobile", "name"),
    [
        (Provider.MPESA, "25400000000", "process-request-mpesa.json"),
        (Provider.AIRTEL, "25400000000", "process-request-airtel.json"),
        (Provider.MTN, "23300000000", "process-request-mtn.json"),
    ],
)
def test_process_as_documented(provider: Provider, mobile: str, name: str) -> None:
    call = wire.process("ref-1", provider, Msisdn.unchecked(mobile), held=False)
    assert sent(call) == documented(name)
    assert (call.method, call.path, call.auth) == ("POST", "/pay/ref-1/process", None)
    assert (call.key, call.held) == ("ref-1", False)


def test_refund_as_documented() -> None:
    expected = documented("refund-request.json")
    assert expected.pop("amount") == 0  # a placeholder
    call = refund(
        "0.50", reason="Refund for order 123", callback_url="https://yourwebsite.com/callback"
    )
    assert sent(call) == expected | {"amount": Decimal("0.50")}
    assert (call.method, call.path, call.auth) == ("POST", "/api/refund/ORDER42", "api_key")


def test_status_as_documented() -> None:
    call = wire.status("ORDER42")
    assert (call.method, call.path, call.auth) == ("GET", "/api/payments-v2/ORDER42", "api_key")
    assert (call.body, call.held) == (None, False)


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (wire.status("ORDER42", held=True), "/api/payments-v2/ORDER42?longPoll=true"),
        (
            wire.process("ref-1", Provider.MTN, Msisdn.unchecked("23300000000"), held=True),
            "/pay/ref-1/process?longPoll=true",
        ),
    ],
)
def test_long_polls_as_documented(call: wire.Call, path: str) -> None:
    assert (call.path, call.held) == (path, True)


def test_what_was_left_out_is_not_sent() -> None:
    assert set(sent(create_intent())) == {"amount", "currency", "description", "callbackUrl", "key"}
    assert set(sent(refund())) == {"amount"}
    assert other("POST").body is None


@pytest.mark.parametrize(
    ("call", "moves_money"),
    [
        (create_intent(), True),
        (refund(), True),
        (wire.process("r", Provider.MTN, Msisdn.unchecked("23300000000"), held=True), True),
        (wire.status("ORDER42"), False),
        (other("GET"), False),
        (other("get"), False),
        *[(other(method), True) for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "post")],
    ],
)
def test_anything_but_get_moves_money(call: wire.Call, moves_money: bool) -> None:
    assert call.moves_money is moves_money


def test_a_calls_repr_shows_no_phone_number() -> None:
    call = wire.process("r", Provider.MTN, Msisdn.unchecked("254712345678"), held=False)
    assert "712345678" not in repr(call)


# Money


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (100, b"100"),
        (1, b"1"),
        (10**19, b"10000000000000000000"),
        ("1.10", b"1.10"),
        ("100", b"100"),
        ("0.01", b"0.01"),
        ("12345678901234567.89", b"12345678901234567.89"),
        (Decimal("1.10"), b"1.10"),
        (Decimal("12345678901234567.89"), b"12345678901234567.89"),
        (Decimal("1E+2"), b"100"),
        (Decimal("1.0E+2"), b"100"),
        (Decimal("1E-7"), b"0.0000001"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("make", [lambda amount: create_intent(amount=amount), refund])
def test_money_keeps_its_digits(
    amount: object, written: bytes, make: Callable[[object], wire.Call]
) -> None:
    body = make(amount).body
    assert body is not None
    assert body.startswith(b'{"amount":' + written + (b"," if b"," in body else b"}"))


@given(units=st.integers(1, 10**20 - 1), places=st.integers(0, 10))
@pytest.mark.threat("T14")
def test_any_amount_keeps_its_digits(units: int, places: int) -> None:
    amount = Decimal(f"{units}E-{places}")
    written = format(amount, "f")
    assert refund(amount).body == refund(written).body == f'{{"amount":{written}}}'.encode()


@pytest.mark.parametrize(
    "amount",
    [
        *(0, -1, "0", "0.00", "-1", Decimal(0), Decimal("-0.01"), Decimal("-0")),
        *(1.5, 1.0, float("nan"), float("inf"), True, False),
        *("nan", "Infinity", "1e3", "1,000", "1_000", "+1", " 1", "1\n", "1.", ".5", "", "KES 5"),
        *("\u0661\u0660", "\uff11\uff10", "0x10"),  # digits, but not ours
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity")),
        *(
            Decimal("1E+999999"),
            Decimal("1E-999999"),
            Decimal("0E+999999"),
            pytest.param(10**5000, id="int-huge"),
        ),
        *(None, b"100", [100], {"amount": 100}, 1 + 0j, object()),
    ],
    ids=lambda amount: f"{type(amount).__name__}-{str(amount).partition(' at 0x')[0]}",
)
@pytest.mark.parametrize("make", [lambda amount: create_intent(amount=amount), refund])
@pytest.mark.threat("T14")
def test_what_is_no_amount(amount: object, make: Callable[[object], wire.Call]) -> None:
    with pytest.raises(InvalidInputError, match=r"^amount: .*give an int, a Decimal or a str"):
        make(amount)


# Wrong arguments. "canary" and the number stand for what could be a secret or a payer's.

NO_URL = (
    *("", "canary", "/canary", "//h/canary", "ftp://h/canary", "http://", "https://[canary"),
    *("https://h/can ary", "https://h/\r\ncanary", "https://h/\ud800canary", 1, b"https://h", []),
)
NO_TEXT = ("", " ", "\t\n", "canary\ud800", None, 1, b"canary", ["canary"])
NO_JSON = (
    *(b"canary", range(3), {1: "canary"}, {"a": {"canary"}}, datetime(2024, 3, 7, tzinfo=UTC)),
    *(float("nan"), [float("-inf")], Decimal("NaN"), 2**64, -(2**63) - 1),
    *("canary\ud800", {"canary\ud800": 1}, [["canary\udfff"]]),
)
ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)


PENDING = PaymentStatus.PENDING

REFUSED: list[tuple[str, Callable[[Any], object], tuple[Any, ...]]] = [
    (
        "key",
        lambda value: create_intent(key=value),
        (
            *("", "canary-1", "can ary", "canary\n", "canary\x00", "a/b", "..", "ключ"),
            *(None, 12345, b"canary", PaymentIntent(date=NOW, reference="canary")),
        ),
    ),
    ("description", lambda value: create_intent(description=value), NO_TEXT),
    ("callback_url", lambda value: create_intent(callback_url=value), (None, *NO_URL)),
    ("return_url", lambda value: create_intent(return_url=value), NO_URL),
    (
        "currency",
        lambda value: create_intent(currency=value),
        ("", "kes", "KE", "KESH", "KES\n", "K\u20acS", None, 404, ["KES"]),
    ),
    (
        "expires_in",
        lambda value: create_intent(expires_in=value),
        (timedelta(), timedelta(seconds=-1), timedelta.min, 30, 30.0, "30", True),
    ),
    (
        "billing_address",
        lambda value: create_intent(billing_address=value),
        (
            *("canary", 1, ["canary"], [("email", "canary")]),
            *({"email": 5}, {"email": b"canary"}, {"email": ["canary"]}),
            *({"first_name": "canary\ud800"}, BillingAddress(last_name="canary\ud800")),
            *({"phoneNumber": "canary"}, {"254733123456": "canary"}, {None: "canary"}),
            *({"canary\ud800": "x"}, {b"canary": "x"}),
            BillingAddress(email=5),  # type: ignore[arg-type]
        ),
    ),
    ("custom_data", lambda value: create_intent(custom_data=value), (*NO_JSON, ENDLESS)),
    (
        "metadata",
        lambda value: create_intent(metadata=value),
        ("canary", 1, ["canary"], *({"x": value} for value in (*NO_JSON, ENDLESS))),
    ),
    ("reason", lambda value: refund(reason=value), tuple(t for t in NO_TEXT if t is not None)),
    ("callback_url", lambda value: refund(callback_url=value), NO_URL),
    (
        "key",
        wire.key_of,
        (
            *("", " ", "\t", ".", "..", "can\rary", "can\nary", "can\x00ary", "can\x7fary"),
            *("can\x85ary", "can\ud800ary", None, 1, b"canary", ["canary"], object()),
            *(PaymentIntent(date=NOW, reference=r) for r in (None, "", ".", "..", "can\r\nary")),
            Payment(date=NOW, status=PENDING, key="canary"),
        ),
    ),
    ("intent", lambda value: wire.key_of(value, "intent"), ("", "\n", None, 1)),
    (
        "provider",
        wire.payable_provider,
        (
            *("", "canary", " MPESA", "MPESA\n", None, 1, b"MPESA", ["MPESA"], PENDING),
            *("CARDS", "cards", Provider.CARDS, Provider("\ud800")),
        ),
    ),
    (
        "method",
        other,
        ("", "GET ", "GET\r\nX: canary", "G3T", "\u0413ET", None, 1, b"GET", ["GET"]),
    ),
    (
        "path",
        lambda value: other(path=value),
        (
            *("", "canary", "https://canary/x", "/can ary", "/x\r\ny", "/x\x00", "/x#canary"),
            *("/../canary", "/a/../b", "/a/..", "/.", "/%2e%2E/canary", "/a/.%2e", "/a\\b"),
            *("/é", "/{token_id}/canary", None, 1, b"/canary", ["/canary"]),
        ),
    ),
    (
        "auth",
        lambda value: other(auth=value),
        ("", "canary", "API_KEY", ("user", "canary"), ["api_key"], {"basic": 1}, True, 0),
    ),
    ("json", lambda value: other("POST", json=value), (*NO_JSON, ENDLESS)),
]


@pytest.mark.parametrize(
    ("argument", "make", "value"),
    [
        pytest.param(argument, make, value, id=f"{argument}-{row}-{number}")
        for row, (argument, make, values) in enumerate(REFUSED)
        for number, value in enumerate(values)
    ],
)
@pytest.mark.threat("T17")
def test_wrong_arguments_are_named_and_not_quoted(
    argument: str, make: Callable[[Any], object], value: Any
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make(value)
    text = str(caught.value)
    assert text.startswith(f"{argument}: ")
    assert "canary" not in text
    assert "733123456" not in text
    text.encode()  # it can be printed


@pytest.mark.threat("T17")
def test_a_wrong_argument_leaves_no_frames_behind() -> None:
    error = wire.made(wire.other, "GET", "no path", json={"pin": "canary"}, auth=None)
    assert isinstance(error, InvalidInputError)
    assert error.__traceback__ is None
    assert error.__context__ is None


def test_a_misspelt_field_of_an_address_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"phoneNumber.*phone_number"):
        create_intent(billing_address={"phoneNumber": "x"})


@pytest.mark.parametrize("value", NO_JSON, ids=ascii)
def test_what_json_cannot_say_is_found_at_any_depth(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^json: "):
        other("POST", json={"a": [{"b": (1, value)}]})


# Right arguments that are easily refused


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Text(str):
    __slots__ = ()


class Fraction(Decimal):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, "x", None, True, {"b": []}]}, {"a": [1, "x", None, True, {"b": []}]}),
        (MappingProxyType({"a": MappingProxyType({"b": 1})}), {"a": {"b": 1}}),
        ({"a": UserDict(b=1)}, {"a": {"b": 1}}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({"a": Decimal("1.10"), "b": 0.5}, {"a": Decimal("1.10"), "b": Decimal("0.5")}),
        ({"a": 2**64 - 1, "b": -(2**63)}, {"a": 2**64 - 1, "b": -(2**63)}),
        ({"a": Colour.RED, "b": Size.BIG}, {"a": "red", "b": 3}),
        ({"a": Text("x"), Text("b"): Fraction("1.10")}, {"a": "x", "b": Decimal("1.10")}),
        ({"a": "héllo \U0001f600 \x00"}, {"a": "héllo \U0001f600 \x00"}),
    ],
)
def test_json_goes_out_as_it_is(value: Mapping[str, Any], expected: object) -> None:
    assert sent(create_intent(custom_data=value))["payload"]["customData"] == expected
    assert sent(create_intent(metadata=value))["metadata"] == expected
    assert sent(other("POST", json=value)) == expected


@pytest.mark.parametrize("value", [False, 0, "", [], {}])
def test_json_that_is_false_goes_out_too(value: object) -> None:
    assert sent(create_intent(custom_data=value))["payload"]["customData"] == value
    assert sent(other("POST", json=value)) == value


@pytest.mark.parametrize(
    ("expires_in", "minutes"),
    [
        (timedelta(minutes=30), 30),
        (timedelta(seconds=1), 1),
        (timedelta(microseconds=1), 1),
        (timedelta(seconds=61), 2),
        (timedelta(hours=2), 120),
        (timedelta(days=1, microseconds=1), 1441),
    ],
)
def test_minutes_are_whole_and_rounded_up(expires_in: timedelta, minutes: int) -> None:
    assert sent(create_intent(expires_in=expires_in))["expiresAt"] == minutes


ADDRESS = {
    "first_name": ("firstName", "Wanjiku"),
    "last_name": ("lastName", "K."),
    "address1": ("address1", "Moi Avenue 1"),
    "locality": ("locality", "Nairobi"),
    "administrative_area": ("administrativeArea", "Nairobi County"),
    "postal_code": ("postalCode", "00100"),
    "country": ("country", "KE"),
    "email": ("email", "w@example.com"),
    "phone_number": ("phoneNumber", "+254712345678"),
}


@pytest.mark.parametrize("kind", [dict, MappingProxyType, lambda fields: BillingAddress(**fields)])
def test_addresses(kind: Callable[[dict[str, str]], Any]) -> None:
    address = kind({name: value for name, (_, value) in ADDRESS.items()})
    payload = sent(create_intent(billing_address=address))["payload"]
    assert payload == {"billingAddress": dict(ADDRESS.values())}


def test_of_an_address_only_what_is_there_is_sent() -> None:
    for address in (
        BillingAddress(email="w@example.com"),
        {"email": "w@example.com", "country": None},
    ):
        payload = sent(create_intent(billing_address=address))["payload"]
        assert payload == {"billingAddress": {"email": "w@example.com"}}


@pytest.mark.parametrize(
    ("given_as", "provider"),
    [
        (Provider.MPESA, Provider.MPESA),
        ("MPESA", Provider.MPESA),
        ("mpesa", Provider.MPESA),
        ("Airtel", Provider.AIRTEL),
        ("TIGOPESA", Provider.TIGOPESA),
        (Provider("NEW_ONE"), Provider("NEW_ONE")),  # made on purpose
    ],
    ids=repr,
)
def test_payable_providers(given_as: Provider | str, provider: Provider) -> None:
    found = wire.payable_provider(given_as)
    assert (type(found), found) == (Provider, provider)


@pytest.mark.parametrize(
    ("given_as", "key"),
    [
        ("ORDER42", "ORDER42"),
        (PaymentIntent(date=NOW, reference="ref-1"), "ref-1"),
        (Payment(date=NOW, status=PaymentStatus.PENDING, reference="ref-1", key="K"), "ref-1"),
    ],
)
def test_what_a_payment_is_looked_up_by(given_as: Any, key: str) -> None:
    assert wire.key_of(given_as) == key


# Keys in paths

NASTY = ["a/b", "../x", "a/../b", "a?b=c", "a#b", "a b", "a%2Fb", "a;b", "é", "\U0001f600", "a&b=c"]
NASTY += ["...", "a+b", "@evil.example", "//evil.example", "http://evil.example/", "\\..\\", "a:b"]
MAKERS: dict[str, Callable[[str], wire.Call]] = {
    "/api/payments-v2/{}": wire.status,
    "/api/payments-v2/{}?longPoll=true": lambda key: wire.status(key, held=True),
    "/api/refund/{}": lambda key: wire.refund(key, 1, reason=None, callback_url=None),
    "/pay/{}/process": lambda key: wire.process(
        key, Provider.MTN, Msisdn.unchecked("23300000000"), held=False
    ),
}


def stays_in_its_place(key: str, template: str) -> bool:
    """Whether httpx sends the key as one segment of this very path to this very host."""
    call = MAKERS[template](wire.key_of(key))
    before, after = template.split("{}")
    request = httpx.Request(call.method, f"https://pay.example{call.path}")
    target = request.url.raw_path.decode("ascii")
    segment = target.removeprefix(before).removesuffix(after)
    return (
        request.url.host == "pay.example"
        and target == f"{before}{segment}{after}"
        and not set(segment) & set("/?#\\ \r\n\0")
        and segment not in {".", ".."}
        and unquote(segment) == key
        and call.key == key
    )


@pytest.mark.parametrize("template", MAKERS)
@pytest.mark.parametrize("key", NASTY)
@pytest.mark.threat("T16")
def test_nasty_keys_stay_in_their_place(key: str, template: str) -> None:
    assert stays_in_its_place(key, template)


@given(key=st.text(), template=st.sampled_from(sorted(MAKERS)))
@pytest.mark.threat("T16")
def test_any_key_stays_in_its_place_or_is_refused(key: str, template: str) -> None:
    try:
        wire.key_of(key)
    except InvalidInputError:
        refused = True
    else:
        refused = False
    assert refused or stays_in_its_place(key, template)


@given(method=st.text(), path=st.text().map("/".__add__))
@pytest.mark.threat("T4")
def test_any_request_stays_on_its_host_or_is_refused(method: str, path: str) -> None:
    try:
        call = other(method, path)
    except InvalidInputError:
        return
    request = httpx.Request(call.method, f"https://pay.example{call.path}")
    assert request.url.host == "pay.example"
    assert request.method.isascii()
    assert request.method.isalpha()
    assert not set(request.url.raw_path) & set(b" \r\n\0#")


@pytest.mark.parametrize(
    "path",
    ["/api/payments-v2/ORDER42", "/x?a=b&c=%20d", "/a%2Fb", "/", "/a/...", "/x?next=../y", "//a"],
)
def test_paths_of_other_endpoints(path: str) -> None:
    assert other(path=path).path == path
