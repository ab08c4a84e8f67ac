"""Magic phone numbers: what the payer at the other end does is chosen by the number that rings.

As in the sandboxes of other payment services. Only the last seven digits count, so that each works
with any country code: 254700000001 and 233200000001 both complete.

| last digits | what becomes of the payment | after |
|---|---|---|
| 0000000 | COMPLETED: the documented placeholders, 25400000000 and 23300000000 | 0.5 s |
| 0000001 | COMPLETED | 0.5 s |
| 0000002 | FAILED: the payer declined | 0.5 s |
| 0000003 | nothing: it stays PENDING until its intent expires, and has FAILED then | |
| 0000004 | FAILED: insufficient funds | 0.5 s |
| 0000005 | COMPLETED: the payer took their time | 5 s |
| 0000006 | UNDER_REVIEW, a status that no client knows | 0.5 s |
| all others | nothing until `Sandbox.settle` | |
"""

from collections.abc import Mapping
from types import MappingProxyType

import attrs

_DIGITS = 7


@attrs.frozen
class Outcome:
    """What becomes of a payment whose handset rings.

    Attributes:
        status: The status that it gets, or None if it stays PENDING until `settle` or its expiry.
        message: What Little Pay says then.
        after: Seconds until then.
    """

    status: str | None
    message: str
    after: float = 0.5


OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "0000000": Outcome("COMPLETED", "Success"),
        "0000001": Outcome("COMPLETED", "Success"),
        "0000002": Outcome("FAILED", "The payer declined"),
        "0000003": Outcome(None, "No answer from the handset"),
        "0000004": Outcome("FAILED", "Insufficient funds"),
        "0000005": Outcome("COMPLETED", "Success, after the payer took their time", after=5.0),
        "0000006": Outcome("UNDER_REVIEW", "A status that no client knows"),
    }
)
"""The last seven digits of a number, and what its owner does. All others wait for `settle`."""

_UNTIL_SETTLED = Outcome(None, "The handset is ringing")


def outcome_of(mobile: str) -> Outcome:
    """Return what the owner of a number does when it rings."""
    return OUTCOMES.get(mobile[-_DIGITS:], _UNTIL_SETTLED)
