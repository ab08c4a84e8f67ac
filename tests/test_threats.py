"""THREATS.md and the tests name each other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DOCUMENT = (ROOT / "THREATS.md").read_text()


def listed() -> Iterator[tuple[str, str]]:
    """Give each number of THREATS.md with each test listed under it."""
    number = ""
    for line in DOCUMENT.splitlines():
        if found := re.match(r"\*\*(T\d+)\.\*\* ", line):
            number = found[1]
        elif found := re.fullmatch(r"  - `tests/(\S+)`", line):
            yield number, found[1]


def marked() -> Iterator[tuple[str, str]]:
    """Give each number that a test carries with that test: what pytest collects by its name."""
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{file.relative_to(TESTS).as_posix()}::{node.name}"
                for number in map(threat, node.decorator_list):
                    if number is not None:
                        assert node.name.startswith("test_"), name
                        yield number, name


def threat(decorator: ast.expr) -> str | None:
    """Return the number in `pytest.mark.threat("T1")`."""
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.threat":
        return str(ast.literal_eval(decorator.args[0]))
    return None


def test_the_numbers_are_in_order() -> None:
    numbers = re.findall(r"^\*\*(T\d+)\.\*\*", DOCUMENT, re.MULTILINE)
    assert numbers == [f"T{number}" for number in range(1, len(numbers) + 1)]
    assert len(numbers) > 20
    assert len(re.findall("^- Against it: .", DOCUMENT, re.MULTILINE)) == len(numbers)


def test_each_threat_lists_the_tests_that_carry_its_number_and_no_other() -> None:
    assert sorted(listed()) == sorted(marked())


def test_each_threat_has_a_test() -> None:
    numbers = set(re.findall(r"^\*\*(T\d+)\.\*\*", DOCUMENT, re.MULTILINE))
    assert {number for number, _ in listed()} == numbers
