"""A real Redis and real worker processes, to be killed and stopped."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REDIS_SERVER = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(
    REDIS_SERVER is None, reason="redis-server is missing: apt-get install redis-server"
)
HERE = Path(__file__).parent


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis that keeps nothing; give its URL."""
    assert REDIS_SERVER is not None
    while True:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        settings += ["--save", "", "--appendonly", "no"]
        process = subprocess.Popen([REDIS_SERVER, *settings], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            if any("Ready to accept connections" in line for line in process.stdout):
                yield f"redis://127.0.0.1:{port}"
                return
            # Somebody else has taken the port meanwhile.
        finally:
            process.terminate()
            process.communicate(timeout=20)


class Worker:
    """`taskiq worker` with one worker process, in a process group of their own."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        command = ["-m", "taskiq", "worker", "fleet_app:broker", "--app-dir", str(HERE)]
        command += ["--workers", "1", "--wait-tasks-timeout", "0.1", "--log-level", "WARNING"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env=os.environ | environment | {"WORKER": name},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it at once, with all that belongs to it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=20)

    def stop(self) -> int:
        """Tell it to stop, and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)


@contextlib.contextmanager
def workers(number: int, environment: dict[str, str], folder: Path) -> Iterator[list[Worker]]:
    """Start that many; at the end none is left."""
    started: list[Worker] = []
    try:
        for place in range(number):
            name = f"worker{place}"
            started.append(Worker(name, environment, folder / f"{name}.log"))
        yield started
    finally:
        for worker in started:
            worker.kill()
