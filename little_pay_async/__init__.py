"""Asyncio-native client for Little Pay: mobile-money payments by M-PESA, Airtel and MTN."""

__version__ = "0.1.0"
