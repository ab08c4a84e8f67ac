"""Connections for thousands of parked requests. It knows nothing of Little Pay."""

from little_pay_async._transport.leasing import LeasingTransport, one_connection

__all__ = ["LeasingTransport", "one_connection"]
