"""The sandbox on a socket: how it begins, how it ends, and what it leaves alone."""

import asyncio
import gc
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import trustme

from little_pay_async.sandbox import Sandbox, Weather

from .sandboxes import MOBILE, PATIENCE, PLAIN, Visitor, waiting

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


@asynccontextmanager
async def visiting(
    sandbox: Sandbox, url: str, verify: ssl.SSLContext = PLAIN
) -> AsyncIterator[Visitor]:
    async with httpx.AsyncClient(base_url=url, verify=verify, timeout=PATIENCE) as http:
        yield Visitor(sandbox, http)


def accepts(url: str) -> bool:
    address = httpx.URL(url)
    try:
        socket.create_connection((address.host, address.port or 0), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_ends_promptly_although_polls_are_held() -> None:
    answers: list[httpx.Response] = []
    async with Sandbox() as sandbox, anyio.create_task_group() as tasks:
        async with sandbox.serve() as url:
            client = httpx.AsyncClient(base_url=url, verify=PLAIN, timeout=PATIENCE)
            visitor = Visitor(sandbox, client)
            reference = await visitor.reference()

            async def poll() -> None:
                answers.append(await visitor.status(held=True))

            for _ in range(20):
                tasks.start_soon(poll)
            tasks.start_soon(lambda: visitor.process(reference, held=True))
            await visitor.ledger.until(22)
            assert waiting(sandbox, "ORDER42") == 21
        await client.aclose()
    # A server that has to wait for them cancels them in the end, and they are answered 500.
    assert [answer.json()["data"]["status"] for answer in answers] == ["PENDING"] * 20


async def test_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    async with Sandbox() as sandbox:
        async with sandbox.serve() as url, visiting(sandbox, url) as visitor:
            await visitor.paid()
            assert accepts(url)
        assert not accepts(url)
    assert asyncio.all_tasks() == before


async def test_leaves_nothing_when_cancelled() -> None:
    before = asyncio.all_tasks()
    url = ""
    with anyio.CancelScope() as scope:
        async with Sandbox() as sandbox, sandbox.serve() as url:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not accepts(url)
    assert asyncio.all_tasks() == before


async def test_leaves_nothing_when_left_at_once() -> None:
    def servers() -> list[asyncio.AbstractServer]:
        # By type(): isinstance would wake every lazy proxy there is.
        return [
            each
            for each in gc.get_objects()
            if issubclass(type(each), asyncio.AbstractServer) and each.is_serving()
        ]

    assert servers() == []
    async with Sandbox() as sandbox:
        async with sandbox.serve():
            pass
        assert servers() == []


async def test_twice_at_the_same_port() -> None:
    async with Sandbox() as sandbox:
        async with sandbox.serve() as first, visiting(sandbox, first) as visitor:
            await visitor.create()
        port = httpx.URL(first).port or 0
        async with sandbox.serve(port=port) as second, visiting(sandbox, second) as visitor:
            assert second == first
            assert (await visitor.status()).status_code == 200


async def test_two_at_once() -> None:
    async with Sandbox() as sandbox, sandbox.serve() as one, sandbox.serve() as other:
        async with visiting(sandbox, one) as visitor:
            await visitor.create()
        async with visiting(sandbox, other) as visitor:
            assert (await visitor.status()).status_code == 200


async def test_taken_port() -> None:
    async with Sandbox() as sandbox, sandbox.serve() as url:
        with pytest.raises(OSError, match="in use"):
            async with sandbox.serve(port=httpx.URL(url).port or 0):
                pass


async def test_ipv6() -> None:
    async with Sandbox() as sandbox, sandbox.serve("::1") as url:
        assert url.startswith("http://[::1]:")
        sandbox.weather = Weather(kind="dropped", times=1)
        async with visiting(sandbox, url) as visitor:
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await visitor.create()
            assert (await visitor.status()).status_code == 200


async def test_outside_of_the_block() -> None:
    with pytest.raises(RuntimeError, match="async with Sandbox"):
        async with Sandbox().serve():
            pass


def test_on_trio() -> None:
    async def serve() -> None:
        async with Sandbox() as sandbox, sandbox.serve():
            pass

    with pytest.raises(RuntimeError, match=r"sandbox\.transport"):
        anyio.run(serve, backend="trio")


class TestTLS:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def verify(self, authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(context)
        return context

    @pytest.fixture
    def files(self, authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path]:
        certificate = authority.issue_cert("127.0.0.1")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        return tmp_path / "cert.pem", tmp_path / "key.pem"

    async def test_answers(self, files: tuple[Path, Path], verify: ssl.SSLContext) -> None:
        cert, key = files
        async with Sandbox() as sandbox, sandbox.serve(ssl_certfile=cert, ssl_keyfile=key) as url:
            assert url.startswith("https://127.0.0.1:")
            async with visiting(sandbox, url, verify) as visitor:
                answer = await visitor.create()
                assert answer.json()["data"]["checkoutUrl"].startswith(url)
                await visitor.held(
                    lambda: visitor.status(held=True),
                    lambda: sandbox.settle("ORDER42", "COMPLETED"),
                )
                sandbox.weather = Weather(kind="dropped", times=1)
                with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                    await visitor.status()

    async def test_certificate_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "cert.pem").write_text("none")
        async with Sandbox() as sandbox:
            with pytest.raises(ssl.SSLError):
                async with sandbox.serve(ssl_certfile=tmp_path / "cert.pem"):
                    pass
            with pytest.raises(FileNotFoundError):
                async with sandbox.serve(ssl_certfile=tmp_path / "missing.pem"):
                    pass


class TestDropped:
    async def test_really_closes_the_connection(self) -> None:
        async with Sandbox(weather=Weather(kind="dropped")) as sandbox, sandbox.serve() as url:
            address = httpx.URL(url)
            async with await anyio.connect_tcp(address.host, address.port or 0) as stream:
                request = b"GET /api/payments-v2/X HTTP/1.1\r\nHost: sandbox.test\r\n\r\n"
                await stream.send(request)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()

    async def test_says_nothing_in_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        async with Sandbox() as sandbox, sandbox.serve() as url, visiting(sandbox, url) as visitor:
            await visitor.create()
            sandbox.weather = Weather(kind="dropped")
            for held in (False, True):
                with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                    await visitor.status(held=held)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    async def test_whatever_a_proxy_claims(self) -> None:
        async with Sandbox() as sandbox, sandbox.serve() as url, visiting(sandbox, url) as visitor:
            visitor.http.headers["X-Forwarded-For"] = "192.0.2.1"
            assert (await visitor.create()).status_code == 200


async def test_logs_no_request(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    theirs = logging.getLogger("uvicorn.access")
    before = (list(theirs.handlers), theirs.propagate, theirs.level)
    caplog.set_level(logging.DEBUG)
    async with Sandbox() as sandbox, sandbox.serve() as url, visiting(sandbox, url) as visitor:
        await visitor.paid()
    said = [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")]
    for secret in (MOBILE, *sandbox.credentials.values()):
        assert not [message for message in said if secret in message]
    assert "ORDER42" not in "".join(said)
    assert (list(theirs.handlers), theirs.propagate, theirs.level) == before
    assert capfd.readouterr() == ("", "")


async def test_signals_are_left_to_the_program() -> None:
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with Sandbox() as sandbox, sandbox.serve():
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_a_hundred_come_at_once() -> None:
    number = 100  # no more: httpx looks at each connection for each request
    limits = httpx.Limits(max_connections=None)
    async with (
        Sandbox() as sandbox,
        sandbox.serve() as url,
        httpx.AsyncClient(base_url=url, verify=PLAIN, limits=limits, timeout=PATIENCE) as http,
    ):
        visitor = Visitor(sandbox, http)
        await visitor.create()
        answers = await visitor.held(
            lambda: visitor.status(held=True),
            lambda: sandbox.settle("ORDER42", "COMPLETED"),
            number=number,
        )
    assert [answer.json()["data"]["status"] for answer in answers] == ["COMPLETED"] * number
