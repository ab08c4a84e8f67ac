"""The scheduling of many keys over an injected poll. It knows no HTTP.

`watch` is what users iterate, `rota` decides which key is looked at and when, `places` shares out
how many polls may be under way at once.
"""

from little_pay_async._watch.places import Places
from little_pay_async._watch.rota import Poll, Rota
from little_pay_async._watch.watch import Watch

__all__ = ["Places", "Poll", "Rota", "Watch"]
