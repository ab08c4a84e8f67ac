"""Makes the pictures of the documents: `nox -s pictures`."""  # noqa: INP001 - a script

import asyncio
import os
import shutil
import sys
from pathlib import Path

from playwright.async_api import ViewportSize, async_playwright
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

from little_pay_async import AsyncLittlePay
from little_pay_async.sandbox import Sandbox
from little_pay_async.sandbox.serving import serving

IMAGES = Path(__file__).parent / "images"
SIZE = ViewportSize(width=1100, height=720)
LARGEST = 150 * 1024


async def thank(_: Request) -> PlainTextResponse:
    """Answer a callback."""
    return PlainTextResponse("thank you")


async def fill(sandbox: Sandbox, pay: AsyncLittlePay, shop: str) -> None:
    """Have three payments there: one that failed, one that was paid, one that rings."""
    for key, amount, status, message in (
        ("ORDER40", "750", "FAILED", "The payer declined"),
        ("ORDER41", "1250.50", "COMPLETED", "Success"),
        ("ORDER42", "300", None, ""),
    ):
        intent = await pay.create_intent(
            amount=amount, key=key, description="2 tickets", callback_url=f"{shop}/callbacks"
        )
        await pay.process(intent, "MPESA", "+254712345678")
        if status is not None:
            sandbox.settle(key, status, message)


async def main() -> None:
    """Make them."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("No Chromium: apt-get install chromium, or its path as CHROMIUM")
    app = Router([Route("/callbacks", thank, methods=["POST"])])
    arguments = [] if os.geteuid() else ["--no-sandbox"]
    async with (
        Sandbox(merchant="Tickets & Co") as sandbox,
        sandbox.serve() as url,
        AsyncLittlePay(**sandbox.credentials, base_url=url) as pay,
        serving(
            app, "127.0.0.1", 0, ssl_certfile=None, ssl_keyfile=None, let_go=lambda: None
        ) as shop,
        async_playwright() as playwright,
    ):
        await fill(sandbox, pay, shop)
        browser = await playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = await browser.new_page(viewport=SIZE)
        for name, scheme in (("sandbox.png", "light"), ("sandbox-dark.png", "dark")):
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            await page.goto(url)
            await page.get_by_text("the app answered 200").first.click()
            await page.screenshot(path=IMAGES / name)
            size = (IMAGES / name).stat().st_size
            print(f"{name}: {size:,} bytes")  # noqa: T201
            if size > LARGEST:
                sys.exit(f"{name} is too large")
        await browser.close()


asyncio.run(main())
