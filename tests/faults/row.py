"""A row of the matrix."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

import attrs

from ..servers import Greeting, Script, answers_well
from .meanings import Meaning
from .operations import OPERATIONS
from .scripts import once


@attrs.frozen(kw_only=True, eq=False)
class Row:
    """A fault.

    Attributes:
        fault: What kind of fault it is; the page explains each.
        name: What happens.
        meaning: What it means.
        leasing: What it means to a leased connection of httpcore's, where that differs.
        script: What the server does.
        strikes: Which requests it does that to; all, or the first one, by what it means else.
        before: What it did to a request that was made before, whose connection may still be there.
        greeting: What it does to new connections.
        certificate: What is wrong with its certificate.
        place: Where there is no server, a base URL of what is there.
        around: What the operation is made in.
        only: "tls" or "plain" if the other one knows no such fault.
        shows: The status of payments that are returned, COMPLETED or PENDING else.
        key: Of the payment.
        interruption: "away at first", "cancelled", "closed" or "elsewhere".
        operations: Those that can meet it.
    """

    fault: str
    name: str
    meaning: Meaning
    leasing: Meaning | None = None
    script: Script = answers_well
    before: Script | None = None
    strikes: Callable[[Script], Script] | None = None
    greeting: Greeting | None = None
    certificate: str | None = None
    place: Callable[[bool], AbstractAsyncContextManager[str]] | None = None
    around: Callable[[], AbstractContextManager[object]] | None = None
    only: str | None = None
    shows: str | None = None
    key: str = "ORDER42"
    interruption: str | None = None
    operations: tuple[str, ...] = tuple(OPERATIONS)

    @property
    def strikes_requests(self) -> bool:
        """Can it strike one request and leave another alone?"""
        at_once = self.greeting or self.certificate or self.place or self.around
        at_once = at_once or self.interruption in {"elsewhere", "away at first"}
        return not at_once and self.key == "ORDER42"

    @property
    def each_time(self) -> Script:
        """What the server of one cell does: scripts that remember are made anew for it."""
        strikes = self.strikes or (once if self.meaning.again else None)
        return strikes(self.script) if strikes else self.script


def rows_of(fault: str, *rows: tuple[str, Script, Meaning], **more: object) -> list[Row]:
    return [
        Row(fault=fault, name=name, script=script, meaning=meaning, **more)  # type: ignore[arg-type]
        for name, script, meaning in rows
    ]
