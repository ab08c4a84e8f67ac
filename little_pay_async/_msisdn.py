"""Phone numbers, as the handset's operator knows them."""

import re
from typing import Self

import attrs

from little_pay_async._errors import APIConnectionError, InvalidInputError, LittlePayError
from little_pay_async._masking import mask_digits
from little_pay_async._models import Provider

_WRITTEN = re.compile(r"\+?\(?[0-9](?:[ ().-]*[0-9])+")
_DIGITS = re.compile(r"[0-9]{7,15}")

# How carriers are called in phonenumbers' data -> who moves their subscribers' money.
_CARRIERS = {"airtel": Provider.AIRTEL, "mtn": Provider.MTN, "safaricom": Provider.MPESA}
# Those of Tanzania alone: elsewhere the same names stand for other companies.
_TANZANIA = 255
_TANZANIAN_CARRIERS = {
    "tigo": Provider.TIGOPESA,
    "vodacom": Provider.MPESA,
    "yas": Provider.TIGOPESA,  # Tigo's name since 2024
}


@attrs.frozen(repr=False, init=False)
class Msisdn:
    """A mobile number with its country code. `str()` is the wire form, `repr()` is masked.

    Make one with `parse`, or with `unchecked` for the sandbox's placeholder numbers.
    """

    _digits: str

    def __init__(self, digits: str) -> None:
        problem = _not_wire_form(digits)
        if problem is not None:
            del digits
            raise problem
        object.__setattr__(self, "_digits", digits)

    @classmethod
    def parse(cls, text: str, region: str | None = None) -> Self:
        """Return the number written in `text`, checked against the E.164 numbering plans.

        Args:
            text: "+254712345678", "254712345678", with spaces and dashes or without, or a
                national number ("0712 345 678") if `region` is given.
            region: The ISO 3166 country of a national number, "KE" for instance.

        Raises:
            InvalidInputError: It is no valid number; the message does not repeat it.
            APIConnectionError: The numbering plans, which are loaded at the first use of a country,
                can't be: no more files may be opened, say.
        """
        found = read(text, region)
        # No frame of a traceback may hold a phone number: error trackers send local variables.
        del text, region
        if isinstance(found, LittlePayError):
            raise found
        return cls(found)

    @classmethod
    def unchecked(cls, digits: str) -> Self:
        """Return a number that no numbering plan knows, such as the sandbox's "25400000000".

        Raises:
            InvalidInputError: It is not made of 7 to 15 digits.
        """
        problem = _not_wire_form(digits)
        if problem is not None:
            del digits
            raise problem
        return cls(digits)

    @property
    def likely_provider(self) -> Provider | None:
        """Who probably serves the number, by its prefix; None if that is not known.

        A hint, no more: numbers move between operators.
        """
        # Loaded here because the tables are large and few programs ask.
        import phonenumbers  # noqa: PLC0415
        from phonenumbers import carrier  # noqa: PLC0415

        try:
            number = phonenumbers.parse(f"+{self._digits}")
        except phonenumbers.NumberParseException:
            return None
        name = carrier.name_for_number(number, "en").lower()
        known = _CARRIERS | (_TANZANIAN_CARRIERS if number.country_code == _TANZANIA else {})
        return next((who for start, who in known.items() if name.startswith(start)), None)

    def __str__(self) -> str:
        return self._digits

    def __repr__(self) -> str:
        return f"<Msisdn {mask_digits(self._digits)}>"


def _not_wire_form(digits: object) -> InvalidInputError | None:
    if isinstance(digits, str) and _DIGITS.fullmatch(digits):
        return None
    return InvalidInputError(
        "digits: not a phone number in wire form: give 7 to 15 digits with the country code and "
        "nothing else"
    )


def read(text: object, region: str | None = None) -> str | LittlePayError:
    """Return the digits of the number in `text`, or the error to raise, which does not show it."""
    if not isinstance(text, str):
        return InvalidInputError(
            f"mobile: a phone number is a str such as '+254...', or an Msisdn, not "
            f"{type(text).__name__}"
        )
    written = text.strip()
    if not written.isascii() or not _WRITTEN.fullmatch(written):
        return InvalidInputError(
            "mobile: not a phone number: write it with its country code, digits only or with "
            "spaces and dashes, as in '+254 7...'"
        )
    try:
        return _checked(written, region)
    except (OSError, ImportError) as error:
        # Asking again may heal it, and nothing was sent: so it is treated like a connection.
        return APIConnectionError(
            f"mobile: the numbering plans can't be loaded ({type(error).__name__}): has the "
            "process as many files open as it may? Nothing was sent.",
            sent=False,
        )


def _checked(written: str, region: str | None) -> str | InvalidInputError:
    """Return the digits of a number if a numbering plan has it."""
    # Loaded here because the tables take longer to load than all the rest of the library.
    import phonenumbers  # noqa: PLC0415

    if region is not None and (
        not isinstance(region, str) or region not in phonenumbers.SUPPORTED_REGIONS
    ):
        return InvalidInputError("region: not an ISO 3166 country code such as 'KE'")
    if region is None and written.startswith("0"):
        return InvalidInputError(
            "mobile: a national number: write it with its country code, or name its country with "
            "Msisdn.parse(text, region='KE')"
        )
    if region is None and not written.startswith("+"):
        written = f"+{written}"
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_valid_number(number):
        return InvalidInputError(
            "mobile: no numbering plan has such a number: check the country code and the number "
            "of digits (for the sandbox's placeholder numbers use Msisdn.unchecked)"
        )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).lstrip("+")
