"""Runs a command; whatever goes wrong becomes a line on standard error and an exit code."""

import io
import os
import sys
import traceback

import click

from little_pay_async._cli.commands import little_pay
from little_pay_async._cli.outcomes import INTERRUPTED, NOT_SETTLED, USAGE, exit_code_of, one_line
from little_pay_async._errors import LittlePayError


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a sign that an old terminal lacks is no reason
            stream.reconfigure(errors="backslashreplace")
    try:
        # Without click's own handling, which exits 1 for what is no FAILED payment.
        return int(little_pay.main(arguments, prog_name="little-pay", standalone_mode=False) or 0)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except LittlePayError as error:
        _say(str(error))
        return exit_code_of(error)
    except BrokenPipeError:
        # Nobody reads any more; Python must not trip over that again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_SETTLED
    except OSError as error:
        _say(str(error))
        return USAGE
    except Exception:  # noqa: BLE001 - a mistake of ours; Python's exit code 1 would mean FAILED
        traceback.print_exc()
        return NOT_SETTLED


def _say(text: str) -> None:
    click.echo(f"little-pay: {one_line(text)}", err=True)
