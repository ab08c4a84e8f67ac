"""Request ids: a stranger's text, of which nothing is shown that must not be."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async._masking import Secret
from little_pay_async._wire.request_ids import request_id, shown_id

from .canaries import CREDENTIALS, MOBILE, found_in

UUID = "550e8400-e29b-41d4-a716-446655440000"  # its end would be taken for a phone number
SECRETS = [Secret(value) for value in CREDENTIALS.values()]


@pytest.mark.parametrize("text", [UUID, UUID.upper(), UUID.replace("-", ""), "8a1b2c3d-NBO"])
def test_what_is_shown_as_it_is(text: str) -> None:
    assert shown_id(text, SECRETS) == text


@given(st.uuids(version=4))
def test_a_random_uuid_is_shown_as_it_is(value: uuid.UUID) -> None:
    assert shown_id(str(value), SECRETS) == str(value)


@pytest.mark.parametrize(
    "text",
    [
        f"req-{MOBILE}",
        f"00000000-0000-0000-0000-{MOBILE}",  # the form of a UUID, and of digits alone
        f"{MOBILE:0>32}",
        *CREDENTIALS.values(),
    ],
)
def test_what_is_masked(text: str) -> None:
    assert list(found_in(shown_id(text, SECRETS))) == []


@pytest.mark.parametrize("secret", [UUID, UUID.upper(), UUID[19:], UUID[:8]])
def test_a_uuid_that_echoes_a_secret_is_masked(secret: str) -> None:
    assert secret not in shown_id(UUID, [Secret(secret)])
    assert secret not in shown_id(UUID.upper(), [Secret(secret)])


@given(st.text(max_size=2_000))
def test_whatever_comes_is_short_and_of_one_line(text: str) -> None:
    shown = shown_id(text, SECRETS)
    assert len(shown) <= 128
    assert shown == "" or (shown.isascii() and shown.isprintable())


def test_an_empty_one_is_none() -> None:
    assert request_id({"x-request-id": " \t"}, SECRETS) is None
    assert request_id({"date": "today"}, SECRETS) is None
