"""Envelopes become models: both documented shapes, money's digits, and what nobody documented."""

import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async import (
    Attempt,
    BillingAddress,
    Payment,
    PaymentIntent,
    PaymentStatus,
    Provider,
    Refund,
)
from little_pay_async import _wire as wire
from little_pay_async._wire.shapes import NotTheEnvelopeError, decode

DOCUMENTED = Path(__file__).parent / "documented"
REFERENCE = "1cbfffbc-b365-45f6-9e5d-13e445c125cd"
DATE = "2024-03-07T13:03:43.598Z"
MOMENT = datetime(2024, 3, 7, 13, 3, 43, 598000, tzinfo=UTC)


def document(name: str) -> bytes:
    return (DOCUMENTED / name).read_bytes()


def payment(data: bytes) -> Payment:
    """The payment of an answer whose `data` is written like this."""
    return wire.read_payment(wire.read_envelope(b'{"date":"%s","data":%s}' % (DATE.encode(), data)))


def payment_with(**data: Any) -> Payment:
    return payment(json.dumps({"status": "PENDING"} | data).encode())


# What is documented


def test_the_process_shape() -> None:
    assert wire.read_payment(
        wire.read_envelope(document("process-response-pending.json"))
    ) == Payment(
        date=MOMENT,
        status=PaymentStatus.PENDING,
        message="You will be promoted to enter your MPESA PIN",
        provider=Provider.MPESA,
        amount=Decimal(1),
        currency="KES",
    )


def test_the_long_poll_shape() -> None:
    assert wire.read_payment(
        wire.read_envelope(document("long-poll-response-completed.json"))
    ) == Payment(
        date=MOMENT,
        status=PaymentStatus.COMPLETED,
        message="Success",
        provider=Provider.MPESA,
        amount=Decimal(1),
        currency="KES",
    )


def test_the_status_shape() -> None:
    assert wire.read_payment(
        wire.read_envelope(document("status-response-completed.json"))
    ) == Payment(
        date=datetime(2024, 5, 13, 8, 26, 18, 719000, tzinfo=UTC),
        status=PaymentStatus.COMPLETED,
        reference=REFERENCE,
        amount=Decimal(1),
        provider=Provider.MPESA,
        attempts=(
            Attempt(reference=REFERENCE, provider=Provider.MPESA, status=PaymentStatus.COMPLETED),
        ),
    )


def test_an_intent() -> None:
    assert wire.read_intent(
        wire.read_envelope(document("create-intent-response.json"))
    ) == PaymentIntent(
        date=datetime(2024, 3, 7, 13, 3, 5, 141000, tzinfo=UTC),
        message="Request processed successfully",
    )


def test_a_refund() -> None:
    assert wire.read_refund(wire.read_envelope(document("refund-response.json"))) == Refund(
        date=datetime(2024, 5, 13, 6, 39, 27, 311000, tzinfo=UTC),
        status=PaymentStatus.COMPLETED,
        message="Success",
    )


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("process-response-pending.json", wire.read_payment),
        ("long-poll-response-completed.json", wire.read_payment),
        ("status-response-completed.json", wire.read_payment),
        ("create-intent-response.json", wire.read_intent),
        ("refund-response.json", wire.read_refund),
    ],
)
def test_raw_is_data_as_received(name: str, read: Callable[[Any], Any]) -> None:
    result = read(wire.read_envelope(document(name)))
    assert result.raw == json.loads(document(name))["data"]


def test_every_field_of_the_process_shape() -> None:
    found = payment_with(
        message="Done",
        meta={
            "provider": "CARDS",
            "providerReference": "SGL1",
            "stepUpUrl": "https://bank.example/3ds",
            "accessToken": "token",
            "amount": 5,
            "currency": "UGX",
            "description": "Tickets",
            "reference": "ref-1",
        },
    )
    assert found == Payment(
        date=MOMENT,
        status=PaymentStatus.PENDING,
        message="Done",
        provider=Provider.CARDS,
        provider_reference="SGL1",
        step_up_url="https://bank.example/3ds",
        access_token="token",
        amount=Decimal(5),
        currency="UGX",
        description="Tickets",
        reference="ref-1",
    )


def test_every_field_of_the_status_shape() -> None:
    found = payment_with(
        reference="ref-1",
        key="ORDER42",
        amount=5,
        payload={
            "billingAddress": {
                "firstName": "Wanjiku",
                "lastName": "K.",
                "address1": "Moi Avenue 1",
                "locality": "Nairobi",
                "administrativeArea": "Nairobi County",
                "postalCode": "00100",
                "country": "KE",
                "email": "w@example.com",
                "phoneNumber": "+254712345678",
            }
        },
        payment={"provider": "MPESA", "details": {"receipt": ["SGL1"]}},
        attempts=[
            {"reference": "a-1", "provider": "MPESA", "status": "FAILED"},
            {"reference": "a-2", "provider": "AIRTEL", "status": "PENDING"},
        ],
    )
    assert found == Payment(
        date=MOMENT,
        status=PaymentStatus.PENDING,
        reference="ref-1",
        key="ORDER42",
        amount=Decimal(5),
        provider=Provider.MPESA,
        details={"receipt": ["SGL1"]},
        billing_address=BillingAddress(
            first_name="Wanjiku",
            last_name="K.",
            address1="Moi Avenue 1",
            locality="Nairobi",
            administrative_area="Nairobi County",
            postal_code="00100",
            country="KE",
            email="w@example.com",
            phone_number="+254712345678",
        ),
        attempts=(
            Attempt(reference="a-1", provider=Provider.MPESA, status=PaymentStatus.FAILED),
            Attempt(reference="a-2", provider=Provider.AIRTEL, status=PaymentStatus.PENDING),
        ),
    )


# Money


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("1.10", "1.10"),
        ("100", "100"),
        ("12345678901234567.89", "12345678901234567.89"),
        ("0.1", "0.1"),
        ("0", "0"),
        ("0.00", "0.00"),
        ("1e2", "1E+2"),
        ("99999999999999999999999", "99999999999999999999999"),
        ('"1.10"', "1.10"),
        ('"100"', "100"),
    ],
)
@pytest.mark.parametrize(
    "shape", ['{"status":"PENDING","amount":%s}', '{"status":"PENDING","meta":{"amount":%s}}']
)
def test_money_keeps_its_digits(written: str, amount: str, shape: str) -> None:
    found = payment((shape % written).encode())
    assert str(found.amount) == amount
    assert found.to_dict()["amount"] == amount


@given(units=st.integers(-(10**20), 10**20), places=st.integers(0, 9))
@pytest.mark.threat("T14")
def test_any_amount_keeps_its_digits(units: int, places: int) -> None:
    written = format(Decimal(f"{units}E-{places}"), "f")
    found = payment(b'{"status":"PENDING","amount":%s}' % written.encode())
    assert found.amount is not None
    assert format(found.amount, "f") == written
    again = payment(b'{"status":"PENDING","amount":"%s"}' % written.encode())
    assert str(again.amount) == str(found.amount)


@given(units=st.integers(1, 10**20 - 1), places=st.integers(0, 10))
def test_money_keeps_its_digits_there_and_back(units: int, places: int) -> None:
    written = format(Decimal(f"{units}E-{places}"), "f")
    body = wire.refund("ORDER42", written, reason=None, callback_url=None).body
    assert body is not None
    amount = decode(body)["amount"]
    assert format(Decimal(amount), "f") == written


@pytest.mark.parametrize(
    "written",
    [
        *("1e400", "-1e400", "1e-400", "1e31", "1e99999999999999999999", "1" * 31, "0." + "1" * 31),
        *("true", "false", "[]", "{}", "[1]", '{"value": 1}'),
        *('"NaN"', '"Infinity"', '"1e3"', '"KES 1"', '" 1"', '"1,5"', '"1_0"', '"\\u0661"'),
    ],
)
def test_what_is_no_amount(written: str) -> None:
    with pytest.raises(NotTheEnvelopeError, match="amount"):
        payment(b'{"status":"PENDING","amount":%s}' % written.encode())


# What nobody documented


@pytest.mark.parametrize("status", ["REVERSED", "completed", "In Progress", "ÜBERWIESEN"])
@pytest.mark.threat("T7")
def test_unknown_statuses_are_kept(status: str) -> None:
    found = payment_with(status=status, attempts=[{"status": status}])
    for kept in (found.status, found.attempts[0].status):
        assert kept is not None
        assert (kept.value, kept.is_known, kept.is_final) == (status, False, False)
    refund = wire.read_refund(
        wire.read_envelope(json.dumps({"date": DATE, "data": {"status": status}}).encode())
    )
    assert refund.status.value == status


@pytest.mark.parametrize(
    "data", [{"meta": {"provider": "HALOPESA"}}, {"payment": {"provider": "HALOPESA"}}]
)
def test_unknown_providers_are_kept(data: dict[str, Any]) -> None:
    provider = payment_with(**data).provider
    assert provider is not None
    assert (provider.value, provider.is_known) == ("HALOPESA", False)


@pytest.mark.parametrize(
    "written",
    [
        *("1e400", "-1e-400", "1e99999999999999999999", "1" * 400, "0." + "1" * 400),
        *('"\\u0000"', '{"a":[{"b":null}]}', "[[[[[]]]]]", "true", '""', "-0", "-0.0"),
    ],
)
@pytest.mark.parametrize(
    "shape",
    [
        '{"status":"PENDING","brandNew":%s}',
        '{"status":"PENDING","meta":{"brandNew":%s}}',
        '{"status":"PENDING","payload":{"billingAddress":{"brandNew":%s}}}',
        '{"status":"PENDING","payment":{"brandNew":%s}}',
        '{"status":"PENDING","attempts":[{"brandNew":%s}]}',
    ],
)
def test_unknown_fields_are_kept_in_raw_and_never_an_error(shape: str, written: str) -> None:
    found = payment((shape % written).encode())
    assert found.status is PaymentStatus.PENDING
    assert "brandNew" in str(found.raw)
    if written[-1].isdigit() and "9999" not in written:
        assert Decimal(written) in values_of(found.raw)


def values_of(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [found for item in items for found in values_of(item)]
    return [value]


def test_other_fields_of_the_envelope_are_passed_over() -> None:
    envelope = wire.read_envelope(
        b'{"date":"2024-03-07T13:03:43.598Z","data":{},"error":null,"n":1e400}'
    )
    assert (envelope.date, envelope.data) == (MOMENT, {})


def test_numbers_as_ids_are_their_digits() -> None:
    found = payment_with(reference=123456, key=42, meta={"providerReference": 7})
    assert (found.reference, found.key, found.provider_reference) == ("123456", "42", "7")


def test_both_shapes_at_once_agree() -> None:
    found = payment_with(
        reference="", amount=None, meta={"reference": "ref-1", "amount": 2, "provider": "MTN"}
    )
    assert (found.reference, found.amount, found.provider) == ("ref-1", Decimal(2), Provider.MTN)


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_string_is_none(nothing: str | None) -> None:
    names = ("reference", "key", "amount", "currency", "message", "description")
    bare = payment_with()
    assert payment_with(**dict.fromkeys(names, nothing)) == bare
    assert (
        payment_with(meta=dict.fromkeys((*names, "provider", "stepUpUrl", "accessToken"), nothing))
        == bare
    )
    assert payment_with(payment={"provider": nothing, "details": nothing}) == bare
    assert (
        payment_with(**dict.fromkeys(("meta", "payload", "payment", "attempts"), nothing)) == bare
    )
    assert payment_with(payload={"billingAddress": nothing}) == bare
    attempt = dict.fromkeys(("reference", "provider", "status"), nothing)
    assert payment_with(attempts=[attempt]).attempts == (Attempt(),)


@pytest.mark.parametrize(
    "address",
    [{}, {"firstName": "", "email": None}, {"unknown": "x"}, dict.fromkeys(["city", "email"], "")],
    ids=repr,
)
def test_an_address_with_nothing_in_it_is_none(address: dict[str, Any]) -> None:
    assert payment_with(payload={"billingAddress": address}).billing_address is None


def test_an_address_with_one_thing_in_it_is_kept() -> None:
    found = payment_with(payload={"billingAddress": {"firstName": "", "country": "KE"}})
    assert found.billing_address == BillingAddress(country="KE")


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("2024-03-07T13:03:43.598Z", MOMENT),
        ("2024-03-07T13:03:43.598+00:00", MOMENT),
        ("2024-03-07T16:03:43.598+03:00", MOMENT),
        ("2024-03-07T13:03:43.598", MOMENT),  # nobody says so, but UTC it is elsewhere
        ("2024-03-07T13:03:43Z", MOMENT.replace(microsecond=0)),
        ("2024-03-07 13:03:43.598Z", MOMENT),
    ],
)
def test_dates_are_aware_and_utc(date: str, moment: datetime) -> None:
    envelope = wire.read_envelope(json.dumps({"date": date, "data": {}}).encode())
    assert envelope.date == moment
    assert envelope.date.tzinfo is UTC


@pytest.mark.parametrize(
    "date",
    [
        *(None, "", "yesterday", "2024-13-01T00:00:00Z", "07.03.2024", 1709816623, 1.5, True, []),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    ],
)
def test_what_is_no_date(date: object) -> None:
    with pytest.raises(NotTheEnvelopeError, match="`date`"):
        wire.read_envelope(json.dumps({"date": date, "data": {}}).encode())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"status": None}, "status"),
        ({"status": ""}, "status"),
        ({"status": 1}, "status"),
        ({"status": ["PENDING"]}, "status"),
        ({"reference": ["canary"]}, "reference"),
        ({"key": {"canary": 1}}, "key"),
        ({"key": True}, "key"),
        ({"message": ["canary"]}, "message"),
        ({"meta": "canary"}, "meta"),
        ({"meta": ["canary"]}, "meta"),
        ({"payment": "canary"}, "payment"),
        ({"payment": {"provider": ["canary"]}}, "provider"),
        ({"payload": 1}, "payload"),
        ({"payload": {"billingAddress": "canary"}}, "billing_address"),
        ({"payload": {"billingAddress": ["canary"]}}, "billing_address"),
        ({"payload": {"billingAddress": {"email": ["canary"]}}}, "email"),
        ({"attempts": {"canary": 1}}, "attempts"),
        ({"attempts": "canary"}, "attempts"),
        ({"attempts": ["canary"]}, "attempts"),
        ({"attempts": [None]}, "attempts"),
        ({"attempts": [{"status": {"canary": 1}}]}, "status"),
        ({"attempts": [{"reference": ["canary"]}]}, "reference"),
    ],
    ids=repr,
)
def test_what_is_read_and_does_not_fit_is_named_and_not_quoted(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(NotTheEnvelopeError, match=field) as caught:
        payment_with(**changes)
    assert "canary" not in str(caught.value)


def test_a_status_is_needed() -> None:
    with pytest.raises(NotTheEnvelopeError, match="status"):
        payment(b"{}")
    with pytest.raises(NotTheEnvelopeError, match="status"):
        wire.read_refund(wire.read_envelope(document("create-intent-response.json")))


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"null",
            b"true",
            b"1",
            b'"x"',
            b"[]",
            b"[{}]",
            b"{}",
            b"{",
            b"}",
            b"\xff\xfe",
        ),
        *(b"<html></html>", b"NaN", b"Infinity", b"{'date': 1}", b'{"date":1}{"date":2}', b"\x00"),
        *(b'{"data":{}}', b'{"date":"2024-03-07T13:03:43Z"}', b"\xef\xbb\xbf{}"),
    ],
    ids=repr,
)
def test_what_is_no_envelope(body: bytes) -> None:
    with pytest.raises(NotTheEnvelopeError):
        wire.read_envelope(body)


@pytest.mark.parametrize(
    "data",
    [
        "null",
        "[]",
        '"x"',
        "1",
        "NaN",
        "Infinity",
        "-Infinity",
        '{"x":NaN}',
        '{"x":"\\ud800"}',
        "{x:1}",
    ],
)
def test_data_is_an_object_in_json(data: str) -> None:
    with pytest.raises(NotTheEnvelopeError):
        wire.read_envelope(b'{"date":"%s","data":%s}' % (DATE.encode(), data.encode()))


@pytest.mark.parametrize(
    "body", [b'{"x":"\xff"}', b'{"\xc3":1}', b'{"x":"\xed\xa0\x80"}'], ids=repr
)
def test_utf_8_it_must_be(body: bytes) -> None:
    with pytest.raises(NotTheEnvelopeError):
        payment(body)


# Whatever is read can be carried on


@pytest.mark.parametrize("levels", [1, 50, 90, 100, 101, 200, 300, 500, 900, 1_100, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.threat("T5")
def test_deep_nesting_is_refused_or_of_no_consequence(
    levels: int, opening: bytes, closing: bytes
) -> None:
    nested = opening * levels + b"1" + closing * levels
    try:
        found = payment(b'{"status":"PENDING","payment":{"details":%s}}' % nested)
    except NotTheEnvelopeError:
        assert levels > 90
    else:
        json.dumps(found.to_dict())
        assert pickle.loads(pickle.dumps(found)) == found


def test_wide_is_not_deep() -> None:
    attempts = [{"reference": f"a-{number}"} for number in range(1000)]
    assert len(payment_with(attempts=attempts).attempts) == 1000


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["PENDING", "COMPLETED", "MPESA", "", "1.10"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("status", "reference", "key", "amount", "currency", "message", "description", "provider")
DATA = st.fixed_dictionaries(
    {"status": st.just("PENDING") | JSON},
    optional={
        **dict.fromkeys(NAMES[1:], JSON),
        "meta": st.dictionaries(
            st.sampled_from([*NAMES, "providerReference", "stepUpUrl", "accessToken"]), JSON
        )
        | JSON,
        "payment": st.dictionaries(st.sampled_from(["provider", "details"]), JSON) | JSON,
        "payload": st.fixed_dictionaries(
            {
                "billingAddress": st.dictionaries(st.sampled_from(["email", "firstName"]), JSON)
                | JSON
            }
        )
        | JSON,
        "attempts": st.lists(
            st.dictionaries(st.sampled_from(["status", "reference", "provider"]), JSON)
        )
        | JSON,
        "checkoutUrl": JSON,
    },
)


@pytest.mark.parametrize("read", [wire.read_payment, wire.read_intent, wire.read_refund])
@given(data=DATA)
@pytest.mark.threat("T7")
def test_any_data_is_a_model_or_refused(read: Callable[[Any], Any], data: dict[str, Any]) -> None:
    try:
        result = read(wire.read_envelope(json.dumps({"date": DATE, "data": data}).encode()))
    except NotTheEnvelopeError:
        return
    json.dumps(result.to_dict(), allow_nan=False)
    assert pickle.loads(pickle.dumps(result)) == result
    assert result.raw.keys() == data.keys()
    assert repr(result)
