"""One connection: what it sends, how it ends and how it fails."""

import socket
import sys
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel
import httpx
import pytest

from little_pay_async._transport import connecting as connecting_module

from .leases import (
    a_few_steps,
    answers,
    plain_and_tls,
    sends_half,
    serving,
    until,
)
from .pools import client_over, new_pool, state
from .servers import (
    Exchange,
    ScriptedServer,
    full_backlog,
    in_turn,
    is_silent,
    response,
    server_tls,
)

if TYPE_CHECKING:
    from types import FrameType

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]


# --- Limits in time


@pytest.mark.parametrize("limit", [0.0, 0.01, None])
@pytest.mark.parametrize("where", ["TCP", "TLS"])
@pytest.mark.threat("T8")
async def test_connecting_is_bounded(
    where: str, limit: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the request sets no limit: who connects stands in the way of others."""
    if limit is None:
        monkeypatch.setattr(connecting_module, "_LONGEST", 0.01)

    async def says_nothing(connection: Any) -> None:
        while await connection.stream.receive():  # raises at the end
            pass

    pool = new_pool()
    async with (
        ScriptedServer(answers, tls=server_tls(), greeting=says_nothing) as server,
        full_backlog() as unreachable,
        client_over(pool, server) as client,
    ):
        url = unreachable if where == "TCP" else "/"
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(url, timeout=httpx.Timeout(None, connect=limit))
        assert state(pool) == (0, 0, 0)
        await server.until(lambda: server.open == 0)


@plain_and_tls
@pytest.mark.parametrize("script", [is_silent, sends_half])
@pytest.mark.threat("T8")
async def test_silence_is_bounded(script: Any, tls: bool) -> None:
    pool = new_pool()
    async with serving(script, tls=tls) as server, client_over(pool, server) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=httpx.Timeout(None, read=0.01))
        assert state(pool) == (0, 0, 0)
        await server.until(lambda: server.open == 0)


async def test_it_is_the_silence_that_is_bounded_not_the_response() -> None:
    async def in_many_parts(exchange: Exchange) -> None:
        for byte in response(b"....."):
            await exchange.send(bytes([byte]))
            await anyio.sleep(0.01)

    pool = new_pool()
    async with ScriptedServer(in_many_parts) as server, client_over(pool, server) as client:
        limits = httpx.Timeout(None, read=0.5)  # it takes longer than that as a whole
        assert (await client.get("/", timeout=limits)).text == "....."


# --- What it sends


async def test_what_is_sent_is_what_httpx_hands_over() -> None:
    came = bytearray()

    async def takes_all(connection: Any) -> None:
        while not came.endswith(b"end"):
            came.extend(await connection.stream.receive())
        await connection.stream.send(response())
        await connection.close()

    async def body() -> AsyncIterator[bytes]:
        yield b"\0\r\n"
        await anyio.lowlevel.checkpoint()
        yield b"end"

    pool = new_pool()
    async with (
        ScriptedServer(answers, greeting=takes_all) as server,
        client_over(pool, server) as client,
    ):
        request = client.build_request(
            "PUT",
            "/not/this",
            content=body(),
            headers=[("X-Odd", "a"), ("x-odd", "b: c"), ("content-length", "6")],
            extensions={"target": b"/this?a=%20&b=\xc3\xa9"},
        )
        assert (await client.send(request)).is_success
        lines = [b"%b: %b\r\n" % header for header in request.headers.raw]
        head = b"PUT /this?a=%20&b=\xc3\xa9 HTTP/1.1\r\n" + b"".join(lines)
        assert bytes(came) == head + b"\r\n\0\r\nend"


async def test_a_body_that_fails_sends_nothing() -> None:
    async def fails() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        with pytest.raises(ZeroDivisionError):
            await client.post("/", content=fails())
        assert state(pool) == (0, 0, 0)
        assert server.received == 0


async def test_no_frame_that_waits_for_a_trace_shows_what_is_sent_or_came() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(response(b"CANARY", headers={"x": "CANARY"}))

    shown: list[str] = []

    async def trace(name: str, info: Mapping[str, Any]) -> None:
        nonlocal told
        told += 1
        frame: FrameType | None = sys._getframe(1)  # whoever awaits this
        while frame is not None:
            if "little_pay_async" in frame.f_code.co_filename:
                shown.extend(
                    f"{name}: {frame.f_code.co_name}.{local}"
                    for local, value in frame.f_locals.items()
                    if "CANARY" in repr(value)
                )
            frame = frame.f_back

    told = 0
    pool = new_pool()
    async with ScriptedServer(script) as server, client_over(pool, server) as client:
        for _ in range(2):
            await client.post(
                "/",
                content=b"CANARY",
                headers={"x": "CANARY"},
                extensions={"trace": trace, "target": b"/CANARY"},
            )
    assert told > 15
    assert shown == []


# --- How it ends


@plain_and_tls
async def test_a_whole_response_counts_whatever_follows_it(tls: bool) -> None:
    async def answers_and_resets(exchange: Exchange) -> None:
        await answers(exchange)
        await exchange.reset()

    pool = new_pool()
    async with serving(answers_and_resets, tls=tls) as server, client_over(pool, server) as client:
        for number in range(9):
            assert (await client.get("/")).text == str(number)
            await server.until(lambda: server.open == 0)


async def test_a_response_that_the_end_delimits_is_broken_by_a_reset() -> None:
    async def sends_and_resets(exchange: Exchange) -> None:
        await exchange.send(response(b"half", length=-1))
        await may_go.wait()
        await exchange.reset()

    may_go = anyio.Event()
    pool = new_pool()
    async with ScriptedServer(sends_and_resets) as server, client_over(pool, server) as client:
        async with client.stream("GET", "/") as answer:
            parts = answer.aiter_raw()
            assert await anext(parts) == b"half"
            may_go.set()
            with pytest.raises(httpx.ReadError):
                await anext(parts)
        assert state(pool) == (0, 0, 0)


class Peer:
    """A server that acts without giving the event loop a turn."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets: list[socket.socket] = []

    async def answer(self) -> None:
        """Answer the next request, on a connection that has to be made for it."""
        accepted, _ = await self._when_ready(self.listener.accept)
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sockets.append(accepted)
        await self.answer_again()

    async def answer_again(self) -> None:
        assert await self._when_ready(lambda: self.sockets[-1].recv(9999))
        self.sockets[-1].send(response(b"%d" % len(self.sockets)))

    async def _when_ready(self, call: Any) -> Any:
        while True:
            try:
                return call()
            except BlockingIOError:
                await anyio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self.listener, *self.sockets):
            one.close()


@pytest.mark.parametrize("event", ["end", "reset", "unasked"])
async def test_what_happened_in_this_very_step_is_noticed_when_a_connection_is_taken(
    event: str,
) -> None:
    """The event loop has had no turn to tell of it."""
    pool = new_pool()
    async with ScriptedServer(answers) as server, client_over(pool, server) as client:
        with Peer() as peer:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.answer)
                assert (await client.get(peer.url)).text == "1"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.answer_again)
                assert (await client.get(peer.url)).text == "1"
            if event == "unasked":
                peer.sockets[-1].send(response(b"unasked"))
            else:
                if event == "reset":
                    linger = b"\1\0\0\0\0\0\0\0"
                    peer.sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                peer.sockets[-1].close()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.answer)
                assert (await client.get(peer.url)).text == "2"
            assert state(pool) == (0, 1, 0)


async def test_a_connection_that_ends_when_it_is_used_again_breaks_the_request() -> None:
    """It may have been read, and nobody here can know: it is not sent again."""
    pool = new_pool()
    for end in (Exchange.close, Exchange.reset):
        script = in_turn(answers, end)
        async with ScriptedServer(script) as server, client_over(new_pool(), server) as client:
            await client.get("/")
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await client.get("/")
            assert (len(server.requests), server.connections) == (2, 1)
    assert state(pool) == (0, 0, 0)


async def test_who_ends_a_connection_at_once_has_been_sent_nothing() -> None:
    """As far as the loop has told of it when the request is to be sent."""
    made, ended = anyio.Event(), anyio.Event()

    async def trace(name: str, info: object) -> None:
        if name == "connection.connect_tcp.complete":
            made.set()
            await ended.wait()

    async def ends(connection: Any) -> None:
        await made.wait()
        await connection.reset()

    pool = new_pool()
    async with (
        ScriptedServer(answers, greeting=ends) as server,
        client_over(pool, server) as client,
        anyio.create_task_group() as tasks,
    ):

        async def refused() -> None:
            with pytest.raises(httpx.ConnectError):
                await client.get("/", extensions={"trace": trace})

        tasks.start_soon(refused)
        await made.wait()
        await server.until(lambda: server.open == 0)
        await until(lambda: server.connections == 1)
        await a_few_steps()
        ended.set()
    assert state(pool) == (0, 0, 0)
