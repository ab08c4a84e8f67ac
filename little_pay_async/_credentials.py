"""Credentials: fixed, from the environment, or from a callable that is asked again after a 401."""

import base64
import inspect
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar, cast

import anyio
import attrs

from little_pay_async._errors import APIConnectionError, ConfigurationError
from little_pay_async._masking import MASK, Secret

CredentialSource = str | Callable[[], str | Awaitable[str]]
"""A credential, or what returns it when called: a vault, say."""

# Little Pay's merchants rotate these two (API facts: Credentials).
_RENEWABLE = {"api_key", "client_secret"}
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


T = TypeVar("T")


class Unfit:
    """Stands for an argument of a wrong type: it may hold a secret all the same, in bytes say."""


def hidden(value: str | T) -> Secret | T:
    """Return a string as a secret, a callable masked, None as it is, and nothing else."""
    if isinstance(value, str):
        return Secret(value)
    if value is None:
        return value
    return cast("T", Vault(cast("Any", value)) if callable(value) else Unfit())


class Vault:
    """What returns a credential when called. Masked: it may hold one, as a bound method does."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[], str | Awaitable[str]]) -> None:
        self._ask = ask

    def __call__(self) -> str | Awaitable[str]:
        return self._ask()

    def __repr__(self) -> str:
        return f"Vault({MASK})"


class Credential:
    """One credential of a session.

    Args:
        argument: The name of the argument that gives it.
        given: What was given, if anything: the credential, or what returns it.

    Raises:
        ConfigurationError: It can't be one.
    """

    def __init__(
        self, argument: str, given: Secret | Callable[[], str | Awaitable[str]] | None
    ) -> None:
        self._argument = argument
        self._variable = f"LITTLE_PAY_{argument.upper()}"
        self._lock = anyio.Lock()
        self._ask: Callable[[], str | Awaitable[str]] | None = None
        self._value: Secret | None = None
        self._previous: Secret | None = None
        if given is None and os.environ.get(self._variable):
            given = Secret(os.environ[self._variable])
        if isinstance(given, Secret):
            self._value = self._checked(given) if given.reveal() else None
        elif callable(given) and argument in _RENEWABLE:
            self._ask = given
        elif given is not None:
            raise ConfigurationError(
                f"{argument}: give a str" + (" or a callable" if argument in _RENEWABLE else "")
            )

    def __repr__(self) -> str:
        return f"<Credential {self._argument} {MASK}>"

    @property
    def renewable(self) -> bool:
        """Whether asking again may give another one."""
        return self._ask is not None

    @property
    def known(self) -> list[Secret]:
        """What must not be shown: the credential, and the one before it."""
        return [secret for secret in (self._value, self._previous) if secret is not None]

    def gives(self, secret: Secret) -> bool:
        """Return whether this is what it gives now, without asking for another."""
        return self._value is secret

    async def get(self) -> Secret:
        """Return the credential; a callable is called once, however many wait for it.

        Raises:
            ConfigurationError: There is none, or what the callable returned can't be one.
            APIConnectionError: The callable raised; nothing was sent.
        """
        if self._value is not None:
            return self._value
        if self._ask is None:
            raise ConfigurationError(
                f"{self._argument}: this operation needs it: pass {self._argument}=... to "
                f"AsyncLittlePay or set {self._variable}"
            )
        async with self._lock:
            if self._value is None:
                self._value = self._checked(await self._asked(self._ask))
            return self._value

    def forget(self, refused: Secret) -> None:
        """Ask for it again next time, unless that has happened since `refused` was given out."""
        if self._ask is not None and self._value == refused:
            self._previous, self._value = self._value, None

    async def _asked(self, ask: Callable[[], str | Awaitable[str]]) -> Secret:
        try:
            answer = ask()
            value = await answer if inspect.isawaitable(answer) else answer
            del answer
        except Exception as error:
            # Asking again may heal it, and nothing was sent: so it is treated like a connection.
            raise APIConnectionError(
                f"{self._argument}: the callable that should return it raised "
                f"{type(error).__name__}; nothing was sent.",
                sent=False,
            ) from error
        secret = Secret(value) if isinstance(value, str) else None
        kind = type(value).__name__
        del value
        if secret is None:
            raise ConfigurationError(
                f"{self._argument}: the callable must return a str, not {kind}"
            )
        return secret

    def _checked(self, secret: Secret) -> Secret:
        # Anything else would break the header it goes into, or make a second one.
        if not _PRINTABLE.fullmatch(secret.reveal()):
            raise ConfigurationError(
                f"{self._argument}: it is empty or has spaces, line ends or characters outside "
                "ASCII; was it read from a file with its newline?"
            )
        if self._argument == "token_id" and secret.reveal() in {".", ".."}:
            raise ConfigurationError("token_id: it would be another path")
        if self._argument == "client_id" and ":" in secret.reveal():
            raise ConfigurationError("client_id: HTTP Basic can't carry one with a colon in it")
        return secret


@attrs.frozen
class Authorization:
    """A credential as a request carries it, and where its renewable part came from."""

    header: str
    value: Secret
    _source: Credential
    _part: Secret

    @classmethod
    async def api_key(cls, api_key: Credential) -> Self:
        """Return that of the secret key (API facts: Credentials)."""
        key = await api_key.get()
        return cls("X-API-KEY", key, api_key, key)

    @classmethod
    async def basic(cls, client_id: Credential, client_secret: Credential) -> Self:
        """Return that of HTTP Basic (API facts: Credentials)."""
        name, password = await client_id.get(), await client_secret.get()
        value = Secret(f"Basic {basic(name, password).reveal()}")
        return cls("Authorization", value, client_secret, password)

    @property
    def is_current(self) -> bool:
        """Whether its source would still give the same, as far as is known."""
        return self._source.gives(self._part)

    def renew(self) -> bool:
        """Have it asked for again, because it was refused; False if that can't change it."""
        if self._source.renewable:
            self._source.forget(self._part)
        return self._source.renewable


def basic(name: Secret, password: Secret) -> Secret:
    """Return the pair as HTTP Basic writes it."""
    pair = f"{name.reveal()}:{password.reveal()}".encode("ascii")
    return Secret(base64.b64encode(pair).decode("ascii"))
