"""The keys that a verifier takes, the work that it does with them, and what it shows."""

import contextlib
import hashlib
import subprocess
import sys
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519

from little_pay_async import CallbackError, ConfigurationError, LittlePayError, callbacks
from little_pay_async.callbacks import LITTLE_PAY_PUBLIC_KEY, CallbackVerifier

from .signers import (
    BODY,
    NOW,
    SIGNATURE,
    TIMESTAMP,
    VERIFIER,
    compact,
    headers_with,
    is_forged,
    pem_of,
    private_key,
    public_key,
    signed,
)
from .test_client_secrets import shown_by


def type_name(value: object) -> str:
    return type(value).__name__


class TestKeys:
    def test_little_pay_s(self) -> None:
        key = serialization.load_pem_public_key(LITTLE_PAY_PUBLIC_KEY.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        spki = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert key.key_size == 2048
        assert (
            hashlib.sha256(spki).hexdigest()
            == "ebdbf93bfe90f1cd9b70ea670e7444ec2709d5d1e9d0546a48c219cba8cd2243"
        )
        assert pem_of(key) == LITTLE_PAY_PUBLIC_KEY
        assert is_forged(verifier=CallbackVerifier())  # which is the one in use by default

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_several(self, number: int) -> None:
        keys = [public_key(0), public_key(1).encode(), public_key(2)]
        verifier = CallbackVerifier(iter(keys))
        headers = signed(key=private_key(number))
        for _ in range(2):
            assert verifier.verify(BODY, headers, now=NOW).key == "ORDER42"
        others = CallbackVerifier([key for key in keys if key is not keys[number]])
        assert is_forged(BODY, headers, verifier=others)

    @pytest.mark.parametrize("bits", [1024, 2040, 2047])
    @pytest.mark.threat("T22")
    def test_weak(self, bits: int) -> None:
        for keys in ([public_key(0, bits)], [public_key(), public_key(0, bits)]):
            with pytest.raises(ConfigurationError, match=f"{bits} bits"):
                CallbackVerifier(keys)

    @pytest.mark.threat("T22")
    def test_too_long_to_verify_with(self) -> None:
        long = rsa.RSAPublicNumbers(65537, (1 << 16_400) + 1).public_key()
        with pytest.raises(ConfigurationError, match="16401 bits"):
            CallbackVerifier([pem_of(long)])

    @pytest.mark.parametrize(
        "key",
        [
            ec.generate_private_key(ec.SECP256R1()),
            ed25519.Ed25519PrivateKey.generate(),
            dsa.generate_private_key(1024),  # noqa: S505 - refused
            x25519.X25519PrivateKey.generate(),
        ],
        ids=["ec", "ed25519", "dsa", "x25519"],
    )
    @pytest.mark.threat("T22")
    def test_other_kinds(self, key: Any) -> None:
        with pytest.raises(ConfigurationError, match="no RSA public key"):
            CallbackVerifier([pem_of(key.public_key())])

    @pytest.mark.parametrize(
        "key",
        [
            *("", "no PEM", b"\xff", None, 7, "\ud800"),
            LITTLE_PAY_PUBLIC_KEY.replace("MIIB", "MIIC"),
            LITTLE_PAY_PUBLIC_KEY.replace("PUBLIC KEY", "CERTIFICATE"),
        ],
        ids=[
            *("empty", "text", "bytes", "nothing", "a number", "no Unicode"),
            *("another length", "a certificate"),
        ],
    )
    def test_what_is_no_public_key(self, key: Any) -> None:
        with pytest.raises(ConfigurationError, match="number 2 is no RSA public key"):
            CallbackVerifier([public_key(), key])

    def test_a_private_key_given_by_mistake_is_not_shown(self) -> None:
        private = private_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with pytest.raises(ConfigurationError, match="no RSA public key") as caught:
            CallbackVerifier([private])
        line = private.decode().splitlines()[1]
        assert [where for where, text in shown_by(caught.value) if line in text] == []

    @pytest.mark.parametrize(
        "keys", [(), [], LITTLE_PAY_PUBLIC_KEY, b"PEM", None, 7], ids=type_name
    )
    def test_what_are_no_keys(self, keys: Any) -> None:
        with pytest.raises(ConfigurationError, match="public_keys: give"):
            CallbackVerifier(keys)

    @pytest.mark.parametrize(
        "tolerance", [0, -1, 1e12, float("nan"), float("inf"), True, "300", None], ids=repr
    )
    def test_what_is_no_tolerance(self, tolerance: Any) -> None:
        with pytest.raises(ConfigurationError, match="tolerance"):
            CallbackVerifier((public_key(),), tolerance)


class Recording:
    """A public key that notes what it is asked to verify."""

    def __init__(self, key: rsa.RSAPublicKey, done: list[tuple[int, int]]) -> None:
        self._key = key
        self._done = done

    def verify(self, signature: bytes, digest: bytes, *rest: Any) -> None:
        # What is longer than the modulus, or a larger number, costs OpenSSL next to nothing.
        assert len(signature) * 8 == self._key.key_size
        assert int.from_bytes(signature, "big") < self._key.public_numbers().n
        self._done.append((len(signature), len(digest)))
        self._key.verify(signature, digest, *rest)


class TestWork:
    """The same steps, whatever is wrong: every key is tried, once, with what costs as much."""

    KEYS = ((0, 2048), (1, 2048), (1, 3072), (1, 4096))
    SIGNED = signed()
    TOO_LONG = b"x" * (callbacks.MAX_BODY + 1)

    @pytest.mark.parametrize(
        ("body", "headers", "now"),
        [
            pytest.param(BODY, SIGNED, NOW, id="genuine"),
            pytest.param(BODY, signed(key=private_key(1, 4096)), NOW, id="by the last key"),
            pytest.param(BODY, SIGNED, 0, id="stale"),
            pytest.param(b"{", signed(b"{"), NOW, id="not JSON"),
            pytest.param(BODY + b" ", SIGNED, NOW, id="altered"),
            pytest.param(b"", SIGNED, NOW, id="empty"),
            pytest.param(TOO_LONG, SIGNED, NOW, id="too long"),
            pytest.param(TOO_LONG, signed(TOO_LONG), NOW, id="too long and signed"),
            pytest.param(BODY, {}, NOW, id="no headers"),
            pytest.param(BODY, {TIMESTAMP: str(NOW)}, NOW, id="no signature"),
            pytest.param(BODY, SIGNED | {TIMESTAMP: "soon"}, NOW, id="no timestamp"),
            pytest.param(BODY, SIGNED | {SIGNATURE: "!"}, NOW, id="not base64"),
            pytest.param(BODY, SIGNED | {SIGNATURE: "A" * 10**6}, NOW, id="endless"),
            pytest.param(BODY, SIGNED | {SIGNATURE.lower(): ""}, NOW, id="twice"),
            pytest.param(BODY, headers_with(b"short"), NOW, id="short"),
            pytest.param(BODY, headers_with(b"\xff" * 256), NOW, id="above the modulus"),
            pytest.param(BODY, headers_with(b"\0" * 256), NOW, id="zero"),
        ],
    )
    @pytest.mark.threat("T23")
    def test_is_always_the_same(
        self,
        body: bytes,
        headers: dict[str, str],
        now: float,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        verifier = CallbackVerifier(public_key(*key) for key in self.KEYS)
        done: list[tuple[int, int]] = []
        verifier._keys = tuple(
            attrs.evolve(key, key=Recording(key.key, done))  # type: ignore[arg-type]
            for key in verifier._keys
        )
        hashed: list[int] = []
        monkeypatch.setattr(callbacks, "hashlib", Hashing(hashed))
        with contextlib.suppress(CallbackError):
            verifier.verify(body, headers, now=now)
        assert done == [(bits // 8, 32) for _, bits in self.KEYS]
        assert hashed == [min(len(body), callbacks.MAX_BODY)]

    @pytest.mark.parametrize("signature", [b"short", b"\xff" * 256])
    @pytest.mark.threat("T18")
    def test_what_stands_in_is_never_believed(self, signature: bytes) -> None:
        class Believing(Recording):
            def verify(self, *_: Any) -> None: ...

        # No signature by the smaller modulus is above the larger one.
        by, of = sorted(
            (0, 1), key=lambda number: private_key(number).public_key().public_numbers().n
        )
        verifier = CallbackVerifier([public_key(of)])
        (key,) = verifier._keys
        verifier._keys = (attrs.evolve(key, key=Believing(key.key, [])),)  # type: ignore[arg-type]
        assert verifier.verify(BODY, signed(key=private_key(by)), now=NOW)
        assert is_forged(BODY, headers_with(signature), verifier=verifier)


class Hashing:
    """hashlib, with a note of how much was hashed after the timestamp."""

    def __init__(self, hashed: list[int]) -> None:
        self._hashed = hashed

    def sha256(self, start: bytes) -> "Hashing":
        assert start.endswith(b".")
        self._sha = hashlib.sha256(start)
        return self

    def update(self, data: bytes) -> None:
        self._hashed.append(len(data))
        self._sha.update(data)

    def digest(self) -> bytes:
        return self._sha.digest()


class TestShown:
    MOBILE = "254712345678"
    PRIVATE = compact(
        {
            "status": ["COMPLETED"],
            "key": "K",
            "payload": {"billingAddress": {"phoneNumber": MOBILE}},
            "amount": MOBILE + "x",
        }
    )

    @pytest.mark.parametrize(
        ("body", "headers", "now"),
        [
            pytest.param(PRIVATE, signed(PRIVATE), NOW, id="no callback"),
            pytest.param(PRIVATE, signed(PRIVATE), 0, id="stale"),
            pytest.param(PRIVATE, signed(), NOW, id="forged"),
            pytest.param(PRIVATE, signed() | {TIMESTAMP: MOBILE + "x"}, NOW, id="timestamp"),
            pytest.param(PRIVATE, signed() | {SIGNATURE: MOBILE + "!"}, NOW, id="signature"),
            pytest.param(PRIVATE, {MOBILE: 1}, NOW, id="headers"),
            pytest.param(PRIVATE.decode(), {}, NOW, id="body"),
            pytest.param(PRIVATE, signed(), MOBILE, id="now"),
        ],
    )
    def test_no_error_shows_what_came(self, body: Any, headers: Any, now: Any) -> None:
        with pytest.raises(LittlePayError) as caught:
            VERIFIER.verify(body, headers, now=now)
        private = [self.MOBILE, *(value for value in signed().values() if len(value) > 20)]
        leaks = [
            where for where, text in shown_by(caught.value) for part in private if part in text
        ]
        assert leaks == []

    def test_a_verifier_shows_its_settings_alone(self) -> None:
        verifier = CallbackVerifier([public_key(0), public_key(1)], 60)
        assert repr(verifier) == "<CallbackVerifier keys=2 tolerance=60>"


class TestExtra:
    def test_the_names(self) -> None:
        names = {"LITTLE_PAY_PUBLIC_KEY", "CallbackVerifier", "PaymentCallback", "RefundCallback"}
        assert {*callbacks.__all__} == names

    @pytest.mark.parametrize("name", ["CallbackVerifier", "PaymentCallback", "RefundCallback"])
    def test_every_name_is_documented(self, name: str) -> None:
        assert vars(getattr(callbacks, name))["__doc__"].strip().endswith(".")

    def test_without_the_extra_it_is_said_what_to_install(self) -> None:
        script = (
            "import sys; sys.modules['cryptography'] = None\n"
            "import little_pay_async\n"
            "try: import little_pay_async.callbacks\n"
            "except ImportError as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
        )
        assert "pip install 'little-pay-async[callbacks]'" in done.stdout
