"""The leak scan catches what is planted, and nothing else."""

import ast
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from .canaries import ACCESS_TOKEN, BASIC, CREDENTIALS, MOBILE, found_in

# In a process of its own: here, it would be this test that shows them.
CONFTEST = """
from scan.leak_scan import LeakScan

def pytest_configure(config):
    config.pluginmanager.register(LeakScan(every_raise={every_raise}), "leak scan")
"""
# Each fails, and its docstring says with what.
LEAKS = """
import logging
import pickle

import attrs
import httpx
import pytest

import little_pay_async as lp
from little_pay_async import _wire
from scan.canaries import ACCESS_TOKEN, CREDENTIALS, MOBILE

KEY = CREDENTIALS["api_key"]
log = logging.getLogger("httpcore.connection")


def test_message():
    "api_key, by log record of httpcore.connection"
    log.debug("sent " + KEY)

def test_arguments():
    "phone number, by log record of httpcore.connection"
    log.debug("sent %s", {"to": MOBILE})

def test_extra():
    "phone number, by fields of a log record of httpcore.connection"
    log.debug("sent", extra={"to": "+254 712 345 678"})

def test_silenced_logger():
    "api_key, by log record of silent"
    other = logging.getLogger("silent")
    other.propagate, other.disabled, other.level = False, True, logging.CRITICAL
    other.debug(KEY)

def test_logged_error():
    "api_key, by str of ValueError"
    try:
        raise ValueError(KEY)
    except ValueError:
        log.exception("it failed")

def test_logged_cause():
    "api_key, by str of KeyError"
    try:
        raise ValueError("harmless") from KeyError(KEY)
    except ValueError:
        log.debug("it failed", exc_info=True)

def raised(error, cause=None):
    with pytest.raises(type(error)):
        raise error from cause

def test_str():
    "api_key, by str of InvalidInputError"
    raised(lp.InvalidInputError(KEY))

def test_repr():
    "api_key, by repr of Shows"
    class Shows(lp.LittlePayError):
        def __repr__(self):
            return KEY
    raised(Shows("harmless"))

def test_attribute():
    "access token, by attributes of APIStatusError"
    raised(lp.APIStatusError("no", status_code=400, message="no", body=ACCESS_TOKEN))

class Carries(lp.LittlePayError):
    def _state(self):
        return {"carried": KEY}

def test_pickle():
    "api_key, by pickle of Carries"
    raised(Carries("harmless"))

def test_note():
    "api_key, by traceback of LittlePayError"
    error = lp.LittlePayError("harmless")
    error.add_note(KEY)
    raised(error)

def test_cause():
    "api_key, by str of ValueError"
    raised(lp.LittlePayError("harmless"), ValueError(KEY))

def test_context():
    "api_key, by str of ValueError"
    with pytest.raises(lp.LittlePayError):
        try:
            raise ValueError(KEY)
        except ValueError:
            raise lp.LittlePayError("harmless")

def test_group():
    "api_key, by str of LittlePayError"
    raised(ExceptionGroup("harmless", [lp.LittlePayError(KEY)]))

def test_error_that_nobody_caught_by_raises():
    "api_key, by str of LittlePayError"
    try:
        raise lp.LittlePayError(KEY)
    except lp.LittlePayError:
        pass

def test_error_that_was_only_returned():
    "api_key, by attributes of LittlePayError"
    lp.LittlePayError("harmless").body = KEY

def test_local():
    "api_key, by local key of key_of, passed by InvalidInputError"
    with pytest.raises(lp.InvalidInputError):
        _wire.key_of(KEY + "\\n")

def test_local_passed_by_an_error_of_others():
    "api_key, by local key of key_of, passed by ZeroDivisionError"
    class Text(str):
        def __len__(self):
            raise ZeroDivisionError
        __bool__ = isascii = isprintable = strip = encode = __iter__ = __len__
    with pytest.raises(ZeroDivisionError):
        _wire.key_of(Text(KEY))

def test_failing():
    "api_key, by str of LittlePayError"
    raise lp.LittlePayError(KEY)

def test_skipping():
    "api_key, by str of LittlePayError"
    lp.LittlePayError(KEY)
    pytest.skip("not here")

def test_result():
    "phone number, by repr of Envelope"
    lp.Envelope.__repr__ = lambda envelope: str(envelope.data)
    lp.Envelope(date=None, data={"message": "to " + MOBILE})

def test_pickle_of_a_result():
    "api_key, by pickle of Envelope"
    lp.Envelope(date=None, data={"said": KEY})

@pytest.fixture
def shows_at_setup():
    log.debug(KEY)

def test_at_setup(shows_at_setup):
    "api_key, by log record of httpcore.connection"
    pass

@pytest.fixture
def shows_at_teardown():
    yield
    log.debug(KEY)

def test_at_teardown(shows_at_teardown):
    "api_key, by log record of httpcore.connection"
    pass
"""
HARMLESS = """
import logging

import little_pay_async as lp
import pytest
from scan.canaries import ACCESS_TOKEN, CREDENTIALS, MOBILE


def test_harmless(caplog):
    logging.getLogger("httpcore.connection").debug("nobody asked for this")
    logging.getLogger("little_pay_async").debug("nor for this")
    assert caplog.records == []
    mobile = lp.Msisdn.parse(MOBILE)
    lp.Envelope(date=None, data={"mobile": MOBILE, "accessToken": ACCESS_TOKEN})
    with pytest.raises(lp.InvalidInputError):
        lp.Msisdn.parse("0712345678")
    with pytest.raises(lp.ConfigurationError):
        lp.AsyncLittlePay(api_key=CREDENTIALS["api_key"] + " ")
"""
# What only the look at every exception finds.
SWALLOWED = """
import pytest

from little_pay_async import _wire
from scan.canaries import CREDENTIALS


class Text(str):
    def __len__(self):
        raise ZeroDivisionError
    __bool__ = isascii = isprintable = strip = encode = __iter__ = __len__


def test_swallowed():
    "api_key, by local key of key_of, passed by ZeroDivisionError"
    try:
        _wire.key_of(Text(CREDENTIALS["api_key"]))
    except ZeroDivisionError:
        return
    raise AssertionError("it should raise")
"""


def outcomes(pytester: pytest.Pytester, tests: str, *, every_raise: bool = False) -> dict[str, str]:
    """Run tests under the plugin; return what each says that failed."""
    scan = pytester.mkpydir("scan")
    for name in ("canaries.py", "leak_scan.py"):
        shutil.copy(Path(__file__).with_name(name), scan)
    pytester.makeconftest(CONFTEST.format(every_raise=every_raise))
    pytester.makepyfile(tests)
    pytester.runpytest_subprocess(
        *("-p", "no:asyncio", "-p", "no:cacheprovider", "--junitxml=report.xml")
    )
    report = ET.parse(pytester.path / "report.xml")  # noqa: S314 - pytest wrote it just now
    found = {
        case.attrib["name"]: "".join(part.text or "" for part in case)
        for case in report.iter("testcase")
    }
    assert found
    return found


def planted(tests: str) -> dict[str, str]:
    """Return the docstring of each test."""
    functions = [node for node in ast.parse(tests).body if isinstance(node, ast.FunctionDef)]
    return {
        function.name: ast.get_docstring(function) or ""
        for function in functions
        if function.name.startswith("test_")
    }


@pytest.mark.threat("T24")
def test_every_leak_is_caught(pytester: pytest.Pytester) -> None:
    said = outcomes(pytester, LEAKS)
    expected = planted(LEAKS)
    assert said.keys() == expected.keys()
    assert all(expected.values())
    missed = {name: said[name] for name, where in expected.items() if where not in said[name]}
    assert missed == {}


def test_what_is_harmless_passes(pytester: pytest.Pytester) -> None:
    assert outcomes(pytester, HARMLESS) == {"test_harmless": ""}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is of Python 3.12")
def test_what_nobody_sees_is_caught_where_every_exception_is_looked_at(
    pytester: pytest.Pytester,
) -> None:
    said = outcomes(pytester, SWALLOWED, every_raise=True)
    assert planted(SWALLOWED)["test_swallowed"] in said["test_swallowed"]


@pytest.mark.parametrize("form", [str, repr, str.encode, lambda text: f"a{text}b"])
@pytest.mark.parametrize(
    ("name", "canary"),
    [
        *CREDENTIALS.items(),
        ("access token", ACCESS_TOKEN),
        ("Basic", BASIC),
        ("phone number", MOBILE),
        ("phone number", "0712 345 678"),
        ("phone number", "+254-712-345-678"),
        ("phone number", "(0712) 345.678"),
    ],
)
def test_each_canary_is_found(name: str, canary: str, form: Callable[[str], object]) -> None:
    assert name in set(found_in(f"{form(canary)}"))


def test_only_canaries_are_found() -> None:
    for text in ("", "CANARY", "254*******78", "0712 345 679", "712", "***"):
        assert list(found_in(text)) == []
