"""Sessions whose life is an app's: made when it starts, so that what is missing shows then."""

import os
import ssl
from typing import TypedDict

import httpx

from little_pay_async._client import AsyncLittlePay
from little_pay_async._credentials import CredentialSource
from little_pay_async._errors import ConfigurationError
from little_pay_async._settings import Timeout

_TO_ASK = ("api_key",)
_TO_CREATE = ("client_id", "client_secret", "token_id")


class SessionOptions(TypedDict, total=False):
    """The arguments of `AsyncLittlePay`, which describes them."""

    api_key: CredentialSource | None
    client_id: str | None
    client_secret: CredentialSource | None
    token_id: str | None
    base_url: str | None
    timeout: Timeout
    hold: float
    max_retries: int
    max_connections: int | None
    ssl_context: ssl.SSLContext | None
    proxy: str | None
    app_info: str | tuple[str, str] | None
    transport: httpx.AsyncBaseTransport | None
    http_client: httpx.AsyncClient | None


class Opening:
    """What to make a session with, as often as an app starts. Masked: it holds credentials."""

    __slots__ = ("_options",)

    def __init__(self, options: SessionOptions) -> None:
        self._options = options

    def session(self) -> AsyncLittlePay:
        """Return a new session, for the event loop that runs now.

        Raises:
            ConfigurationError: A setting is wrong or a credential is missing: `api_key`, without
                which no payment can be asked for, or one or two of the three that create intents.
                An app that creates none does without all three.
        """
        missing = self._missing(_TO_ASK)
        to_create = self._missing(_TO_CREATE)
        if len(to_create) < len(_TO_CREATE):
            missing += to_create
        if missing:
            variables = " and ".join(f"LITTLE_PAY_{name.upper()}" for name in missing)
            raise ConfigurationError(
                f"{', '.join(missing)}: the app can't start without: set {variables}, or give what "
                "AsyncLittlePay takes"
            )
        return AsyncLittlePay(**self._options)

    def _missing(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if not self._is_given(name)]

    def _is_given(self, name: str) -> bool:
        given = self._options.get(name)
        return bool(os.environ.get(f"LITTLE_PAY_{name.upper()}") if given is None else given)
