"""Every prefix and every split of every documented answer, through the whole session.

The network is in memory, so that each byte comes when it is to come. A money POST that is not
answered as a whole is never sent a second time.
"""

from collections import Counter
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from little_pay_async import AsyncLittlePay

from ..leases import a_few_steps
from ..sessions import session, without_pauses
from ..tls_peers import client_context
from .in_memory import Answer, Network, first, in_memory, in_two, one_by_one
from .scenes import EVERY, FRAMINGS, SCENES, Framing, Scene, each_framing, each_scene, places

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]

plain_and_tls = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
STEP = 40
WITH_TLS = 7 if EVERY else 120  # which takes longer


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("asyncio", {"use_uvloop": True})  # the loop has no part in it


def session_by(
    network: Network, *, retries: int = 0
) -> AbstractAsyncContextManager[AsyncLittlePay]:
    base_url = "https://127.0.0.1" if network.tls else "http://127.0.0.1"
    return session(base_url, max_retries=retries, ssl_context=client_context())


def nth(first_answer: Answer, others: Answer, number: int) -> Answer:
    return first_answer if number == 1 else others


async def check(
    scene: Scene, pay: AsyncLittlePay, network: Network, answer: Answer, *, is_right: bool
) -> None:
    network.requests.clear()
    others = Answer(FRAMINGS["a length"].wire(scene.answer))
    network.answer = partial(nth, answer, others)
    requests = await scene.check(pay, is_right=is_right)
    assert len(network.requests) == requests


@each_framing
@each_scene
@pytest.mark.parametrize(
    ("tls", "then"),
    [(False, "end"), (False, "reset"), (True, "end"), (True, "goodbye"), (True, "reset")],
)
async def test_every_prefix_that_a_server_sends(
    scene: Scene, framing: Framing, tls: bool, then: str, tried: Counter[str]
) -> None:
    stream = b"".join(framing.wire(scene.answer))
    ends_well = then == "goodbye" or (then == "end" and not tls)
    # What TLS makes of every prefix is seen below.
    some = places(stream, step=WITH_TLS, every=False) if tls else places(stream, step=STEP)
    with in_memory(Network(tls=tls)) as network:
        async with session_by(network) as pay:
            for place in (0, *some, len(stream)):
                is_whole = framing.is_whole(stream[:place], scene.answer, ends_well=ends_well)
                answer = Answer([stream[:place]] if place else [], then=then)
                await check(scene, pay, network, answer, is_right=is_whole)
                tried["prefixes"] += 1


@each_framing
@each_scene
@pytest.mark.parametrize("then", ["end", "reset"])
async def test_every_prefix_of_the_records(
    scene: Scene, framing: Framing, then: str, tried: Counter[str]
) -> None:
    """A man in the middle can't say goodbye, so that whatever ends with the stream is lost too."""
    parts = framing.wire(scene.answer)
    with in_memory(Network(tls=True)) as network:
        async with session_by(network) as pay:
            await check(scene, pay, network, Answer(parts, then="goodbye"), is_right=True)
            await a_few_steps()  # in which the goodbye comes
            length = len(network.stream)
            for place in (0, *places(network.stream, step=WITH_TLS), length):
                answer = Answer(parts, first(place), then)
                is_whole = place == length and not framing.until_end
                await check(scene, pay, network, answer, is_right=is_whole)
                tried["prefixes of TLS records"] += 1


@plain_and_tls
@each_framing
@each_scene
async def test_every_split_in_two(
    scene: Scene, framing: Framing, tls: bool, tried: Counter[str]
) -> None:
    parts = framing.wire(scene.answer)
    with in_memory(Network(tls=tls)) as network:
        async with session_by(network) as pay:
            then = "goodbye" if framing.until_end else ""
            await check(scene, pay, network, Answer(parts, then=then), is_right=True)
            for place in places(network.stream, step=WITH_TLS if tls else STEP):
                network.pieces = 0
                await check(scene, pay, network, Answer(parts, in_two(place), then), is_right=True)
                assert tls or network.pieces == 2
                tried["splits of TLS records" if tls else "splits"] += 1


@plain_and_tls
@each_framing
@each_scene
async def test_byte_by_byte(scene: Scene, framing: Framing, tls: bool, tried: Counter[str]) -> None:
    parts = framing.wire(scene.answer)
    with in_memory(Network(tls=tls)) as network:
        async with session_by(network) as pay:
            then = "goodbye" if framing.until_end else ""
            await check(scene, pay, network, Answer(parts, one_by_one, then), is_right=True)
            assert network.pieces >= len(network.stream)
            tried["answers byte by byte"] += 1


@each_framing
@pytest.mark.parametrize("name", ["status", "long_poll"])
async def test_a_get_is_made_again_after_every_prefix(
    name: str, framing: Framing, tried: Counter[str]
) -> None:
    scene = SCENES[name]
    parts = framing.wire(scene.answer)
    stream = b"".join(parts)
    whole = Answer(parts, then="end")
    with in_memory(Network(tls=False)) as network:
        async with session_by(network, retries=1) as pay:
            for place in (0, *places(stream, step=STEP)):
                if framing.is_whole(stream[:place], scene.answer, ends_well=True):
                    continue
                without_pauses(pay)  # and with a budget for retries that is full
                network.requests.clear()
                network.answer = partial(nth, Answer(parts, first(place), "end"), whole)
                assert await scene.call(pay) == scene.right
                assert len(network.requests) == 2
                tried["prefixes before the whole"] += 1
