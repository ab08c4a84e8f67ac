"""What `nox -s fuzz` looks for at length: here by its corpus, and by hypothesis.

No input gets anything out but a result or an error of the library's, takes more than 50 ms, or
leaves anything behind. Each target in `fuzz/` says what else must not be.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from little_pay_async import InvalidInputError, Msisdn, _wire

FUZZ = Path(__file__).parents[1] / "fuzz"
TARGETS = ("http1", "wire", "arguments", "msisdn", "callbacks")
each_target = pytest.mark.parametrize("name", TARGETS)


@cache
def loaded(name: str) -> ModuleType:
    """Return a script of `fuzz/`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", FUZZ / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


limits: Any = loaded("limits")
# Coverage measures line by line, and that is what takes long then.
SECONDS = limits.SECONDS * (1 if sys.gettrace() is None else 10)


@cache
def limited(name: str) -> Callable[[bytes], None]:
    check: Callable[[bytes], None] = limits.Limited(loaded(name).check, seconds=SECONDS)
    return check


def corpus(name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((FUZZ / "corpus" / name).iterdir())}


def test_every_target_has_a_corpus() -> None:
    assert {path.name for path in (FUZZ / "corpus").iterdir()} == set(TARGETS)
    assert loaded("run").TARGETS == TARGETS


@each_target
def test_the_corpus(name: str) -> None:
    for seed, data in corpus(name).items():
        try:
            limited(name)(data)
        except BaseException as error:
            error.add_note(f"in {seed}")
            raise


def test_the_corpus_leaves_nothing_behind() -> None:
    """In a process of its own: what watches over tests keeps all that is raised in one."""
    # A script of several files: its folder has to be on the path.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    replay = [sys.executable, FUZZ / "replay.py", *TARGETS]
    subprocess.run(replay, check=True, timeout=100, env=environment)


@st.composite
def altered(draw: st.DrawFn, name: str) -> bytes:
    """Return data like the corpus's: a piece of one, with a piece of another in it, or damaged."""
    seeds = st.sampled_from(list(corpus(name).values()))
    data, other = draw(seeds), draw(seeds)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 20)))
        begin = draw(st.integers(0, len(other)))
        piece = st.binary(max_size=4) | st.just(other[begin : begin + draw(st.integers(0, 40))])
        data = data[:start] + draw(piece) + data[stop:]
    return data


@each_target
@given(draw=st.data())
def test_anything(name: str, draw: st.DataObject) -> None:
    limited(name)(draw.draw(st.one_of(altered(name), st.binary(max_size=100))))


# --- Arguments of any type

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.decimals()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc"]), max_size=3)
    | st.binary(max_size=5)
    | st.timedeltas()
    | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=5,
)


def of_any_type() -> Iterator[Callable[[Any], Any]]:
    """Yield what makes a call of one argument of any type."""
    arguments: Any = loaded("arguments")
    yield from arguments.MAKERS
    for name in ("billing_address", "custom_data", "metadata", "expires_in", "return_url"):
        yield lambda value, name=name: arguments.intent(**{name: value})
    yield lambda value: _wire.other("POST", "/new", json=value, auth=None)
    yield lambda value: _wire.other("POST", "/new", json=None, auth=value)
    yield lambda value: _wire.status(_wire.key_of(value, "key"))


@given(value=ANYTHING)
def test_an_argument_of_any_type(value: object) -> None:
    arguments: Any = loaded("arguments")
    for make in of_any_type():
        arguments.check_call(_wire.made(make, value))
    assert isinstance(_wire.mobile_of(value), Msisdn | InvalidInputError)
    if isinstance(value, Decimal):
        arguments.check_amount(value)


# --- The limits themselves


def test_what_takes_long_is_found() -> None:
    def slow(_: bytes) -> None:
        sum(range(300_000))

    with pytest.raises(AssertionError, match="it takes"):
        limits.Limited(slow, seconds=0.0001)(b"")


def test_what_takes_long_once_is_not() -> None:
    turns = iter([300_000, *[1] * 10])

    def slow_at_first(_: bytes) -> None:
        sum(range(next(turns)))

    limits.Limited(slow_at_first, seconds=0.001)(b"")


def test_what_is_left_behind_is_found() -> None:
    kept: list[bytes] = []

    def forgetful(data: bytes) -> None:
        kept.append(data + b"kept")

    with pytest.raises(AssertionError, match="memory grows"):
        limits.check_growth(forgetful, [bytes(20)] * 30)
