"""A key that is being watched, and how it is looked at."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from little_pay_async._errors import LittlePayError
from little_pay_async._models import Payment

if TYPE_CHECKING:
    import anyio

FIRST_PACE = 1.0
"""Seconds from one poll to the next where the server does not hold."""


class Poll(Protocol):
    """How one key is looked at."""

    @property
    def requests(self) -> int:
        """How many requests that has taken so far."""
        ...

    def poll(self, hold: float) -> Awaitable[Payment | LittlePayError]:
        """Ask once, by a request that the server may hold for that many seconds."""
        ...

    def longest(self, hold: float) -> float:
        """Return after how many seconds a poll that is held so long must be let go."""
        ...


class Entry:
    """A key that is being watched."""

    __slots__ = (
        "added", "deadline", "error", "failures", "key", "late", "pace", "paused_until", "payment",
        "poll", "senseless", "settled", "to_retry", "worker",
    )  # fmt: skip

    def __init__(self, key: str, *, added: float, deadline: float) -> None:
        self.key: str = key
        self.added: float = added
        self.deadline: float = deadline
        self.payment: Payment | None = None
        self.error: LittlePayError | None = None
        self.poll: Poll | None = None
        self.worker: anyio.TaskHandle[None] | None = None
        self.paused_until: float | None = None
        self.pace: float = FIRST_PACE
        self.failures: int = 0
        self.senseless: int = 0
        self.to_retry: bool = False
        self.settled: bool = False
        self.late: bool = False

    @property
    def requests(self) -> int:
        """Requests spent on it."""
        return self.poll.requests if self.poll is not None else 0

    def let_go(self) -> None:
        """End its poll, if one is under way."""
        if self.worker is not None:
            self.worker.cancel()
