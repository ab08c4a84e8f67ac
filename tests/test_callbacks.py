"""Who is believed: what was signed byte for byte, and lately. Nobody else."""

import base64
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from little_pay_async import (
    CallbackError,
    InvalidInputError,
    InvalidSignatureError,
    PaymentStatus,
    Provider,
    StaleCallbackError,
    callbacks,
)
from little_pay_async.callbacks import CallbackVerifier, PaymentCallback, RefundCallback

from .signers import (
    BODY,
    NOW,
    PAYMENT,
    REFUND,
    SIGNATURE,
    TIMESTAMP,
    VERIFIER,
    compact,
    headers_with,
    is_forged,
    private_key,
    public_key,
    refusal,
    signed,
)


class TestGenuine:
    def test_of_a_payment(self) -> None:
        found = VERIFIER.verify(BODY, signed(), now=NOW)
        assert isinstance(found, PaymentCallback)
        assert (found.status, found.key) == (PaymentStatus.COMPLETED, "ORDER42")
        assert found.provider is Provider.MPESA
        assert found.amount == Decimal(1)
        assert found.raw == PAYMENT | {"key": "ORDER42"}

    def test_of_a_refund(self) -> None:
        body = compact(REFUND)
        found = VERIFIER.verify(body, signed(body), now=NOW)
        assert isinstance(found, RefundCallback)
        assert found.reason == "Refund for order 123"

    def test_the_bytes_count_and_not_the_json(self) -> None:
        body = b"  " + BODY.replace(b",", b" ,\n") + b"\n"
        assert VERIFIER.verify(body, signed(body), now=NOW) == VERIFIER.verify(
            BODY, signed(), now=NOW
        )
        assert is_forged(body, signed(BODY))
        assert is_forged(BODY, signed(body))

    @pytest.mark.parametrize("bits", [2048, 2049, 2056, 3072, 4096])
    def test_keys_of_any_length(self, bits: int) -> None:
        verifier = CallbackVerifier((public_key(1, bits),))
        headers = signed(key=private_key(1, bits))
        assert verifier.verify(BODY, headers, now=NOW).key == "ORDER42"
        assert is_forged(BODY, signed(), verifier=verifier)

    def test_the_time_is_the_machine_s(self) -> None:
        assert VERIFIER.verify(BODY, signed(timestamp=int(time.time()))).key == "ORDER42"
        assert type(refusal(now=None)) is StaleCallbackError

    @pytest.mark.threat("T20")
    def test_a_replay_is_believed_within_the_tolerance_and_not_after(self) -> None:
        headers = signed()
        first = VERIFIER.verify(BODY, headers, now=NOW)
        assert VERIFIER.verify(BODY, headers, now=NOW + 300) == first
        assert type(refusal(BODY, headers, now=NOW + 301)) is StaleCallbackError


class TestAltered:
    @pytest.mark.threat("T19")
    def test_any_byte_of_the_body(self) -> None:
        headers = signed()
        for index in range(len(BODY)):
            for altered in (
                BODY[:index] + bytes([BODY[index] ^ 1]) + BODY[index + 1 :],
                BODY[:index] + BODY[index + 1 :],
                BODY[:index] + b" " + BODY[index:],
            ):
                assert altered == BODY or is_forged(altered, headers), index

    @pytest.mark.threat("T19")
    def test_any_bit_of_the_signature(self) -> None:
        signature = base64.b64decode(signed()[SIGNATURE])
        for bit in range(len(signature) * 8):
            altered = bytearray(signature)
            altered[bit // 8] ^= 1 << bit % 8
            assert is_forged(BODY, headers_with(bytes(altered))), bit

    def test_any_character_of_the_signature(self) -> None:
        headers = signed()
        text = headers[SIGNATURE]
        for index, character in enumerate(text):
            for other in {"A", "/", "=", "-", " ", ""} - {character}:
                altered = text[:index] + other + text[index + 1 :]
                assert is_forged(BODY, headers | {SIGNATURE: altered}), (index, other)

    @pytest.mark.threat("T19")
    def test_any_digit_of_the_timestamp(self) -> None:
        headers = signed()
        text = headers[TIMESTAMP]
        for index, character in enumerate(text):
            for other in {*"0123456789", ""} - {character}:
                altered = text[:index] + other + text[index + 1 :]
                assert is_forged(BODY, headers | {TIMESTAMP: altered}), (index, other)

    @pytest.mark.parametrize(
        ("timestamp", "body"),
        [("17", b"00000000." + BODY), (f"{NOW}.", BODY), (f"{NOW}." + BODY.decode(), b"")],
    )
    def test_the_dot_has_one_place(self, timestamp: str, body: bytes) -> None:
        assert is_forged(body, signed() | {TIMESTAMP: timestamp})

    @pytest.mark.parametrize(
        "signature", [b"", b"\0" * 256, b"\xff" * 256, b"\0" * 255 + b"\1", b"x" * 255, b"x" * 257]
    )
    @pytest.mark.threat("T18")
    def test_what_is_no_signature(self, signature: bytes) -> None:
        assert is_forged(BODY, headers_with(signature))

    def test_a_signature_plus_the_modulus(self) -> None:
        modulus = private_key().public_key().public_numbers().n
        number = int.from_bytes(base64.b64decode(signed()[SIGNATURE]), "big") + modulus
        assert is_forged(BODY, headers_with(number.to_bytes(257, "big")))
        assert is_forged(BODY, headers_with((modulus - 1).to_bytes(256, "big")))

    @given(data=st.data())
    @pytest.mark.threat("T19")
    def test_any_mutation(self, data: st.DataObject) -> None:
        headers = signed()
        parts = [BODY, headers[TIMESTAMP].encode(), headers[SIGNATURE].encode()]
        which = data.draw(st.integers(0, 2))
        part = parts[which]
        start = data.draw(st.integers(0, len(part)))
        end = data.draw(st.integers(start, min(start + 20, len(part))))
        parts[which] = part[:start] + data.draw(st.binary(max_size=20)) + part[end:]
        if parts[which] != part:
            body, timestamp, signature = parts
            mutated = {
                TIMESTAMP: timestamp.decode("latin-1"),
                SIGNATURE: signature.decode("latin-1"),
            }
            assert is_forged(body, mutated)


class TestTime:
    @pytest.mark.parametrize("tolerance", [0.5, 1, 300.0, 86400])
    @pytest.mark.threat("T21")
    def test_the_bounds_themselves_are_within(self, tolerance: float) -> None:
        verifier = CallbackVerifier((public_key(),), tolerance)
        for now in (NOW - tolerance, NOW, NOW + tolerance):
            assert verifier.verify(BODY, signed(), now=now).key == "ORDER42"
        for now in (NOW - tolerance - 0.001, NOW + tolerance + 0.001):
            assert type(refusal(verifier=verifier, now=now)) is StaleCallbackError

    @pytest.mark.threat("T21")
    def test_past_and_future_are_told(self) -> None:
        assert "400 s ago" in str(refusal(now=NOW + 400))
        assert "400 s from now" in str(refusal(now=NOW - 400))
        assert "`now`" in str(refusal(now=NOW + 400))

    @pytest.mark.parametrize("timestamp", ["0", "000000000001", "999999999999", "1"])
    @pytest.mark.threat("T21")
    def test_one_to_twelve_digits(self, timestamp: str) -> None:
        headers = signed(timestamp=timestamp)
        assert VERIFIER.verify(BODY, headers, now=int(timestamp)).key == "ORDER42"
        assert type(refusal(BODY, headers)) is StaleCallbackError

    @pytest.mark.parametrize(
        "timestamp",
        [
            *("", " ", f" {NOW}", f"{NOW} ", f"{NOW}\n", f"+{NOW}", "-1", f"{NOW}.0", "1.7e9"),
            *("1_700_000_000", "0x6553f100", "1700000000000", "9" * 5000, "\u0661\u0662", "\u00b2"),
            *("now", "NaN", "Infinity", "2023-11-14T22:13:20Z", f"{NOW},{NOW}", "\ud800", "\0"),
        ],
        ids=ascii,
    )
    def test_other_ways_to_write_it(self, timestamp: str) -> None:
        # Signed as it is, wherever it can be: it is the form that is refused.
        writable = timestamp.encode("utf-8", "replace").decode()
        assert is_forged(BODY, signed(timestamp=writable) | {TIMESTAMP: timestamp})

    def test_a_forged_one_is_not_called_stale(self) -> None:
        assert is_forged(BODY + b" ", signed(), now=NOW + 10_000)

    @pytest.mark.parametrize(
        "now",
        [
            *(float("nan"), float("inf"), float("-inf"), 1e12, -1e12),
            *("0", b"0", True, Decimal(NOW), [NOW]),
            pytest.param(10**5000, id="10**5000"),
        ],
        ids=repr,
    )
    def test_what_is_no_time(self, now: Any) -> None:
        assert type(refusal(now=now)) is InvalidInputError


class TestHeaders:
    @pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase, str.title])
    def test_case_is_the_same(self, change: Callable[[str], str]) -> None:
        headers = {change(name): value for name, value in signed().items()}
        assert VERIFIER.verify(BODY, headers, now=NOW).key == "ORDER42"

    @pytest.mark.parametrize(
        "mapping", [dict, Headers, httpx.Headers], ids=["dict", "Starlette", "httpx"]
    )
    def test_the_mappings_of_frameworks(self, mapping: Callable[[Any], Any]) -> None:
        headers = mapping({"Host": "shop.example"} | signed())
        assert VERIFIER.verify(BODY, headers, now=NOW).key == "ORDER42"

    @pytest.mark.parametrize("name", [TIMESTAMP, SIGNATURE])
    def test_one_that_is_missing(self, name: str) -> None:
        headers = signed()
        del headers[name]
        error = refusal(BODY, headers)
        assert type(error) is InvalidSignatureError
        assert name in str(error)

    @pytest.mark.parametrize("name", [TIMESTAMP, SIGNATURE])
    @pytest.mark.parametrize("second", ["the same", "another"])
    def test_one_that_came_twice(self, name: str, second: str) -> None:
        headers = signed()
        value = headers[name] if second == "the same" else "1"
        raw = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
        twice = [*raw, (name.lower().encode(), value.encode())]
        assert is_forged(BODY, headers | {name.lower(): value})
        assert is_forged(BODY, Headers(raw=twice))
        assert is_forged(BODY, Headers(raw=twice[::-1]))
        assert is_forged(BODY, httpx.Headers(twice))

    @pytest.mark.parametrize(
        "headers",
        [
            *(None, [], "headers", 7, [*signed().items()]),
            {name.encode(): value for name, value in signed().items()},
            {name: value.encode() for name, value in signed().items()},
            signed() | {TIMESTAMP: NOW},
            signed() | {None: ""},
        ],
        ids=[
            *("nothing", "a list", "a string", "a number", "pairs"),
            *("names in bytes", "values in bytes", "a value that is a number", "a name of None"),
        ],
    )
    def test_what_is_no_mapping_of_text(self, headers: Any) -> None:
        with pytest.raises(InvalidInputError, match="headers"):
            VERIFIER.verify(BODY, headers, now=NOW)


class TestBody:
    @pytest.mark.parametrize(
        "body",
        [None, PAYMENT, BODY.decode(), bytearray(BODY), memoryview(BODY)],
        ids=lambda body: type(body).__name__,
    )
    def test_it_is_bytes(self, body: Any) -> None:
        with pytest.raises(InvalidInputError, match="body: give the bytes that came"):
            VERIFIER.verify(body, signed(), now=NOW)

    def test_the_longest(self) -> None:
        longest = BODY + b" " * (callbacks.MAX_BODY - len(BODY))
        assert callbacks.MAX_BODY == len(longest) == 64 * 1024
        assert VERIFIER.verify(longest, signed(longest), now=NOW).key == "ORDER42"
        too_long = longest + b" "
        assert is_forged(too_long, signed(too_long))
        assert is_forged(too_long, signed(longest))  # what is looked at is well signed
        assert "65536" in str(refusal(too_long, signed(too_long)))

    @pytest.mark.parametrize(
        "body", [b"", b"null", b"{", b"[]", b"<html></html>", b"\xff", b'{"amount":NaN}']
    )
    def test_well_signed_but_none(self, body: bytes) -> None:
        assert type(refusal(body, signed(body))) is CallbackError
        assert is_forged(body, signed())

    def test_stale_comes_before_it_is_parsed(self) -> None:
        assert type(refusal(b"{", signed(b"{"), now=0)) is StaleCallbackError
