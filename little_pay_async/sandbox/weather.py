"""Bad weather: how the sandbox misbehaves on request, so that users can test their own handling."""

import enum
from collections.abc import Mapping
from types import MappingProxyType

import attrs

OPERATIONS = ("create_intent", "process", "status", "refund")


class Kind(enum.StrEnum):
    """What goes wrong."""

    NO_HOLD = "no_hold"
    """Long polls are answered PENDING at once."""
    DROPPED = "dropped"
    """The connection is closed without an answer, after the request took effect."""
    BAD_GATEWAY = "bad_gateway"
    """A proxy's 502 page, in HTML. The request has no effect."""
    RATE_LIMITED = "rate_limited"
    """429 with a Retry-After. The request has no effect."""
    SLOW = "slow"
    """The answer comes late."""


@attrs.define(kw_only=True)
class Weather:
    """One kind of misbehaviour.

    Attributes:
        kind: What goes wrong.
        operation: For which operation alone: "create_intent", "process", "status" or "refund".
        times: For how many requests more; None for all.
        seconds: How late the answer is, or its Retry-After (whole seconds, rounded up).
    """

    kind: Kind = attrs.field(converter=Kind)
    operation: str | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, *OPERATIONS))
    )
    times: int | None = None
    seconds: float = 2.0

    def strikes(self, operation: str) -> bool:
        """Return whether it is the turn of a request, and count it."""
        if self.times == 0 or self.operation not in {None, operation}:
            return False
        if self.times is not None:
            self.times -= 1
        return True


MAGIC_KEYS: Mapping[str, Kind] = MappingProxyType(
    {f"WEATHER{kind.replace('_', '').upper()}": kind for kind in Kind}
)
"""What goes wrong with each request about a payment, but for its creation, whose merchant key
begins so. For whoever reaches a sandbox through its socket alone."""


def weather_of(key: str) -> Weather | None:
    """Return the weather that a payment always has because of its merchant key, if any."""
    for prefix, kind in MAGIC_KEYS.items():
        if key.startswith(prefix):
            return Weather(kind=kind)
    return None
