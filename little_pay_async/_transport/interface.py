"""What httpx asks of a pool, and what requests tell it by their extensions."""

import abc
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpcore

Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""httpx's trace extension."""


class RequestPool(abc.ABC):
    """httpcore's interface, as httpx uses it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    @abc.abstractmethod
    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request and return its response as soon as its head is there."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """End all connections."""


async def ignore(name: str, info: Mapping[str, Any]) -> None:
    """Do nothing: a trace where nobody traces."""


def limit_of(request: httpcore.Request, phase: str) -> float | None:
    """Return how many seconds a phase may take: pool, connect, write or read."""
    limit: float | None = request.extensions.get("timeout", {}).get(phase)
    return limit
