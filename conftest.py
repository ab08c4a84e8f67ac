"""Runs the Python code blocks of README.md and docs/, `await` outside a function included."""

import ast
import asyncio
import inspect

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

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


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("python", run), SkipParser()], patterns=["README.md", "docs/*.md"]
).pytest()
