"""Each module needs its own extra, says so, and loads no other."""

import inspect
import subprocess
import sys
import typing

import pytest

from little_pay_async import AsyncLittlePay
from little_pay_async.integrations._opening import SessionOptions


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "package"),
    [("fastapi", "fastapi"), ("aiohttp", "aiohttp"), ("otel", "opentelemetry")],
)
def test_without_its_extra_a_module_says_how_to_install_it(name: str, package: str) -> None:
    done = run(
        f"import sys; sys.modules['{package}'] = None\nimport little_pay_async.integrations.{name}"
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert last.endswith(f"run pip install 'little-pay-async[{name}]'")


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_its_extra_the_sandbox_says_how_to_install_it(package: str) -> None:
    done = run(f"import sys; sys.modules['{package}'] = None\nimport little_pay_async.sandbox")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert last.endswith("run pip install 'little-pay-async[sandbox]'")


@pytest.mark.parametrize("name", ["fastapi", "aiohttp"])
def test_a_module_loads_no_framework_but_its_own(name: str) -> None:
    done = run(
        f"import sys, little_pay_async.integrations.{name}\n"
        "print({'fastapi', 'aiohttp', 'taskiq'} & sys.modules.keys())"
    )
    assert done.stdout.strip() == f"{{'{name}'}}", done.stderr


def test_the_library_alone_loads_no_framework() -> None:
    done = run(
        "import sys, little_pay_async, little_pay_async.integrations\n"
        "print({'fastapi', 'aiohttp', 'taskiq', 'pydantic', 'cryptography', 'opentelemetry'}"
        " & sys.modules.keys())"
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_opentelemetry_s_module_needs_its_api_alone() -> None:
    done = run(
        "import sys, little_pay_async.integrations.otel\n"
        "print({name for name in sys.modules if name.startswith('opentelemetry.')"
        " and name.split('.')[1] in {'sdk', 'instrumentation', 'semconv', 'exporter'}})"
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_session_options_are_what_the_session_takes() -> None:
    takes = inspect.signature(AsyncLittlePay, eval_str=True).parameters
    options = typing.get_type_hints(SessionOptions)
    assert {name: parameter.annotation for name, parameter in takes.items()} == options
