"""Thousands of parked polls: what they cost this library, and what they cost one's other choices.

Client and server are two processes, the clients take turns, and the figures are medians of the
runs. CPU and memory are the client process's own. Timings move from machine to machine by a factor
of two, and where others work at the same time: read the ratios. Writes results.json, and what the
documents show of it: see pages.py. How the figures come about stands in server.py and client.py.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import bounds
import pages
import tables
from cases import ALL, CASES, FOR_TIME, LEFT_OUT, Case
from rich.console import Console

HERE = Path(__file__).parent
LIBRARIES = [
    "little-pay-async",
    "aiohttp",
    "httpcore",
    "httptools",
    "httpx",
    "httpx-aiohttp",
    "niquests",
    "pyreqwest",
    "uvloop",
]
PACKAGE_OF = {"httpx over aiohttp": "httpx-aiohttp", "httpx over pyreqwest": "pyreqwest"}


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: the server's, its CA's, and somebody else's CA's."""

    server: str
    ca: str
    other_ca: str


@contextmanager
def made_up_certificates() -> Iterator[Certificates]:
    import trustme

    ca, other_ca = trustme.CA(), trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        paths = Certificates(*(str(Path(folder, name)) for name in ("server", "ca", "other")))
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(paths.server)
        ca.cert_pem.write_to_path(paths.ca)
        other_ca.cert_pem.write_to_path(paths.other_ca)
        yield paths


@contextmanager
def server(case: Case, certificate: str | None) -> Iterator[list[str]]:
    """Start a server; its ports are that of the API and that of its wire to the client."""
    command = [sys.executable, str(HERE / "server.py"), "--keys", str(case.keys)]
    command += ["--rounds", str(case.rounds), "--hold", str(case.hold), "--pace", str(case.pace)]
    if certificate:
        command += ["--certificate", certificate]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()
        finally:
            process.terminate()


def measure(client: str, case: Case, certificates: Certificates) -> dict[str, float]:
    """Run a client once, in a process of its own."""
    with server(case, certificates.server if case.tls else None) as (port, wire):
        return start(client, case, port, "--wire", wire, ca=certificates.ca if case.tls else None)


def start(
    client: str, case: Case, port: str, *more: str, ca: str | None = None
) -> dict[str, float]:
    scheme = "https" if case.tls else "http"
    command = [sys.executable, str(HERE / "client.py"), client, f"{scheme}://127.0.0.1:{port}"]
    command += ["--keys", str(case.keys), "--rounds", str(case.rounds), *more]
    command += ["--at-once", str(case.at_once), "--hold", str(case.hold), "--pace", str(case.pace)]
    command += ["--ca", ca] if ca else []
    command += ["--uvloop"] if case.uvloop else []
    patience = 120 + 0.1 * case.keys  # none of them is so slow: something has gone wrong
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, timeout=patience
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        sys.exit(f"{client} could not be measured: {error}")
    return json.loads(done.stdout)


def check_refusals(cases: Iterable[Case], certificates: Certificates) -> None:
    """Check that the clients verify certificates: one of somebody else's CA must be refused."""
    cases_of = {client: case for case in cases if case.tls for client in installed(case)}

    def check(client: str) -> None:
        case = cases_of[client]
        with server(case, certificates.server) as (port, _):
            start(client, case, port, "--must-refuse", ca=certificates.other_ca)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, cases_of))
    say(f"{len(cases_of)} clients refuse a certificate that they can't verify.")


def run_case(
    name: str, case: Case, wanted: int, certificates: Certificates
) -> dict[str, dict[str, float]]:
    clients = installed(case)
    for why, left_out in reasons(case).items():
        say(f"{name}: without {', '.join(left_out)}: {why}")
    runs: dict[str, list[dict[str, float]]] = {client: [] for client in clients}
    for number in range(wanted):
        for client in clients:
            if number < case.runs(client, wanted):
                begun = time.monotonic()
                runs[client].append(measure(client, case.of(client), certificates))
                say(f"{name}, run {number + 1}: {client}, {time.monotonic() - begun:.0f} s")
    return {
        client: {
            **{figure: statistics.median(run[figure] for run in done) for figure in done[0]},
            "keys": case.of(client).keys,
            "runs": len(done),
        }
        for client, done in runs.items()
    }


def installed(case: Case) -> list[str]:
    return [client for client in case.clients if has(PACKAGE_OF.get(client, client))]


def reasons(case: Case) -> dict[str, list[str]]:
    """Return why which clients do not take part."""
    found: dict[str, list[str]] = {}
    for client in ALL:
        if client not in case.clients:
            found.setdefault(LEFT_OUT.get(client, FOR_TIME), []).append(client)
        elif client not in installed(case):
            found.setdefault("not installed", []).append(client)
    return found


def has(package: str) -> bool:
    try:
        return package not in LIBRARIES or bool(version(package))
    except PackageNotFoundError:
        return False


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def about(rounds: int) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "libraries": {name: version(name) for name in LIBRARIES if has(name)},
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each client runs")
    parser.add_argument("--quick", action="store_true", help="small and once, for trying")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--into", type=Path, help="folder for results; beside this file by default")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    cases = {name: case for name, case in CASES.items() if options.only in name}
    if options.quick:
        # Small, plain 10,000 would be the same as plain 1,000.
        cases = {
            name: case.quick() for name, case in cases.items() if case.tls or case.keys < 10_000
        }
    rounds = 1 if options.quick else options.rounds
    with made_up_certificates() as certificates:
        check_refusals(cases.values(), certificates)
        results = {name: run_case(name, case, rounds, certificates) for name, case in cases.items()}
    console = Console(width=120)
    for name, case in cases.items():
        console.print(tables.of_case(name, case, results[name]))
    judged = bounds.judge(results)
    console.print(tables.of_bounds(judged))
    if not options.only:
        print(tables.for_readme(results))
    folder = options.into or (None if options.quick or options.only else HERE)
    if folder is None:
        say("Part of the whole: nothing is written.")
        return
    written = {
        "about": about(rounds),
        "cases": {
            name: {"what": asdict(case), "clients": results[name]} for name, case in cases.items()
        },
        "bounds": judged,
    }
    text = json.dumps(written, indent=2) + "\n"
    (folder / "results.json").write_text(text, encoding="utf-8")
    if folder == HERE:
        pages.write()


if __name__ == "__main__":
    main()
