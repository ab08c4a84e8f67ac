"""A local Little Pay, for tests and to play with. It moves no money.

`Sandbox` is the whole of it: through `sandbox.transport` in this process, or on a socket with
`sandbox.serve()`. What becomes of a payment is chosen by the phone number that rings (`OUTCOMES`)
or by `sandbox.settle(key, "COMPLETED")`; how the sandbox misbehaves by `Weather`.
"""

from little_pay_async.sandbox.outcomes import OUTCOMES, Outcome
from little_pay_async.sandbox.sandbox import Received, Sandbox
from little_pay_async.sandbox.weather import Kind, Weather

__all__ = ["OUTCOMES", "Kind", "Outcome", "Received", "Sandbox", "Weather"]
