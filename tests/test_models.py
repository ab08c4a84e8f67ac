"""Results: frozen, slotted, picklable, quiet about what is private; and enums that stay open."""

import copy
import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import little_pay_async as lp

NOW = datetime(2024, 3, 7, 13, 3, 43, 598000, tzinfo=UTC)
ADDRESS = lp.BillingAddress(
    first_name="Wanjiku",
    country="KE",
    email="wanjiku@example.com",
    phone_number="+254 712 345 678",
)
ATTEMPT = lp.Attempt(
    reference="attempt-1", provider=lp.Provider.MPESA, status=lp.PaymentStatus.FAILED
)
PAYMENT = lp.Payment(
    date=NOW,
    status=lp.PaymentStatus.PENDING,
    reference="ref-1",
    key="ORDER42",
    amount=Decimal("1.10"),
    currency="KES",
    provider=lp.Provider("FUTURE"),
    message="Sent to 254712345678",
    description="Ticket for 0712 345 678",
    attempts=(ATTEMPT,),
    billing_address=ADDRESS,
    details={"fee": Decimal("0.10"), "receipt": "canary-details"},
    step_up_url="https://bank.example/3ds",
    access_token="canary-token",
    raw={"note": "canary-raw", "ratio": Decimal("1e400")},
)
RESULTS = [
    ADDRESS,
    ATTEMPT,
    PAYMENT,
    lp.PaymentIntent(
        date=NOW,
        reference="ref-1",
        checkout_url="https://pay.example/c",
        message="For 254712345678",
        raw={"note": "canary-raw"},
    ),
    lp.Refund(
        date=NOW,
        status=lp.PaymentStatus.COMPLETED,
        message="To 254712345678",
        raw={"note": "canary-raw"},
    ),
    lp.Envelope(date=NOW, data={"note": "canary-raw", "fee": Decimal("0.10")}),
    lp.Settlement(key="ORDER42", payment=PAYMENT, error=None, elapsed=1.5, polls=3),
    lp.WatchStatistics(keys=5, settled=2, in_flight=3, requests=9, retries=1),
]
WITH_RAW = [result for result in RESULTS if hasattr(result, "raw")]


def name_of(value: object) -> str:
    return type(value).__name__


def each_result(results: list[Any] = RESULTS) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("result", results, ids=name_of)


@each_result()
def test_frozen(result: Any) -> None:
    for field in attrs.fields(type(result)):
        with pytest.raises(AttributeError):
            setattr(result, field.name, None)
        with pytest.raises(AttributeError):
            delattr(result, field.name)


@each_result()
def test_slotted(result: Any) -> None:
    assert not hasattr(result, "__dict__")
    with pytest.raises(AttributeError):
        result.brand_new = 1


@each_result()
def test_keyword_only(result: Any) -> None:
    values = [getattr(result, field.name) for field in attrs.fields(type(result))]
    with pytest.raises(TypeError, match="positional argument"):
        type(result)(*values)


@each_result()
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_everything(result: Any, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(result, protocol))
    assert again == result
    assert getattr(again, "raw", None) == getattr(result, "raw", None)


@each_result()
def test_copies(result: Any) -> None:
    assert copy.copy(result) == result
    assert copy.deepcopy(result) == result


@each_result()
def test_repr_shows_nothing_private(result: Any) -> None:
    shown = repr(result)
    assert shown.startswith(type(result).__name__)
    for private in ("canary", "712345678", "712 345 678", "wanjiku@"):
        assert private not in shown
    assert str(result) == shown


@each_result(WITH_RAW)
def test_raw_is_not_compared(result: Any) -> None:
    assert attrs.evolve(result, raw={"other": 1}) == result
    assert "raw" not in repr(result)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("date", datetime(2025, 1, 1, tzinfo=UTC)),
        ("status", lp.PaymentStatus.COMPLETED),
        ("amount", Decimal("1.11")),
        ("attempts", ()),
        ("details", None),
        ("access_token", None),
    ],
)
def test_the_rest_is_compared(field: str, other: object) -> None:
    assert attrs.evolve(PAYMENT, **{field: other}) != PAYMENT


def test_payments_can_be_members_of_sets() -> None:
    assert len({PAYMENT, attrs.evolve(PAYMENT), attrs.evolve(PAYMENT, key="OTHER")}) == 2


@each_result()
def test_to_dict_goes_through_json(result: Any) -> None:
    told = result.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    # Not just something that JSON can say, but no subclass of it either: an enum, for one.
    assert repr(told) == repr(json.loads(json.dumps(told)))


@each_result(WITH_RAW)
def test_to_dict_leaves_out_raw_and_secrets(result: Any) -> None:
    told = result.to_dict()
    assert "raw" not in told
    assert "access_token" not in told
    assert "canary-raw" not in json.dumps(told)
    assert "canary-token" not in json.dumps(told)


def test_to_dict_of_a_payment() -> None:
    assert PAYMENT.to_dict() == {
        "date": "2024-03-07T13:03:43.598000+00:00",
        "status": "PENDING",
        "reference": "ref-1",
        "key": "ORDER42",
        "amount": "1.10",
        "currency": "KES",
        "provider": "FUTURE",
        "provider_reference": None,
        "message": "Sent to 254712345678",
        "description": "Ticket for 0712 345 678",
        "attempts": [{"reference": "attempt-1", "provider": "MPESA", "status": "FAILED"}],
        "billing_address": {
            "first_name": "Wanjiku",
            "last_name": None,
            "address1": None,
            "locality": None,
            "administrative_area": None,
            "postal_code": None,
            "country": "KE",
            "email": "wanjiku@example.com",
            "phone_number": "+254 712 345 678",
        },
        "details": {"fee": "0.10", "receipt": "canary-details"},
        "step_up_url": "https://bank.example/3ds",
    }


def test_to_dict_of_a_settlement() -> None:
    error = lp.SettlementTimeoutError("not final in time", key="ORDER42", last=PAYMENT)
    settlement = lp.Settlement(key="ORDER42", payment=None, error=error, elapsed=2.5, polls=0)
    assert settlement.to_dict() == {
        "key": "ORDER42",
        "payment": None,
        "error": str(error),
        "elapsed": 2.5,
        "polls": 0,
    }
    told = lp.Settlement(key="ORDER42", payment=PAYMENT, error=None, elapsed=2.5, polls=1).to_dict()
    assert (told["payment"], told["error"]) == (PAYMENT.to_dict(), None)


def test_what_was_not_said_is_none() -> None:
    payment = lp.Payment(date=NOW, status=lp.PaymentStatus.PENDING)
    said = {"date", "status", "attempts", "raw"}
    names = {field.name for field in attrs.fields(lp.Payment)}
    assert all(getattr(payment, name) is None for name in names - said)
    assert payment.attempts == ()


# Open enums

ENUMS = (lp.PaymentStatus, lp.Provider)


@pytest.mark.parametrize(
    ("status", "final"),
    [
        ("PENDING", False),
        ("COMPLETED", True),
        ("FAILED", True),
        ("completed", False),  # nobody documents it: not final
        ("COMPLETED ", False),
        ("REVERSED", False),
        ("is_final", False),
    ],
)
def test_final_statuses(status: str, final: bool) -> None:
    assert lp.PaymentStatus(status).is_final is final


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        (lp.PaymentStatus, {"PENDING", "COMPLETED", "FAILED"}),
        (lp.Provider, {"MPESA", "AIRTEL", "MTN", "TIGOPESA", "CARDS"}),
    ],
)
def test_known_members(enum: Any, names: set[str]) -> None:
    assert {member.value for member in enum} == names
    assert all(enum(name).is_known and enum(name) is enum[name] for name in names)


@pytest.mark.parametrize("enum", ENUMS)
@given(value=st.text(min_size=1))
def test_unknown_strings_are_kept(enum: Any, value: str) -> None:
    member = enum(value)
    assert isinstance(member, enum)
    assert member.value == member == str(member) == f"{member}" == value
    assert member == enum(value)
    assert hash(member) == hash(enum(value)) == hash(value)
    assert member.is_known is (value in enum.__members__)
    assert len(enum) == len(enum.__members__)  # nothing was added: memory stays bounded
    assert value in enum.__members__ or value not in [known.value for known in enum]


@pytest.mark.parametrize("enum", ENUMS)
@pytest.mark.parametrize("value", ["REVERSED", "PENDING", "mro", "name", "Ünbekannt"])
def test_enum_members_are_carried(enum: Any, value: str) -> None:
    member = enum(value)
    for again in (
        *(pickle.loads(pickle.dumps(member, protocol)) for protocol in range(2, 6)),
        copy.copy(member),
        copy.deepcopy(member),
    ):
        assert (type(again), again, again.is_known) == (enum, member, member.is_known)
    assert json.loads(json.dumps({"it": member})) == {"it": value}


@pytest.mark.parametrize("enum", ENUMS)
@pytest.mark.parametrize("value", ["", None, 0, 1.5, b"PENDING", [], {}, True])
def test_what_is_no_text_is_no_member(enum: Any, value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        enum(value)
