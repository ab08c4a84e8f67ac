"""One call, sent as often as it takes: built once, answered by a result or an error, never both.

Rules of this file, for error trackers send the local variables of every frame of a traceback: no
frame that awaits or raises holds a header dict, bytes of a request or of an answer, or a secret
that is not masked.
"""

import contextlib
import logging
import math
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import httpx

from little_pay_async import _wire
from little_pay_async._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    LittlePayError,
    OutcomeUnknownError,
    SessionClosedError,
    UnexpectedResponseError,
)
from little_pay_async._masking import redact
from little_pay_async._models import Envelope

if TYPE_CHECKING:
    from little_pay_async._credentials import Authorization
    from little_pay_async._session import Session

T = TypeVar("T")

logger = logging.getLogger("little_pay_async.http")

Phases = Mapping[str, float | None]
"""How long each phase of a try may take, as httpx names them: connect, read, write, pool."""

# What httpx raises exactly if no byte of the request left.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
# The connection under TLS ended, or was being waited for when it did.
_NO_FAILURE_OF_TLS = (
    ssl.SSLEOFError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
    ssl.SSLZeroReturnError,
)
_HTTPX_ERRORS = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, httpx.CookieConflict)


class Sender(Generic[T]):
    """Sends one call of a session, again and again if need be.

    Attributes:
        requests: How many requests have been sent so far.
    """

    def __init__(self, session: "Session", call: _wire.Call, read: Callable[[Envelope], T]) -> None:
        self.requests = 0
        self._session = session
        self._call = call
        self._read = read
        self._request: httpx.Request | None = None
        self._authorization: Authorization | None = None

    async def send(self, phases: Phases, deadline: float = math.inf) -> T | LittlePayError:
        """Send it once and return the result or the error.

        A credential that was refused is asked for again: at once for a GET, which is then sent a
        second time, and by the next call else.

        Args:
            phases: How long each phase may take, in seconds.
            deadline: When to give up, in `anyio.current_time()`.

        Raises:
            SessionClosedError: The session can't be used, or not here.
            ConfigurationError: A credential is missing.
        """
        outcome = await self._send(phases, deadline)
        if (
            isinstance(outcome, AuthenticationError)
            and self._authorization is not None
            and self._authorization.renew()
            and not self._call.moves_money
        ):
            outcome = await self._send(phases, deadline)
        if isinstance(
            outcome,
            APIConnectionError | APIStatusError | UnexpectedResponseError | OutcomeUnknownError,
        ):
            outcome.tries = self.requests
        return outcome

    async def _send(self, phases: Phases, deadline: float) -> T | LittlePayError:
        session, call = self._session, self._call
        session.check_open()
        answer = _wire.Answer(0, {})
        progress = _Progress(known=session.knows_what_was_sent and self._is_traced)
        error: LittlePayError | None = None
        scope = anyio.CancelScope(deadline=deadline)
        started = time.perf_counter()
        session.under_way.add(scope)
        try:
            with scope:
                request = await self._prepared(phases, deadline, progress)
                progress.handed_over = True
                self.requests += 1
                await _fetch(session.http, request, answer)
        except httpx.HTTPStatusError as problem:  # a hook called raise_for_status()
            answer = _answer_of(problem.response)
        except _HTTPX_ERRORS as problem:
            error = self._connection_error(problem)
        finally:
            session.under_way.discard(scope)
        if scope.cancelled_caught:
            error = self._given_up(sent=progress.may_have_left)
        if error is None:
            error_or_result = _wire.judge(
                call, answer, self._read, secrets=session.secrets(), now=time.time()
            )
        else:
            may_have_left = not isinstance(error, APIConnectionError) or error.sent
            if call.moves_money and may_have_left and progress.may_have_left:
                error = _wire.outcome_unknown(call, error)
            error_or_result = error
        if isinstance(error_or_result, OutcomeUnknownError):
            logger.warning(
                "%s: outcome unknown",
                call.operation,
                extra={"operation": call.operation, "key": call.key},
            )
        if logger.isEnabledFor(logging.DEBUG):
            self._log(answer.status, error_or_result, time.perf_counter() - started)
        return error_or_result

    async def _prepared(
        self, phases: Phases, deadline: float, progress: "_Progress"
    ) -> httpx.Request:
        """Return the request, built at the first time and whenever the credential has changed."""
        authorization = await self._session.authorization(self._call)
        if self._request is None or authorization != self._authorization:
            token_id = await self._session.token_id_for(self._call)
            self._request = self._session.build(self._call, authorization, token_id)
            self._authorization = authorization
        extensions = self._request.extensions
        extensions["timeout"] = _within(phases, deadline - anyio.current_time())
        if self._is_traced:
            extensions["trace"] = progress.trace
        return self._request

    @property
    def _is_traced(self) -> bool:
        # Thousands of polls need not be: whether a lost GET had left changes nothing.
        return self._call.moves_money or not self._call.held

    def _given_up(self, *, sent: bool) -> LittlePayError:
        call = self._call
        if self._session.closed:
            return SessionClosedError(
                f"{call.operation}: the session was closed meanwhile.", key=call.key
            )
        return APITimeoutError(
            f"{call.operation}: no whole answer within the time given"
            f"{'.' if sent else '; the request had not left yet.'}",
            sent=sent,
            key=call.key,
        )

    def _connection_error(self, problem: Exception) -> LittlePayError:
        call = self._call
        if self._session.closed:
            return self._given_up(sent=True)
        sent = not isinstance(problem, _NOT_SENT)
        tls = _is_tls(problem, sent=sent)
        kind = (
            APITimeoutError if isinstance(problem, httpx.TimeoutException) else APIConnectionError
        )
        what = (
            "TLS failed, so that it is not known who would have answered"
            if tls
            else "the connection broke before a whole answer had come"
            if sent
            else "no connection"
        )
        detail = (
            redact(str(problem), self._session.secrets())[:200].rstrip(".")
            or type(problem).__name__
        )
        error = kind(f"{call.operation}: {what}: {detail}.", sent=sent, tls=tls, key=call.key)
        if not isinstance(problem, httpx.ProtocolError):  # which may quote what the server sent
            error.__cause__ = _without_frames(problem)
        return error

    def _log(self, status: int, outcome: object, elapsed: float) -> None:
        call = self._call
        shown = call.path.replace(_wire.TOKEN_ID, "-")
        what = type(outcome).__name__ if isinstance(outcome, LittlePayError) else status
        logger.debug(
            "%s %s: %s in %.3f s",
            call.method,
            shown,
            what,
            elapsed,
            extra={
                "operation": call.operation,
                "key": call.key,
                "status_code": status or None,
                "elapsed": elapsed,
            },
        )


def _within(phases: Phases, left: float) -> dict[str, float | None]:
    """Return the phases' limits, none of them longer than the time that is left."""
    if left == math.inf:
        return dict(phases)
    return {name: left if limit is None else min(limit, left) for name, limit in phases.items()}


class _Progress:
    """How far a try has come: what decides whether a byte of it may have left.

    Only httpcore tells, and only by its trace extension; of another transport nothing is known, so
    that whatever was handed to it may have left.
    """

    __slots__ = ("_connecting", "_known", "handed_over")

    def __init__(self, *, known: bool) -> None:
        self.handed_over = False
        self._known = known
        self._connecting = True

    @property
    def may_have_left(self) -> bool:
        return self.handed_over and not (self._known and self._connecting)

    async def trace(self, name: str, info: Mapping[str, Any]) -> None:  # noqa: ARG002 - httpcore's
        if "send_request_headers" in name:
            self._connecting = False


async def _fetch(http: httpx.AsyncClient, request: httpx.Request, answer: _wire.Answer) -> None:
    """Send `request` and fill `answer`, with no more of the body than may be read."""
    response = await http.send(request, stream=True, auth=None, follow_redirects=False)
    try:
        _begin(answer, response)
        if _wire.objection(answer) is not None:
            return
        if response.is_stream_consumed:  # by a hook
            answer.body += response.content
            return
        # Not `aiter_raw()`: what it adds, chunks of a size and a count of bytes, nobody needs.
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - as httpx does
        async for chunk in response.stream:
            answer.body += chunk
            del chunk
            if len(answer.body) > 2 * _wire.MAX_BODY:
                break
            if len(answer.body) > _wire.MAX_BODY:
                # Closed first: the streams beneath then end by themselves, where a loop that is
                # left would leave theirs to the garbage collector.
                await response.aclose()
    except _HTTPX_ERRORS:
        if len(answer.body) <= _wire.MAX_BODY:
            raise
    finally:
        await response.aclose()


def _begin(answer: _wire.Answer, response: httpx.Response) -> None:
    answer.status = response.status_code
    answer.headers = dict(response.headers)
    answer.delimited = (
        "content-length" in answer.headers
        or "transfer-encoding" in answer.headers
        or not response.extensions.get("http_version", b"").startswith(b"HTTP/1")
    )


def _answer_of(response: httpx.Response) -> _wire.Answer:
    answer = _wire.Answer(0, {})
    _begin(answer, response)
    with contextlib.suppress(httpx.ResponseNotRead):
        answer.body += response.content
    return answer


def _is_tls(problem: BaseException, *, sent: bool) -> bool:
    """Return whether it is TLS that failed, rather than the connection under it.

    In TLS 1.3 a server refuses a client's certificate only after the handshake, by an alert.
    """
    while (cause := problem.__cause__ or problem.__context__) is not None:
        problem = cause
        if isinstance(problem, ssl.SSLError):
            if isinstance(problem, _NO_FAILURE_OF_TLS):
                return False
            return not sent or "ALERT" in (problem.reason or "")
    return False


def _without_frames(problem: Exception) -> Exception:
    """Return an exception without the frames it passed: they hold headers and bytes."""
    link: BaseException | None = problem
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return problem
