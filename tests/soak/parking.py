"""A server process that holds polls until it is told to settle them; it answers all else at once.

    python parking.py PORT [CERTIFICATE]

It prints a line for each thing that happens, with the time of the system's monotonic clock, and
reads `settle` from its standard input.
"""

import asyncio
import json
import ssl
import sys
import time
from typing import Any, ClassVar


def answer(data: dict[str, Any]) -> bytes:
    body = json.dumps({"date": "2024-05-13T08:26:18.719Z", "data": data}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


FINAL = answer({"status": "COMPLETED", "attempts": []})
INTENT = answer({"reference": "REF1", "checkoutUrl": "", "message": ""})
PROCESSED = answer({"status": "PENDING", "meta": {"provider": "MPESA"}})
REFUNDED = answer({"status": "COMPLETED", "message": "Success"})


def tell(what: str, about: str = "") -> None:
    sys.stdout.write(f"{what} {time.monotonic():.6f} {about}\n")
    sys.stdout.flush()


class Connection(asyncio.Protocol):
    held: ClassVar[set["Connection"]] = set()
    settled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever it was
        self.held.discard(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or len(body) < length(head):
            return
        self.received = b""
        target = head.split(b" ", 2)[1]
        if target.endswith(b"?longPoll=true") and not self.settled:
            self.held.add(self)
            tell("parked", target.decode())
        elif b"/process" in target:
            self.transport.write(PROCESSED)
        elif b"/refund/" in target:
            self.transport.write(REFUNDED)
        elif target.endswith(b"/pay"):
            self.transport.write(INTENT)
        else:
            self.transport.write(FINAL)


def length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


async def main(port: int, certificate: str | None) -> None:
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await loop.create_server(Connection, "127.0.0.1", port, ssl=context, backlog=4096)
    tell("listens", str(server.sockets[0].getsockname()[1]))
    await loop.run_in_executor(None, sys.stdin.readline)
    Connection.settled = True
    for connection in [*Connection.held]:
        connection.transport.write(FINAL)
    await loop.run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *(sys.argv[2:] or [None])))
