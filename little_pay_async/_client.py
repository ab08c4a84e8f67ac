"""`AsyncLittlePay`: the operations, in the order in which a payment lives."""

import copy
import math
import ssl
from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import attrs
import httpx

from little_pay_async import _settings, _wire
from little_pay_async._calling import Calls
from little_pay_async._checking import ask_for_each, distinct
from little_pay_async._collecting import Collector
from little_pay_async._credentials import Credential, CredentialSource, hidden
from little_pay_async._errors import ConfigurationError, InvalidInputError, LittlePayError
from little_pay_async._models import (
    BillingAddress,
    Envelope,
    Payment,
    PaymentIntent,
    Provider,
    Refund,
)
from little_pay_async._msisdn import Msisdn
from little_pay_async._session import Credentials, Session
from little_pay_async._settings import SETTLEMENT_TIMEOUT, UNSET, Timeout, TimeoutOrUnset, Unset
from little_pay_async._version import __version__
from little_pay_async._watch import Rota, Watch
from little_pay_async._wire import Key

_CHECKS_AT_ONCE = 100


class AsyncLittlePay:
    """A session with Little Pay: connections, credentials, and the operations.

    Use it as `async with AsyncLittlePay() as pay:`, or close it with `aclose()`. It belongs to the
    event loop of its first use. Every operation can be cancelled at any await: the connection of a
    half-done exchange is dropped, and nothing stays behind. A money request that is cancelled may
    have taken effect all the same; `status` tells.

    Args:
        api_key: The merchant's secret key, for status and refund; or a callable, sync or async,
            that returns it and is asked again after a 401. Else `LITTLE_PAY_API_KEY`.
        client_id: For create intent. Else `LITTLE_PAY_CLIENT_ID`.
        client_secret: For create intent; or a callable, as with `api_key`. Else
            `LITTLE_PAY_CLIENT_SECRET`.
        token_id: For create intent. Else `LITTLE_PAY_TOKEN_ID`.
        base_url: Where Little Pay is; https, but for loopback hosts. Else `LITTLE_PAY_BASE_URL`,
            else https://pay.little.africa.
        timeout: Seconds that an ordinary call may take in all, its tries and pauses included; or an
            `httpx.Timeout`, which bounds each phase of a try; or None for no limit.
        hold: Seconds that a long poll may stay silent before it is let go and asked again.
        max_retries: How often to send again what may be sent again.
        max_connections: Connections at the most. By default what the limit on open files leaves
            room for; with `http_client`, httpx's default of 100.
        ssl_context: For an own CA or a client certificate. Else `SSL_CERT_FILE` or `SSL_CERT_DIR`,
            else httpx's default.
        proxy: URL of a proxy. Else the environment's, as in plain httpx.
        app_info: Name and version of the application, ("shop", "1.2") or "shop/1.2", put into the
            `User-Agent` after the library's own.
        transport: An httpx transport to use instead of the library's own.
        http_client: An httpx client to use, which is never closed here.

    Raises:
        ConfigurationError: An argument is wrong. A missing credential is no error until an
            operation needs it.
    """

    def __init__(
        self,
        *,
        api_key: CredentialSource | None = None,
        client_id: str | None = None,
        client_secret: CredentialSource | None = None,
        token_id: str | None = None,
        base_url: str | None = None,
        timeout: Timeout = 30.0,
        hold: float = 90.0,
        max_retries: int = 2,
        max_connections: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        app_info: str | tuple[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        # Masked first of all: error trackers send the local variables of what raises below.
        secrets = {
            "api_key": hidden(api_key),
            "client_id": hidden(client_id),
            "client_secret": hidden(client_secret),
            "token_id": hidden(token_id),
        }
        hidden_proxy, hidden_base_url = hidden(proxy), hidden(base_url)
        del api_key, client_id, client_secret, token_id, proxy, base_url
        timeout = _settings.timeout_of("timeout", timeout, ConfigurationError)
        hold = _settings.seconds("hold", hold, ConfigurationError)
        max_retries = _settings.whole("max_retries", max_retries, 0)
        self._owns_session = True
        self._session = Session(
            Credentials(**{name: Credential(name, value) for name, value in secrets.items()}),
            base_url=_settings.read_base_url(hidden_base_url),
            max_connections=max_connections,
            ssl_context=ssl_context,
            proxy=hidden_proxy,
            user_agent=_settings.user_agent(app_info, __version__),
            transport=transport,
            http_client=http_client,
        )
        self._calls = Calls(self._session, timeout, hold, max_retries)
        _settings.switch_logging_on()

    def __repr__(self) -> str:
        if not hasattr(self, "_session"):  # asked for by an error tracker, of one that failed
            return "<AsyncLittlePay not made>"
        state = "closed" if self._session.closed else "open"
        return f"<AsyncLittlePay {self._session.base_url} {state}>"

    async def __aenter__(self) -> Self:
        self._session.check_open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; what is under way ends with `SessionClosedError`.

        Does nothing for a session made by `with_options`, and at a second time. Can't be cancelled
        half-way.

        Raises:
            SessionClosedError: The session belongs to another event loop or process.
        """
        if self._owns_session:
            await self._session.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        """The `httpx.AsyncClient` in use, for event hooks and instrumentation.

        Every request goes through its `send`, polls too.
        """
        return self._session.http

    def with_options(
        self,
        *,
        timeout: TimeoutOrUnset = UNSET,
        hold: float | Literal[Unset.UNSET] = UNSET,
        max_retries: int | Literal[Unset.UNSET] = UNSET,
    ) -> "AsyncLittlePay":
        """Return a session with other settings on the same connections.

        It owns nothing: only closing the original closes.

        Raises:
            ConfigurationError: A setting is wrong.
        """
        calls = self._calls
        if timeout is not UNSET:
            limit = _settings.timeout_of("timeout", timeout, ConfigurationError)
            calls = attrs.evolve(calls, timeout=limit)
        if hold is not UNSET:
            calls = attrs.evolve(calls, hold=_settings.seconds("hold", hold, ConfigurationError))
        if max_retries is not UNSET:
            most = _settings.whole("max_retries", max_retries, 0)
            calls = attrs.evolve(calls, max_retries=most)
        other = copy.copy(self)
        other._owns_session = False  # noqa: SLF001 - it is one of us
        other._calls = calls  # noqa: SLF001
        return other

    async def create_intent(
        self,
        *,
        amount: int | Decimal | str,
        key: str,
        description: str,
        callback_url: str,
        currency: str = "KES",
        expires_in: timedelta | None = None,
        return_url: str | None = None,
        billing_address: BillingAddress | Mapping[str, str | None] | None = None,
        custom_data: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> PaymentIntent:
        """Make a payment intent (API facts: Create a payment intent).

        Args:
            amount: Above zero, with the digits that shall go out. Some providers, M-PESA for one,
                round to a whole number.
            key: Your own unique id of the payment: letters and digits, 8 to 12 recommended.
            description: What is paid for.
            callback_url: Where Little Pay posts the outcome.
            currency: ISO 4217.
            expires_in: How long the intent lives, 30 minutes by default; goes out in whole
                minutes, rounded up.
            return_url: Where the hosted page sends the payer afterwards.
            billing_address: The payer's; e-mail or phone number should be there.
            custom_data: Any JSON, which comes back with the callback.
            metadata: A mapping of further settings.

        Raises:
            InvalidInputError: An argument is wrong; nothing was sent.
            OutcomeUnknownError: It may exist: look by its `key`.
            LittlePayError: It does not exist, or was refused.
        """
        call = _wire.made(
            _wire.create_intent,
            amount=amount,
            key=key,
            description=description,
            callback_url=callback_url,
            currency=currency,
            expires_in=expires_in,
            return_url=return_url,
            billing_address=billing_address,
            custom_data=custom_data,
            metadata=metadata,
        )
        del billing_address, custom_data, metadata
        return await self._calls.send(call, _wire.read_intent)

    async def process(
        self,
        intent: Key,
        provider: Provider | str,
        mobile: Msisdn | str,
        *,
        long_poll: bool = False,
        timeout: TimeoutOrUnset = UNSET,
    ) -> Payment:
        """Ring the payer's handset (API facts: Process). The answer is PENDING as a rule.

        It is never sent twice by itself, and should not be by you: a second one may ring, and
        charge, a second time.

        Args:
            intent: The `PaymentIntent`, or its reference.
            provider: A `Provider` or its name; one that has handsets, so not CARDS.
            mobile: The payer's number: an `Msisdn`, or a str that `Msisdn.parse` takes.
            long_poll: Have the answer held until the payment settles. If the hold is lost, so is
                the outcome (`OutcomeUnknownError`): `wait` is the safer way.
            timeout: Seconds; the session's if left out, and then with `hold` added for a held one.

        Raises:
            InvalidInputError: An argument is wrong; nothing was sent.
            OutcomeUnknownError: The handset may be ringing: ask `status` or `wait`.
            LittlePayError: The handset does not ring.
        """
        number = _wire.mobile_of(mobile)
        payable = _wire.made(_wire.payable_provider, provider)
        del mobile, provider
        if isinstance(number, LittlePayError):
            raise number
        if isinstance(payable, LittlePayError):
            raise payable
        if not isinstance(long_poll, bool):
            raise InvalidInputError("long_poll: give True or False")
        reference = _wire.key_of(intent, "intent")
        call = _wire.process(reference, payable, number, held=long_poll)
        return await self._calls.process(call, timeout)

    async def status(self, key: Key, *, timeout: TimeoutOrUnset = UNSET) -> Payment:
        """Return how a payment stands now, by one plain GET (API facts: Status).

        Args:
            key: The reference, for one attempt; or the merchant key, for all attempts.
            timeout: Seconds; the session's if left out.

        Raises:
            NotFoundError: Little Pay knows no such payment, or not yet; it does not mean unpaid.
            LittlePayError: It could not be told.
        """
        return await self._calls.send(_wire.status(_wire.key_of(key)), _wire.read_payment, timeout)

    async def long_poll(self, key: Key, *, hold: float | Literal[Unset.UNSET] = UNSET) -> Payment:
        """Return how a payment stands once it changes, by one held GET (API facts: Long poll).

        Still PENDING when the hold ran out. Where the hold ended without an answer (silence, a
        proxy's 502 or 504, a stream that ended) a plain GET brings the truth.

        Args:
            key: The reference or merchant key.
            hold: Seconds that it may stay silent; the session's if left out.

        Raises:
            LittlePayError: It could not be told.
        """
        name = _wire.key_of(key)
        seconds = self._calls.hold
        if hold is not UNSET:
            seconds = _settings.seconds("hold", hold, InvalidInputError)
        return await self._calls.long_poll(name, seconds)

    async def wait(self, key: Key, *, timeout: float | None = SETTLEMENT_TIMEOUT) -> Payment:
        """Return the final payment: COMPLETED or FAILED.

        Lost connections, server errors and silence are outlived until the time is over.

        Args:
            key: The reference or merchant key.
            timeout: Seconds; None for no limit.

        Raises:
            SettlementTimeoutError: It was not final in time; `.last` is what was seen last.
            LittlePayError: Asking again can't help: 404, 401, TLS, no answers of Little Pay's.
        """
        async with self._watch("wait", [key], timeout, None) as watch:
            settlement = await anext(watch)
        if settlement.error is not None:
            raise settlement.error
        assert settlement.payment is not None  # noqa: S101 - so says Settlement
        return settlement.payment

    async def check(
        self, keys: Iterable[Key], *, max_in_flight: int | None = None
    ) -> dict[str, Payment | LittlePayError]:
        """Return how many payments stand now, by one plain GET for each distinct key.

        Args:
            keys: References or merchant keys.
            max_in_flight: How many to ask for at once, 100 by default.

        Returns:
            For each key, in the order given, its payment or its error.

        Raises:
            InvalidInputError: `keys` is no iterable of keys; nothing was sent.
            LittlePayError: What makes every key hopeless: a credential that is refused or missing,
                a session that is closed.
        """
        each = distinct(keys)
        if max_in_flight is not None:
            _settings.whole("max_in_flight", max_in_flight, 1, InvalidInputError)
        at_once = min(max_in_flight or _CHECKS_AT_ONCE, self._session.places.total)
        if self._session.observer is None:
            return await ask_for_each(each, self._calls, at_once=at_once)
        with self._session.observer.begin("check") as observation:
            return await ask_for_each(each, self._calls, at_once=at_once, observation=observation)

    def watch(
        self,
        keys: Iterable[Key] | AsyncIterable[Key] | None = None,
        *,
        timeout: float | None = SETTLEMENT_TIMEOUT,
        max_in_flight: int | None = None,
    ) -> Watch:
        """Watch many payments at once, each reported the moment it settles.

        Use it as `async with pay.watch(keys) as watch: async for settlement in watch: ...`.

        Args:
            keys: References or merchant keys, any number of them. None for a watch that stays open
                for `add` until its `close`.
            timeout: Seconds for each key from when it was added; None for no limit.
            max_in_flight: Polls at once; by default, and at the most, the connections less a few
                that are kept for ordinary calls. More keys than that take turns.

        Raises:
            InvalidInputError: An argument is wrong.
        """
        if max_in_flight is not None:
            _settings.whole("max_in_flight", max_in_flight, 1, InvalidInputError)
        return self._watch("watch", keys, timeout, max_in_flight)

    def _watch(
        self,
        operation: str,
        keys: Iterable[Key] | AsyncIterable[Key] | None,
        timeout: float | None,
        max_in_flight: int | None,
    ) -> Watch:
        session = self._session
        rota = Rota(
            open_poll=self._calls.open_poll,
            places=session.places,
            retries=session.retries,
            max_retries=self._calls.max_retries,
            hold=self._calls.hold,
            limit=min(max_in_flight or session.places.total, session.places.total),
        )
        return Watch(
            keys,
            timeout=_settings.keys_timeout(timeout),
            rota=rota,
            operation=operation,
            observer=session.observer,
        )

    async def collect(
        self,
        *,
        amount: int | Decimal | str,
        key: str,
        description: str,
        callback_url: str,
        provider: Provider | str,
        mobile: Msisdn | str,
        timeout: float | None = SETTLEMENT_TIMEOUT,
        currency: str = "KES",
        expires_in: timedelta | None = None,
        return_url: str | None = None,
        billing_address: BillingAddress | Mapping[str, str | None] | None = None,
        custom_data: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Payment:
        """Create, process and wait, under one deadline; return the final payment.

        Nothing that may have reached Little Pay is sent again. After an unknown outcome it asks
        for the status instead, and processes only what has an intent and no attempt.

        Args:
            amount: As in `create_intent`.
            key: As in `create_intent`.
            description: As in `create_intent`.
            callback_url: As in `create_intent`.
            provider: As in `process`.
            mobile: As in `process`.
            timeout: Seconds for all of it; None for no limit.
            currency: As in `create_intent`.
            expires_in: As in `create_intent`.
            return_url: As in `create_intent`.
            billing_address: As in `create_intent`.
            custom_data: As in `create_intent`.
            metadata: As in `create_intent`.

        Raises:
            InvalidInputError: An argument is wrong; nothing was sent.
            SettlementTimeoutError: It was not final in time, and may still become so.
            OutcomeUnknownError: It may have been charged, and its status could not be told.
            LittlePayError: It was not charged. The `.key` of each error is the merchant key.
        """
        number = _wire.mobile_of(mobile)
        payable = _wire.made(_wire.payable_provider, provider)
        create = _wire.made(
            _wire.create_intent,
            amount=amount,
            key=key,
            description=description,
            callback_url=callback_url,
            currency=currency,
            expires_in=expires_in,
            return_url=return_url,
            billing_address=billing_address,
            custom_data=custom_data,
            metadata=metadata,
        )
        limit = _wire.made(_settings.keys_timeout, timeout)
        del mobile, provider, billing_address, custom_data, metadata
        for checked in (number, create, payable, limit):
            if isinstance(checked, LittlePayError):
                checked.key = key if isinstance(key, str) else None
                raise checked
        assert isinstance(create, _wire.Call)  # noqa: S101 - checked above
        assert isinstance(number, Msisdn)  # noqa: S101
        assert isinstance(payable, Provider)  # noqa: S101
        assert not isinstance(limit, InvalidInputError)  # noqa: S101
        collector = Collector(
            calls=self._calls,
            wait=self.wait,
            create=create,
            provider=payable,
            mobile=number,
            deadline=math.inf if limit is None else anyio.current_time() + limit,
        )
        if self._session.observer is None:
            return await collector.collect()
        with self._session.observer.begin("collect") as observation:
            return await attrs.evolve(collector, observation=observation).collect()

    async def refund(
        self,
        key: Key,
        amount: int | Decimal | str,
        *,
        reason: str | None = None,
        callback_url: str | None = None,
    ) -> Refund:
        """Pay back (API facts: Refund). A PENDING refund is followed by a callback.

        Args:
            key: The reference or merchant key.
            amount: Above zero.
            reason: Why.
            callback_url: Where Little Pay posts the outcome.

        Raises:
            InvalidInputError: An argument is wrong; nothing was sent.
            OutcomeUnknownError: It may have been made. Little Pay documents no way to ask for a
                refund: see the payment's status and the dashboard before another.
            LittlePayError: It was not made.
        """
        call = _wire.refund(_wire.key_of(key), amount, reason=reason, callback_url=callback_url)
        return await self._calls.send(call, _wire.read_refund)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        auth: _wire.Auth | None = "api_key",
        timeout: TimeoutOrUnset = UNSET,
    ) -> Envelope:
        """Call an endpoint that the library does not know.

        Args:
            method: The HTTP method. Anything but GET is treated as what moves money.
            path: From the host's root, percent-encoded, with its query if any.
            json: The body, if any.
            auth: "api_key" for `X-API-KEY`, "basic" for HTTP Basic, None for no credential.
            timeout: Seconds; the session's if left out.

        Raises:
            InvalidInputError: An argument is wrong; nothing was sent.
            OutcomeUnknownError: No GET, and it may have taken effect.
            LittlePayError: It had no effect, or is a GET.
        """
        call = _wire.made(_wire.other, method, path, json=json, auth=auth)
        del json
        return await self._calls.send(call, lambda envelope: envelope, timeout)
