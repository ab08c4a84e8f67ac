"""The floor: what a poll costs if nothing is done but what has to be done.

A bare protocol for each connection, requests as bytes made beforehand, httptools, TLS by
`ssl.MemoryBIO`, msgspec for the one field that is looked at. No timeouts, no errors handled, no
redirects, headers dropped: nobody should use this.
"""

import asyncio
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httptools
import msgspec


class Data(msgspec.Struct):
    status: str


class Envelope(msgspec.Struct):
    data: Data


decode = msgspec.json.Decoder(Envelope).decode


class Connection(asyncio.Protocol):
    """Sends the requests it is given, each until its answer is final, and then counts one more."""

    def __init__(self, requests: Iterator[bytes], done: "Done", host: str) -> None:
        self.requests = requests
        self.done = done
        self.host = host
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.next_request()

    def next_request(self) -> None:
        self.request = next(self.requests, b"")
        if self.request:
            self.send(self.request)

    def send(self, request: bytes) -> None:
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        status = decode(self.body).data.status
        if status == "PENDING":
            self.send(self.request)
        else:
            self.done.count(completed=status == "COMPLETED")
            self.next_request()


class TLSConnection(Connection):
    shaken = False

    def __init__(
        self, requests: Iterator[bytes], done: "Done", host: str, context: ssl.SSLContext
    ) -> None:
        super().__init__(requests, done, host)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.data_received(b"")

    def send(self, request: bytes) -> None:
        self.tls.write(request)
        self.transport.write(self.outgoing.read())

    def data_received(self, data: bytes) -> None:
        self.incoming.write(data)
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
                self.next_request()
            while received := self.tls.read(65536):
                self.parser.feed_data(received)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.done.future.set_exception(error)
            self.transport.abort()
        if self.outgoing.pending:
            self.transport.write(self.outgoing.read())


class Done:
    """How many keys are final."""

    def __init__(self, keys: int) -> None:
        self.left = keys
        self.completed = 0
        self.future = asyncio.get_running_loop().create_future()

    def count(self, *, completed: bool) -> None:
        self.completed += completed
        self.left -= 1
        if not self.left:
            self.future.set_result(self.completed)


class Floor:
    def __init__(self, url: str, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self.host, self.port, self.context = parts.hostname, parts.port, context

    async def watch(self, keys: list[str]) -> int:
        paths = [f"/api/payments-v2/{key}?longPoll=true" for key in keys]
        done = Done(len(paths))
        for path in paths:
            await self.connect(iter([self.request(path)]), done)
        return await done.future

    async def check(self, keys: list[str], at_once: int) -> int:
        done = Done(len(keys))
        requests = iter([self.request(f"/api/payments-v2/{key}") for key in keys])
        for _ in range(at_once):
            await self.connect(requests, done)
        return await done.future

    def request(self, path: str) -> bytes:
        host = f"{self.host}:{self.port}"
        return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-API-KEY: key\r\n\r\n".encode()

    async def connect(self, requests: Iterator[bytes], done: Done) -> None:
        def connection() -> Connection:
            if self.context is None:
                return Connection(requests, done, self.host)
            return TLSConnection(requests, done, self.host, self.context)

        await asyncio.get_running_loop().create_connection(connection, self.host, self.port)
