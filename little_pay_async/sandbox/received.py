"""What reached the sandbox: the ledger of its requests."""

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Received:
    """A request that reached the sandbox.

    Attributes:
        operation: "create_intent", "process", "status" or "refund".
        method: The HTTP method.
        path: The path, with "-" for the token id.
        key: Whom it is about: the reference or merchant key in its path, or in the body of
            create_intent.
        held: Was it asked to be held?
        body: The JSON that came, as it was decoded; None if it was no JSON object. Not in `repr`:
            it may hold a phone number.
    """

    operation: str
    method: str
    path: str
    key: str | None
    held: bool
    body: Mapping[str, Any] | None = attrs.field(repr=False)
