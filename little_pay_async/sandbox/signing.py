"""Callbacks signed as Little Pay signs them, with a key pair of the sandbox's own."""

import base64
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


@functools.cache
def key_pair() -> "RSAPrivateKey":
    """Return the key pair of this process, made at its first use: it takes a tenth of a second."""
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_key() -> str:
    """Return the public key as PEM."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    pem = (
        key_pair()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pem.decode("ascii")


def signed(body: bytes, timestamp: int) -> dict[str, str]:
    """Return the headers of a callback (API facts: Callbacks)."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    signature = key_pair().sign(
        f"{timestamp}.".encode("ascii") + body, padding.PKCS1v15(), hashes.SHA256()
    )
    return {
        "Content-Type": "application/json",
        "X-LittlePay-Timestamp": str(timestamp),
        "X-LittlePay-Signature": base64.b64encode(signature).decode("ascii"),
    }
