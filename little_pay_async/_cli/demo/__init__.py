"""What `little-pay demo` does, against the embedded sandbox on a real socket.

`purchases` are three payments that are looked at one by one, `crowd` is a thousand that are watched
at once, `stage` shows both, `play` runs them and says whether all came out as expected.
"""

from little_pay_async._cli.demo.play import play
from little_pay_async._cli.demo.stage import JsonStage, TerminalStage

__all__ = ["JsonStage", "TerminalStage", "play"]
