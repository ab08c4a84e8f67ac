"""Bad weather: how the sandbox misbehaves on request, so that users can test their own handling."""

import enum

import attrs


class Kind(enum.StrEnum):
    """What goes wrong."""

    NO_HOLD = "no_hold"
    """Long polls are answered PENDING at once."""
    DROPPED = "dropped"
    """The connection is closed before an answer, after the request took effect."""
    BAD_GATEWAY = "bad_gateway"
    """A proxy's 502 page, in HTML."""
    RATE_LIMITED = "rate_limited"
    """429 with a Retry-After of one second."""
    SLOW = "slow"
    """The answer comes two seconds late."""


@attrs.define(kw_only=True)
class Weather:
    """One kind of misbehaviour.

    Attributes:
        kind: What goes wrong.
        operation: For which operation alone: "create_intent", "process", "status" or "refund".
        times: For how many requests more; None for all.
    """

    kind: Kind = attrs.field(converter=Kind)
    operation: str | None = None
    times: int | None = None

    def strikes(self, operation: str) -> bool:
        """Return whether it is the turn of a request, and count it."""
        if self.times == 0 or self.operation not in {None, operation}:
            return False
        if self.times is not None:
            self.times -= 1
        return True
