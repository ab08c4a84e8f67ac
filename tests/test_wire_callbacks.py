"""What well-signed bodies become: a payment's callback, a refund's, or an error."""

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async import BillingAddress, CallbackError, PaymentStatus, Provider
from little_pay_async._wire import callbacks as wire
from little_pay_async.callbacks import PaymentCallback, RefundCallback

from .signers import PAYMENT, REFUND, compact

REFERENCE = "1cbfffbc-b365-45f6-9e5d-13e445c125cd"


def payment(**changes: Any) -> PaymentCallback:
    found = wire.read_callback(compact(PAYMENT | changes))
    assert isinstance(found, PaymentCallback), found
    return found


def refund(**changes: Any) -> RefundCallback:
    found = wire.read_callback(compact(REFUND | changes))
    assert isinstance(found, RefundCallback), found
    return found


def refused(body: bytes) -> str:
    found = wire.read_callback(body)
    assert type(found) is CallbackError
    assert str(found).startswith("Well signed, but no callback of Little Pay's: ")
    assert "`data`" not in str(found)  # of which callbacks have none
    return str(found)


def without(said: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in names}


def test_the_documented_payment() -> None:
    assert payment() == PaymentCallback(
        date=datetime(2025, 2, 3, 13, 49, 46, tzinfo=UTC),
        status=PaymentStatus.COMPLETED,
        reference=REFERENCE,
        key=None,
        amount=Decimal(1),
        currency="KES",
        provider=Provider.MPESA,
        billing_address=None,
        custom_data=None,
    )
    assert payment().raw == PAYMENT


def test_the_documented_refund() -> None:
    assert refund() == RefundCallback(
        date=datetime(2024, 5, 13, 6, 39, 27, 311_000, tzinfo=UTC),
        status=PaymentStatus.COMPLETED,
        message="Success",
        amount=Decimal(0),
        reason="Refund for order 123",
        reference=REFERENCE,
        key="1234",
    )
    assert refund().raw == REFUND


def test_what_the_payload_holds() -> None:
    found = payment(
        payload={
            "billingAddress": {"firstName": "Asha", "phoneNumber": "254712345678"},
            "customData": {"order": [1, {"price": 1.10}]},
        }
    )
    assert found.billing_address == BillingAddress(first_name="Asha", phone_number="254712345678")
    assert found.custom_data == {"order": [1, {"price": Decimal("1.1")}]}


def test_money_keeps_its_digits() -> None:
    body = compact(PAYMENT).replace(b'"amount":1,', b'"amount":12345678901234567.10,')
    found = wire.read_callback(body)
    assert isinstance(found, PaymentCallback)
    assert str(found.amount) == "12345678901234567.10"


@pytest.mark.parametrize("status", ["FAILED", "PENDING", "REVERSED"])
def test_statuses(status: str) -> None:
    assert payment(status=status).status == status
    assert refund(status=status).status == status
    assert payment(status=status).status.is_final is (status == "FAILED")


def test_nothing_private_in_repr() -> None:
    address = {"phoneNumber": "254712345678", "email": "asha@example.org"}
    shown = repr(
        payment(payload={"billingAddress": address, "customData": {"mobile": "254712345678"}})
    ) + repr(refund(message="Sent to 254712345678", reason="asked by +254 712 345 678"))
    assert "712345678" not in shown.replace(" ", "")
    assert "asha" not in shown


@pytest.mark.parametrize("found", [payment(key="A"), refund()], ids=lambda it: type(it).__name__)
def test_results_are_as_all_others(found: PaymentCallback | RefundCallback) -> None:
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash(found) == hash(pickle.loads(pickle.dumps(found)))
    told = json.loads(json.dumps(found.to_dict()))
    assert "raw" not in told
    assert told["status"] == "COMPLETED"
    with pytest.raises(AttributeError):
        found.status = PaymentStatus.FAILED  # type: ignore[misc]
    with pytest.raises(TypeError):
        vars(found)


class TestKind:
    """A refund taken for a payment would be goods sent for money given back."""

    @pytest.mark.parametrize("name", ["payload", "currency", "provider"])
    def test_one_field_of_its_own_makes_a_payment(self, name: str) -> None:
        others = {"payload", "currency", "provider"} - {name}
        found = wire.read_callback(compact(without(PAYMENT, *others)))
        assert isinstance(found, PaymentCallback)

    @pytest.mark.parametrize("name", ["message", "reason"])
    def test_one_field_of_its_own_makes_a_refund(self, name: str) -> None:
        others = {"message", "reason"} - {name}
        found = wire.read_callback(compact(without(REFUND, *others)))
        assert isinstance(found, RefundCallback)

    @pytest.mark.parametrize("name", ["message", "reason", "somethingNew"])
    def test_one_field_more_is_no_error_in_a_payment(self, name: str) -> None:
        assert payment(**{name: "x"}).raw[name] == "x"

    @pytest.mark.parametrize("name", ["payload", "currency", "provider", "somethingNew"])
    def test_one_field_more_is_no_error_in_a_refund(self, name: str) -> None:
        assert refund(**{name: "x"}).raw[name] == "x"

    @pytest.mark.parametrize(
        "said",
        [
            pytest.param(PAYMENT | REFUND, id="both"),
            pytest.param(without(PAYMENT, "payload", "currency", "provider"), id="neither"),
            pytest.param(without(PAYMENT, "payload") | {"message": "x"}, id="parts of both"),
            pytest.param({"date": PAYMENT["date"], "data": PAYMENT}, id="in an envelope"),
            pytest.param({}, id="empty"),
        ],
    )
    def test_nothing_is_guessed(self, said: dict[str, Any]) -> None:
        assert "can't be told" in refused(compact(said))


class TestRefused:
    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b" ", b"{", b"null", b"true", b"1", b'"x"', b"[]", b"[{}]", b"NaN", b"\x00"),
            *(b"<html></html>", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{'status': 1}", b"{}{}"),
            b"status=COMPLETED&amount=1",
            compact([PAYMENT]),
            compact(PAYMENT) + compact(PAYMENT),
            compact(PAYMENT)[:-1],
            compact(PAYMENT).replace(b"MPESA", b"\xc3("),
            compact(PAYMENT).replace(b"MPESA", b"\\ud800"),
            compact(PAYMENT).decode().encode("utf-16"),
        ],
        ids=lambda body: ascii(body[:12]) + str(len(body)),
    )
    def test_no_object_in_json(self, body: bytes) -> None:
        refused(body)

    @pytest.mark.parametrize(
        "amount",
        [
            *(
                "NaN",
                "Infinity",
                "-Infinity",
                "1e400",
                "-1e400",
                "1e-400",
                "1e31",
                "01",
                "1.",
                ".1",
            ),
            *("true", "[]", "{}", '"NaN"', '"1e3"', '"KES 1"', "1" * 31, "9" * 60_000),
        ],
        ids=lambda amount: amount[:12],
    )
    def test_what_is_no_amount(self, amount: str) -> None:
        body = compact(PAYMENT).replace(b'"amount":1,', f'"amount":{amount},'.encode())
        assert amount not in refused(body)

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            *[({"status": value}, "status") for value in (None, "", 1, ["canary"], {"a": 1})],
            *[({"date": value}, "date") for value in (None, "", 1, "canary", "0001-01-01T00+01")],
            *[({"key": value}, "key") for value in (True, ["canary"], {"canary": 1}, 1.5)],
            *[({"reference": value}, "reference") for value in (False, ["canary"])],
            *[({"currency": value}, "currency") for value in (False, ["canary"])],
            *[({"provider": value}, "provider") for value in (False, ["canary"], {"canary": 1})],
            *[({"payload": value}, "payload") for value in ("canary", ["canary"], 1, False)],
            ({"payload": {"billingAddress": "canary"}}, "billing_address"),
            ({"payload": {"billingAddress": {"email": ["canary"]}}}, "email"),
        ],
        ids=ascii,
    )
    def test_what_is_read_and_does_not_fit_is_named_and_not_quoted(
        self, changes: dict[str, Any], field: str
    ) -> None:
        said = refused(compact(PAYMENT | changes))
        assert field in said
        assert "canary" not in said

    @pytest.mark.parametrize("name", ["message", "reason", "amount", "status", "date", "key"])
    def test_the_same_in_a_refund(self, name: str) -> None:
        said = refused(compact(REFUND | {name: ["canary"]}))
        assert name in said
        assert "canary" not in said

    @pytest.mark.parametrize("name", ["status", "date"])
    @pytest.mark.parametrize("said", [PAYMENT, REFUND], ids=["payment", "refund"])
    def test_what_is_needed(self, said: dict[str, Any], name: str) -> None:
        assert name in refused(compact(without(said, name)))

    @pytest.mark.parametrize("said", [PAYMENT, REFUND], ids=["payment", "refund"])
    def test_one_that_names_no_payment(self, said: dict[str, Any]) -> None:
        assert "names no payment" in refused(compact(said | {"key": "", "reference": None}))
        assert wire.read_callback(compact(said | {"key": "", "reference": 7})).reference == "7"  # type: ignore[union-attr]

    @pytest.mark.parametrize("levels", [50, 101, 1_000, 30_000])
    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
    def test_deep_nesting(self, levels: int, opening: str, closing: str) -> None:
        nested = opening * levels + "1" + closing * levels
        body = compact(PAYMENT).replace(
            b'"payload":{', f'"payload":{{"customData":{nested},'.encode()
        )
        if levels < 100:
            assert isinstance(wire.read_callback(body), PaymentCallback)
        else:
            refused(body)

    def test_very_many_values(self) -> None:
        refused(compact(PAYMENT | {"more": [1] * 20_000}))


def test_of_two_fields_of_one_name_the_last_counts() -> None:
    # As in answers, and wherever else the same JSON is read in Python: no two readers differ.
    body = compact(PAYMENT)[:-1] + b',"status":"FAILED","amount":2}'
    found = wire.read_callback(body)
    assert isinstance(found, PaymentCallback)
    assert (found.status, found.amount) == ("FAILED", 2)
    assert found.raw == json.loads(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(
    said=st.sampled_from([PAYMENT, REFUND]),
    changes=st.dictionaries(st.sampled_from([*PAYMENT, *REFUND]), JSON, max_size=3),
)
def test_any_object_is_a_callback_or_refused(said: dict[str, Any], changes: dict[str, Any]) -> None:
    found = wire.read_callback(compact(said | changes))
    if not isinstance(found, CallbackError):
        assert found.key or found.reference
        json.dumps(found.to_dict(), allow_nan=False)
        pickle.loads(pickle.dumps(found))


@given(body=st.binary(max_size=200) | st.text(alphabet='{}[]":,0eE-.\\truefalsn ').map(str.encode))
def test_any_bytes_are_refused(body: bytes) -> None:
    refused(body)
