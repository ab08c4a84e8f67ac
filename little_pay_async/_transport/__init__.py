"""Connections for thousands of parked requests. It knows nothing of Little Pay.

`pooled`, and the pool that it makes, are imported where the first session is made: they load
httpcore and asyncio, as httpx does at its first request.
"""

from little_pay_async._transport.guard import GuardedTransport
from little_pay_async._transport.http1 import RefusedResponseError
from little_pay_async._transport.leasing import LeasingTransport, one_connection

__all__ = ["GuardedTransport", "LeasingTransport", "RefusedResponseError", "one_connection"]
