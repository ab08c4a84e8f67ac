"""A plugin of the test run: no canary is shown by the library, in whatever test.

It fails the test in which the library showed one: in a log record, in an error, in a local variable
of a frame of ours that an error has passed, or in a result. What it looks at, and how it comes by
it:

- Log records of all loggers at every level: `logging` is told that each is wanted, and hands on
  only what would have been without that.
- Errors of this library: their constructor notes every one, raised or only returned, caught or not.
  They are looked at when the test has ended, with all that led to them and every frame they passed.
- What `pytest.raises` caught, whoever's error it is, and what made a test fail.
- Results: their constructor shows them at once.
- With `--every-raise`, on Python 3.12 and later: each exception whatsoever that leaves a frame of
  ours, at that moment; `sys.monitoring` tells. That is slower, hence not the usual.
"""

import itertools
import logging
import pickle
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

import pytest

import little_pay_async
from little_pay_async import LittlePayError
from little_pay_async._transport.connection import Connection
from little_pay_async._wire.answers import judge
from little_pay_async._wire.calls import made

from .canaries import found_in

OURS = (str(Path(little_pay_async.__file__).parent), "<attrs")
# Plays the other side, who has what was sent.
SANDBOX = str(Path(little_pay_async.__file__).parent / "sandbox")
RESULTS = (
    little_pay_async.BillingAddress,
    little_pay_async.Envelope,
    little_pay_async.Payment,
    little_pay_async.PaymentIntent,
    little_pay_async.Refund,
    little_pay_async.Settlement,
)
# They hand on errors that have been through no frame: those of what they call hold what is private.
FORGETFUL = {judge.__code__, made.__code__, Connection.buffer_updated.__code__}
MANY = 500  # errors that are kept for the end of a test; more are looked at in between


class LeakScan:
    """Notes what the library shows while a test runs, and fails the test that it shows a canary."""

    def __init__(self, *, every_raise: bool = False) -> None:
        self._every_raise = every_raise
        self._undo = ExitStack()
        self._errors: list[BaseException] = []
        self._leaks: dict[str, None] = {}  # each once, in order
        self._looking = False

    # --- What pytest calls

    def pytest_configure(self) -> None:
        for kind in RESULTS:
            self._hook(kind, "__init__", self._after_result)
        self._hook(LittlePayError, "__init__", self._after_error)
        self._hook(pytest.RaisesExc, "__exit__", self._after_raises)
        self._hook_logging()
        if self._every_raise:
            self._monitor()

    def pytest_unconfigure(self) -> None:
        self._undo.close()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        return (yield from self._watched())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        return (yield from self._watched())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        return (yield from self._watched())

    def _watched(self) -> Generator[None, object, object]:
        try:
            outcome = yield
        except BaseException as error:
            self._look_at_error(error)
            if leaks := self._all_found():
                error.add_note(leaks)
                if isinstance(error, pytest.skip.Exception | pytest.xfail.Exception):
                    pytest.fail(leaks, pytrace=False)
            raise
        if leaks := self._all_found():
            pytest.fail(leaks, pytrace=False)
        return outcome

    def _all_found(self) -> str:
        self._look_at_errors()
        leaks, self._leaks = self._leaks, {}
        return "\n".join(["shown, and should not be:", *leaks]) if leaks else ""

    # --- How it comes by what is shown

    def _hook(self, owner: type, name: str, after: Callable[..., None]) -> None:
        """Have `after` called with the arguments of a method, once that has run."""
        method = getattr(owner, name)

        @wraps(method)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            outcome = method(*args, **kwargs)
            after(*args)
            return outcome

        self._undo.enter_context(patch.object(owner, name, hooked))

    def _hook_logging(self) -> None:
        wanted, handle = logging.Logger.isEnabledFor, logging.Logger.handle

        def handle_if_wanted(logger: logging.Logger, record: logging.LogRecord) -> None:
            self._look_at_record(record)
            if wanted(logger, record.levelno):
                handle(logger, record)

        replaced = patch.multiple(
            logging.Logger, isEnabledFor=lambda _logger, _level: True, handle=handle_if_wanted
        )
        self._undo.enter_context(replaced)

    def _monitor(self) -> None:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined] # of Python 3.12
        tool, unwind = monitoring.PROFILER_ID, monitoring.events.PY_UNWIND

        def on_unwind(code: CodeType, _offset: int, error: BaseException) -> None:
            frame = sys._getframe(1)
            if _is_ours(code) and not self._looking and not _is_forgotten(frame):
                self._looking = True  # what raises while it is looked at is not news
                self._look_at_frame(frame, type(error).__name__)
                self._looking = False

        monitoring.use_tool_id(tool, "leak scan")
        self._undo.callback(monitoring.free_tool_id, tool)
        monitoring.register_callback(tool, unwind, on_unwind)
        monitoring.set_events(tool, unwind)
        self._undo.callback(monitoring.set_events, tool, 0)

    def _after_error(self, error: LittlePayError, *_: object) -> None:
        self._errors.append(error)
        if len(self._errors) >= MANY:
            self._look_at_errors()

    def _after_raises(
        self, _raises: object, _kind: object, error: BaseException | None, *_: object
    ) -> None:
        if error is not None:
            self._look_at_error(error)

    def _after_result(self, result: object, *_: object) -> None:
        name = type(result).__name__
        self._note(f"repr of {name}", result)
        # A pickle is for whoever has the payment anyway: it keeps what is the customer's.
        self._look(f"pickle of {name}", _pickled(result), customer=False)

    # --- What is looked at

    def _look_at_record(self, record: logging.LogRecord) -> None:
        where = f"log record of {record.name}"
        try:
            self._look(where, record.getMessage())
        except (TypeError, ValueError):  # it does not fit its arguments: logging tells of it
            self._look(where, str(record.msg))
        self._note(f"fields of a {where}", vars(record))
        if record.exc_info and record.exc_info[1] is not None:
            self._look_at_error(record.exc_info[1])

    def _look_at_errors(self) -> None:
        errors, self._errors = self._errors, []
        for error in errors:
            self._look_at_error(error)

    def _look_at_error(self, error: BaseException) -> None:
        """Look at an error, at what led to it, and at every frame of ours that they passed."""
        for link in chain(error):
            name = type(link).__name__
            if _is_pytest_s(link):
                continue
            self._look(f"str of {name}", _shown(link, str))
            self._note(f"repr of {name}", link)
            self._note(f"args of {name}", link.args)
            self._note(f"attributes of {name}", vars(link))
            self._look(f"traceback of {name}", "".join(_formatted(link)))
            if isinstance(link, LittlePayError):
                self._look(f"pickle of {name}", _pickled(link))
            for frame, _ in traceback.walk_tb(link.__traceback__):
                if _is_ours(frame.f_code):
                    self._look_at_frame(frame, name)

    def _look_at_frame(self, frame: FrameType, error: str) -> None:
        for variable, value in frame.f_locals.items():
            self._note(f"local {variable} of {frame.f_code.co_qualname}, passed by {error}", value)

    def _note(self, where: str, value: object) -> None:
        self._look(where, _shown(value, repr))

    def _look(self, where: str, text: str, *, customer: bool = True) -> None:
        for canary in found_in(text, customer=customer):
            self._leaks[f"{canary}, by {where}: {text[:300]!r}"] = None


def chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and everything that led to it."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        link = left.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        left += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            left += link.exceptions


def _formatted(error: BaseException) -> Iterator[str]:
    """Give the parts of a formatted traceback of one error that are not the same in every run.

    Those that are, the lines of source, may quote a test, which may write a canary out.
    """
    yield from traceback.format_exception_only(error)
    for frame, line in itertools.islice(traceback.walk_tb(error.__traceback__), 100):
        yield f"{frame.f_code.co_filename}, line {line}, in {frame.f_code.co_qualname}\n"


def _is_forgotten(frame: FrameType) -> bool:
    """Whether it is called by what lets none of the frames below it get any further."""
    caller = frame.f_back
    while caller is not None and caller.f_code not in FORGETFUL:
        caller = caller.f_back
    return caller is not None


def _is_ours(code: CodeType) -> bool:
    file = code.co_filename
    return file.startswith(OURS) and not file.startswith(SANDBOX)


def _is_pytest_s(error: BaseException) -> bool:
    """Return whether it tells of a test, whose values it may quote."""
    return isinstance(error, AssertionError) or type(error).__module__.startswith("_pytest")


def _shown(value: object, how: Callable[[object], str]) -> str:
    try:
        return how(value)
    except Exception:  # noqa: BLE001 - half-built, or made to fail: nobody else sees it either
        return ""


def _pickled(value: object) -> str:
    try:
        return pickle.dumps(value).decode("latin-1")
    except Exception:  # noqa: BLE001 - a caller's own object in it is not pickled
        return ""
