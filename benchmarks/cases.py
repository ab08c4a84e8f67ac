"""What is measured, with whom, and how often."""

from dataclasses import dataclass, replace

US, RIVAL, FLOOR = "little_pay_async", "aiohttp", "the floor"
MAIN = (US, RIVAL, FLOOR)
HTTPX_ALONE = "httpx, its own pool"
ALL = (
    US,
    RIVAL,
    "pyreqwest",
    "niquests",
    "httpx over aiohttp",
    "httpx over pyreqwest",
    "httpx over this library's pool",
    "httpx over leased connections",
    HTTPX_ALONE,
    FLOOR,
)

QUIET = 0.3  # seconds from the last poll's arrival until the client is told, for TLS's last words
HOLD = 1.0  # seconds from then on
PACE = 1000.0  # answers a second

# Why a client is not in every case, as it is printed.
FOR_TIME = "for time's sake"
LEFT_OUT = {
    HTTPX_ALONE: "its pool looks at every connection for every request",
}


@dataclass(frozen=True)
class Case:
    """One table.

    Attributes:
        keys: How many are watched at once, or looked at.
        clients: Who takes part.
        tls: Over TLS, or plain.
        rounds: How many of a key's polls are answered PENDING: the polls that reuse a connection.
        at_once: Look at the keys by plain GETs, so many at once, rather than watch them.
        uvloop: The client's event loop; else it is asyncio's own.
        fewer_runs: How many runs less than the other cases this one gets.
        hold: Seconds.
        pace: Answers a second.
    """

    keys: int
    clients: tuple[str, ...]
    tls: bool
    rounds: int = 2
    at_once: int = 0
    uvloop: bool = False
    fewer_runs: int = 0
    hold: float = HOLD
    pace: float = PACE

    def of(self, client: str) -> "Case":
        """Return the case as it is for one client."""
        if client == HTTPX_ALONE and not self.at_once:
            # Where it still ends, and as fast as it can follow.
            return replace(self, keys=min(self.keys, 300), pace=min(self.pace, 100.0))
        return self

    def runs(self, client: str, wanted: int) -> int:
        """Return how often a client runs."""
        if client == HTTPX_ALONE:
            return 1
        fewer = self.fewer_runs + (client not in MAIN)
        return max(1, wanted - fewer)

    def quick(self) -> "Case":
        """Return a small one, for trying."""
        clients = self.clients if self.tls and not self.fewer_runs else MAIN
        return replace(
            self,
            keys=self.keys // (40 if self.fewer_runs else 10),
            clients=tuple(each for each in clients if each != HTTPX_ALONE),
            rounds=1,
            hold=0.8,  # with the quiet more than the second below which a poll counts as not held
        )


CASES = {
    "TLS, 1,000 parked": Case(1_000, ALL, tls=True),
    "TLS, 10,000 parked": Case(
        10_000, (US, RIVAL, "pyreqwest", FLOOR), tls=True, rounds=1, fewer_runs=1
    ),
    # For how cost grows, and as short as they can be.
    "TLS, 100 parked": Case(100, (US, RIVAL, HTTPX_ALONE, FLOOR), tls=True, fewer_runs=1),
    "TLS, 3,000 parked": Case(3_000, MAIN, tls=True, rounds=1, fewer_runs=1),
    "plain, 1,000 parked": Case(1_000, ALL, tls=False),
    "plain, 10,000 parked": Case(10_000, MAIN, tls=False, rounds=1, fewer_runs=1),
    "plain, check() of 5,000 keys": Case(5_000, ALL, tls=False, at_once=100),
    "uvloop, TLS, 1,000 parked": Case(1_000, MAIN, tls=True, uvloop=True),
}
