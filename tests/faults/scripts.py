"""What a broken server, or a network, does to a request: scripts for `ScriptedServer`."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio

from ..servers import (
    Arrived,
    Exchange,
    Script,
    answers_well,
    payment,
    response,
    right_answer,
    sends,
)
from .meanings import Meaning
from .operations import ANOTHER

LINE = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = {"Transfer-Encoding": "chunked"}


def right_body(request: Arrived) -> bytes:
    return right_answer(request).partition(b"\r\n\r\n")[2]


# --- Which requests are struck


def where(struck: Callable[[Arrived], bool], script: Script) -> Script:
    """Do what the script does to some requests, and answer the others well."""

    async def chosen(exchange: Exchange) -> None:
        await (script if struck(exchange.request) else answers_well)(exchange)

    return chosen


def once(script: Script) -> Script:
    """Do what the script does to the first request for each key; answer the others well."""
    seen: set[bool] = set()

    async def first(exchange: Exchange) -> None:
        key = ANOTHER in exchange.request.target
        chosen = answers_well if key in seen else script
        seen.add(key)
        await chosen(exchange)

    return first


def on_the_first_connection(script: Script) -> Script:
    """Do what the script does to whatever comes on the connection that was there before."""
    return where(lambda request: request.connection == 0, script)


# --- What breaks off


def cut(share: float) -> Script:
    """Send a part of the right answer, then end the stream."""

    async def script(exchange: Exchange) -> None:
        answer = right_answer(exchange.request)
        await exchange.send(answer[: int(len(answer) * share)])
        await exchange.close()

    return script


async def resets_within(exchange: Exchange) -> None:
    answer = right_answer(exchange.request)
    await exchange.send(answer[: len(answer) // 2])
    await exchange.reset()


def chunks(end: bytes) -> Script:
    """Send the right body as a chunk, and then an end that is none."""

    async def script(exchange: Exchange) -> None:
        body = right_body(exchange.request)
        head = response(headers=_CHUNKED, length=-1)
        await exchange.send(head + b"%x\r\n%s\r\n" % (len(body), body) + end)
        await exchange.close()

    return script


def until_the_end(drop: int) -> Script:
    """Send a body that no length delimits, less its last bytes, and end the stream."""

    async def script(exchange: Exchange) -> None:
        body = right_body(exchange.request)
        await exchange.send(response(body[: len(body) - drop], length=-1))
        await exchange.close()

    return script


async def promises_less_than_it_sends(exchange: Exchange) -> None:
    await exchange.send(response(right_body(exchange.request), length=10))


# --- What takes for ever


def drips(begin: bytes, drop: bytes) -> Script:
    """Send a drop every two seconds, so that no wait for the next byte is ever long."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(begin)
        while True:
            await anyio.sleep(2)
            await exchange.send(drop)

    return script


def floods(begin: bytes, wave: bytes) -> Script:
    """Send without an end, as fast as it is taken."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(begin)
        while True:
            await exchange.send(wave)

    return script


# --- What is answered


def status(line: str, headers: Mapping[str, str] | None = None) -> Script:
    return sends(response(b'{"message": "made up"}', line, headers))


def answers(*statuses: tuple[str, Meaning]) -> list[tuple[str, Script, Meaning]]:
    """Return rows of statuses, each named after itself."""
    return [(f"HTTP {line}", status(line), meaning) for line, meaning in statuses]


async def asks_to_come_at(exchange: Exchange) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    await exchange.send(response(b"", "503 Service Unavailable", {"Retry-After": when}))


def body(data: bytes, content_type: str | None = "application/json") -> Script:
    return sends(response(data, content_type=content_type))


def right_but(
    *, before: bytes = b"", line: bytes = LINE, head: bytes = b"", after: bytes = b""
) -> Script:
    """Send the right answer with more before it, another first line, more headers, more after."""

    async def script(exchange: Exchange) -> None:
        whole = right_answer(exchange.request)
        assert whole.startswith(LINE)
        await exchange.send(before + line + head + whole.removeprefix(LINE) + after)

    return script


def right_with(**fields: Any) -> Script:
    """Answer well, but with other fields in `data`."""

    async def script(exchange: Exchange) -> None:
        document = json.loads(right_body(exchange.request))
        document["data"] |= fields
        await exchange.send(response(json.dumps(document).encode()))

    return script


def right_with_raw(field: bytes) -> Script:
    """Answer well, but with a field more in `data`, or another one, that is no valid JSON here."""

    async def script(exchange: Exchange) -> None:
        begin, _, rest = right_body(exchange.request).partition(b'"data": {')
        name = json.loads(b"[%s]" % field.partition(b":")[0])[0]
        rest = re.sub(rb'"%s": [^,}]+(, )?' % name.encode(), b"", rest, count=1)
        await exchange.send(response(begin + b'"data": {' + field + b", " + rest))

    return script


# --- What is done with connections that stay


async def answers_and_leaves(exchange: Exchange) -> None:
    await answers_well(exchange)
    await exchange.close()


async def tells_more_when_idle(exchange: Exchange) -> None:
    await answers_well(exchange)
    await anyio.sleep(1)
    await exchange.send(response(payment("FAILED", key="OTHER")))
