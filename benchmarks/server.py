"""The other side: a server process that holds polls, with as little work as it can.

It parks every poll until all keys of the crowd are parked, each on a connection of its own, and
tells the client so. When the client has noted what it has spent, the crowd is held for `hold`
seconds more and then answered one after the other, `pace` of them a second, in the order in which
they came: PENDING for the first rounds of polls, COMPLETED in the last. So every client gets its
answers alike, and what a round of polls has cost can be told to the microsecond: between two
moments in which all are parked, each key has got one answer and has sent one poll.

A GET that is no long poll is answered at once. Prints its two ports when it is ready: of the API,
and of the wire on which it talks with the client.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
from collections import Counter

import uvloop
from cases import QUIET

TICK = 0.001

# The documented answer to a status request.
BODY = (
    b'{"date":"2024-05-13T08:26:18.719Z","data":{"reference":"1cbfffbc-b365-45f6-9e5d-13e445c125cd",'
    b'"status":"%(status)s","payload":{"billingAddress":{"firstName":"","lastName":"","address1":"",'
    b'"locality":"","administrativeArea":"","postalCode":"","country":"","email":"",'
    b'"phoneNumber":""}},"amount":1,"payment":{"provider":"MPESA","details":null},"key":"",'
    b'"attempts":[{"reference":"1cbfffbc-b365-45f6-9e5d-13e445c125cd","provider":"MPESA",'
    b'"status":"%(status)s"}]}}'
)


def answer(status: bytes) -> bytes:
    body = BODY % {b"status": status}
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


PENDING, COMPLETED = answer(b"PENDING"), answer(b"COMPLETED")


class Crowd:
    """The keys that are polled, round after round."""

    def __init__(self, keys: int, rounds: int, hold: float, pace: float) -> None:
        self.keys, self.rounds, self.hold, self.pace = keys, rounds, hold, pace
        self.parked: dict[bytes, Connection] = {}
        self.round = 1
        self.polls: Counter[bytes] = Counter()
        self.seen = Counter[str]()
        self.tell = print  # until the client is on the wire

    def park(self, key: bytes, connection: "Connection") -> None:
        self.polls[key] += 1
        if key in self.parked:
            self.tell(f"{key!r} was polled twice at once")
        self.parked[key] = connection
        self.seen["most_parked"] = max(self.seen["most_parked"], len(self.parked))
        if len(self.parked) == self.keys:
            asyncio.get_running_loop().call_later(QUIET, self.tell, "parked")

    def release(self) -> None:
        """Answer all that are parked, in order; meanwhile they come for the next round."""
        leaving, self.parked = list(self.parked.values()), {}
        last = self.round > self.rounds
        self.round += 1
        loop = asyncio.get_running_loop()
        begun, done = loop.time(), 0

        def some() -> None:
            nonlocal done
            due = min(int((loop.time() - begun) * self.pace) + 1, len(leaving))
            for connection in leaving[done:due]:
                connection.say(COMPLETED if last else PENDING)
            done = due
            if done < len(leaving):
                loop.call_later(TICK, some)

        some()

    def report(self) -> dict[str, int]:
        counts = set(self.polls.values())
        return {
            **self.seen,
            "keys": len(self.polls),
            "fewest_polls": min(counts, default=0),
            "most_polls": max(counts, default=0),
        }


class Connection(asyncio.Protocol):
    """A client's connection to the API."""

    parked_as = b""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.crowd.seen["connections"] += 1

    def connection_lost(self, _: Exception | None) -> None:
        if self.parked_as:
            self.crowd.tell(f"the connection of {self.parked_as!r} was lost while parked")

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.received.endswith(b"\r\n\r\n"):
            return
        path, self.received = self.received.split(b" ", 2)[1], b""
        key, _, query = path.rpartition(b"/")[2].partition(b"?")
        if query != b"longPoll=true" or key == b"warm":
            self.crowd.seen["plain"] += key != b"warm"
            self.say(COMPLETED)
        else:
            self.parked_as = key
            self.crowd.park(key, self)

    def say(self, answer: bytes) -> None:
        self.parked_as = b""
        self.transport.write(answer)


class Wire(asyncio.Protocol):
    """The wire to the client: it answers `parked` with `go`, and is answered `end` by a report."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.crowd.tell = self.say

    def data_received(self, data: bytes) -> None:
        if data == b"go\n":
            asyncio.get_running_loop().call_later(self.crowd.hold, self.crowd.release)
        else:
            self.crowd.tell = lambda _: None  # what breaks when the client leaves is no fault
            self.say(json.dumps(self.crowd.report()))

    def say(self, line: str) -> None:
        self.transport.write(line.encode() + b"\n")


async def serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    context = None
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate)
    crowd = Crowd(options.keys, options.rounds, options.hold, options.pace)
    server = await loop.create_server(
        lambda: Connection(crowd),
        "127.0.0.1",
        0,
        ssl=context,
        backlog=10_000,
        ssl_handshake_timeout=120 if context else None,
    )
    wire = await loop.create_server(lambda: Wire(crowd), "127.0.0.1", 0)
    print(*(each.sockets[0].getsockname()[1] for each in (server, wire)), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True, help="of answers that are PENDING")
    parser.add_argument("--hold", type=float, required=True)
    parser.add_argument("--pace", type=float, required=True, help="answers a second")
    parser.add_argument("--certificate")
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(parser.parse_args()))
