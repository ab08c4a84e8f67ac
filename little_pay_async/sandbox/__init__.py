"""A local Little Pay, for tests and to play with. It moves no money.

`Sandbox` is the whole of it: through `sandbox.transport` in this process, or on a socket with
`sandbox.serve()`. What becomes of a payment is chosen by the phone number that rings (`OUTCOMES`)
or by `sandbox.settle(key, "COMPLETED")`; how the sandbox misbehaves by `Weather`, or by a merchant
key that begins with one of `MAGIC_KEYS`.
"""

try:
    from little_pay_async.sandbox.callbacks import PostedCallback
    from little_pay_async.sandbox.outcomes import OUTCOMES, Outcome
    from little_pay_async.sandbox.received import Received
    from little_pay_async.sandbox.sandbox import Sandbox
    from little_pay_async.sandbox.weather import MAGIC_KEYS, Kind, Weather
except ModuleNotFoundError as _missing:
    raise ImportError(
        f"little_pay_async.sandbox needs {_missing.name}: "
        "run pip install 'little-pay-async[sandbox]'",
        name=_missing.name,
    ) from _missing

__all__ = [
    "MAGIC_KEYS",
    "OUTCOMES",
    "Kind",
    "Outcome",
    "PostedCallback",
    "Received",
    "Sandbox",
    "Weather",
]
