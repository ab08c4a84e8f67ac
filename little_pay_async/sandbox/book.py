"""The payments that a sandbox knows, and what becomes of them. No HTTP here."""

import math
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import anyio
import attrs

_EXPIRES_AFTER = 30.0
"""Minutes (API facts: Create a payment intent)."""
_CURRENCY = "KES"
"""Where none is sent (the same)."""


@attrs.define(eq=False)
class Attempt:
    """One ringing of a handset: `rings` until somebody has answered, or nobody will."""

    reference: str
    provider: str
    payer: str  # as it may be shown
    status: str = "PENDING"
    rings: bool = True


@attrs.define(eq=False)
class Refund:
    """Money on its way back."""

    amount: int | Decimal
    reason: str | None
    callback_url: str | None = attrs.field(repr=False)
    status: str
    message: str


@attrs.define(eq=False)
class Entry:
    """A payment intent and what became of it. Its payer's data is not in `repr`."""

    reference: str
    key: str
    amount: Decimal
    currency: str
    description: str
    callback_url: str = attrs.field(repr=False)
    payload: Mapping[str, Any] = attrs.field(repr=False)
    expires_at: float
    return_url: str | None = attrs.field(default=None, repr=False)
    status: str = "PENDING"
    message: str = ""
    attempts: list[Attempt] = attrs.field(factory=list)
    refunds: list[Refund] = attrs.field(factory=list)
    # Set, and replaced by a new one, whenever the status changes.
    changed: anyio.Event = attrs.field(factory=anyio.Event, repr=False)

    @property
    def provider(self) -> str | None:
        """Who was asked last."""
        return self.attempts[-1].provider if self.attempts else None

    @property
    def ringing(self) -> bool:
        """Whether a handset asks for the PIN."""
        return bool(self.attempts) and self.attempts[-1].rings and not self.final

    @property
    def final(self) -> bool:
        """Whether its status stays."""
        return self.status in {"COMPLETED", "FAILED"}

    @property
    def refunded(self) -> Decimal:
        """What went back to the payer, or may yet."""
        return sum(
            (Decimal(refund.amount) for refund in self.refunds if refund.status != "FAILED"),
            Decimal(0),
        )

    def wake(self) -> None:
        """Have what waits for it look again."""
        self.changed.set()
        self.changed = anyio.Event()


class Book:
    """All payments, by reference and by merchant key."""

    def __init__(self) -> None:
        self._by_reference: dict[str, Entry] = {}
        self._by_key: dict[str, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_reference.values())

    def add(self, body: Mapping[str, Any], now: float) -> Entry | None:
        """Make an intent; None if its merchant key is taken."""
        if body["key"] in self._by_key:
            return None
        minutes = float(body.get("expiresAt") or _EXPIRES_AFTER)
        entry = Entry(
            reference=str(uuid.uuid4()),
            key=body["key"],
            amount=Decimal(body["amount"]),
            currency=body.get("currency") or _CURRENCY,
            description=body["description"],
            callback_url=body["callbackUrl"],
            payload=body.get("payload") or {},
            expires_at=now + minutes * 60,
            return_url=body.get("returnUrl"),
        )
        self._by_reference[entry.reference] = self._by_key[entry.key] = entry
        return entry

    def find(self, name: str, now: float = -math.inf) -> Entry | None:
        """Return the payment of that reference or merchant key; one past its time has FAILED."""
        entry = self._by_reference.get(name) or self._by_key.get(name)
        if entry is not None and not entry.final and now >= entry.expires_at:
            self.settle(entry, "FAILED", "The payment intent has expired")
        return entry

    def settle(self, entry: Entry, status: str, message: str) -> None:
        """Give a payment a status, and wake whoever waits for it."""
        entry.status, entry.message = status, message
        if entry.attempts:
            entry.attempts[-1].status = status
            entry.attempts[-1].rings = False
        entry.wake()

    def silence(self, entry: Entry, message: str) -> None:
        """Have nobody answer the handset; what waits for the payment goes on waiting."""
        entry.message = message
        entry.attempts[-1].rings = False
