"""Runs a command; whatever goes wrong becomes a line on standard error and an exit code."""

import io
import os
import sys
import traceback

import anyio
import click

from little_pay_async._cli.commands import Work, little_pay
from little_pay_async._cli.outcomes import (
    ALL_COMPLETED,
    INTERRUPTED,
    NOT_SETTLED,
    USAGE,
    exit_code_of,
    one_line,
)
from little_pay_async._errors import LittlePayError


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a sign that a terminal lacks is no reason to end
            stream.reconfigure(errors="backslashreplace")
    try:
        work: Work | int | None = little_pay.main(
            arguments, prog_name="little-pay", standalone_mode=False
        )
        # --help and the like have done their work already, and give a code.
        return anyio.run(work) if callable(work) else work or ALL_COMPLETED
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except Exception as error:  # noqa: BLE001 - each has its line and its exit code
        return _tell(_first_of(error))


def _first_of(error: Exception) -> Exception:
    """Return what went wrong first, out of the groups that tasks put it into."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _tell(error: Exception) -> int:
    match error:
        case LittlePayError():
            _say(str(error))
            return exit_code_of(error)
        case BrokenPipeError():
            # Nobody reads any more, and Python must not trip over that when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOT_SETTLED
        case OSError():
            _say(str(error))
            return USAGE
        case _:  # a mistake of ours, for which Python's own exit code 1 would mean FAILED
            traceback.print_exception(error)
            return NOT_SETTLED


def _say(text: str) -> None:
    click.echo(f"little-pay: {one_line(text)}", err=True)
