"""The other side: a server process that holds polls, as little work as it can.

Each GET is answered COMPLETED after `hold` seconds. Prints its port when it is ready.
"""

import argparse
import asyncio
import contextlib
import ssl

# The documented answer to a status request.
BODY = (
    b'{"date":"2024-05-13T08:26:18.719Z","data":{"reference":"1cbfffbc-b365-45f6-9e5d-13e445c125cd",'
    b'"status":"COMPLETED","payload":{"billingAddress":{"firstName":"","lastName":"","address1":"",'
    b'"locality":"","administrativeArea":"","postalCode":"","country":"","email":"",'
    b'"phoneNumber":""}},"amount":1,"payment":{"provider":"MPESA","details":null},"key":"",'
    b'"attempts":[{"reference":"1cbfffbc-b365-45f6-9e5d-13e445c125cd","provider":"MPESA",'
    b'"status":"COMPLETED"}]}}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY


class Connection(asyncio.Protocol):
    def __init__(self, hold: float) -> None:
        self.hold = hold
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            self.received = self.received.partition(b"\r\n\r\n")[2]
            asyncio.get_running_loop().call_later(self.hold, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


async def serve(options: argparse.Namespace) -> None:
    context = None
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(options.hold),
        "127.0.0.1",
        0,
        ssl=context,
        backlog=10_000,
        ssl_handshake_timeout=60 if context else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hold", type=float, required=True)
    parser.add_argument("--certificate")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args()))
