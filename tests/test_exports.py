"""The public names, locked: a change here is a change for users, and belongs in CHANGELOG.md."""

from types import ModuleType

import pytest

import little_pay_async

ERRORS = {
    "LittlePayError": Exception,
    "ConfigurationError": "LittlePayError",
    "SessionClosedError": "LittlePayError",
    "InvalidInputError": "LittlePayError",
    "APIConnectionError": "LittlePayError",
    "APITimeoutError": "APIConnectionError",
    "APIStatusError": "LittlePayError",
    "BadRequestError": "APIStatusError",
    "AuthenticationError": "APIStatusError",
    "PermissionDeniedError": "APIStatusError",
    "NotFoundError": "APIStatusError",
    "ConflictError": "APIStatusError",
    "RateLimitError": "APIStatusError",
    "ServerError": "APIStatusError",
    "UnexpectedResponseError": "LittlePayError",
    "OutcomeUnknownError": "LittlePayError",
    "SettlementTimeoutError": "LittlePayError",
    "CallbackError": "LittlePayError",
    "InvalidSignatureError": "CallbackError",
    "StaleCallbackError": "CallbackError",
}
NAMES = {
    *ERRORS,
    "AsyncLittlePay",
    "Attempt",
    "BillingAddress",
    "Envelope",
    "Msisdn",
    "Payment",
    "PaymentIntent",
    "PaymentStatus",
    "Provider",
    "Refund",
    "Settlement",
    "Watch",
    "WatchStatistics",
    "__version__",
}


def test_the_public_names_are_these() -> None:
    assert little_pay_async.__all__ == sorted(NAMES)


def test_nothing_else_looks_public() -> None:
    found = {
        name
        for name, value in vars(little_pay_async).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert found == NAMES - {"__version__"}


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_every_name_is_documented(name: str) -> None:
    documentation = vars(getattr(little_pay_async, name)).get("__doc__")
    assert documentation
    assert documentation.strip().endswith((".", ")"))


@pytest.mark.parametrize(("name", "parent"), ERRORS.items())
def test_the_tree_of_errors(name: str, parent: str | type[Exception]) -> None:
    error = getattr(little_pay_async, name)
    expected = getattr(little_pay_async, parent) if isinstance(parent, str) else parent
    assert error.__bases__[0] is expected


@pytest.mark.parametrize(
    ("name", "builtin"), [("InvalidInputError", ValueError), ("SessionClosedError", RuntimeError)]
)
def test_errors_that_are_also_the_builtin_ones(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(little_pay_async, name), builtin)


def test_no_error_is_left_out() -> None:
    def tree(error: type[Exception]) -> set[type[Exception]]:
        return {error}.union(*(tree(child) for child in error.__subclasses__()))

    ours = {
        error.__name__
        for error in tree(little_pay_async.LittlePayError)
        if error.__module__.startswith("little_pay_async.") and not error.__name__.startswith("_")
    }
    assert ours == set(ERRORS)
