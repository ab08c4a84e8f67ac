"""The scheduling of many keys over an injected poll. It knows no HTTP.

`watch` is what users iterate, `rota` decides which key is looked at and when, with the times that
`clock` keeps, `places` shares out how many polls may be under way at once.
"""

from little_pay_async._watch.entry import Poll
from little_pay_async._watch.places import Places
from little_pay_async._watch.rota import Rota
from little_pay_async._watch.watch import Watch

__all__ = ["Places", "Poll", "Rota", "Watch"]
