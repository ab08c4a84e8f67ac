"""The sandbox's page in a real browser: Debian's Chromium, driven by Playwright.

An app on FastAPI, the sandbox and the browser are together here, each on a socket of its own.
"""

import importlib.util
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import attrs
import httpx
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from starlette.types import ASGIApp

from little_pay_async import AsyncLittlePay
from little_pay_async.callbacks import CallbackVerifier, PaymentCallback
from little_pay_async.sandbox import Sandbox
from little_pay_async.sandbox.serving import serving

from .integrations.serving import free_port
from .test_examples import WITHOUT_CREDENTIALS, run_shop

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
MISSING = [
    *([] if CHROMIUM else ["Chromium: apt-get install chromium, or its path as CHROMIUM"]),
    *(
        f"{name}: pip install {name}"
        for name in ("fastapi", "playwright")
        if importlib.util.find_spec(name) is None
    ),
]
# Playwright knows asyncio alone; uvloop's and the debug mode's are tested with httpx.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(bool(MISSING), reason=f"not looked at in a browser without {MISSING}"),
]
PATIENCE = 20_000.0  # milliseconds


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> "AsyncIterator[Browser]":
    from playwright.async_api import async_playwright

    sandboxed = sys.platform == "linux" and os.geteuid() != 0
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[] if sandboxed else ["--no-sandbox"]
        )
        yield browser
        await browser.close()


@attrs.define
class Shop:
    """An app that sells, and its sandbox."""

    sandbox: Sandbox
    sandbox_url: str
    http: httpx.AsyncClient

    async def buy(self, order: str, **changes: str) -> dict[str, Any]:
        bought = await self.http.post(f"/orders/{order}", params=changes)
        assert bought.status_code == 200, bought.text
        made: dict[str, Any] = bought.json()
        return made

    async def state(self, order: str) -> str:
        return str((await self.http.get(f"/orders/{order}")).json())


@pytest.fixture
async def shop(anyio_backend: str) -> AsyncIterator[Shop]:
    async with (
        Sandbox(merchant="Tickets & Co") as sandbox,
        sandbox.serve() as url,
        AsyncLittlePay(**sandbox.credentials, base_url=url) as pay,
        app_of_a_shop(pay, CallbackVerifier([sandbox.public_key])) as shop_url,
        httpx.AsyncClient(base_url=shop_url, trust_env=False, timeout=20) as http,
    ):
        yield Shop(sandbox, url, http)


@asynccontextmanager
async def app_of_a_shop(pay: AsyncLittlePay, verifier: CallbackVerifier) -> AsyncIterator[str]:
    """Serve an app as small as they come: orders, paid when the callback says so."""
    from fastapi import FastAPI, Request

    app = FastAPI()
    orders: dict[str, str] = {}

    @app.post("/orders/{order}")
    async def buy(
        request: Request, order: str, number: str = "+254712345678", description: str = "x"
    ) -> Any:
        orders[order] = "open"
        intent = await pay.create_intent(
            amount="1250.50",
            key=order,
            description=description,
            callback_url=str(request.url_for("callback")),
            return_url=str(request.url_for("state", order=order)),
        )
        if number:
            await pay.process(intent, "MPESA", number)
        return {"checkout": intent.checkout_url, "reference": intent.reference}

    @app.get("/orders/{order}")
    async def state(order: str) -> str:
        return orders[order]

    @app.post("/callbacks")
    async def callback(request: Request) -> str:
        verified = verifier.verify(await request.body(), request.headers)
        assert isinstance(verified, PaymentCallback)
        assert verified.key is not None
        orders[verified.key] = "paid" if verified.status == "COMPLETED" else "not paid"
        return "thank you"

    @app.get("/favicon.ico", status_code=204)
    async def nothing() -> None: ...

    async with served(app) as url:
        yield url


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    async with serving(
        app, "127.0.0.1", 0, ssl_certfile=None, ssl_keyfile=None, let_go=lambda: None
    ) as url:
        yield url


@pytest.fixture
async def page(browser: "Browser", shop: Shop) -> "AsyncIterator[Page]":
    """A page of the sandbox; what the browser complains of fails the test."""
    complaints: list[str] = []
    context = await browser.new_context(base_url=shop.sandbox_url)
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await context.close()
    assert complaints == []


async def test_the_pin_pays_the_order(shop: Shop, page: "Page") -> None:
    await page.goto("/")
    await page.get_by_text("0 payments").wait_for()
    made = await shop.buy("ORDER42")
    # It comes in while the page is open.
    handset = page.get_by_role("form", name="Handset 254*******78")
    prompt = await handset.inner_text()
    for said in ("MPESA", "Pay KES 1250.50 to Tickets & Co?", made["reference"]):
        assert said in prompt
    assert await shop.state("ORDER42") == "open"
    await handset.get_by_role("button", name="Enter PIN").click()
    await page.get_by_text("Callback 1: the app answered 200").click()
    await page.get_by_text('"thank you"').wait_for()
    await handset.wait_for(state="detached")
    assert await shop.state("ORDER42") == "paid"
    assert page.url == f"{shop.sandbox_url}/"  # it was not left


@pytest.mark.parametrize(
    ("button", "said"), [("Wrong PIN", "Wrong PIN"), ("Cancel", "The payer declined")]
)
async def test_not_paid(shop: Shop, page: "Page", button: str, said: str) -> None:
    await shop.buy("ORDER42")
    await page.goto("/")
    await page.get_by_role("button", name=button).click()
    await page.get_by_text("Callback 1: the app answered 200").wait_for()
    await page.get_by_role("definition").filter(has_text=said).wait_for()
    assert await shop.state("ORDER42") == "not paid"


async def test_no_answer(shop: Shop, page: "Page") -> None:
    await shop.buy("ORDER42")
    await page.goto("/")
    await page.get_by_role("button", name="No answer").click()
    await page.get_by_text("1 payment, 0 handsets ringing").wait_for()
    assert await shop.state("ORDER42") == "open"


async def test_checkout(shop: Shop, page: "Page") -> None:
    made = await shop.buy("ORDER42", number="")
    await page.goto(made["checkout"])
    await page.get_by_label("Provider").select_option("AIRTEL")
    await page.get_by_label("Phone number").fill("+254 712 345678")
    await page.get_by_role("button", name="Pay").click()
    await page.get_by_text("AIRTEL to 254*******78").wait_for()
    await page.get_by_role("button", name="Enter PIN").click()
    await page.get_by_text("the app answered 200").wait_for()
    await page.get_by_role("link", name="Back to the shop").click()
    await page.wait_for_url("**/orders/ORDER42")
    assert "paid" in await page.inner_text("body")


async def test_by_keyboard_alone(shop: Shop, page: "Page") -> None:
    await shop.buy("ORDER42")
    await page.goto("/")

    async def focused() -> str:
        return str(await page.evaluate("document.activeElement.textContent"))

    async def tab_to(text: str) -> None:
        for _ in range(30):
            await page.keyboard.press("Tab")
            if await focused() == text:
                return
        pytest.fail(f"{text} is not reached")

    await tab_to("Enter PIN")
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("Enter")
    await page.get_by_text("Callback 1: the app answered 200").wait_for()
    assert await shop.state("ORDER42") == "paid"
    assert (await focused()).startswith("KES 1250.50")  # on the payment, not at the page's top
    await tab_to("Callback 1: the app answered 200")
    await page.keyboard.press("Space")
    await page.get_by_text('"thank you"').wait_for()
    await tab_to("Fire")
    await page.keyboard.press("Enter")
    await page.get_by_text("2 payments, 1 handset ringing").wait_for()
    assert await focused() == "Fire"
    # What was opened stays open when something new comes in.
    assert await page.get_by_text('"thank you"').is_visible()


async def test_what_is_typed_stays(shop: Shop, page: "Page") -> None:
    await page.goto("/")
    await page.get_by_label("Description").fill("half a sen")
    await shop.buy("ORDER42")
    await page.get_by_role("button", name="Enter PIN").wait_for()
    await page.keyboard.type("tence")
    assert await page.get_by_label("Description").input_value() == "half a sentence"


async def test_without_javascript(shop: Shop, browser: "Browser") -> None:
    await shop.buy("ORDER42")
    async with await browser.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(PATIENCE)
        page = await context.new_page()
        await page.goto(shop.sandbox_url)
        await page.get_by_role("button", name="Enter PIN").click()
        await page.get_by_text("COMPLETED").first.wait_for()
        while await shop.state("ORDER42") != "paid":
            await anyio.lowlevel.checkpoint()
        await page.get_by_role("link", name="Look again").click()
        await page.get_by_text("Callback 1: the app answered 200").wait_for()


@pytest.mark.threat("T31")
async def test_what_apps_send_does_not_run(shop: Shop, page: "Page") -> None:
    hostile = "<img src=x onerror=alert(1)><script>document.title='ran'</script>"
    made = await shop.buy("ORDER42", description=hostile)
    for path in ("/", made["checkout"]):
        await page.goto(path)
        await page.get_by_text(hostile).wait_for()
        assert await page.locator("main img, main script").count() == 0
        assert (await page.title()).endswith("Little Pay sandbox")


@pytest.mark.threat("T30")
async def test_another_page_can_not_pay(shop: Shop, browser: "Browser") -> None:
    """A page that a developer visits sends a form to the sandbox."""
    made = await shop.buy("ORDER42")
    evil = (
        f"<form method=post action='{shop.sandbox_url}/'>"
        f"<input name=reference value='{made['reference']}'><input name=answer value=pin>"
        "<button>Win</button></form>"
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import HTMLResponse

        await HTMLResponse(evil)(scope, receive, send)

    async with served(app) as url, await browser.new_context() as context:
        page = await context.new_page()
        await page.goto(url)
        async with page.expect_response(f"{shop.sandbox_url}/") as answered:
            await page.get_by_role("button", name="Win").click()
        assert (await answered.value).status == 403
    assert await shop.state("ORDER42") == "open"


async def test_the_example_and_the_command(browser: "Browser", tmp_path: Path) -> None:
    """The shop of examples/ and `little-pay sandbox`, as a newcomer has them: three processes."""
    command = [sys.executable, "-m", "little_pay_async", "sandbox", "--port", "0", "--json"]
    async with await anyio.open_process(command, env=WITHOUT_CREDENTIALS) as served:
        assert served.stdout is not None
        lines = BufferedByteReceiveStream(served.stdout)
        said = json.loads(await lines.receive_until(b"\n", 65_536))
        environment = said["environment"] | {"CALLBACK_PUBLIC_KEY": said["public_key"]}
        port = free_port()
        shop = run_shop(port, tmp_path, **environment)
        await anyio.to_thread.run_sync(shop.__enter__)
        try:
            await order_and_pay(browser, f"http://127.0.0.1:{port}", said["url"])
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(shop.__exit__, None, None, None)
        served.send_signal(signal.SIGINT)
        assert await served.wait() == 130


async def order_and_pay(browser: "Browser", shop: str, sandbox: str) -> None:
    async with await browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        orders, handsets = await context.new_page(), await context.new_page()
        await handsets.goto(sandbox)
        await orders.goto(shop)
        await orders.get_by_label("Phone number").fill("+254712345678")
        await orders.get_by_role("button", name="Pay with M-PESA").click()
        await orders.get_by_text("PENDING").wait_for()
        await handsets.get_by_role("button", name="Enter PIN").click()
        await handsets.get_by_text("Callback 1: the app answered 200").wait_for()
        await orders.get_by_text("COMPLETED").wait_for()


async def test_light_and_dark(shop: Shop, page: "Page") -> None:
    await shop.buy("ORDER42")
    grounds = {}
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.goto("/")
        grounds[scheme] = await page.evaluate(CONTRASTS)
        assert grounds[scheme]["least"] >= 4.5, grounds[scheme]  # WCAG 2.2, level AA
    assert grounds["light"]["ground"] > 0.7
    assert grounds["dark"]["ground"] < 0.1


async def test_says_loudly_what_it_is(shop: Shop, page: "Page") -> None:
    made = await shop.buy("ORDER42")
    for path in ("/", made["checkout"]):
        await page.goto(path)
        banner = page.get_by_role("banner")
        assert "SANDBOX: no money moves" in await banner.inner_text()
    names = await page.evaluate(
        "[...document.querySelectorAll('button, input, select, a')]"
        ".filter(e => e.type !== 'hidden' && !(e.labels?.length || e.textContent.trim())).length"
    )
    assert names == 0


# The least contrast of all texts with what is behind them, and how light the page's ground is.
CONTRASTS = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(Number).map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return light(colour);
    }
  };
  let least = Infinity;
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(element).color), behind(element)];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return { least, ground: light(getComputedStyle(document.body).backgroundColor) };
}"""
