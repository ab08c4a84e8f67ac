"""One call, sent as often as it takes: built once, answered by a result or an error, never both.

Rules of this file, for error trackers send the local variables of every frame of a traceback: no
frame that awaits or raises holds a header dict, bytes of a request or of an answer, or a secret
that is not masked.
"""

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

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
from little_pay_async._progress import Progress, chain, is_of, is_tls
from little_pay_async._transport import RefusedResponseError

if TYPE_CHECKING:
    from little_pay_async._credentials import Authorization
    from little_pay_async._session import Session

T = TypeVar("T")

logger = logging.getLogger("little_pay_async.http")

Phases = Mapping[str, float | None]
"""How long each phase of a try may take, as httpx names them: connect, read, write, pool."""

_CONSUMED = httpx.ByteStream(b"")
_HTTPX_ERRORS = (
    httpx.HTTPError,
    httpx.StreamError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    UnicodeError,  # of a redirect's Location, which httpx reads although it does not follow it
)


class Sender(Generic[T]):
    """Sends one call of a session, again and again if need be.

    Attributes:
        requests: How many requests have been sent so far.
        status_code: Of the last answer; 0 if none came.
    """

    def __init__(self, session: "Session", call: _wire.Call, read: Callable[[Envelope], T]) -> None:
        self.requests = 0
        self.status_code = 0
        self._session = session
        self._call = call
        self._read = read
        self._request: httpx.Request | None = None
        self._authorization: Authorization | None = None
        self._progress = Progress(plain_httpx=session.plain_httpx)
        # What the caller is handling, which an exception in here would take for its own. Asked for
        # once: after an exception was thrown into a coroutine CPython forgets it for a while.
        self._handled = sys.exception()

    async def send(self, phases: Phases, deadline: float) -> T | LittlePayError:
        """Send it once, until a deadline at the most; return the result or the error.

        A credential that was refused is asked for again: at once for a GET, which is then sent a
        second time, and by the next call else.

        Args:
            phases: How long each phase may take, in seconds.
            deadline: When to give up, in `anyio.current_time()`.

        Raises:
            SessionClosedError: The session can't be used, or not here.
            ConfigurationError: A credential is missing.
        """
        session = self._session
        session.check_open()
        scope = anyio.CancelScope(deadline=deadline)
        started = time.perf_counter()
        session.under_way.add(scope)
        try:
            with scope:
                return await self.send_in_scope(_within(phases, deadline))
        finally:
            session.under_way.discard(scope)
        return self._told(self._without_answer(None), 0, started)

    async def send_in_scope(self, limits: Phases) -> T | LittlePayError:
        """Send it once, for as long as the caller lets it: by a cancel scope of the caller's.

        Args:
            limits: How long each phase may take, in seconds.

        Raises:
            SessionClosedError: The session can't be used.
            ConfigurationError: A credential is missing.
        """
        session, call = self._session, self._call
        outcome: T | LittlePayError
        renewed = False
        while True:
            session.check_not_closed()
            answer: _wire.Answer | None = None
            broke: Exception | None = None
            started = time.perf_counter()
            self._progress = Progress(plain_httpx=session.plain_httpx)
            try:
                if self._request is None or not self._is_current:
                    await self._prepare()
                request = self._with_limits(limits)
                self._progress.hand_over()
                self.requests += 1
                answer = await _fetch(session.http, request)
            except (APIConnectionError, *_HTTPX_ERRORS) as problem:
                if isinstance(problem, httpx.HTTPStatusError) and is_of(self._request, problem):
                    answer = _answer_of(problem.response)  # a hook called raise_for_status()
                else:
                    answer = _refused(problem, self._handled)
                broke = problem if answer is None else None
            except RuntimeError as problem:
                if not session.http.is_closed:
                    raise
                broke = problem
            session.pool_tells = self._progress.told
            if answer is None:
                outcome = self._without_answer(broke)
            else:
                outcome = _wire.judge(
                    call, answer, self._read, secrets=session.secrets(), now=time.time()
                )
            self._told(outcome, 0 if answer is None else answer.status, started)
            if renewed or not isinstance(outcome, AuthenticationError) or not self._renew():
                return outcome
            renewed = True

    def _renew(self) -> bool:
        """Have a refused credential asked for again; return whether to send again by it."""
        known = self._authorization
        return known is not None and known.renew() and not self._call.moves_money

    @property
    def _is_current(self) -> bool:
        return self._authorization is None or self._authorization.is_current

    async def _prepare(self) -> None:
        """Build the request, for the first time or because the credential has changed."""
        authorization = await self._session.authorization(self._call)
        token_id = await self._session.token_id_for(self._call)
        self._request = self._session.build(self._call, authorization, token_id)
        self._authorization = authorization

    def _with_limits(self, limits: Phases) -> httpx.Request:
        assert self._request is not None  # noqa: S101 - prepared before
        extensions = self._request.extensions
        extensions["timeout"] = limits
        extensions["progress"] = self._progress
        if self._is_traced:
            extensions["trace"] = self._progress.trace
        return self._request

    @property
    def _is_traced(self) -> bool:
        # Thousands of polls need not be: whether a lost GET had left changes nothing. Nor need what
        # goes through a pool that is known to tell.
        return self._call.moves_money or not (self._call.held or self._session.pool_tells)

    def _without_answer(self, broke: Exception | None) -> LittlePayError:
        """Return the error for a try that broke, or was given up."""
        sent = self._progress.may_have_left(self._request, broke)
        error = self._no_answer(broke, sent=sent)
        if sent and self._call.moves_money:
            error.left_open = True
            return _wire.outcome_unknown(self._call, error)
        return error

    def _no_answer(self, broke: Exception | None, *, sent: bool) -> LittlePayError:
        call, session = self._call, self._session
        if session.closed or session.http.is_closed:
            return SessionClosedError(
                f"{call.operation}: the session was closed meanwhile.", key=call.key
            )
        if broke is None:
            late = "no whole answer came" if sent else "the request could not be sent"
            return APITimeoutError(
                f"{call.operation}: {late} within the time given.", sent=sent, key=call.key
            )
        if isinstance(broke, APIConnectionError):  # the callable of a credential raised
            broke.key = call.key
            return broke
        return self._broken(broke, sent=sent)

    def _broken(self, problem: Exception, *, sent: bool) -> APIConnectionError:
        call = self._call
        links = chain(problem, self._handled)
        for link in links:
            link.__traceback__ = None  # the frames hold headers and bytes
        tls = is_tls(links, sent=sent)
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
        said = redact(str(problem), self._session.secrets())
        detail = said[:200].rstrip(".") or type(problem).__name__
        error = kind(f"{call.operation}: {what}: {detail}.", sent=sent, tls=tls, key=call.key)
        # Hung on only if there is nothing to hide in it. What broke the protocol may quote it.
        if said == str(problem) and not isinstance(problem, httpx.ProtocolError):
            error.__cause__ = problem
        return error

    def _told(self, outcome: T | LittlePayError, status: int, started: float) -> T | LittlePayError:
        """Tell the log of an outcome, and an error of its tries."""
        self.status_code = status
        if isinstance(outcome, LittlePayError) and isinstance(
            outcome,
            APIConnectionError | APIStatusError | UnexpectedResponseError | OutcomeUnknownError,
        ):
            outcome.tries = self.requests
        self._log(status, outcome, time.perf_counter() - started)
        return outcome

    def _log(self, status: int, outcome: object, elapsed: float) -> None:
        call = self._call
        unknown = isinstance(outcome, OutcomeUnknownError)
        if not unknown and not logger.isEnabledFor(logging.DEBUG):
            return
        error = type(outcome).__name__ if isinstance(outcome, LittlePayError) else None
        fields = {
            "operation": call.operation,
            "key": call.key,
            "method": call.method,
            "url_template": call.template,
            "held": call.held,
            "status_code": status or None,
            "error_type": error,
            "tries": self.requests,
            "elapsed": elapsed,
        }
        if unknown:
            logger.warning("%s: outcome unknown", call.operation, extra=fields)
        logger.debug(
            "%s %s: %s in %.3f s",
            call.method,
            redact(call.path.replace(_wire.TOKEN_ID, "-"), self._session.secrets()),
            error or status,
            elapsed,
            extra=fields,
        )


def _within(phases: Phases, deadline: float) -> dict[str, float | None]:
    """Return the phases' limits, none of them much longer than the time that is left."""
    if deadline == math.inf:  # without a look at the clock, which takes longer than one thinks
        return dict(phases)
    left = deadline - anyio.current_time()
    return {
        # Not to the microsecond: many waits of the same length share a timer.
        name: left if limit is None or limit > left + 0.01 else limit
        for name, limit in phases.items()
    }


def _refused(problem: Exception, handled: BaseException | None) -> _wire.Answer | None:
    """Return what stands for an answer that the transport refused, if that is the problem."""
    for link in chain(problem, handled):
        if isinstance(link, RefusedResponseError):
            return _wire.Answer(link.status, {}, refusal=str(link))
    return None


async def _fetch(http: httpx.AsyncClient, request: httpx.Request) -> _wire.Answer:
    """Send `request` and return its answer, with no more of the body than may be read."""
    response = await http.send(request, stream=True, auth=None, follow_redirects=False)
    whole = response.extensions.get("whole_body")
    answer = _head_of(response)
    if whole is not None and not response.is_stream_consumed:
        # Our own pool's: reading and closing three streams would take longer than all that it does.
        answer.body += whole
        response.stream = _CONSUMED  # see below
        return answer
    try:
        if _wire.objection(answer) is not None:
            return answer
        if response.is_stream_consumed:  # by a hook
            answer.body += response.content
            return answer
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
        # httpx has the stream hold the response, which holds the stream: with thousands of polls
        # the garbage collector would take a fifth of the time.
        response.stream = _CONSUMED
    return answer


def _head_of(response: httpx.Response) -> _wire.Answer:
    """Return an answer whose body is still to come."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:  # httpx looks each name up among all others
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    delimited = (
        "content-length" in headers
        or "transfer-encoding" in headers
        or not response.extensions.get("http_version", b"").startswith(b"HTTP/1")
    )
    return _wire.Answer(response.status_code, headers, delimited=delimited)


def _answer_of(response: httpx.Response) -> _wire.Answer:
    answer = _head_of(response)
    with contextlib.suppress(httpx.ResponseNotRead):
        answer.body += response.content
    return answer
