"""How far a try came, and so whether a byte of it may have left. A charge may hang on it.

Four things tell, the surest first:

1. The library's own pool, by the `progress` extension.
2. httpcore's trace extension, by which it says what it does: connecting is not sending yet. Pools
   of our own say the same way that a request waits for its turn.
3. Where nothing was traced, the class of httpx's exception: some are raised only while connecting.
4. Where there is none of them, it may have left.
"""

import enum
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

# httpx raises these exactly if no byte of the request left.
_NOT_SENT = (httpx.ConnectError, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
# The connection under TLS ended, or was being waited for when it did.
_NO_FAILURE_OF_TLS = (
    ssl.SSLEOFError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
    ssl.SSLZeroReturnError,
)


class _Stage(enum.Enum):
    NOT_HANDED_OVER = enum.auto()
    UNKNOWN = enum.auto()
    BEFORE_SENDING = enum.auto()
    SENDING = enum.auto()


class Progress:
    """Watches one try.

    Args:
        plain_httpx: Is it sent by httpx's own transports? Of another one `ConnectTimeout` is not
            believed: httpx-aiohttp raises it for a server that disconnected after the request.

    Attributes:
        told: Has the transport told by `waiting` and `sending` how far it was?
    """

    __slots__ = ("_plain_httpx", "_stage", "told")

    def __init__(self, *, plain_httpx: bool) -> None:
        self.told = False
        self._plain_httpx = plain_httpx
        self._stage = _Stage.NOT_HANDED_OVER

    def hand_over(self) -> None:
        """Note that the request is given to the HTTP client now."""
        self._stage = _Stage.UNKNOWN

    def waiting(self) -> None:
        """Note that the transport has the request, and tells before it sends a byte of it."""
        self.told = True
        if self._stage is _Stage.UNKNOWN:  # once sent is sent, whoever sends it a second time
            self._stage = _Stage.BEFORE_SENDING

    def sending(self) -> None:
        """Note that the first byte is about to be given to a socket."""
        self._stage = _Stage.SENDING

    async def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Take note of an event, as httpcore calls them ("connection.connect_tcp.started")."""
        by, _, what = name.partition(".")
        if what == "send_request_headers.started":
            # A CONNECT is sent to a proxy, and is not the request.
            if getattr(info.get("request"), "method", None) != b"CONNECT":
                self._stage = _Stage.SENDING
        elif self._stage is _Stage.UNKNOWN and by in {"connection", "lease", "proxy", "socks"}:
            self._stage = _Stage.BEFORE_SENDING
        if name == "lease.wait.complete" and self._stage is _Stage.BEFORE_SENDING:
            self._stage = _Stage.UNKNOWN

    def may_have_left(self, request: httpx.Request | None, problem: Exception | None) -> bool:
        """Return whether a byte may have left of a try that ended so, or was given up."""
        match self._stage:
            case _Stage.NOT_HANDED_OVER | _Stage.BEFORE_SENDING:
                return False
            case _Stage.SENDING:
                return True
        believed = isinstance(problem, _NOT_SENT) or (
            self._plain_httpx and isinstance(problem, httpx.ConnectTimeout)
        )
        return not (believed and problem is not None and is_of(request, problem))


def is_of(request: httpx.Request | None, problem: Exception) -> bool:
    """Return whether httpx raised `problem` for `request`, and not for a call that a hook made."""
    try:
        return getattr(problem, "request", request) is request
    except RuntimeError:  # httpx's, for one that is of no request
        return True


def is_tls(links: Sequence[BaseException], *, sent: bool) -> bool:
    """Return whether it is TLS that failed, rather than the connection under it.

    In TLS 1.3 a server refuses a client's certificate only after the handshake, by an alert.

    Args:
        links: The exceptions that led to it; see `chain`.
        sent: May a byte of the request have left?
    """
    for link in links:
        if isinstance(link, ssl.SSLError):
            if isinstance(link, _NO_FAILURE_OF_TLS):
                return False
            # What is not OpenSSL's own, of a test's transport for instance, has no reason.
            return not sent or "ALERT" in (getattr(link, "reason", None) or "")
    return False


def chain(problem: BaseException, handled: BaseException | None) -> list[BaseException]:
    """Return an exception and what led to it.

    Args:
        problem: The exception.
        handled: What the caller was handling when it made the call: it is theirs, and left out.
    """
    links: list[BaseException] = []
    link: BaseException | None = problem
    while link is not None and link is not handled and link not in links:
        links.append(link)
        # httpcore's pool cuts the cause off its exceptions, but not the context.
        link = link.__cause__ or link.__context__
    return links
