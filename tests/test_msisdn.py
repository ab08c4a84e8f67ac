"""Phone numbers: what is one, and that none is shown."""

import pickle
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async import InvalidInputError, Msisdn, Provider

if TYPE_CHECKING:
    from collections.abc import Callable

KENYAN = "254712345678"


@pytest.mark.parametrize(
    ("text", "region", "wire"),
    [
        ("+254712345678", None, KENYAN),
        ("254712345678", None, KENYAN),
        ("+254 712 345 678", None, KENYAN),
        ("254-712-345-678", None, KENYAN),
        ("+254.712.345.678", None, KENYAN),
        ("+254 (712) 345-678", None, KENYAN),
        ("  +254712345678\n", None, KENYAN),
        ("0712345678", "KE", KENYAN),
        ("0712 345 678", "KE", KENYAN),
        ("712345678", "KE", KENYAN),
        ("(0712) 345678", "KE", KENYAN),
        ("254712345678", "KE", KENYAN),
        ("+254712345678", "KE", KENYAN),
        ("+254712345678", "UG", KENYAN),  # the country code written down wins
        ("0772 123456", "UG", "256772123456"),
        ("+233 24 123 4567", None, "233241234567"),
        ("+255 652 123 456", None, "255652123456"),
    ],
)
def test_numbers(text: str, region: str | None, wire: str) -> None:
    assert str(Msisdn.parse(text, region)) == wire


@pytest.mark.parametrize(
    ("text", "region", "complaint"),
    [
        ("0712345678", None, "mobile: a national number"),
        ("0712 345 678", None, "mobile: a national number"),
        ("00254712345678", None, "mobile: a national number"),
        ("+25471234567", None, "mobile: no numbering plan"),
        ("+2547123456789", None, "mobile: no numbering plan"),
        ("25400000000", None, "mobile: no numbering plan"),  # the sandbox's placeholder
        ("+999712345678", None, "mobile: no numbering plan"),
        ("+254712345678 ext 5", None, "mobile: not a phone number"),
        ("tel:+254712345678", None, "mobile: not a phone number"),
        ("+254712345678\x00", None, "mobile: not a phone number"),
        ("+254712\n345678", None, "mobile: not a phone number"),
        ("++254712345678", None, "mobile: not a phone number"),
        ("+٢٥٤٧١٢٣٤٥٦٧٨", None, "mobile: not a phone number"),
        ("1-800-FLOWERS", None, "mobile: not a phone number"),
        ("", None, "mobile: not a phone number"),
        ("+", None, "mobile: not a phone number"),
        ("7", None, "mobile: not a phone number"),
        pytest.param("9" * 100_000, None, "mobile: no numbering plan", id="endless"),
        (254712345678, None, "mobile: a phone number is a str"),
        (b"+254712345678", None, "mobile: a phone number is a str"),
        (None, None, "mobile: a phone number is a str"),
        (["+254712345678"], None, "mobile: a phone number is a str"),
        ("0712345678", "", "region: "),
        ("0712345678", "KEN", "region: "),
        ("0712345678", "ke", "region: "),
        ("0712345678", 254, "region: "),
        ("0712345678", ["KE"], "region: "),
        ("KE", "0712345678", "mobile: "),  # the wrong way round
        ("071234", "0712345678", "region: "),
    ],
)
def test_what_is_refused(text: object, region: object, complaint: str) -> None:
    parse: Callable[..., object] = Msisdn.parse
    with pytest.raises(InvalidInputError) as caught:
        parse(text, region)
    assert str(caught.value).startswith(complaint)
    assert "712345678" not in re.sub(r"\D", "", f"{caught.value!r} {caught.value.args}")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # it could quote the number


WRITTEN_LIKE_A_NUMBER = st.from_regex(r"\+?[0-9 ().-]{0,20}", fullmatch=True)


@given(
    text=st.one_of(st.text(), WRITTEN_LIKE_A_NUMBER),
    region=st.one_of(st.none(), st.sampled_from(["KE", "GH", "US", "ZZ", "001"]), st.text()),
)
def test_any_text_is_a_number_or_refused(text: str, region: str | None) -> None:
    try:
        outcome: Msisdn | InvalidInputError = Msisdn.parse(text, region)
    except InvalidInputError as error:
        outcome = error
    if isinstance(outcome, Msisdn):
        assert re.fullmatch("[1-9][0-9]{6,14}", str(outcome))
        assert Msisdn.parse(str(outcome)) == outcome  # the wire form is a number as well
    else:
        digits = re.sub(r"\D", "", text)
        assert len(digits) < 4 or digits not in re.sub(r"\D", "", str(outcome))


@given(
    region=st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)),
    form=st.sampled_from(
        [
            phonenumbers.PhoneNumberFormat.E164,
            phonenumbers.PhoneNumberFormat.INTERNATIONAL,
            phonenumbers.PhoneNumberFormat.NATIONAL,
        ]
    ),
)
def test_every_country_is_known(region: str, form: int) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if number is None:  # no mobiles there
        return
    written = phonenumbers.format_number(number, form)
    wire = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
    assert str(Msisdn.parse(written, region)) == wire


@pytest.mark.parametrize("digits", ["25400000000", "23300000000", "1234567", "123456789012345"])
def test_unchecked(digits: str) -> None:
    assert str(Msisdn.unchecked(digits)) == digits


@pytest.mark.parametrize(
    "digits",
    [
        *("+25400000000", "254 00000000", "25400000000\n", "٢٥٤٠٠٠٠٠٠٠٠", ""),
        *("123456", "1234567890123456"),
        *(None, 25400000000, b"25400000000"),
    ],
    ids=repr,
)
def test_even_unchecked_is_digits(digits: object) -> None:
    unchecked: Callable[..., object] = Msisdn.unchecked
    with pytest.raises(InvalidInputError, match=r"^digits: ") as caught:
        unchecked(digits)
    assert "00000000" not in repr(caught.value)


@pytest.mark.parametrize("digits", ["abc", "+254712345678", "", None], ids=repr)
def test_the_class_itself_takes_no_less(digits: object) -> None:
    """`Msisdn(text)` is what somebody types who has not read of `parse`."""
    make: Callable[..., object] = Msisdn
    with pytest.raises(InvalidInputError, match=r"^digits: "):
        make(digits)


def test_repr_is_masked() -> None:
    msisdn = Msisdn.parse("+254712345678")
    assert repr(msisdn) == f"{[msisdn]!r}"[1:-1] == "<Msisdn 254*******78>"
    assert "1234567" not in repr(Msisdn.unchecked("1234567"))


def test_a_value() -> None:
    msisdn = Msisdn.parse("+254712345678")
    assert msisdn == Msisdn.unchecked(KENYAN)
    assert hash(msisdn) == hash(Msisdn.unchecked(KENYAN))
    assert msisdn != KENYAN
    assert pickle.loads(pickle.dumps(msisdn)) == msisdn
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        msisdn._digits = ""  # type: ignore[misc]


@pytest.mark.parametrize(
    ("number", "provider"),
    [
        ("254712345678", Provider.MPESA),
        ("254733123456", Provider.AIRTEL),
        ("256772123456", Provider.MTN),
        ("233241234567", Provider.MTN),
        ("255754123456", Provider.MPESA),
        ("255652123456", Provider.TIGOPESA),
        ("27821234567", None),  # Vodacom too, but of South Africa
        ("254202123456", None),  # a landline
        ("4915112345678", None),  # nobody whom Little Pay knows
        ("25400000000", None),
        ("0000000", None),
    ],
)
def test_likely_provider(number: str, provider: Provider | None) -> None:
    assert Msisdn.unchecked(number).likely_provider is provider


@given(st.from_regex("[0-9]{7,15}", fullmatch=True))
def test_likely_provider_never_fails(digits: str) -> None:
    provider = Msisdn.unchecked(digits).likely_provider
    assert provider is None or provider.is_known


WITHOUT_A_FILE_LEFT = """
import os, resource
from little_pay_async import APIConnectionError, Msisdn

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    Msisdn.parse("+254712345678")
except APIConnectionError as error:
    assert not error.sent
    assert "712345678" not in str(error) + repr(error)
    print(error)
for each in taken:
    os.close(each)
print(str(Msisdn.parse("+254712345678")))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_numbering_plans_that_can_t_be_loaded_are_no_foreign_error() -> None:
    command = [sys.executable, "-P", "-c", WITHOUT_A_FILE_LEFT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    error, number = done.stdout.splitlines()
    assert error.startswith("mobile: the numbering plans can't be loaded")
    assert number == "254712345678"
