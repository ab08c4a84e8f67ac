"""The JSON that the sandbox answers and calls back with, in the shapes that are documented."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from little_pay_async.sandbox.book import Entry, Refund

PROVIDERS = ("MPESA", "AIRTEL", "MTN", "TIGOPESA")
"""Who rings handsets (API facts: Process)."""
_ADDRESS = (
    "firstName",
    "lastName",
    "address1",
    "locality",
    "administrativeArea",
    "postalCode",
    "country",
    "email",
    "phoneNumber",
)


def timestamp() -> str:
    """Return the time as Little Pay writes it (API facts: Envelope)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def process_shape(entry: Entry) -> dict[str, Any]:
    """Return the answer to process and to long polls (API facts: Process, Long poll)."""
    return {
        "status": entry.status,
        "message": entry.message,
        "meta": {
            "provider": entry.provider,
            "providerReference": "",
            "stepUpUrl": None,
            "accessToken": None,
            "amount": entry.amount,
            "currency": entry.currency,
            "description": entry.description,
            "reference": entry.reference,
        },
    }


def status_shape(entry: Entry, *, by_reference: bool) -> dict[str, Any]:
    """Return the answer to a status request that is not held (API facts: Status)."""
    attempts = entry.attempts[-1:] if by_reference else entry.attempts
    return {
        "reference": entry.reference,
        "status": entry.status,
        "payload": {"billingAddress": _address_of(entry)},
        "amount": entry.amount,
        "payment": {"provider": entry.provider, "details": None},
        "key": entry.key,
        "attempts": [
            {"reference": made.reference, "provider": made.provider, "status": made.status}
            for made in attempts
        ],
    }


def callback_shape(entry: Entry) -> dict[str, Any]:
    """Return the body of a payment's callback (API facts: Callbacks)."""
    return {
        "reference": entry.reference,
        "status": entry.status,
        "payload": {**entry.payload, "billingAddress": _address_of(entry)},
        "amount": entry.amount,
        "key": entry.key,
        "currency": entry.currency,
        "provider": entry.provider,
        "date": timestamp(),
    }


def refund_callback_shape(entry: Entry, refund: Refund) -> dict[str, Any]:
    """Return the body of a refund's callback (API facts: Refund)."""
    return {
        "status": refund.status,
        "message": refund.message,
        "amount": refund.amount,
        "reason": refund.reason,
        "date": timestamp(),
        "reference": entry.reference,
        "key": entry.key,
    }


def _address_of(entry: Entry) -> dict[str, Any]:
    """Return all fields that are documented, and what else was sent; what was not is empty."""
    sent = entry.payload.get("billingAddress")
    return dict.fromkeys(_ADDRESS, "") | (dict(sent) if isinstance(sent, Mapping) else {})
