"""What only OpenSSL's own server can say: key updates and renegotiation."""

import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.abc
import httpx
import pytest

from .servers import response
from .tls_peers import authority, client_context, transport_of

OPENSSL = shutil.which("openssl") or ""
IS_THERE = bool(OPENSSL) and subprocess.check_output([OPENSSL, "version"]).startswith(b"OpenSSL 3")
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.asyncio_only,
    pytest.mark.skipif(not IS_THERE, reason="there is no openssl command of OpenSSL 3"),
]


class Server:
    """`openssl s_server`: it shows what comes, and sends what it is given, but for its commands."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout
        self._shown = ""
        self.port = 0

    async def says(self, *lines: str) -> str:
        """Wait until it has shown lines that begin so, and return the rest of the last one."""
        for line in lines:
            while f"\n{line}" not in self._shown or "\n" not in self._after(line):
                self._shown += (await self._out.receive()).decode("latin-1")
            self._shown = self._after(line)
        rest, _, self._shown = self._shown.partition("\n")
        self._shown = f"\n{self._shown}"
        return rest

    def _after(self, line: str) -> str:
        return self._shown.partition(f"\n{line}")[2]

    async def send(self, data: bytes) -> None:
        await self._in.send(data)


@contextlib.asynccontextmanager
async def openssl(folder: Path, *options: str) -> AsyncIterator[Server]:
    identity = folder / "server.pem"
    authority().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(identity)
    command = [OPENSSL, "s_server", "-accept", "127.0.0.1:0", "-msg", "-cert", identity]
    async with await anyio.open_process([*command, *options], stderr=subprocess.STDOUT) as process:
        server = Server(process)
        try:
            server.port = int(await server.says("ACCEPT 127.0.0.1:"))
            yield server
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def asked(
    server: Server, context: ssl.SSLContext
) -> AsyncIterator[list[httpx.Response | httpx.ReadError]]:
    """Have the server asked twice on one connection, and put what comes of it into a list."""
    outcomes: list[httpx.Response | httpx.ReadError] = []

    async def ask() -> None:
        for _ in range(2):
            try:
                outcomes.append(await client.get("/", timeout=None))
            except httpx.ReadError as error:
                outcomes.append(error)
                break

    base_url = f"https://127.0.0.1:{server.port}"
    async with (
        httpx.AsyncClient(transport=transport_of(context), base_url=base_url) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ask)
        await server.says("GET / HTTP/1.1")
        yield outcomes


def are_whole(outcomes: list[httpx.Response | httpx.ReadError]) -> bool:
    return [getattr(outcome, "content", None) for outcome in outcomes] == [b"whole\n"] * 2


ANSWER = response(b"whole\n", content_type=None)


KEY_UPDATE = "TLS 1.3, Handshake [length 0005], KeyUpdate"


@pytest.mark.parametrize("is_to_be_answered", [True, False])
async def test_keys_are_updated(is_to_be_answered: bool, tmp_path: Path) -> None:
    async with (
        openssl(tmp_path, "-tls1_3") as server,
        asked(server, client_context()) as outcomes,
    ):
        for _ in range(3):
            await server.send(b"K\n" if is_to_be_answered else b"k\n")
            await server.says(f">>> {KEY_UPDATE}")
        await server.send(ANSWER)
        if is_to_be_answered:  # OpenSSL does that before it sends something again
            await server.says(f"<<< {KEY_UPDATE}")
        await server.says("GET / HTTP/1.1")
        await server.send(b"K\n")
        await server.says(f">>> {KEY_UPDATE}")
        await server.send(ANSWER)
    assert are_whole(outcomes)


async def test_a_server_may_negotiate_anew(tmp_path: Path) -> None:
    """In TLS 1.2, and before an answer."""
    async with (
        openssl(tmp_path, "-tls1_2") as server,
        asked(server, client_context()) as outcomes,
    ):
        for is_last in (False, True):
            await server.send(b"r\n")
            await server.says(">>> TLS 1.2, Handshake [length 0004], HelloRequest")
            await server.says("<<< TLS 1.2, Handshake [length 0010], Finished")
            await server.send(ANSWER)
            if not is_last:
                await server.says("GET / HTTP/1.1")
    assert are_whole(outcomes)


async def test_a_context_may_forbid_to_negotiate_anew(tmp_path: Path) -> None:
    """OpenSSL's server gives up then."""
    context = client_context()
    context.options |= ssl.OP_NO_RENEGOTIATION
    async with (
        openssl(tmp_path, "-tls1_2") as server,
        asked(server, context) as outcomes,
    ):
        await server.send(b"r\n")
    [error] = outcomes
    assert "ALERT" in str(error)
