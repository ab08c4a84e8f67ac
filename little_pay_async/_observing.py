"""Who may look on while a session works: spans and counters, say. By default nobody does.

What looks on must not raise, and holds nothing up: it is called from within operations.
"""

from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from little_pay_async._errors import LittlePayError
from little_pay_async._models import PaymentStatus, Settlement

if TYPE_CHECKING:
    from little_pay_async._wire import Call


class Observation(Protocol):
    """Looks on at one operation. As a block it is around it, in its task; else it has an `end`."""

    @property
    def context(self) -> Context:
        """Where tasks run that belong to the operation."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def end(self, error: BaseException | None) -> None:
        """Take note that it has ended: by an error or a cancellation if there is one."""
        ...

    def sent(self, requests: int, status_code: int) -> None:
        """Take note of how many requests it took, and of the last one's status code or 0."""
        ...

    def parked(self, more: int) -> None:
        """Take note that so many more polls are under way; fewer if it is negative."""
        ...

    def retried(self, error: LittlePayError, *, key: str | None, delay: float, tries: int) -> None:
        """Take note that what failed will be sent again, in so many seconds."""
        ...

    def settled(self, settlement: Settlement) -> None:
        """Take note of a key that has come to its end."""
        ...

    def contradicted(self, key: str, first: PaymentStatus, second: PaymentStatus) -> None:
        """Take note of a second final answer that is not the first, and is dropped."""
        ...

    def failed(self, key: str, error: LittlePayError) -> None:
        """Take note of one key's error, which disturbs no other."""
        ...

    def outcome_unknown(self, operation: str) -> None:
        """Take note that it is not known what became of a money request."""
        ...

    def counted(self, *, keys: int, settled: int, requests: int, retries: int) -> None:
        """Take note of how many there were, when it ends."""
        ...


class Observer(Protocol):
    """Looks on at a session."""

    def begin(self, operation: str, call: "Call | None" = None) -> Observation:
        """Take note that an operation begins; that of one call, or one of many."""
        ...
