"""Draws what commands show on a terminal, from real runs: `nox -s pictures`."""  # noqa: INP001 - a script

import asyncio
import io
import os
import pty
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.text import Text

from little_pay_async import AsyncLittlePay, Provider
from little_pay_async.sandbox import Sandbox

IMAGES = Path(__file__).parent / "images"
COMMAND = (sys.executable, "-P", "-m", "little_pay_async")
WIDTH, HEIGHT = 80, 30  # signs and lines
LARGEST = 150 * 1024
# rich's own template has its font loaded from elsewhere.
TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas,
    "DejaVu Sans Mono", "Liberation Mono", monospace;
}}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
# What rich says to a terminal beside text and colours: the one line up, the other erase it.
ORDER = re.compile(r"\x1b\[1A|\x1b\[2K|\x1b\[\?25[lh]|\r|\n")
UP, ERASE = "\x1b[1A", "\x1b[2K"
# How long payers take: the middle, in seconds, and how many there are.
PAYERS = {Provider.MPESA: (2.5, 165), Provider.AIRTEL: (4.0, 81), Provider.MTN: (5.5, 54)}


def shown_by(*arguments: str, environment: Mapping[str, str]) -> list[str]:
    """Run a command on a terminal, and return the lines that it leaves there, in their colours."""
    ours, theirs = pty.openpty()
    kept = {name: text for name, text in os.environ.items() if not name.startswith("LITTLE_PAY_")}
    kept.pop("NO_COLOR", None)
    size = {"TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT)}
    with subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, *arguments],
        env=kept | size | environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        written = b""
        while part := read(ours):
            written += part
    os.close(ours)
    if process.returncode not in {0, 1}:  # 1: a payer declined
        sys.exit(f"little-pay {arguments[0]} ended with {process.returncode}")
    return left_by(written.decode())


def read(terminal: int) -> bytes:
    """Return what comes next, or nothing when all is said."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def left_by(written: str) -> list[str]:
    """Return the lines that are left once all orders to the terminal were followed."""
    lines, row, start = [""], 0, 0
    for order in ORDER.finditer(written):
        lines[row] += written[start : order.start()]
        start = order.end()
        if order[0] == UP:
            row -= 1
        elif order[0] == ERASE:
            lines[row] = ""
        elif order[0] == "\n":
            row += 1
            lines += [""] * (row == len(lines))
    return lines[: row + 1]


async def demo() -> list[str]:
    """Show `little-pay demo`."""
    return ["\x1b[1m$\x1b[0m little-pay demo", *shown_by("demo", environment={})]


async def watch() -> list[str]:
    """Show the end of `little-pay watch`, with payers some of whom decline."""
    chance = random.Random(0)  # noqa: S311 - no cryptography here
    async with (
        Sandbox() as sandbox,
        sandbox.serve() as url,
        AsyncLittlePay(**sandbox.credentials, base_url=url) as pay,
        asyncio.TaskGroup() as payers,
    ):
        takes: dict[str, float] = {}
        for provider, (middle, number) in PAYERS.items():
            for _ in range(number):
                key = f"ORDER{len(takes) + 1:03}"
                intent = await pay.create_intent(
                    amount=chance.randrange(50, 5_000, 50),
                    key=key,
                    description="Tickets",
                    callback_url="https://shop.example/callbacks/little-pay",
                )
                await pay.process(intent, provider, "+254712345678")
                takes[key] = chance.lognormvariate(0, 0.5) * middle
        decline = set(chance.sample(list(takes), 18))

        async def answer(key: str) -> None:
            await asyncio.sleep(1 + takes[key])  # the command must come up first
            status = "FAILED" if key in decline else "COMPLETED"
            sandbox.settle(key, status, "The payer declined" if key in decline else "Success")

        for key in takes:
            payers.create_task(answer(key))
        environment = {
            "LITTLE_PAY_BASE_URL": url,
            "LITTLE_PAY_API_KEY": sandbox.credentials["api_key"],
            "no_proxy": "*",
        }
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as keys:
            keys.writelines(f"{key}\n" for key in takes)
            keys.flush()
            arguments = ("watch", "--from", keys.name)
            return await asyncio.to_thread(shown_by, *arguments, environment=environment)


def picture(name: str, title: str, lines: list[str]) -> str:
    """Return the last lines of a terminal as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    while not lines[-1]:
        lines.pop()
    for line in lines[-HEIGHT:]:
        console.print(Text.from_ansi(line), soft_wrap=True)
    return console.export_svg(title=title, code_format=TEMPLATE, unique_id=name)


def main() -> None:
    """Draw all of them."""
    for name, title, run in (
        ("demo", "little-pay demo", demo),
        ("watch", "little-pay watch --from keys.txt", watch),
    ):
        text = picture(name, title, asyncio.run(run()))
        ET.fromstring(text)  # noqa: S314 - our own
        (IMAGES / f"{name}.svg").write_text(text, encoding="utf-8")
        size = len(text.encode())
        print(f"{name}.svg: {size:,} bytes")  # noqa: T201
        if size > LARGEST:
            sys.exit(f"{name}.svg is too large")


main()
