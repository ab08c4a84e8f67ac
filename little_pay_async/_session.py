"""What all `AsyncLittlePay` objects made by `with_options` share.

Connections, credentials, the retry budget, the places for polls, and whether it is open: it belongs
to the event loop and process of its first use.
"""

import importlib.util
import os
import ssl
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import anyio
import anyio.lowlevel
import attrs
import httpx

from little_pay_async import _settings, _wire
from little_pay_async._credentials import Authorization, Credential, basic
from little_pay_async._errors import ConfigurationError, SessionClosedError
from little_pay_async._masking import Secret
from little_pay_async._observing import Observer
from little_pay_async._retry import RetryPolicy
from little_pay_async._transport import GuardedTransport
from little_pay_async._watch import Places

_KEPT_FOR_CALLS = 8
# What an httpx client has unless its maker said otherwise; nobody but its maker can know.
_CONNECTIONS_OF_A_FOREIGN_CLIENT = 100


@attrs.frozen
class Credentials:
    """The four that Little Pay gives a merchant (API facts: Credentials)."""

    api_key: Credential
    client_id: Credential
    client_secret: Credential
    token_id: Credential

    def __iter__(self) -> Iterator[Secret]:
        """What must not be shown: each of them, and two as a header has them."""
        for credential in (self.api_key, self.client_id, self.client_secret, self.token_id):
            yield from credential.known
        for name in self.client_id.known:
            for password in self.client_secret.known:
                yield basic(name, password)


class Session:
    """The shared part of `AsyncLittlePay`. Closing it closes everything.

    Attributes:
        http: What sends.
        plain_httpx: Do httpx's own transports send, as far as is known?
        retries: Who may send again; its budget is shared by all calls.
        places: Shared by the polls of all watches.
        under_way: The cancel scope of each try and pause that is under way.
        observer: Who looks on, if anybody.
        closed: Can it not be used any more?
        pool_tells: Has the pool told of the last request how far it was?
    """

    observer: Observer | None = None
    closed = False
    pool_tells = False
    _owns_http = False
    _home: tuple[anyio.lowlevel.EventLoopToken, int] | None = None
    _model: tuple[object, Authorization | None, httpx.Request] | None = None

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_url: str,
        max_connections: int | None,
        ssl_context: ssl.SSLContext | None,
        proxy: Secret | None,
        user_agent: str,
        transport: httpx.AsyncBaseTransport | None,
        http_client: httpx.AsyncClient | None,
    ) -> None:
        self._credentials = credentials
        self._base_url = base_url
        self._user_agent = user_agent
        if max_connections is not None:
            _settings.whole("max_connections", max_connections, 1)
        _check_connections(transport, http_client, ssl_context, proxy)
        self.plain_httpx = http_client is None and isinstance(
            transport,
            httpx.AsyncHTTPTransport | httpx.ASGITransport | httpx.MockTransport | None,
        )
        self.retries = RetryPolicy(sleep=self.pause)
        self.under_way: set[anyio.CancelScope] = set()
        if http_client is not None:
            self.http = http_client
            connections = max_connections or _CONNECTIONS_OF_A_FOREIGN_CLIENT
        else:
            connections = max_connections or _settings.connections_by_open_files()
            self.http = _Client(
                GuardedTransport(transport)
                if transport is not None
                else self._own_transport(connections, ssl_context, proxy)
            )
            self._owns_http = True
        self.places = Places(connections - max(1, min(_KEPT_FOR_CALLS, connections // 4)))

    def _own_transport(
        self, connections: int, ssl_context: ssl.SSLContext | None, proxy: Secret | None
    ) -> httpx.AsyncBaseTransport:
        context = ssl_context or _default_ssl_context()
        through = _settings.read_proxy(self._base_url, proxy)
        by_socks = through is not None and through.url.scheme.startswith("socks")
        if by_socks and importlib.util.find_spec("socksio") is None:
            raise ConfigurationError("proxy: a SOCKS proxy needs httpx's extra: httpx[socks]")
        # Loads httpcore and asyncio, which httpx too loads only when they are needed.
        from little_pay_async._transport.pooled import PooledTransport, new_pool  # noqa: PLC0415

        return PooledTransport(
            partial(new_pool, ssl_context=context, max_connections=connections, proxy=through)
        )

    def __repr__(self) -> str:
        return f"<Session {self._base_url} {'closed' if self.closed else 'open'}>"

    def __del__(self) -> None:
        if self._owns_http and not self.closed and self._home and self._home[1] == os.getpid():
            warnings.warn(
                "an AsyncLittlePay was dropped without being closed: use `async with`, or "
                "`await pay.aclose()`",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    @property
    def base_url(self) -> str:
        """Where Little Pay is."""
        return self._base_url

    def check_open(self) -> None:
        """Bind the session to this event loop and process at its first use; insist on them later.

        Raises:
            SessionClosedError: It is closed, or bound elsewhere.
        """
        self.check_not_closed()
        self._check_home()

    def check_not_closed(self) -> None:
        """Insist on an open session, where its event loop has been checked already.

        Raises:
            SessionClosedError: It is closed.
        """
        if self.closed:
            raise _closed()
        if self.http.is_closed:
            raise SessionClosedError("the http_client is closed: make a new one, and a new session")

    def _check_home(self) -> None:
        here = (anyio.lowlevel.current_token(), os.getpid())
        if self._home is None:
            self._home = here
        elif self._home != here:
            where = "another process" if self._home[1] != here[1] else "another event loop"
            raise SessionClosedError(
                f"the session belongs to {where}, and its connections can't be used here: make a "
                "new AsyncLittlePay here"
            )

    async def aclose(self) -> None:
        """Close everything; what is under way ends with `SessionClosedError`. Idempotent.

        Raises:
            SessionClosedError: It belongs to another event loop or process: nothing was closed, and
                there, if that still runs, it goes on.
        """
        if self.closed:
            return
        try:
            self._check_home()
        except SessionClosedError:
            self.closed = self._home is not None and _is_gone(*self._home)
            raise
        self.closed = True
        for scope in tuple(self.under_way):
            scope.cancel()
        self.places.close(_closed())
        if self._owns_http:
            with anyio.CancelScope(shield=True):
                await self.http.aclose()

    async def pause(self, seconds: float) -> None:
        """Wait that long.

        Raises:
            SessionClosedError: The session was closed meanwhile.
        """
        scope = anyio.CancelScope()
        self.under_way.add(scope)
        try:
            with scope:
                await anyio.sleep(seconds)
        finally:
            self.under_way.discard(scope)
        if scope.cancelled_caught:
            raise _closed()

    def secrets(self) -> Iterable[Secret]:
        """Return what must not be shown, should an answer echo it; made when it is asked for."""
        return self._credentials

    async def authorization(self, call: _wire.Call) -> Authorization | None:
        """Return the credential that is documented for the call, if any.

        Raises:
            ConfigurationError: It is missing.
        """
        match call.auth:
            case "api_key":
                return await Authorization.api_key(self._credentials.api_key)
            case "basic":
                return await Authorization.basic(
                    self._credentials.client_id, self._credentials.client_secret
                )
            case None:
                return None

    async def token_id_for(self, call: _wire.Call) -> Secret | None:
        """Return the token id if the call's path needs it.

        Raises:
            ConfigurationError: It is missing.
        """
        return await self._credentials.token_id.get() if _wire.TOKEN_ID in call.path else None

    def build(
        self, call: _wire.Call, authorization: Authorization | None, token_id: Secret | None
    ) -> httpx.Request:
        """Return the request of a call, ready to be sent as often as needed."""
        # A caller's own client may add what is not seen here: cookies, say.
        if self._owns_http and not call.moves_money:
            return self._build_get(call, authorization)
        return self._build(call, authorization, token_id)

    def _build_get(self, call: _wire.Call, authorization: Authorization | None) -> httpx.Request:
        """Return what `_build` would: thousands of GETs differ in nothing but their URL."""
        # What httpx adds of the client's, which may have been changed meanwhile.
        added = (self.http.headers.raw, self.http.params)
        model = self._model
        if model is None or model[:2] != (added, authorization) or added[1]:
            request = self._build(call, authorization, None)
            self._model = (added, authorization, request)
            return request
        return httpx.Request(
            call.method,
            self._base_url + call.path,
            headers=model[2].headers,
            stream=_NO_BODY,
            extensions={},
        )

    def _build(
        self, call: _wire.Call, authorization: Authorization | None, token_id: Secret | None
    ) -> httpx.Request:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": self._user_agent,
        }
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        if authorization is not None:
            headers[authorization.header] = authorization.value.reveal()
        extensions: dict[str, object] = {}
        if call.moves_money:
            # An idle connection may be dead, and a POST that was lost on it can't be sent again.
            extensions["fresh_connection"] = True
        if token_id is not None:
            # The token id is a credential, and log lines, spans and hooks show URLs: they get a
            # placeholder, the wire gets the real path.
            path = call.path.replace(_wire.TOKEN_ID, quote(token_id.reveal(), safe=""))
            extensions["target"] = f"{urlsplit(self._base_url).path}{path}".encode("ascii")
        request = self.http.build_request(
            call.method,
            self._base_url + call.path.replace(_wire.TOKEN_ID, "-"),
            headers=headers,
            content=call.body,
            extensions=extensions,
        )
        request.stream = _NO_BODY if call.body is None else _Body(call.body)
        return request


class _NoCookies(httpx.Cookies):
    """Takes none, so that none is sent."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Leave them where they are."""


class _Client(httpx.AsyncClient):
    """A client without cookies: each operation carries only its documented credential.

    Looking for cookies in an answer is a fifth of what a poll costs in httpx.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._none = _NoCookies()
        super().__init__(transport=transport, timeout=None)  # each request brings its own

    @property
    def cookies(self) -> httpx.Cookies:
        """Return none, whatever was set."""
        return self._none

    @cookies.setter
    def cookies(self, cookies: object) -> None:  # noqa: ARG002 - named as httpx has it
        raise ConfigurationError("pay.http has no cookies: give an http_client of your own")


class _Body(httpx.ByteStream):
    """A request's body. Of httpx's own a generator is left behind if its sending is cancelled."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Part(self._body)


class _Part:
    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> "_Part":
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


_NO_BODY = _Body(b"")


def _is_gone(loop: anyio.lowlevel.EventLoopToken, process: int) -> bool:
    """Return whether nobody could use what belongs to an event loop, from here."""
    if process != os.getpid():
        return True
    native: Any = loop.native_token
    if hasattr(native, "is_closed"):  # asyncio's, which takes long to import
        return bool(native.is_closed())
    try:
        native.run_sync_soon(int)  # trio's: it says if the run has ended
    except RuntimeError:
        return True
    return False


def _closed() -> SessionClosedError:
    return SessionClosedError("the session is closed: make a new AsyncLittlePay")


def _default_ssl_context() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        problem = error.strerror or type(error).__name__
    raise ConfigurationError(
        f"SSL_CERT_FILE, SSL_CERT_DIR: the certificates there can't be read: {problem}"
    )


def _check_connections(
    transport: object, http_client: object, ssl_context: object, proxy: object
) -> None:
    for argument, value, kind in (
        ("transport", transport, httpx.AsyncBaseTransport),
        ("http_client", http_client, httpx.AsyncClient),
        ("ssl_context", ssl_context, ssl.SSLContext),
    ):
        if value is not None and not isinstance(value, kind):
            raise ConfigurationError(
                f"{argument}: give an {kind.__module__.partition('.')[0]}.{kind.__name__}, not a "
                f"{type(value).__module__}.{type(value).__name__}"
            )
    if transport is not None and http_client is not None:
        raise ConfigurationError("transport, http_client: give one of them, not both")
    if transport is not None or http_client is not None:
        for argument, value in (("ssl_context", ssl_context), ("proxy", proxy)):
            if value is not None:
                raise ConfigurationError(
                    f"{argument}: it has no effect with a transport or http_client of your own: "
                    "give it to that one"
                )
