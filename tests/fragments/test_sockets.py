"""Prefixes and splits of documented answers on real sockets, over both transports.

With TLS a man in the middle cuts the stream of records.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import anyio.lowlevel
import pytest

from little_pay_async import AsyncLittlePay
from little_pay_async._transport.leasing import one_connection

from ..leases import leasing
from ..servers import Exchange, ScriptedServer
from ..sessions import session
from ..tls_peers import Peers, client_context, server_context
from .in_memory import Cut, first, in_two, one_by_one, whole
from .scenes import EVERY, FRAMINGS, Framing, Scene, each_scene, places

pytestmark = pytest.mark.anyio

plain_and_tls = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
STEP = 25 if EVERY else 200
ASYNCIO, UVLOOP, TRIO = ("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})
# All in one test, for servers and sessions take time too, unless that has much to do.
some_framings = pytest.mark.parametrize(
    "framings",
    [[framing] for framing in FRAMINGS.values()] if EVERY else [list(FRAMINGS.values())],
    ids=FRAMINGS if EVERY else ["all framings"],
)
BY = {"pooled, uvloop": (UVLOOP, False), "leasing, trio": (TRIO, True)}
if EVERY:
    BY |= {
        "pooled, asyncio": (ASYNCIO, False),
        "leasing, asyncio": (ASYNCIO, True),
        "leasing, uvloop": (UVLOOP, True),
    }


@pytest.fixture(scope="module", params=BY.values(), ids=BY)
def by(request: pytest.FixtureRequest) -> tuple[object, bool]:
    """An event loop, and whether connections are leased."""
    return request.param


@pytest.fixture(scope="module")
def anyio_backend(by: tuple[object, bool]) -> object:
    return by[0]


@pytest.fixture
def leases(by: tuple[object, bool]) -> bool:
    return by[1]


class Cutter:
    """A server of which one answer comes in pieces; all after it come whole.

    Attributes:
        parts: Of what is answered; each is a record of its own if there is TLS.
        cut: What becomes of the stream of the one answer.
        ends: Does each connection end after an answer?
        length: Of the stream that was sent last, before it was cut.
    """

    def __init__(self, *, tls: bool) -> None:
        self.parts: list[bytes] = []
        self.cut: Cut = whole
        self.ends = False
        self.length = 0
        self._peers = Peers(server_context()) if tls else None
        self.server = ScriptedServer(self._answer, greeting=self._peers)

    @property
    def base_url(self) -> str:
        return f"{'https' if self._peers else 'http'}://127.0.0.1:{self.server.port}"

    async def _answer(self, exchange: Exchange) -> None:
        cut, self.cut = self.cut, whole
        ends = self.ends
        if self._peers is None:
            stream, goodbye, send = b"".join(self.parts), b"", exchange.send
        else:
            peer = self._peers.of(exchange)
            stream, send = peer.encrypted(*self.parts), peer.raw.send
            goodbye = peer.farewell() if ends else b""
        self.length = len(stream)
        came = 0
        for piece in cut(stream):
            came += len(piece)
            await send(piece)
            for _ in range(3):  # the client is on the same loop: it reads the piece alone
                await anyio.lowlevel.checkpoint()
        if came < len(stream):
            await exchange.close()
        elif ends:
            await send(goodbye)
            await exchange.close()


@contextlib.asynccontextmanager
async def cutting(*, tls: bool, leases: bool) -> AsyncIterator[tuple[Cutter, AsyncLittlePay]]:
    """Give a server that cuts, and a session with it over a transport."""
    cutter = Cutter(tls=tls)
    context = client_context()
    open_pool = partial(one_connection, ssl_context=context)
    by = {"transport": leasing(10, open_pool=open_pool)} if leases else {"ssl_context": context}
    async with cutter.server, session(cutter.base_url, max_retries=0, **by) as pay:
        yield cutter, pay


async def check(scene: Scene, pay: AsyncLittlePay, cutter: Cutter, *, is_right: bool) -> None:
    requests = cutter.server.requests
    requests.clear()
    expected = await scene.check(pay, is_right=is_right)
    assert [request.method for request in requests] == [scene.method] * expected


@plain_and_tls
@some_framings
@each_scene
async def test_prefixes(
    scene: Scene, framings: list[Framing], leases: bool, tls: bool, tried: Counter[str]
) -> None:
    async with cutting(tls=tls, leases=leases) as (cutter, pay):
        for framing in framings:
            cutter.parts, cutter.ends = framing.wire(scene.answer), framing.until_end
            await check(scene, pay, cutter, is_right=True)
            stream = b"".join(cutter.parts)
            for place in (0, *places(bytes(cutter.length), step=STEP, every=False)):
                cutter.cut = first(place)
                is_whole = not tls and framing.is_whole(
                    stream[:place], scene.answer, ends_well=True
                )
                await check(scene, pay, cutter, is_right=is_whole)
                tried["prefixes on sockets"] += 1
            await check(scene, pay, cutter, is_right=True)


@plain_and_tls
@some_framings
@each_scene
async def test_splits_in_two(
    scene: Scene, framings: list[Framing], leases: bool, tls: bool, tried: Counter[str]
) -> None:
    async with cutting(tls=tls, leases=leases) as (cutter, pay):
        for framing in framings:
            cutter.parts, cutter.ends = framing.wire(scene.answer), framing.until_end
            await check(scene, pay, cutter, is_right=True)
            for place in places(bytes(cutter.length), step=STEP, every=False):
                cutter.cut = in_two(place)
                await check(scene, pay, cutter, is_right=True)
                tried["splits on sockets"] += 1


@plain_and_tls
@some_framings
@each_scene
async def test_byte_by_byte(
    scene: Scene, framings: list[Framing], leases: bool, tls: bool, tried: Counter[str]
) -> None:
    async with cutting(tls=tls, leases=leases) as (cutter, pay):
        for framing in framings if EVERY else [FRAMINGS["chunks"]]:
            cutter.parts, cutter.ends = framing.wire(scene.answer), framing.until_end
            cutter.cut = one_by_one
            await check(scene, pay, cutter, is_right=True)
            tried["answers byte by byte on sockets"] += 1
