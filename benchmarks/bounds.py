"""What the figures have to be, and whether they are: for reading, for it fails nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cases import FLOOR, RIVAL, US

Figures = Mapping[str, float]
Results = Mapping[str, Mapping[str, Figures]]


@dataclass(frozen=True)
class Bound:
    """One figure divided by another may be so much at the most."""

    case: str
    what: str
    at_most: float
    figure: str
    client: str = RIVAL
    base: str = ""
    aim: float | None = None

    def ratio(self, results: Results) -> float:
        """Return our figure, divided by the one that it is compared with."""
        return (
            results[self.case][US][self.figure]
            / results[self.base or self.case][self.client][self.figure]
        )


SMALL, LARGE = "TLS, 1,000 parked", "TLS, 10,000 parked"
PLAIN, PLAIN_LARGE = "plain, 1,000 parked", "plain, 10,000 parked"
CHECK, UVLOOP = "plain, check() of 5,000 keys", "uvloop, TLS, 1,000 parked"
REUSED, CONNECT = "CPU per reused poll", "CPU of connecting and polling"
MEMORY, WALL = "resident bytes per poll", "wall time over the holds"

BOUNDS = [
    Bound(SMALL, REUSED, 0.75, "reused_ms", aim=0.6),
    Bound(SMALL, CONNECT, 0.75, "connect_ms"),
    Bound(SMALL, MEMORY, 0.25, "kib"),
    Bound(LARGE, MEMORY, 0.25, "kib"),
    Bound(LARGE, WALL, 1.0, "wall_s"),
    Bound(PLAIN, REUSED, 0.85, "reused_ms", aim=0.7),
    Bound(PLAIN, MEMORY, 1.0, "kib"),
    Bound(CHECK, "CPU per key", 0.85, "check_ms"),
    Bound(LARGE, "growth of the " + REUSED, 1.6, "reused_ms", US, SMALL),
    Bound(PLAIN_LARGE, "growth of the " + REUSED, 1.6, "reused_ms", US, PLAIN),
    Bound(UVLOOP, REUSED, 1.0, "reused_ms"),
    Bound(UVLOOP, CONNECT, 1.0, "connect_ms"),
    Bound(UVLOOP, MEMORY, 1.0, "kib"),
    Bound(SMALL, REUSED, 3.5, "reused_ms", FLOOR, aim=2.0),
    Bound(SMALL, CONNECT, 3.5, "connect_ms", FLOOR, aim=2.0),
    Bound(LARGE, REUSED, 3.5, "reused_ms", FLOOR, aim=2.0),
]


def judge(results: Results) -> list[dict[str, Any]]:
    """Return each bound of the cases that were run, with our ratio and whether it is met."""
    judged = []
    for bound in BOUNDS:
        if bound.case in results and (bound.base or bound.case) in results:
            ratio = bound.ratio(results)
            judged.append(asdict(bound) | {"ratio": ratio, "met": ratio <= bound.at_most})
    return judged


def compared_with(bound: Mapping[str, Any]) -> str:
    """Return in words what our figure was divided by."""
    return f"{bound['client']}, {bound['base']}" if bound["base"] else bound["client"]
