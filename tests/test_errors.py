"""The tree of errors: who descends from whom, and what a pickle carries of each."""

import copy
import pickle
from datetime import UTC, datetime
from decimal import Decimal

import pytest

import little_pay_async as lp
from little_pay_async import _errors

TREE: dict[type[lp.LittlePayError], tuple[type[BaseException], ...]] = {
    lp.LittlePayError: (Exception,),
    lp.ConfigurationError: (lp.LittlePayError,),
    lp.SessionClosedError: (lp.LittlePayError, RuntimeError),
    lp.InvalidInputError: (lp.LittlePayError, ValueError),
    lp.APIConnectionError: (lp.LittlePayError,),
    lp.APITimeoutError: (lp.APIConnectionError,),
    lp.APIStatusError: (lp.LittlePayError,),
    lp.BadRequestError: (lp.APIStatusError,),
    lp.AuthenticationError: (lp.APIStatusError,),
    lp.PermissionDeniedError: (lp.APIStatusError,),
    lp.NotFoundError: (lp.APIStatusError,),
    lp.ConflictError: (lp.APIStatusError,),
    lp.RateLimitError: (lp.APIStatusError,),
    lp.ServerError: (lp.APIStatusError,),
    lp.UnexpectedResponseError: (lp.LittlePayError,),
    lp.OutcomeUnknownError: (lp.LittlePayError,),
    lp.SettlementTimeoutError: (lp.LittlePayError,),
    lp.CallbackError: (lp.LittlePayError,),
    lp.InvalidSignatureError: (lp.CallbackError,),
    lp.StaleCallbackError: (lp.CallbackError,),
}

PAYMENT = lp.Payment(
    date=datetime(2024, 3, 7, 13, 3, 43, tzinfo=UTC),
    status=lp.PaymentStatus("PROCESSING"),
    reference="ref-1",
    key="ORDER42",
    amount=Decimal("1.10"),
    message="Prompt sent to 254712345678",
    description="For +254 712 345 678",
    billing_address=lp.BillingAddress(email="payer@example.com", phone_number="254712345678"),
    details={"msisdn": "254712345678"},
    step_up_url="https://bank.example/3ds?token=canary-step-up",
    access_token="canary-access-token",
    raw={"meta": {"accessToken": "canary-access-token", "mobile": "254712345678"}},
)
PRIVATE = (b"712345678", b"712 345 678", b"payer@", b"canary-step-up", b"canary-access-token")


def example(cls: type[lp.LittlePayError]) -> lp.LittlePayError:
    """An error of the class, with everything set that can be."""
    if issubclass(cls, lp.APIConnectionError):
        return cls("text", sent=True, tls=True, tries=3, key="ORDER42")
    if issubclass(cls, lp.APIStatusError):
        return cls(
            "text",
            status_code=429,
            message="Slow down",
            body='{"message": "Slow down"}',
            retry_after=1.5,
            headers={"retry-after": "1.5"},
            tries=3,
            key="ORDER42",
        )
    if issubclass(cls, lp.UnexpectedResponseError):
        return cls(
            "text",
            status_code=200,
            body="<html>",
            refused=True,
            headers={"cf-ray": "1"},
            tries=3,
            key="ORDER42",
        )
    if issubclass(cls, lp.OutcomeUnknownError):
        return cls("text", operation="refund", key="ORDER42", tries=3)
    if issubclass(cls, lp.SettlementTimeoutError):
        return cls("text", key="ORDER42", last=None)
    return cls("text", key="ORDER42")


def descendants(cls: type[lp.LittlePayError]) -> set[type[lp.LittlePayError]]:
    return {cls}.union(*(descendants(child) for child in cls.__subclasses__()))


def test_tree_has_these_errors_and_no_others() -> None:
    of_the_package = {
        cls
        for cls in descendants(lp.LittlePayError)
        if cls.__module__.startswith("little_pay_async")
    }
    assert of_the_package == set(TREE)


@pytest.mark.parametrize("cls", TREE)
def test_bases(cls: type[lp.LittlePayError]) -> None:
    assert cls.__bases__ == TREE[cls]


@pytest.mark.parametrize("cls", TREE)
def test_the_module_draws_it(cls: type[lp.LittlePayError]) -> None:
    drawing = (_errors.__doc__ or "").splitlines()
    assert any(cls.__name__ in line.split() for line in drawing)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", TREE)
def test_pickle_keeps_everything(cls: type[lp.LittlePayError], protocol: int) -> None:
    error = example(cls)
    error.add_note("a note of the application's")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls
    assert str(again) == str(error)
    assert again.args == error.args
    assert vars(again) == vars(error)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("cls", TREE)
def test_copies(cls: type[lp.LittlePayError], copied: object) -> None:
    assert callable(copied)
    error = example(cls)
    again = copied(error)
    assert type(again) is cls
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_pickle_of_an_applications_own_subclass() -> None:
    again = pickle.loads(pickle.dumps(OwnError("text", sent=False, key="ORDER42")))
    assert (type(again), again.sent, again.key) == (OwnError, False, "ORDER42")


class OwnError(lp.APIConnectionError):
    pass


def test_key_is_none_unless_known() -> None:
    assert lp.ConfigurationError("text").key is None


def test_pickle_of_a_settlement_timeout_has_the_payment_without_its_private_parts() -> None:
    error = lp.SettlementTimeoutError("text", key="ORDER42", last=PAYMENT)
    assert error.last is PAYMENT  # whoever waited for it gets all of it
    pickled = pickle.dumps(error)
    assert [private for private in PRIVATE if private in pickled] == []
    last = pickle.loads(pickled).last
    assert (last.status, last.reference, last.key) == (PAYMENT.status, "ref-1", "ORDER42")
    assert last.amount == Decimal("1.10")
    assert last.date == PAYMENT.date


def test_a_settlement_timeout_shows_nothing_private() -> None:
    error = lp.SettlementTimeoutError("text", key="ORDER42", last=PAYMENT)
    assert [private for private in PRIVATE if private in f"{error} {error!r}".encode()] == []
    assert "712" not in repr(error.last)
    assert "payer@" not in repr(error.last)
    assert "canary-access-token" not in repr(error.last)
