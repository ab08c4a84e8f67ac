"""The process of `parking.py`, and what it told."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import trustme

from ..faults.figures import record

PARKING = Path(__file__).with_name("parking.py")


@attrs.define
class Parking:
    """A server process.

    Attributes:
        port: Where it listens.
        times: When each poll was parked, by its target, in `time.monotonic()`.
    """

    port: int = 0
    certificate: str | None = None
    times: dict[str, list[float]] = attrs.field(factory=dict)
    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None
    _now_parked: set[str] = attrs.field(factory=set)
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def start(self) -> None:
        """Start it, at the port that it had."""
        options = [str(self.port), *([self.certificate] if self.certificate else [])]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PARKING),
            *options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode().split()
        assert line[0] == "listens", line
        self.port = int(line[2])
        self._now_parked.clear()
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def _read(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            _, when, target = line.decode().split()
            self.times.setdefault(target, []).append(float(when))
            self._now_parked.add(target)
            self._news.set()

    async def until_parked(self, number: int) -> None:
        """Wait until so many different polls have come since the start."""
        while len(self._now_parked) < number:
            self._news.clear()
            await self._news.wait()

    def settle(self) -> None:
        """Have all payments COMPLETED."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"settle\n")

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self._process is not None
        assert self._reading is not None
        self._process.kill()
        await self._process.wait()
        await self._reading

    def since(self, begun: float) -> list[float]:
        """Return after how many seconds each poll was parked that came after a moment."""
        every = (when - begun for times in self.times.values() for when in times)
        return sorted(after for after in every if after >= 0)


@contextlib.asynccontextmanager
async def parking(certificate: str | None = None) -> AsyncIterator[Parking]:
    server = Parking(certificate=certificate)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


@contextlib.contextmanager
def new_certificate(*, tls: bool) -> Iterator[tuple[trustme.CA, str | None]]:
    """Give an authority and, if it is wanted, the path of a certificate for this host."""
    authority = trustme.CA()
    if not tls:
        yield authority, None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "server.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
        yield authority, str(path)


def report(name: str, text: str) -> None:
    """Show a figure, and keep it."""
    sys.stdout.write(f"\n{name}: {text}\n")
    record(name, text)
