"""What a session is told, by arguments and by the environment, checked before anything happens."""

import ipaddress
import logging
import os
import re
import sys
import urllib.request
from enum import Enum
from typing import Final, Literal
from urllib.parse import urlsplit

import httpx

from little_pay_async._errors import ConfigurationError, InvalidInputError, LittlePayError
from little_pay_async._masking import Secret

DEFAULT_BASE_URL = "https://pay.little.africa"
SETTLEMENT_TIMEOUT = 1800.0
"""Seconds: the documented life of a payment intent (API facts: Create a payment intent)."""

_FILES_KEPT_FREE = 64
_MOST_CONNECTIONS = 20_000
_URL = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9._:-]+")
_APP_INFO = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:/[A-Za-z0-9!#$%&'*+.^_`|~-]+)?")

# Silent unless configured: without a handler, Python itself would print warnings.
logging.getLogger("little_pay_async").addHandler(logging.NullHandler())


class Unset(Enum):
    """Stands for an argument that was left out, where None means something else."""

    UNSET = "the session's"

    def __repr__(self) -> str:
        return f"<{self.value}>"


UNSET: Final = Unset.UNSET
Timeout = float | httpx.Timeout | None
TimeoutOrUnset = Timeout | Literal[Unset.UNSET]


def seconds(argument: str, value: object, error: type[LittlePayError]) -> float:
    """Return `value` if it is a number of seconds above zero.

    Raises:
        LittlePayError: It is not; of the class given.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= sys.float_info.max  # false for NaN; an int may be too big for a float
    ):
        raise error(f"{argument}: give seconds, a finite number above zero")
    return float(value)


def timeout_of(argument: str, value: object, error: type[LittlePayError]) -> Timeout:
    """Return `value` if it is a timeout: seconds, an `httpx.Timeout`, or None for no limit."""
    if value is None or isinstance(value, httpx.Timeout):
        return value
    if type(value).__module__.split(".")[0].startswith("httpx"):
        raise error(f"{argument}: a timeout of {type(value).__module__}; give one of httpx itself")
    return seconds(argument, value, error)


def whole(
    argument: str, value: object, least: int, error: type[LittlePayError] = ConfigurationError
) -> int:
    """Return `value` if it is an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise error(f"{argument}: give an int of at least {least}")
    return value


def keys_timeout(value: object) -> float | None:
    """Return `value` if it is a timeout for settling: seconds, or None for no limit."""
    return None if value is None else seconds("timeout", value, InvalidInputError)


def read_base_url(given: Secret | None) -> str:
    """Return the base URL to use, without a slash at its end.

    Raises:
        ConfigurationError: It is no URL, or would send credentials in the clear.
    """
    url = given or Secret(os.environ.get("LITTLE_PAY_BASE_URL") or DEFAULT_BASE_URL)
    problem = _problem_of_base_url(url)
    if problem is not None:
        raise ConfigurationError(f"base_url: {problem}: give a URL such as '{DEFAULT_BASE_URL}'")
    return url.reveal().rstrip("/")


def _problem_of_base_url(url: Secret) -> str | None:
    """Return what is wrong with a URL, without quoting it: it may hold a password."""
    try:
        parts = urlsplit(url.reveal())
        host, port = parts.hostname, parts.port
        asked = _host_asked(httpx.URL(url.reveal()))
    except (ValueError, TypeError, AttributeError, httpx.InvalidURL):
        return "not a URL"
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        return "not an http or https URL"
    if not _URL.fullmatch(url.reveal()):
        return "it has characters that no URL has"
    if host != asked:  # what is checked is not what is asked
        return "it has no host name"
    if parts.query or parts.fragment or parts.username is not None:
        return "no user, password, query or fragment belongs into it"
    if parts.scheme == "http" and not _is_loopback(host):
        return "credentials would go out unencrypted (http is for loopback hosts only)"
    return None


def _host_asked(url: httpx.URL) -> str:
    """Return the host that httpx would ask, or "" if that is none."""
    host = url.raw_host.decode("ascii")
    return host if _HOST.fullmatch(host) and url.host else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_proxy(base_url: str, given: Secret | None) -> httpx.Proxy | None:
    """Return the proxy to use for `base_url`: the one given, else the environment's.

    The environment's count as in plain httpx, which would ignore them here, for it does so wherever
    a transport is given.

    Raises:
        ConfigurationError: It is no URL of a proxy.
    """
    url = _proxy_from_environment(base_url) if given is None else given
    if url is None:
        return None
    try:
        proxy = httpx.Proxy(url.reveal())
        if _host_asked(proxy.url) and (proxy.url.port or 1) < 2**16:
            return proxy
    except (ValueError, TypeError, AttributeError, httpx.InvalidURL):
        pass
    raise ConfigurationError(
        "proxy: give a URL such as 'http://proxy.example:3128' (http, https, socks5 or socks5h)"
    )


def _proxy_from_environment(base_url: str) -> Secret | None:
    parts = urlsplit(base_url)
    found = urllib.request.getproxies()
    url = found.get(parts.scheme) or found.get("all")
    if not url or any(map(urllib.request.proxy_bypass, (parts.netloc, parts.hostname or ""))):
        return None
    if f"{parts.scheme}://{parts.netloc}" in map(str.strip, found.get("no", "").split(",")):
        return None  # httpx takes URLs there too
    return Secret(url if "://" in url else f"http://{url}")


def user_agent(app_info: str | tuple[str, str] | None, version: str) -> str:
    """Return the `User-Agent`: the library's own, then the application's."""
    own = f"little-pay-async/{version}"
    if app_info is None:
        return own
    name: object = app_info
    if isinstance(app_info, tuple) and all(isinstance(part, str) for part in app_info):
        name = "/".join(app_info)
    if not isinstance(name, str) or not _APP_INFO.fullmatch(name):
        raise ConfigurationError(
            "app_info: give name and version, ('shop', '1.2') or 'shop/1.2', of letters, digits, "
            "dots and dashes"
        )
    return f"{own} {name}"


def switch_logging_on() -> None:
    """Show the library's log on standard error if `LITTLE_PAY_LOG` says so.

    Raises:
        ConfigurationError: It says something else than "info" or "debug".
    """
    level = os.environ.get("LITTLE_PAY_LOG", "").strip().upper()
    if not level:
        return
    if level not in {"INFO", "DEBUG"}:
        raise ConfigurationError("LITTLE_PAY_LOG: set it to 'info' or 'debug', or not at all")
    logger = logging.getLogger("little_pay_async")
    logger.setLevel(level)
    if not any(handler.name == "LITTLE_PAY_LOG" for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.name = "LITTLE_PAY_LOG"
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


def connections_by_open_files() -> int:
    """Return how many connections the process's limit on open files leaves room for."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:  # pragma: no cover
        return 512
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    # A share for what else the application opens.
    return max(8, min(limit - max(_FILES_KEPT_FREE, limit // 10), _MOST_CONNECTIONS))
