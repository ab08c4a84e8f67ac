"""Callbacks: what Little Pay posts to your `callback_url`, verified before anything is parsed.

    from little_pay_async.callbacks import CallbackVerifier

    callback = CallbackVerifier().verify(body, headers)

Rules of this file:

- The signature is checked over the bytes that came. Nothing of them is parsed before.
- One scheme and no choice: RSA PKCS#1 v1.5 with SHA-256, keys of 2048 bits or more, base64 written
  in the one standard way, a timestamp of 1 to 12 digits (so that only one "." can end it).
- Constant work before a refusal: whatever is wrong, one SHA-256 is made over timestamp and body
  (64 KiB of it at the most) and one RSA verification with each of the keys, a stand-in taking the
  place of what is missing or malformed. Only then is it decided. How long a refusal takes tells
  neither what was wrong nor which key came near, and the most that one can cost is known.
- What came lies in no local variable of a frame that raises.

It needs the extra `callbacks`.
"""

import base64
import hashlib
import math
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from little_pay_async._callback_results import PaymentCallback, RefundCallback
from little_pay_async._errors import (
    ConfigurationError,
    InvalidInputError,
    InvalidSignatureError,
    LittlePayError,
    StaleCallbackError,
)
from little_pay_async._wire.callbacks import read_callback

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
except ModuleNotFoundError as _missing:
    raise ImportError(
        "little_pay_async.callbacks needs cryptography: "
        "run pip install 'little-pay-async[callbacks]'",
        name=_missing.name,
    ) from _missing

__all__ = ["LITTLE_PAY_PUBLIC_KEY", "CallbackVerifier", "PaymentCallback", "RefundCallback"]

LITTLE_PAY_PUBLIC_KEY = """\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlU1L1fPzOO9Y3qFsP9K+
0iqCrN9xpDf/SG7a9O2Ma8mJSpvxpBq2lyjP0ncJiBCqgjMEIQIqWr4fbG7gErJp
MuKobiuGo9zS+CpjCY9tJxQgfx7fAGkL1sKN0E1UR9NqQmIAOEfPLCEbIRDC6n0F
1wpTEPiixmdAsJKm1aWlftubOBQjMlJucnksoXK7LHd5Tc6Pne6UhFNgt24Nt2Tu
zYKeWVtqnlP3cw66FVytrPsynQuVN4s7iQai0HxD4loEuX19hrT2AAFZT5P6xRac
wzb/eBPp3yAa/96JFkG3AcUVrjtHlltNWQ9aWvbA9Qx2BNEEmhkzdWfN/ARwv4Wh
NQIDAQAB
-----END PUBLIC KEY-----
"""
"""The public key that Little Pay's callbacks are signed for, as PEM (API facts: Callbacks)."""

MAX_BODY = 64 * 1024
"""Bytes of a body that are looked at; what is longer is refused. Callbacks have a few hundred."""

_TIMESTAMP_HEADER = "X-LittlePay-Timestamp"
_SIGNATURE_HEADER = "X-LittlePay-Signature"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_END_OF_TIME = 10**12  # the first second that 12 digits can't write
_LEAST_BITS = 2048
_MOST_BITS = 16384  # OpenSSL verifies nothing with longer ones
_LONGEST_SIGNATURE = 4 * math.ceil(_MOST_BITS / 8 / 3)  # in base64


@attrs.frozen
class _PublicKey:
    key: rsa.RSAPublicKey
    modulus: int
    length: int  # of its signatures, in bytes

    def made(self, signature: bytes | None, digest: bytes) -> bool:
        """Return whether the signature is one by this key. The work is always the same."""
        # OpenSSL sees at once that a signature has another length or is no number below the
        # modulus. A stand-in has it calculate all the same.
        possible = (
            signature is not None
            and len(signature) == self.length
            and int.from_bytes(signature, "big") < self.modulus
        )
        tried = signature if signature is not None and possible else self._stand_in
        try:
            self.key.verify(tried, digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
        except InvalidSignature:
            return False
        return possible

    @property
    def _stand_in(self) -> bytes:
        return b"\0" + b"\x5a" * (self.length - 1)


class CallbackVerifier:
    """Tells Little Pay's callbacks from all else. Make one when your app starts, and keep it.

    It holds no secret, never changes, and may be used from any thread.

    Args:
        public_keys: The public keys to accept, as PEM: several while one follows the other.
        tolerance: Seconds that a callback's timestamp may be away from now, in the past or in the
            future. Whoever gets hold of a callback can have it verified again until then: do
            nothing twice for the same payment.

    Raises:
        ConfigurationError: There is no key, or one that is no RSA public key of 2048 bits or more;
            or the tolerance is no number above zero.
    """

    def __init__(
        self,
        public_keys: Iterable[str | bytes] = (LITTLE_PAY_PUBLIC_KEY,),
        tolerance: float = 300.0,
    ) -> None:
        self._keys: tuple[_PublicKey, ...] = ()
        self._tolerance = tolerance
        loaded = _load(public_keys)
        # It could be a private key, by mistake.
        del public_keys
        if isinstance(loaded, ConfigurationError):
            raise loaded
        if not _is_number(tolerance) or not 0 < tolerance < _END_OF_TIME:
            raise ConfigurationError("tolerance: give seconds, a finite number above zero")
        self._keys = loaded

    def __repr__(self) -> str:
        return f"<CallbackVerifier keys={len(self._keys)} tolerance={self._tolerance}>"

    def verify(
        self, body: bytes, headers: Mapping[str, str], *, now: float | None = None
    ) -> PaymentCallback | RefundCallback:
        """Return what a callback says, once it is sure that Little Pay says it.

        It does no I/O and takes well under a millisecond: no need for a thread.

        Args:
            body: The bytes that came, unparsed. A body that was parsed and written again has other
                bytes, and fails.
            headers: The request's headers; upper and lower case are the same.
            now: Seconds since the epoch at which it came: for a callback that waited in a queue,
                and for tests. The time of this machine, if left out.

        Raises:
            InvalidSignatureError: It is forged, was altered, or is malformed, and nothing in it is
                to be believed.
            StaleCallbackError: It is well signed, but its timestamp is further than the tolerance
                from now.
            CallbackError: It is well signed, but no callback that is documented.
            InvalidInputError: An argument is of another type.
        """
        found = self._judge(body, headers, now)
        # No frame of a traceback may hold a payer's data: error trackers send local variables.
        del body, headers, now
        if isinstance(found, LittlePayError):
            raise found
        return found

    def _judge(
        self, body: Any, headers: Any, now: Any
    ) -> PaymentCallback | RefundCallback | LittlePayError:
        now = time.time() if now is None else now
        came = _arguments(body, headers, now)
        if isinstance(came, InvalidInputError):
            return came
        timestamp = came[0] if came[0] and _TIMESTAMP.fullmatch(came[0]) else None
        signature = _decoded(came[1])
        signed = hashlib.sha256(f"{timestamp or 0}.".encode("ascii"))
        signed.update(body[:MAX_BODY])
        digest = signed.digest()
        fitting = [key.made(signature, digest) for key in self._keys]
        if timestamp is None:
            return _invalid(f"it needs one {_TIMESTAMP_HEADER}, of 1 to 12 digits")
        if signature is None:
            return _invalid(f"it needs one {_SIGNATURE_HEADER}, in strict base64")
        if len(body) > MAX_BODY:
            return _invalid(f"its body is longer than {MAX_BODY} bytes")
        if not any(fitting):
            return _invalid(
                "no public key given fits its signature: it is forged, it was altered, or `body` "
                "is not what came, byte for byte"
            )
        return self._stale(int(timestamp), now) or read_callback(body)

    def _stale(self, timestamp: int, now: float) -> StaleCallbackError | None:
        late = now - timestamp
        if abs(late) <= self._tolerance:
            return None
        return StaleCallbackError(
            f"Well signed, but {abs(late):.0f} s {'ago' if late > 0 else 'from now'}, and the "
            f"tolerance is {self._tolerance:g} s: it is a replay, a clock is wrong, or it waited "
            "in a queue (then give `now`, the time at which it came)."
        )


def _invalid(problem: str) -> InvalidSignatureError:
    return InvalidSignatureError(f"Not a callback of Little Pay's: {problem}.")


def _no_headers() -> InvalidInputError:
    return InvalidInputError("headers: give a mapping of str to str")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _arguments(
    body: Any, headers: Any, now: Any
) -> tuple[str | None, str | None] | InvalidInputError:
    if not isinstance(body, bytes):
        return InvalidInputError(
            f"body: give the bytes that came, before anything parses them, not "
            f"{type(body).__name__}"
        )
    if not _is_number(now) or not -_END_OF_TIME < now < _END_OF_TIME:
        return InvalidInputError("now: give seconds since the epoch, as `time.time()` does")
    return _both_headers(headers)


def _both_headers(headers: Any) -> tuple[str | None, str | None] | InvalidInputError:
    """Return timestamp and signature; None for one that is not there exactly once."""
    wanted: dict[str, list[str]] = {_TIMESTAMP_HEADER.lower(): [], _SIGNATURE_HEADER.lower(): []}
    if not hasattr(headers, "items"):
        return _no_headers()
    # The items, for frameworks' mappings give a header that came twice twice there.
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            return _no_headers()
        if name.lower() in wanted:
            wanted[name.lower()].append(value)
    timestamp, signature = (found[0] if len(found) == 1 else None for found in wanted.values())
    return timestamp, signature


def _decoded(text: str | None) -> bytes | None:
    if text is None or len(text) > _LONGEST_SIGNATURE:
        return None
    try:
        signature = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    # Python passes over bits that are set after the last byte.
    return signature if base64.b64encode(signature).decode("ascii") == text else None


def _load(pems: Any) -> tuple[_PublicKey, ...] | ConfigurationError:
    if isinstance(pems, str | bytes) or not isinstance(pems, Iterable):
        return ConfigurationError("public_keys: give a tuple of PEM texts, also where it is one")
    loaded = []
    for number, pem in enumerate(pems, start=1):
        key = _load_one(pem)
        if key is None:
            return ConfigurationError(
                f"public_keys: number {number} is no RSA public key in PEM "
                "('-----BEGIN PUBLIC KEY-----')"
            )
        if not _LEAST_BITS <= key.key_size <= _MOST_BITS:
            return ConfigurationError(
                f"public_keys: number {number} has {key.key_size} bits: "
                f"give one of {_LEAST_BITS} to {_MOST_BITS}"
            )
        modulus = key.public_numbers().n
        loaded.append(_PublicKey(key, modulus, length=(key.key_size + 7) // 8))
    if not loaded:
        return ConfigurationError("public_keys: give one at least")
    return tuple(loaded)


def _load_one(pem: Any) -> rsa.RSAPublicKey | None:
    try:
        key = serialization.load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, rsa.RSAPublicKey) else None
