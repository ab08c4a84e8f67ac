"""One scheme and one way to write it: whatever else is signed by the right key is refused."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from little_pay_async import callbacks

from .signers import BODY, NOW, SIGNATURE, headers_with, is_forged, private_key, signed


class TestSchemes:
    @pytest.mark.parametrize(
        "algorithm",
        [hashes.SHA1(), hashes.SHA224(), hashes.SHA512()],  # noqa: S303 - refused
    )
    @pytest.mark.threat("T18")
    def test_other_hashes(self, algorithm: hashes.HashAlgorithm) -> None:
        assert is_forged(BODY, signed(algorithm=algorithm))

    @pytest.mark.parametrize("salt", [0, 32, padding.PSS.MAX_LENGTH])
    def test_pss(self, salt: Any) -> None:
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
        assert is_forged(BODY, signed(scheme=pss))

    SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
    WITHOUT_NULL = bytes.fromhex("302f300b0609608648016503040201042" + "0")

    @staticmethod
    def raw_signature(block: bytes) -> bytes:
        numbers = private_key().private_numbers()
        power = pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n)
        return power.to_bytes(256, "big")

    def block(self, name: str) -> bytes:
        digest = hashlib.sha256(f"{NOW}.".encode() + BODY).digest()
        said = self.SHA256_PREFIX + digest
        match name:
            case "right":
                return b"\0\1" + b"\xff" * (253 - len(said)) + b"\0" + said
            case "garbage after the digest":
                return b"\0\1" + b"\xff" * 8 + b"\0" + said + b"G" * (245 - len(said))
            case "garbage in the padding":
                return b"\0\1" + b"\xff" * 8 + b"G" * (245 - len(said)) + b"\0" + said
            case "encryption's padding":
                return b"\0\2" + b"\xff" * (253 - len(said)) + b"\0" + said
            case "no NULL":
                said = self.WITHOUT_NULL + digest
                return b"\0\1" + b"\xff" * (253 - len(said)) + b"\0" + said
            case "the digest alone":
                return b"\0\1" + b"\xff" * (253 - len(digest)) + b"\0" + digest
            case _:
                return said.rjust(256, b"\0")  # "no padding"

    def test_padding_as_it_should_be(self) -> None:
        assert headers_with(self.raw_signature(self.block("right"))) == signed()

    @pytest.mark.parametrize(
        "name",
        [
            *("garbage after the digest", "garbage in the padding", "encryption's padding"),
            *("no NULL", "the digest alone", "no padding"),
        ],
    )
    @pytest.mark.threat("T18")
    def test_padding_that_is_nearly_right(self, name: str) -> None:
        assert is_forged(BODY, headers_with(self.raw_signature(self.block(name))))


OTHER_WAYS: dict[str, Callable[[str], str]] = {
    "no padding": lambda text: text.rstrip("="),
    "less padding": lambda text: text[:-1],
    "more padding": lambda text: text + "=",
    "much more padding": lambda text: text + "====",
    "padding within": lambda text: text[:100] + "=" + text[100:],
    "something after the padding": lambda text: text + "AAAA",
    "a line end at the end": lambda text: text + "\n",
    "NUL at the end": lambda text: text + "\0",
    "a space before": lambda text: " " + text,
    "a space within": lambda text: text[:100] + " " + text[100:],
    "folded as in mails": lambda text: text[:76] + "\r\n" + text[76:],
    "no ASCII": lambda text: text[:100] + "é" + text[100:],
    "no Unicode": lambda text: text[:100] + "\ud800" + text[100:],
    "for URLs": lambda text: text.replace("+", "-").replace("/", "_"),
    "in lower case": str.lower,
    "in quotes": lambda text: f'"{text}"',
    "twice": lambda text: f"{text},{text}",
    "endless": lambda text: text * 100_000,
    "empty": lambda _: "",
    "padding alone": lambda _: "====",
    "hexadecimal": lambda text: base64.b64decode(text).hex(),
}


class TestBase64:
    @pytest.mark.parametrize("name", OTHER_WAYS)
    @pytest.mark.threat("T18")
    def test_other_ways_to_write_it(self, name: str) -> None:
        headers = signed()
        text = headers[SIGNATURE]
        assert {"+", "/"} & {*text}
        assert is_forged(BODY, headers | {SIGNATURE: OTHER_WAYS[name](text)})

    def test_bits_after_the_last_byte(self) -> None:
        headers = signed()
        text = headers[SIGNATURE]  # 256 bytes: two "=", and four bits that nobody reads
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        same = alphabet[alphabet.index(text[-3]) + 1]
        altered = text[:-3] + same + "=="
        assert base64.b64decode(altered, validate=True) == base64.b64decode(text)
        assert is_forged(BODY, headers | {SIGNATURE: altered})

    @pytest.mark.threat("T23")
    def test_an_endless_one_is_not_even_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        headers = signed() | {SIGNATURE: "A" * 2736}  # four more than the longest key makes
        monkeypatch.setattr(callbacks, "base64", None)
        assert is_forged(BODY, headers)
