"""Nothing that must not be shown gets through."""

import copy
import html
import json
import pickle
import re
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from little_pay_async._masking import MASK, Secret, mask_digits, mask_email, redact

# Without "*": what was masked must not look like a secret again.
PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="*")


@pytest.mark.parametrize(
    "shown",
    [repr, str, "{}".format, "{!r:>20}".format, lambda secret: repr({"x": [secret]})],
    ids=["repr", "str", "format", "format repr", "in containers"],
)
@pytest.mark.threat("T24")
def test_a_secret_shows_itself_to_nobody(shown: Callable[[Secret], str]) -> None:
    assert "canary" not in shown(Secret("canary"))


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.threat("T25")
def test_a_secret_is_not_carried_off(carry: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        carry(Secret("canary"))


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize(
    "number",
    [
        "254712345678",
        "+254712345678",
        "+254 712 345 678",
        "+254-712-345-678",
        "+254.712.345.678",
        "0712 345 678",
        "(0712) 345678",
        "+254 (712) 345-678",
        "+254 (0) 712 345 678",
        "00254712345678",
        "000000254712345678",  # with more zeros than E.164 has digits
        "20240307254712345678",  # glued to another number
    ],
)
@pytest.mark.parametrize("around", ["{}", "to {}.", '"{}"', "%2B{}&x=1", "msisdn={}", "<b>{}</b>"])
def test_phone_numbers_are_masked(number: str, around: str) -> None:
    shown = redact(around.format(number))
    assert MASK in shown
    assert re.sub(r"\D", "", shown.replace("%2B", "").replace("x=1", "")) == ""


@given(
    digits=st.text("0123456789", min_size=9, max_size=15),
    separators=st.lists(st.sampled_from(["", " ", "-", ".", "(", ")", ") "]), min_size=14),
    before=st.text(st.characters(exclude_categories=["Nd", "Cs"])),
    after=st.text(st.characters(exclude_categories=["Nd", "Cs"])),
)
def test_any_grouping_of_a_phone_number_is_masked(
    digits: str, separators: list[str], before: str, after: str
) -> None:
    number = "".join(d + s for d, s in zip(digits, [*separators, ""], strict=False))
    assert not re.search("[0-9]", redact(f"{before}{number}{after}"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HTTP 502: Bad Gateway",
        "amount 12345.67 KES",
        "2024-03-07T13:03:43.598Z",
        "the limit is 1000 a day, 50 a minute",
        "order 12345678",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text, [Secret("canary")]) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"accessToken": "canary"}',
        '{"accessToken":"canary","next":1}',
        '{"access_token": "canary"}',
        '{"access-token": "canary"}',
        "{'accessToken': 'canary'}",
        "accessToken=canary&x=1",
        "ACCESSTOKEN: canary",
        "accessToken = canary",
        r'{"message": "got {\"accessToken\": \"canary\"}"}',
        "{&quot;accessToken&quot;: &quot;canary&quot;}",
        "{&#34;accessToken&#34;: &#34;canary&#34;}",
        r'"{\\\"accessToken\\\":\\\"canary\\\"}"',
        '{"accessToken": "canary',  # cut off
    ],
)
def test_access_tokens_are_masked(text: str) -> None:
    shown = redact(text)
    assert "canary" not in shown
    assert shown.lower().startswith(text[: text.lower().index("access")].lower())


@pytest.mark.parametrize(
    "written",
    [
        str,
        lambda secret: quote(secret, safe=""),
        quote,
        html.escape,
        lambda secret: json.dumps(secret)[1:-1],
        lambda secret: json.dumps(secret)[1:-1].replace("/", r"\/"),
        lambda secret: "".join(c if c.isalnum() else rf"\u{ord(c):04X}" for c in secret),
        lambda secret: json.dumps(json.dumps(secret)[1:-1])[1:-1],
    ],
    ids=[
        *("plain", "in a path", "in a URL", "in HTML"),
        *("in JSON", "in JSON with escaped slashes", "in JSON as ASCII", "in JSON in JSON"),
    ],
)
@pytest.mark.parametrize("secret", ["sk/live+key==", 'a"b<c>&d', r"back\slash", "plain"])
@pytest.mark.threat("T9")
def test_known_secrets_are_masked_however_they_are_written(
    secret: str, written: Callable[[str], str]
) -> None:
    assert redact(f"[{written(secret)}]", [Secret(secret)]) == f"[{MASK}]"


@given(
    before=st.text(),
    after=st.text(),
    secrets=st.lists(st.text(PRINTABLE, min_size=4), min_size=1, max_size=4),
)
@example(before="", after="", secrets=["canary", "canary-and-more"])  # one within the other
def test_no_known_secret_survives(before: str, after: str, secrets: list[str]) -> None:
    text = before + "|".join(secrets) + after
    shown = redact(text, map(Secret, secrets))
    assert [secret for secret in secrets if secret in shown] == []


def test_an_empty_secret_masks_nothing() -> None:
    assert redact("abc", [Secret("")]) == "abc"


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("254712345678", "254*******78"),
        ("+254 712 345 678", "+25***********78"),
        ("12345678", MASK),
        ("", MASK),
    ],
)
def test_masked_digits(number: str, masked: str) -> None:
    assert mask_digits(number) == masked


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("payer@example.com", "***@example.com"),
        ("payer@home@example.com", "***@example.com"),
        ("payer", MASK),
        ("", MASK),
    ],
)
def test_masked_email(address: str, masked: str) -> None:
    assert mask_email(address) == masked


@pytest.mark.parametrize(
    "unit", ["1", "1 ", "1-", "1(", "1) ", "a", "accesstoken", "accesstoken=", " ", "access token:"]
)
@pytest.mark.threat("T5")
def test_time_grows_with_the_length_alone(unit: str) -> None:
    """A pattern that backtracks takes minutes for this, not milliseconds."""
    text = (unit * 40_000)[:40_000]
    started = time.process_time()
    redact(text, [Secret("canary")])
    assert time.process_time() - started < 0.5
