"""Runs the Python code blocks of README.md and docs/, `await` outside a function included."""

import ast
import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

HERE = Path(__file__).parent
pytest_plugins = ["pytester"]  # for the tests of the leak scan; only here may it be asked for


def run(example: Example) -> None:
    """Run a code block; the names of earlier blocks of the same document are there."""
    padding = "\n" * (example.line + example.parsed.line_offset)  # for right lines in tracebacks
    code = compile(
        padding + example.parsed, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    outcome = eval(code, example.namespace)  # noqa: S307 - our own documents
    if inspect.iscoroutine(outcome):
        asyncio.run(outcome)


_BLOCKS = Sybil(parsers=[CodeBlockParser("python", run), SkipParser()])


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Take README.md and the pages of docs/ for tests."""
    is_page = file_path.suffix == ".md" and file_path.parent == HERE / "docs"
    if is_page or file_path == HERE / "README.md":
        return Document.from_parent(parent, path=file_path)
    return None


class Document(pytest.File):
    """A document: one test, for its blocks need each other, and pytest-xdist deals tests out."""

    def collect(self) -> Iterator[pytest.Item]:
        """Have all its blocks run as one."""
        yield Blocks.from_parent(self, name="blocks")


class Blocks(pytest.Item):
    """The code blocks of a document, one after the other."""

    def runtest(self) -> None:
        """Run them; the traceback of what fails names document and line."""
        for example in _BLOCKS.parse(self.path).examples():
            example.evaluate()
