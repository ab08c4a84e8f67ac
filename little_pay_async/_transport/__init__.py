"""Connections for thousands of parked requests. It knows nothing of Little Pay.

`pooled`, and the pools that it makes, are imported where the first session is made: they load
httpcore and asyncio, as httpx does at its first request.
"""

from little_pay_async._transport.broken import RefusedResponseError
from little_pay_async._transport.guard import GuardedTransport

__all__ = ["GuardedTransport", "RefusedResponseError"]
