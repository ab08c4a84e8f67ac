"""What can be typed: the commands and their arguments. Each returns the work, to be run.

It is run by `running` and not from here, for click has its own ideas of what goes wrong in it.
"""

import contextlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from little_pay_async import _wire
from little_pay_async._cli import open_files
from little_pay_async._cli.key_list import read_keys
from little_pay_async._cli.report import JsonLines, Lines, Report
from little_pay_async._cli.watching import check_keys, watch_keys
from little_pay_async._errors import InvalidInputError
from little_pay_async._settings import SETTLEMENT_TIMEOUT
from little_pay_async._version import __version__

Work = Callable[[], Awaitable[int]]
"""What a command does; it gives the exit code."""

_STANDARD_INPUT = 0
_EPILOG = """\
Credentials come from the environment alone: LITTLE_PAY_API_KEY, and LITTLE_PAY_BASE_URL for
another Little Pay than the real one.

\b
Exit codes:
  0    all were COMPLETED
  1    one FAILED
  2    usage, or a credential is missing
  3    one was not settled, is unknown, or could not be reached
  130  Ctrl-C; what is still pending was printed
"""


def _checked(_context: click.Context, _parameter: click.Parameter, keys: Any) -> tuple[str, ...]:
    for key in keys:
        try:
            _wire.key_of(key)
        except InvalidInputError as error:
            raise click.BadParameter(str(error)) from None
    return tuple(keys)


_as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line, as when piped."
)


def _for_programs(*, as_json: bool) -> bool:
    return as_json or not sys.stdout.isatty()


def _report(*, as_json: bool, live: bool = False) -> Report:
    if _for_programs(as_json=as_json):
        return JsonLines()
    return Lines(Console(highlight=False), live=live)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(__version__, prog_name="little-pay")
def little_pay() -> None:
    """Mobile-money payments by Little Pay: M-PESA, Airtel and MTN."""


@little_pay.command(epilog=_EPILOG)
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, callback=_checked)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="For each key, its tries included.  [default: 30]",
)
@_as_json
def status(keys: tuple[str, ...], timeout: float | None, *, as_json: bool) -> Work:
    """Show how payments stand now, by merchant key or reference."""
    return lambda: check_keys(keys, timeout=timeout, report=_report(as_json=as_json))


@little_pay.command(epilog=_EPILOG)
@click.argument("keys", metavar="KEY...", nargs=-1, callback=_checked)
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
    metavar="FILE",
    help="Read keys from there, one a line, as they come; - is standard input.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    default=SETTLEMENT_TIMEOUT,
    show_default=True,
    help="For each key, from when it came.",
)
@_as_json
def watch(keys: tuple[str, ...], file: str | None, timeout: float, *, as_json: bool) -> Work:
    """Watch payments until each is COMPLETED or FAILED, thousands at once."""
    if bool(keys) == (file is not None):
        raise click.UsageError("Give keys, or --from FILE, and not both.")
    open_files.raise_limit()

    async def work() -> int:
        report = _report(as_json=as_json, live=True)
        with contextlib.ExitStack() as files:
            source = keys if file is None else read_keys(_opened(file, files))
            return await watch_keys(source, timeout=timeout, report=report)

    return work


def _opened(file: str, files: contextlib.ExitStack) -> int:
    """Return the descriptor of a file to read, until `files` closes it."""
    if file == "-":
        return _STANDARD_INPUT
    return files.enter_context(Path(file).open("rb", buffering=0)).fileno()


@little_pay.command()
@_as_json
def demo(*, as_json: bool) -> Work:
    """Pay, wait and watch 1,000 payments against a sandbox: no account, no network."""
    # Here because the other commands need no server, and start sooner without one.
    from little_pay_async._cli.demo import JsonStage, TerminalStage, play  # noqa: PLC0415

    programs = _for_programs(as_json=as_json)
    stage = JsonStage() if programs else TerminalStage(Console(highlight=False))
    return lambda: play(stage)


@little_pay.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8300, show_default=True, help="0: any."
)
@_as_json
def sandbox(host: str, port: int, *, as_json: bool) -> Work:
    """Serve a sandbox of Little Pay until Ctrl-C. It moves no money."""
    # As above.
    from little_pay_async._cli.serving import serve  # noqa: PLC0415

    open_files.raise_limit()
    return lambda: serve(host, port, as_json=_for_programs(as_json=as_json))
