"""Callbacks signed as Little Pay signs them, or nearly so, with keys of the tests' own."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from little_pay_async import InvalidSignatureError, LittlePayError
from little_pay_async.callbacks import CallbackVerifier

from .servers import documented

NOW = 1_700_000_000
TIMESTAMP = "X-LittlePay-Timestamp"
SIGNATURE = "X-LittlePay-Signature"

PAYMENT: dict[str, Any] = documented("payment-callback")
REFUND: dict[str, Any] = documented("refund-callback")


def compact(said: object) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode()


BODY = compact(PAYMENT | {"key": "ORDER42"})


@cache
def _key_pair(_number: int, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key pair; the same for the same arguments."""
    return _key_pair(number, bits)


def pem_of(key: PublicKeyTypes) -> str:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, spki).decode("ascii")


def public_key(number: int = 0, bits: int = 2048) -> str:
    """Its public half, as PEM."""
    return pem_of(private_key(number, bits).public_key())


def headers_with(signature: bytes, timestamp: object = NOW) -> dict[str, str]:
    return {TIMESTAMP: str(timestamp), SIGNATURE: base64.b64encode(signature).decode("ascii")}


def signed(
    body: bytes = BODY,
    timestamp: object = NOW,
    *,
    key: rsa.RSAPrivateKey | None = None,
    scheme: Any = None,
    algorithm: hashes.HashAlgorithm | None = None,
) -> dict[str, str]:
    """The headers of a callback, by the documented scheme unless told otherwise."""
    signature = (key or private_key()).sign(
        f"{timestamp}.".encode() + body,
        scheme or padding.PKCS1v15(),
        algorithm or hashes.SHA256(),
    )
    return headers_with(signature, timestamp)


VERIFIER = CallbackVerifier((public_key(),))


def refusal(
    body: bytes = BODY,
    headers: Mapping[str, str] | None = None,
    *,
    verifier: CallbackVerifier = VERIFIER,
    now: float | None = NOW,
) -> LittlePayError:
    """The error that a callback is."""
    with pytest.raises(LittlePayError) as caught:
        verifier.verify(body, signed() if headers is None else headers, now=now)
    return caught.value


def is_forged(body: bytes = BODY, headers: Mapping[str, str] | None = None, **options: Any) -> bool:
    return type(refusal(body, headers, **options)) is InvalidSignatureError
