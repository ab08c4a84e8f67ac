"""What a session is told: checked before anything happens; complaints name the argument."""

import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async import AsyncLittlePay, ConfigurationError, InvalidInputError, _settings
from little_pay_async._masking import Secret

from .ids import shown

PROXY = "http://proxy.example:3128"
PROXY_VARIABLES = [
    variable
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for variable in (name, name.upper())
]
OURS = [
    *("LITTLE_PAY_API_KEY", "LITTLE_PAY_CLIENT_ID", "LITTLE_PAY_CLIENT_SECRET"),
    *("LITTLE_PAY_TOKEN_ID", "LITTLE_PAY_BASE_URL", "LITTLE_PAY_LOG"),
]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*OURS, *PROXY_VARIABLES):
        monkeypatch.delenv(variable, raising=False)


def session(**options: Any) -> AsyncLittlePay:
    return AsyncLittlePay(transport=httpx.MockTransport(lambda _: httpx.Response(500)), **options)


def test_nothing_needs_to_be_given() -> None:
    assert "https://pay.little.africa" in repr(AsyncLittlePay())


# base_url


@pytest.mark.parametrize(
    ("given_url", "used"),
    [
        ("https://pay.little.africa", "https://pay.little.africa"),
        ("https://pay.little.africa/", "https://pay.little.africa"),
        ("https://pay.example:8443/little/", "https://pay.example:8443/little"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]:443"),
        ("https://my_host.example", "https://my_host.example"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://LOCALHOST", "http://LOCALHOST"),
        ("http://pay.localhost", "http://pay.localhost"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.8.8.8", "http://127.8.8.8"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_base_urls(given_url: str, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _settings.read_base_url(Secret(given_url)) == used
    monkeypatch.setenv("LITTLE_PAY_BASE_URL", given_url)
    assert _settings.read_base_url(None) == used
    assert _settings.read_base_url(Secret("https://goes.first")) == "https://goes.first"


@pytest.mark.parametrize(
    ("base_url", "complaint"),
    [
        ("http://pay.little.africa", "unencrypted"),
        ("http://10.0.0.1", "unencrypted"),
        ("http://0.0.0.0", "unencrypted"),
        ("http://localhost.example", "unencrypted"),
        ("http://notlocalhost", "unencrypted"),
        ("http://127.0.0.1.example", "unencrypted"),
        ("http://[::ffff:10.0.0.1]", "unencrypted"),
        ("https://user:canary@pay.example", "no user, password"),
        ("https://@pay.example", "no user, password"),
        ("http://localhost@canary.example", "no user, password"),
        ("https://pay.example?canary=1", "query"),
        ("https://pay.example/#canary", "fragment"),
        ("https://pay.example/can ary", "characters"),
        ("https://pay.example\n", "not a URL"),
        ("https://pay.example/\u00e9", "characters"),
        *(
            (url, "not an http or https URL")
            for url in ("ftp://canary", "canary", "", "//canary", "https://")
        ),
        *(
            (url, "not an http or https URL")
            for url in ("https:///x", "https://h:0", "https:canary")
        ),
        *(
            (url, "not a URL")
            for url in ("https://h:99999", "https://h:x", "https://[::1", "https://1.2.3.999")
        ),
        *((url, "not a URL") for url in (b"https://canary", 1, ["https://canary"], object())),
        *(
            (url, "")
            for url in (
                "https://xn--a",
                "https://h|x",
                "https://a<b>",
                r"https://a\b",
                "https://%41",
            )
        ),
        (r"http://canary.example\.localhost", "no host name"),
    ],
)
@pytest.mark.threat("T1")
def test_what_is_no_base_url(
    base_url: Any, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=f"^base_url: .*{complaint}") as caught:
        session(base_url=base_url)
    assert "canary" not in repr(caught.value)
    if base_url and isinstance(base_url, str):
        monkeypatch.setenv("LITTLE_PAY_BASE_URL", base_url)
        with pytest.raises(ConfigurationError, match=r"^base_url: "):
            session()


@given(st.from_regex(r"https?://[\x20-\x7e]{1,12}", fullmatch=True) | st.text())
def test_any_base_url_is_refused_or_asked_as_it_stands(base_url: str) -> None:
    try:
        used = _settings.read_base_url(Secret(base_url))
    except ConfigurationError:
        return
    request = httpx.Request("GET", f"{used}/api/payments-v2/ORDER42")
    assert request.url.raw_path.endswith(b"/api/payments-v2/ORDER42")
    assert request.url.scheme == "https" or request.url.host.endswith(("localhost", ".1"))
    assert not request.url.userinfo


# Durations and counts

NO_SECONDS = [
    *(0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, 10**400),
    *(True, False, "30", "", b"30", [30], (5, 5), Decimal(30), 1 + 0j, {}),
]


def foreign(module: str) -> object:
    """A `Timeout` of another HTTP library."""
    return type("Timeout", (), {"__module__": module})()


def seen_as(error: type[Exception]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("error", [error], ids=lambda error: error.__name__)


@pytest.mark.parametrize(
    "value", [0.001, 1, 30.0, 10**6, None, httpx.Timeout(5), httpx.Timeout(None)]
)
def test_timeouts(value: Any) -> None:
    found = _settings.timeout_of("timeout", value, ConfigurationError)
    assert found == value
    assert session(timeout=value)
    assert session().with_options(timeout=value)


@pytest.mark.parametrize(
    "value", [*NO_SECONDS, foreign("httpx2"), foreign("httpx2._config")], ids=shown
)
def test_what_is_no_timeout(value: Any) -> None:
    for make in (session, session().with_options):
        with pytest.raises(ConfigurationError, match=r"^timeout: "):
            make(timeout=value)
    with pytest.raises(InvalidInputError, match=r"^timeout: "):
        _settings.timeout_of("timeout", value, InvalidInputError)


def test_a_timeout_of_another_library_is_named() -> None:
    with pytest.raises(ConfigurationError, match="httpx2"):
        session(timeout=foreign("httpx2"))


@pytest.mark.parametrize("value", [*NO_SECONDS, None, httpx.Timeout(5)], ids=repr)
def test_what_is_no_hold(value: Any) -> None:
    for make in (session, session().with_options):
        with pytest.raises(ConfigurationError, match=r"^hold: "):
            make(hold=value)


@pytest.mark.parametrize("value", [*NO_SECONDS, httpx.Timeout(5)], ids=repr)
def test_what_is_no_timeout_for_settling(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^timeout: "):
        session().watch(["ORDER42"], timeout=value)
    assert session().watch(["ORDER42"], timeout=None) is not None


@pytest.mark.parametrize("value", [-1, 1.0, True, "2", None, math.inf], ids=repr)
def test_what_is_no_number_of_retries(value: Any) -> None:
    for make in (session, session().with_options):
        with pytest.raises(ConfigurationError, match=r"^max_retries: "):
            make(max_retries=value)
    assert session(max_retries=0)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", math.inf], ids=repr)
def test_what_is_no_number_of_connections(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^max_connections: "):
        session(max_connections=value)


# Connections


@pytest.mark.parametrize(
    "limit", [16, 64, 100, 256, 1024, 4096, 65_536, 1_048_576, 2**63 - 1], ids=str
)
def test_connections_leave_room_for_other_files(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    connections = _settings.connections_by_open_files()
    assert 8 <= connections < limit
    assert connections >= limit / 2 or connections == 20_000 or limit < 256


def test_no_limit_on_open_files_is_no_endless_number(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert 1000 <= _settings.connections_by_open_files() <= 100_000


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("transport", object()),
        ("transport", httpx.HTTPTransport()),
        ("transport", lambda request: request),
        ("http_client", object()),
        ("http_client", httpx.Client()),
        ("http_client", type("AsyncClient", (), {"__module__": "httpx2"})()),
        ("ssl_context", True),
        ("ssl_context", "/etc/ssl/cert.pem"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_objects_of_another_kind(argument: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{argument}: ") as caught:
        AsyncLittlePay(**{argument: value})
    assert type(value).__name__ in str(caught.value)


# Proxies


@pytest.mark.parametrize(
    "proxy",
    [PROXY, "https://proxy.example", "http://user:pass@[::1]:3128", "socks5://proxy.example"],
)
def test_a_proxy_that_is_given(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://other.example")
    monkeypatch.setenv("NO_PROXY", "*")  # of the environment's alone
    found = _settings.read_proxy("https://pay.little.africa", Secret(proxy))
    assert found is not None
    assert found.url.host in proxy
    assert "pass" not in repr(found)


@pytest.mark.parametrize(
    "proxy",
    [
        *("", "canary", "canary:3128", "ftp://canary", "http://", "http://:3128", "://canary"),
        *(
            "http://canary:x",
            "http://canary:99999",
            "http://[canary",
            "http://xn--a",
            "http://u:canary@",
        ),
        *(b"http://canary", 1, ["http://canary"], {"https": "http://canary"}, True, object()),
        lambda: "http://canary",
        httpx.Proxy("http://canary"),
    ],
    ids=shown,
)
@pytest.mark.threat("T10")
def test_what_is_no_proxy(proxy: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^proxy: ") as caught:
        AsyncLittlePay(proxy=proxy)
    assert "canary" not in repr(caught.value)


LITTLE_PAY = "https://pay.little.africa"
V4, V6 = "http://127.0.0.1:8000", "http://[::1]:8000"


@pytest.mark.parametrize(
    ("variables", "base_url", "through"),
    [
        ({}, LITTLE_PAY, None),
        ({"HTTPS_PROXY": PROXY}, LITTLE_PAY, "proxy.example"),
        ({"https_proxy": PROXY}, LITTLE_PAY, "proxy.example"),
        ({"HTTPS_PROXY": "proxy.example:3128"}, LITTLE_PAY, "proxy.example"),
        ({"ALL_PROXY": PROXY}, LITTLE_PAY, "proxy.example"),
        ({"ALL_PROXY": "http://other.example", "HTTPS_PROXY": PROXY}, LITTLE_PAY, "proxy.example"),
        ({"HTTPS_PROXY": ""}, LITTLE_PAY, None),
        ({"HTTP_PROXY": PROXY}, LITTLE_PAY, None),
        ({"HTTP_PROXY": PROXY}, V4, "proxy.example"),
        ({"HTTPS_PROXY": PROXY}, V4, None),
        *(
            ({"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}, LITTLE_PAY, through)
            for no_proxy, through in [
                ("*", None),
                ("pay.little.africa", None),
                ("little.africa", None),
                (".little.africa", None),
                ("PAY.LITTLE.AFRICA", None),
                ("other.example, little.africa", None),
                ("https://pay.little.africa", None),
                ("http://pay.little.africa", "proxy.example"),
                ("other.example", "proxy.example"),
                ("tle.africa", "proxy.example"),
                ("xpay.little.africa", "proxy.example"),
                ("", "proxy.example"),
            ]
        ),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "127.0.0.1"}, V4, None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "127.0.0.1:8000"}, V4, None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "localhost"}, V4, "proxy.example"),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "localhost"}, "http://localhost:8000", None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "::1"}, V6, None),
        ({"HTTP_PROXY": PROXY, "no_proxy": "127.0.0.1"}, V6, "proxy.example"),
    ],
    ids=repr,
)
def test_the_environments_proxies_count_as_in_plain_httpx(
    variables: dict[str, str], base_url: str, through: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = _settings.read_proxy(base_url, None)
    assert (proxy and proxy.url.host) == through
    # And so says httpx itself.
    client = httpx.AsyncClient()
    plain = client._transport_for_url(httpx.URL(f"{base_url}/api")) is client._transport
    assert plain is (through is None)


# User-Agent


@pytest.mark.parametrize(
    ("app_info", "user_agent"),
    [
        (None, "little-pay-async/1.2.3"),
        ("shop", "little-pay-async/1.2.3 shop"),
        ("shop/1.2", "little-pay-async/1.2.3 shop/1.2"),
        (("shop", "1.2"), "little-pay-async/1.2.3 shop/1.2"),
        (("my-shop_2", "1.2+beta"), "little-pay-async/1.2.3 my-shop_2/1.2+beta"),
    ],
)
def test_user_agents(app_info: Any, user_agent: str) -> None:
    assert _settings.user_agent(app_info, "1.2.3") == user_agent


@pytest.mark.parametrize(
    "app_info",
    [
        *(
            "",
            "/",
            "shop/",
            "/1.2",
            "a/b/c",
            "my shop",
            "shop/1.2\r\nX-Other: 1",
            "shop\n",
            "caf\u00e9",
        ),
        *((), ("shop", 1), ("shop", None), ("a", "b", "c"), ("shop", "1.2\n"), ("", "1")),
        *(1, b"shop", ["shop", "1.2"], {"shop": "1.2"}, object()),
    ],
    ids=shown,
)
def test_what_is_no_app_info(app_info: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^app_info: "):
        session(app_info=app_info)


# Logging


@pytest.fixture
def our_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("little_pay_async")
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.mark.parametrize(
    ("variable", "level"),
    [
        ("info", logging.INFO),
        ("debug", logging.DEBUG),
        ("INFO", logging.INFO),
        (" Debug ", logging.DEBUG),
    ],
)
def test_the_log_is_switched_on_once(
    variable: str,
    level: int,
    our_logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LITTLE_PAY_LOG", variable)
    session()
    session()
    assert our_logger.level == level
    our_logger.info("one line")
    assert capsys.readouterr().err.count("one line") == 1


@pytest.mark.parametrize("variable", ["", " "])
def test_the_log_stays_off(
    variable: str, our_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = list(our_logger.handlers)
    monkeypatch.setenv("LITTLE_PAY_LOG", variable)
    session()
    assert (our_logger.level, our_logger.handlers) == (logging.NOTSET, handlers)


@pytest.mark.parametrize("variable", ["1", "on", "warning", "trace", "info,debug"])
def test_what_is_no_level(
    variable: str, our_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITTLE_PAY_LOG", variable)
    with pytest.raises(ConfigurationError, match=r"^LITTLE_PAY_LOG: "):
        session()


def test_silent_unless_configured() -> None:
    """Python prints warnings of loggers that nobody has configured."""
    script = (
        "import logging, little_pay_async; logging.getLogger('little_pay_async.x').warning('hi')"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert (run.stdout, run.stderr) == ("", "")
