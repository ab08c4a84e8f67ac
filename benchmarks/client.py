"""One client process: does a job, and prints what that has cost as JSON.

The job is to watch keys until all are completed, or with `--at-once` to look at each of them once.
What it cost is noted whenever the server says over the wire that all polls are parked. So the CPU
of connecting and polling is that from the beginning until all are parked, and that of the last
answers; the CPU of the reused polls is that in between.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import os
import resource
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cases import QUIET
from rivals import RIVALS, Client, Server


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


@dataclass
class Reading:
    """What the process has spent so far, in seconds, and holds, in bytes."""

    cpu: float = field(default_factory=cpu)
    resident: int = field(default_factory=resident)
    time: float = field(default_factory=time.perf_counter)


def settle_memory() -> None:
    """Give back what was freed, so that what comes next shows in the resident bytes."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)


class Wire(asyncio.Protocol):
    """The wire to the server; what comes over it is noted."""

    def __init__(self) -> None:
        self.parked: list[Reading] = []
        self.report: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data == b"parked\n":
            self.parked.append(Reading())
            self.transport.write(b"go\n")
        elif data.startswith(b"{"):
            self.report.set_result(json.loads(data))
        elif not self.report.done():
            self.report.set_exception(RuntimeError(f"the server says: {data.decode()}"))

    async def unless_broken(self, job: Awaitable[int]) -> int:
        """Do the job, unless the server says that it goes wrong."""
        task = asyncio.ensure_future(job)
        await asyncio.wait([task, self.report], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await self.report
        return await task

    async def end(self) -> dict[str, int]:
        self.transport.write(b"end\n")
        return await self.report


async def refuse(options: argparse.Namespace) -> dict[str, float]:
    """Check that the client refuses a server whose certificate it can't verify."""
    completed = 0
    with contextlib.suppress(Exception):
        async with RIVALS[options.client](Server(options.url, options.ca)) as client:
            completed = await client.watch(["warm"])
    assert completed == 0, f"{options.client} does not verify certificates"
    return {}


async def watch(client: Client, wire: Wire, options: argparse.Namespace) -> dict[str, float]:
    keys = [f"K{number}" for number in range(options.keys)]
    settle_memory()
    begun = Reading()
    completed = await wire.unless_broken(client.watch(keys))
    ended = Reading()
    assert completed == options.keys, f"{completed} of {options.keys} completed"
    assert len(wire.parked) == options.rounds + 1, f"all were parked {len(wire.parked)} times"
    report = await wire.end()
    check_report(report, "keys", options.keys)
    check_report(report, "most_parked", options.keys)
    check_report(report, "fewest_polls", options.rounds + 1)
    check_report(report, "most_polls", options.rounds + 1)
    held = QUIET + options.hold + options.keys / options.pace  # however good the client is
    first, last = wire.parked[0], wire.parked[-1]
    connecting = first.cpu - begun.cpu + ended.cpu - last.cpu
    return {
        "connect_ms": connecting / options.keys * 1e3,
        "reused_ms": (last.cpu - first.cpu) / options.keys / options.rounds * 1e3,
        "kib": (max(each.resident for each in wire.parked) - begun.resident) / options.keys / 1024,
        "wall_s": ended.time - begun.time - held * (options.rounds + 1),
        "connections": report["connections"],
    }


async def check(client: Client, wire: Wire, options: argparse.Namespace) -> dict[str, float]:
    keys = [f"K{number}" for number in range(options.keys)]
    settle_memory()
    begun = Reading()
    completed = await wire.unless_broken(client.check(keys, options.at_once))
    ended = Reading()
    assert completed == options.keys, f"{completed} of {options.keys} completed"
    report = await wire.end()
    check_report(report, "plain", options.keys)
    assert report["connections"] <= options.at_once + 1, f"not {options.at_once} at once: {report}"
    return {
        "check_ms": (ended.cpu - begun.cpu) / options.keys * 1e3,
        "wall_s": ended.time - begun.time,
        "connections": report["connections"],
    }


def check_report(report: dict[str, Any], name: str, expected: int) -> None:
    assert report.get(name) == expected, f"{name}: not {expected}, says the server: {report}"


async def run(options: argparse.Namespace) -> dict[str, float]:
    if options.must_refuse:
        return await refuse(options)
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(Wire, "127.0.0.1", options.wire)
    async with RIVALS[options.client](Server(options.url, options.ca)) as client:
        await client.watch(["warm"])
        return await (check if options.at_once else watch)(client, wire, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=RIVALS)
    parser.add_argument("url")
    parser.add_argument("--wire", type=int, help="the port of the server's wire")
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=1, help="of answers that are PENDING")
    parser.add_argument("--hold", type=float, required=True)
    parser.add_argument("--pace", type=float, required=True)
    parser.add_argument("--at-once", type=int, default=0, help="check so many keys at once")
    parser.add_argument("--ca")
    parser.add_argument("--must-refuse", action="store_true", help="the CA is somebody else's")
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    factory = None
    if options.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(run(options))), flush=True)
        os._exit(0)  # pyreqwest's threads would at times abort the interpreter on its way out
