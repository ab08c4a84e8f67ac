"""The work of `sandbox`: serves it and says how to reach it."""

import anyio
import click

from little_pay_async._cli.outcomes import ALL_COMPLETED
from little_pay_async._cli.report import print_json
from little_pay_async.sandbox import Sandbox
from little_pay_async.sandbox.callbacks import LOOPBACK


async def serve(host: str, port: int, *, as_json: bool) -> int:
    """Serve a sandbox until it is cancelled.

    Raises:
        OSError: The address can't be listened on.
    """
    async with Sandbox() as sandbox, sandbox.serve(host=host, port=port) as url:
        environment = {"LITTLE_PAY_BASE_URL": url} | {
            f"LITTLE_PAY_{name.upper()}": value for name, value in sandbox.credentials.items()
        }
        if as_json:
            print_json(
                {
                    "sandbox": True,
                    "url": url,
                    "environment": environment,
                    "public_key": sandbox.public_key,
                }
            )
        else:
            click.secho(" SANDBOX ", bold=True, reverse=True, nl=False)
            click.echo(" No money moves here: a Little Pay for trying things out.\n")
            click.echo(f"Payments and payers' handsets, to be looked at in a browser: {url}\n")
            if host not in LOOPBACK:
                click.echo(f"Others can reach it too: it listens at {host}.\n")
            click.echo("In the shell that shall talk to it, with credentials that it made up:\n")
            for name, value in environment.items():
                click.echo(f"  export {name}={value}")
            click.echo(f"\nIts callbacks are signed with this key: {url}/-/public-key.pem")
            click.echo("\nCtrl-C ends it.")
        await anyio.sleep_forever()
    return ALL_COMPLETED  # pragma: no cover - it is cancelled
