"""Little Pay, or a sandbox of it in this process where no credentials are set."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from little_pay_async import Msisdn
from little_pay_async.callbacks import LITTLE_PAY_PUBLIC_KEY, CallbackVerifier
from little_pay_async.sandbox import Sandbox

sandbox = None if os.environ.get("LITTLE_PAY_API_KEY") else Sandbox()
_public_key = sandbox.public_key if sandbox else os.environ.get("CALLBACK_PUBLIC_KEY")
verifier = CallbackVerifier([_public_key or LITTLE_PAY_PUBLIC_KEY])


@asynccontextmanager
async def session_options() -> AsyncIterator[dict[str, str]]:
    """Give what a session with the one or the other takes."""
    if sandbox is None:
        yield {}  # from the environment
        return
    async with sandbox, sandbox.serve() as url:
        print(f"No LITTLE_PAY_API_KEY: a sandbox that moves no money is at {url}", flush=True)
        yield {**sandbox.credentials, "base_url": url}


def mobile_of(text: str) -> Msisdn:
    """Return a phone number; the sandbox's magic ones are no valid numbers."""
    return Msisdn.unchecked(text.lstrip("+")) if sandbox else Msisdn.parse(text)
