"""The command `little-pay`: arguments, progress and exit codes only.

`commands` is what can be typed, `running` turns what goes wrong into a line and an exit code,
`watching` does the work of two commands and `demo` that of the third, `key_list` reads
keys as they come in, `outcomes` counts what became of them, `report` shows it, `histogram` how long
it took.

This module imports none of what the `cli` extra brings, so that it can say that it is missing.
"""

import sys
from importlib.util import find_spec

_EXTRA = ("click", "cryptography", "httptools", "rich", "starlette", "uvicorn")


def main() -> None:
    """Run the command with the process's arguments, and exit."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"little-pay: {', '.join(missing)} not installed: "
            "run pip install 'little-pay-async[cli]'\n"
        )
        sys.exit(2)
    try:
        # Here because it needs what was just looked for.
        from little_pay_async._cli.running import run  # noqa: PLC0415

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before it had begun
        code = 130
    sys.exit(code)
