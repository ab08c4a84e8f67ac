"""Keys watched at once: CPU and memory of this library and of what one would use instead.

Client and server are two processes, the clients take turns, and the figures are medians of the
rounds. CPU is the client process's own. Timings move from machine to machine by a factor of two:
read the ratios. Writes results.json beside this file.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
CLIENTS = [
    "little_pay_async",
    "aiohttp",
    "httpx-aiohttp",
    "httpx, leased connections",
    "httpx, its own pool",
]
# Its pool looks at every connection for every request: one round of it says enough.
ONE_ROUND = {"httpx, its own pool"}
LIBRARIES = ["little-pay-async", "httpx", "httpcore", "aiohttp", "httpx-aiohttp"]


@contextmanager
def server(hold: float, certificate: str | None) -> Iterator[int]:
    command = [sys.executable, str(HERE / "server.py"), "--hold", str(hold)]
    if certificate:
        command += ["--certificate", certificate]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def measure(
    client: str, keys: int, hold: float, certificates: tuple[str, str] | None
) -> dict[str, float]:
    ca, certificate = certificates or (None, None)
    scheme = "https" if certificate else "http"
    with server(hold, certificate) as port:
        command = [sys.executable, str(HERE / "client.py"), client, f"{scheme}://127.0.0.1:{port}"]
        command += ["--keys", str(keys), "--hold", str(hold)]
        if ca:
            command += ["--ca", ca]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


@contextmanager
def made_up_certificates() -> Iterator[tuple[str, str]]:
    import trustme

    ca = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, "ca.pem"), Path(folder, "server.pem")
        ca.cert_pem.write_to_path(str(names[0]))
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(names[1]))
        yield str(names[0]), str(names[1])


def run_case(keys: int, rounds: int, hold: float, *, tls: bool) -> dict[str, dict[str, float]]:
    runs: dict[str, list[dict[str, float]]] = {client: [] for client in CLIENTS}
    with made_up_certificates() as certificates:
        for number in range(rounds):
            for client in CLIENTS:
                if number and client in ONE_ROUND:
                    continue
                print(f"{'TLS' if tls else 'plain'}, round {number + 1}: {client}", file=sys.stderr)
                result = measure(client, keys, hold, certificates if tls else None)
                runs[client].append(result)
    return {
        client: {name: statistics.median(run[name] for run in done) for name in done[0]}
        for client, done in runs.items()
    }


def table(title: str, results: dict[str, dict[str, float]]) -> Table:
    shown = Table(title=title)
    for column in (
        "client",
        "connect and poll, ms",
        "poll, reused, ms",
        "of aiohttp's",
        "KiB a poll",
    ):
        shown.add_column(column, justify="left" if column == "client" else "right")
    rival = results["aiohttp"]
    for client, found in results.items():
        shown.add_row(
            client,
            f"{found['connect_ms']:.2f}",
            f"{found['reused_ms']:.2f}",
            f"{found['reused_ms'] / rival['reused_ms']:.2f}",
            "-" if client in ONE_ROUND else f"{found['kib']:.0f}",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hold", type=float, default=5.0, help="seconds a poll is held")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    cases = {
        name: run_case(options.keys, options.rounds, options.hold, tls=name == "TLS")
        for name in ("plain", "TLS")
    }
    console = Console(width=100)
    for name, results in cases.items():
        console.print(table(f"{options.keys} keys watched at once, {name}", results))
    about = {
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "keys": options.keys,
        "rounds": options.rounds,
        "hold": options.hold,
    }
    (HERE / "results.json").write_text(
        json.dumps({"about": about, "cases": cases}, indent=2) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
