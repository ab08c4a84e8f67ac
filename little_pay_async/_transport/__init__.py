"""Connections for thousands of parked requests. It knows nothing of Little Pay."""

from little_pay_async._transport.guard import GuardedTransport
from little_pay_async._transport.leasing import LeasingTransport, one_connection

__all__ = ["GuardedTransport", "LeasingTransport", "one_connection"]
