r"""Any text is a phone number, or refused without being shown.

The data is read as `NUMBER\nREGION`; without a line end there is no region.
"""

import pickle
import re

import phonenumbers

from little_pay_async import InvalidInputError, Msisdn, Provider

WIRE_FORM = re.compile("[1-9][0-9]{6,14}")


def check(data: bytes) -> None:
    text, line_end, region = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        number = Msisdn.parse(text, region if line_end else None)
    except InvalidInputError as error:
        check_shows_nothing(text, f"{error!s} {error!r} {error.args!r} {error.__context__!r}")
        return
    digits = str(number)
    assert WIRE_FORM.fullmatch(digits)
    assert phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}"))
    assert Msisdn.parse(digits) == number == Msisdn.unchecked(digits)  # it is one in wire form too
    assert pickle.loads(pickle.dumps(number)) == number  # noqa: S301 - our own
    check_shows_nothing(digits, repr(number))
    provider = number.likely_provider
    assert provider is None or (isinstance(provider, Provider) and provider.is_known)


def check_shows_nothing(text: str, shown: str) -> None:
    digits = re.sub("[^0-9]", "", text)
    assert len(digits) < 6 or digits not in re.sub("[^0-9]", "", shown)
