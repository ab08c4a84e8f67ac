"""The page of a sandbox as plain httpx sees it; test_sandbox_browser.py has it in a browser."""

import html
import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import anyio
import httpx
import pytest

from little_pay_async._cli.serving import serve
from little_pay_async.sandbox import Sandbox, Weather
from little_pay_async.sandbox.page.markup import Markup, document, element
from little_pay_async.sandbox.page.shown import shown

from .sandboxes import MOBILE, Visitor
from .servers import ScriptedServer, response, sends

pytestmark = pytest.mark.anyio

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"


@pytest.fixture
async def visitor() -> AsyncIterator[Visitor]:
    async with (
        Sandbox() as sandbox,
        httpx.AsyncClient(base_url="http://127.0.0.1:8300", transport=sandbox.transport) as http,
    ):
        yield Visitor(sandbox, http)


async def page(visitor: Visitor, path: str = "/") -> str:
    answer = await visitor.http.get(path)
    assert answer.status_code == 200
    return answer.text


async def post(
    visitor: Visitor, path: str = "/", *, headers: dict[str, str] | None = None, **form: str
) -> httpx.Response:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return await visitor.http.post(path, content=urlencode(form), headers=kind | (headers or {}))


class TestPayments:
    async def test_none(self, visitor: Visitor) -> None:
        shown = await page(visitor)
        assert "SANDBOX: no money moves" in shown
        assert "0 payments, 0 handsets ringing" in shown

    async def test_as_they_come_in(self, visitor: Visitor) -> None:
        await visitor.create("FIRST", description="2 tickets")
        await visitor.create("SECOND")
        shown = await page(visitor)
        assert "2 payments, 0 handsets ringing" in shown
        assert shown.index("SECOND") < shown.index("FIRST")
        assert "2 tickets" in shown
        assert "Enter PIN" not in shown  # nobody's handset rings

    async def test_no_more_than_can_be_looked_at(self, visitor: Visitor) -> None:
        for number in range(60):
            await visitor.create(f"ORDER{number}")
        shown = await page(visitor)
        assert shown.count("<article") == 50
        assert "60 payments" in shown
        assert "latest 50" in shown

    async def test_prompt_as_the_payer_sees_it(self, visitor: Visitor) -> None:
        visitor.sandbox.merchant = "Tickets & Co"
        reference = await visitor.reference(amount=1250.5, currency="TZS")
        await visitor.process(reference)
        shown = await page(visitor)
        assert "Pay TZS 1250.5 to Tickets &amp; Co?" in shown
        assert f"Reference {reference}" in shown
        for button in ("Enter PIN", "Wrong PIN", "Cancel", "No answer"):
            assert f">{button}</button>" in shown

    @pytest.mark.threat("T31")
    async def test_numbers_are_masked(self, visitor: Visitor) -> None:
        address = {"billingAddress": {"phoneNumber": f"+{MOBILE}"}}
        url = f"http://127.0.0.1:9/{MOBILE}"
        reference = await visitor.reference(
            description=f"for {MOBILE}", callbackUrl=url, payload=address
        )
        await visitor.process(reference)
        ringing = await page(visitor)
        assert f"{MOBILE[:3]}*******{MOBILE[-2:]}" in ringing
        visitor.sandbox.settle(reference, "COMPLETED", f"Paid by {MOBILE}")
        await until_posted(visitor.sandbox)
        ended = await page(visitor)
        assert "phoneNumber" in ended  # the callback's body is there
        assert reference in ended  # though it is full of digits
        for each in (ringing, ended, await page(visitor, f"/checkout/{reference}")):
            assert MOBILE not in each

    async def test_expired_when_looked_at(self, visitor: Visitor) -> None:
        await visitor.create()
        entry = visitor.sandbox.book.find("ORDER42")
        assert entry is not None
        entry.expires_at = anyio.current_time()
        assert "The payment intent has expired" in await page(visitor)

    async def test_refunds(self, visitor: Visitor) -> None:
        await visitor.paid()
        await visitor.refund(amount=40)
        assert "KES 40: COMPLETED" in await page(visitor)

    async def test_unchanged(self, visitor: Visitor) -> None:
        tag = (await visitor.http.get("/")).headers["etag"]
        again = await visitor.http.get("/", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        await visitor.create()
        assert (await visitor.http.get("/", headers={"If-None-Match": tag})).status_code == 200


async def until_posted(sandbox: Sandbox, number: int = 1) -> None:
    while len(sandbox.callbacks) < number:
        await anyio.lowlevel.checkpoint()


class TestHandset:
    @pytest.mark.parametrize(
        ("answer", "status", "message"),
        [
            ("pin", "COMPLETED", "Success"),
            ("wrong-pin", "FAILED", "Wrong PIN"),
            ("cancel", "FAILED", "The payer declined"),
            ("no-answer", "PENDING", "No answer from the handset"),
        ],
    )
    @pytest.mark.parametrize("where", ["index", "checkout"])
    async def test_answers(
        self, visitor: Visitor, where: str, answer: str, status: str, message: str
    ) -> None:
        reference = await visitor.reference()
        await visitor.process(reference)
        path = "/" if where == "index" else f"/checkout/{reference}"
        assert "Enter PIN" in await page(visitor, path)
        pressed = await post(visitor, path, reference=reference, answer=answer)
        assert pressed.status_code == 303
        assert pressed.headers["location"].partition("#")[0] == path
        data = (await visitor.status(held=status != "PENDING")).json()["data"]
        assert data["status"] == status
        shown = await page(visitor, path)
        assert message in shown
        assert "Enter PIN" not in shown

    async def test_a_held_poll_is_answered(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        await visitor.process(reference)
        answers: list[httpx.Response] = []

        async def poll() -> None:
            answers.append(await visitor.status(held=True))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poll)
            await visitor.ledger.until(3)
            await post(visitor, reference=reference, answer="pin")
        assert answers[0].json()["data"]["status"] == "COMPLETED"

    async def test_rings_again(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        await visitor.process(reference)
        await post(visitor, reference=reference, answer="no-answer")
        await visitor.process(reference, provider="AIRTEL")
        assert "AIRTEL to 254" in await page(visitor)

    @pytest.mark.parametrize("answer", ["pin", "cancel", "", "other"])
    async def test_what_does_not_ring_is_not_answered(self, visitor: Visitor, answer: str) -> None:
        reference = await visitor.reference()
        assert (await post(visitor, reference=reference, answer=answer)).status_code == 303
        visitor.sandbox.settle(reference, "FAILED")
        assert (await post(visitor, reference=reference, answer=answer)).status_code == 303
        assert (await visitor.status(held=True)).json()["data"]["status"] == "FAILED"

    async def test_an_unknown_status_rings_no_more(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        await visitor.process(reference)
        visitor.sandbox.settle(reference, "UNDER_REVIEW")
        shown = await page(visitor)
        assert "UNDER_REVIEW" in shown
        assert "Enter PIN" not in shown

    async def test_unknown_payment(self, visitor: Visitor) -> None:
        await visitor.create()
        assert (await post(visitor, reference="ORDER42", answer="pin")).status_code == 404
        assert (await post(visitor, answer="pin")).status_code == 404


class TestCheckout:
    async def test_pays(self, visitor: Visitor) -> None:
        back = "https://shop.example/thanks?a=1&b=2"
        created = await visitor.create(returnUrl=back)
        path = httpx.URL(created.json()["data"]["checkoutUrl"]).path
        assert ">Pay</button>" in await page(visitor, path)
        rung = await post(visitor, path, provider="AIRTEL", mobile="+254 712-345 678")
        assert (rung.status_code, rung.headers["location"]) == (303, path)
        assert visitor.sandbox.requests[-1].operation == "process"
        shown = await page(visitor, path)
        assert "AIRTEL to 254" in shown
        assert ">Pay</button>" not in shown
        assert "Back to the shop" not in shown
        await post(visitor, path, answer="pin")
        assert f'href="{html.escape(back)}"' in await page(visitor, path)

    @pytest.mark.parametrize("back", ["javascript:alert(1)", "data:text/html,x", "//x", None])
    async def test_goes_back_to_web_pages_only(self, visitor: Visitor, back: str | None) -> None:
        reference = await visitor.reference(returnUrl=back)
        visitor.sandbox.settle(reference, "COMPLETED")
        shown = await page(visitor, f"/checkout/{reference}")
        assert "COMPLETED" in shown
        assert "Back to the shop" not in shown

    async def test_wrong_number(self, visitor: Visitor) -> None:
        reference = await visitor.reference()
        await post(visitor, f"/checkout/{reference}", provider="MPESA", mobile="12")
        assert ">Pay</button>" in await page(visitor, f"/checkout/{reference}")

    async def test_unknown(self, visitor: Visitor) -> None:
        await visitor.create()
        for name in ("ORDER42", "nothing"):
            assert (await visitor.http.get(f"/checkout/{name}")).status_code == 404
            assert (await post(visitor, f"/checkout/{name}", answer="pin")).status_code == 404


class TestCallbacks:
    async def test_what_was_sent_and_answered(self, visitor: Visitor) -> None:
        async with ScriptedServer(sends(response(b"<b>thanks</b>"))) as shop:
            reference = await visitor.reference(callbackUrl=f"{shop.base_url}/callbacks")
            visitor.sandbox.settle(reference, "COMPLETED")
            await until_posted(visitor.sandbox)
        shown = await page(visitor)
        assert "the app answered 200" in shown
        assert "&lt;b&gt;thanks&lt;/b&gt;" in shown
        assert f"POST {shop.base_url}/callbacks" in shown
        assert "&quot;status&quot;:&quot;COMPLETED&quot;" in shown

    async def test_nobody_listens(self, visitor: Visitor) -> None:
        await visitor.create(callbackUrl="http://127.0.0.1:99999/")
        visitor.sandbox.settle("ORDER42", "COMPLETED")
        await until_posted(visitor.sandbox)
        assert "Callback 1: " in await page(visitor)

    async def test_not_on_this_machine(self, visitor: Visitor) -> None:
        await visitor.create(callbackUrl="https://shop.example/callbacks")
        assert "https://shop.example/callbacks is not on this machine" in await page(visitor)


class TestByHand:
    FORM = {  # noqa: RUF012
        "key": "BYHAND1",
        "amount": "1.10",
        "currency": "KES",
        "description": "2 tickets",
        "provider": "MTN",
        "mobile": "+233 20 000 0009",
        "callback_url": "https://shop.example/cb",
    }

    async def test_pay(self, visitor: Visitor) -> None:
        fired = await post(visitor, operation="pay", **self.FORM)
        entry = visitor.sandbox.book.find("BYHAND1")
        assert entry is not None
        assert fired.headers["location"] == f"/#payment-{entry.reference}"
        operations = [request.operation for request in visitor.sandbox.requests]
        assert operations == ["create_intent", "process"]
        shown = await page(visitor)
        assert "KES 1.10" in shown
        assert "MTN to 233*******09" in shown
        assert "POST /api/payments/-/pay: 200" in shown
        assert f"POST /pay/{entry.reference}/process: 200" in shown

    async def test_intent_only(self, visitor: Visitor) -> None:
        await post(visitor, operation="create_intent", **self.FORM)
        assert visitor.sandbox.count("process") == 0
        assert "/checkout/" in await page(visitor)  # in the answer

    async def test_status_and_refund(self, visitor: Visitor) -> None:
        await visitor.paid("BYHAND1")
        asked = await post(visitor, operation="status", **self.FORM)
        assert asked.headers["location"] == "/#by-hand"
        await post(visitor, operation="refund", **self.FORM)
        shown = await page(visitor)
        assert "GET /api/payments-v2/BYHAND1: 200" in shown
        assert "POST /api/refund/BYHAND1: 200" in shown
        assert "KES 1.10: COMPLETED" in shown

    @pytest.mark.parametrize("amount", ["", "nan", "-1", "many", "Infinity"])
    async def test_what_is_wrong_is_refused_as_for_an_app(
        self, visitor: Visitor, amount: str
    ) -> None:
        await post(visitor, operation="pay", **self.FORM | {"amount": amount})
        shown = await page(visitor)
        assert "POST /api/payments/-/pay: 400" in shown
        assert "amount must be a number above zero" in shown
        assert visitor.sandbox.count("process") == 0

    async def test_nothing_filled_in(self, visitor: Visitor) -> None:
        await post(visitor)
        assert "POST /api/payments/-/pay: 400" in await page(visitor)

    async def test_weather(self, visitor: Visitor) -> None:
        visitor.sandbox.weather = Weather(kind="dropped")
        await post(visitor, operation="pay", **self.FORM)
        assert "POST /api/payments/-/pay: no answer" in await page(visitor)

    async def test_the_last_few_are_kept(self, visitor: Visitor) -> None:
        for _ in range(7):
            await post(visitor, operation="status", key="NOTHING")
        shown = await page(visitor)
        assert re.findall(r'id="fired-(\d+)"', shown) == ["7", "6", "5", "4", "3"]

    @pytest.mark.asyncio_only  # trio warns of what httpx leaves of a request's body
    async def test_too_long(self, visitor: Visitor) -> None:
        assert (await post(visitor, key="A" * 70_000)).status_code == 413
        reference = await visitor.reference()
        answer = await post(visitor, f"/checkout/{reference}", mobile="1" * 70_000)
        assert answer.status_code == 413


class TestHostile:
    @pytest.mark.threat("T31")
    async def test_everything_is_escaped(self, visitor: Visitor) -> None:
        visitor.sandbox.merchant = HOSTILE
        reference = await visitor.reference(
            description=HOSTILE,
            currency=HOSTILE,
            callbackUrl=f"https://shop.example/{HOSTILE}",
            returnUrl=f"https://shop.example/{HOSTILE}",
        )
        await visitor.process(reference)
        ringing = [await page(visitor), await page(visitor, f"/checkout/{reference}")]
        visitor.sandbox.settle(reference, HOSTILE, HOSTILE)
        visitor.sandbox.settle(reference, "COMPLETED", HOSTILE)
        await post(visitor, operation="status", key=HOSTILE)
        ended = [await page(visitor), await page(visitor, f"/checkout/{reference}")]
        for each in (*ringing, *ended):
            assert "alert(1)" in each
            assert "<script>" not in each
            assert "<img" not in each
            assert re.findall(r"<script[^>]*>", each) == ['<script src="/-/page.js" defer>']

    async def test_headers(self, visitor: Visitor) -> None:
        for path in ("/", "/-/page.js", "/-/page.css", "/checkout/nothing"):
            headers = (await visitor.http.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"

    async def test_nothing_comes_from_elsewhere(self, visitor: Visitor) -> None:
        for path in ("/", "/-/page.js", "/-/page.css"):
            assert "//" not in re.sub(
                r"^//.*| // .*|http://127\.0\.0\.1:8000",
                "",
                await page(visitor, path),
                flags=re.MULTILINE,
            )
        assert (await visitor.http.get("/favicon.ico")).status_code == 204


async def test_public_key(visitor: Visitor) -> None:
    assert await page(visitor, "/-/public-key.pem") == visitor.sandbox.public_key


class TestGuard:
    OWN = "http://127.0.0.1:8300"

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "http://localhost:3000"},  # another app of the developer's
            {"Origin": "null"},
            {"Origin": "http://[::1"},
            {"Origin": "ftp://127.0.0.1:8300"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": OWN, "Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example:8300", "Origin": "http://evil.example:8300"},  # rebound
            {"Host": "evil.example:8300"},
            {"Host": "[::1"},
            {"Host": ""},
        ],
    )
    @pytest.mark.threat("T30")
    async def test_posts_of_other_pages(self, visitor: Visitor, headers: dict[str, str]) -> None:
        reference = await visitor.reference()
        await visitor.process(reference)
        before = len(visitor.sandbox.requests)
        for path in ("/", f"/checkout/{reference}"):
            answer = await post(
                visitor, path, headers=headers, reference=reference, answer="pin", key="A"
            )
            assert answer.status_code == 403
        if headers.keys() != {"Host"}:  # programs may reach the API by any name
            process = f"/pay/{reference}/process"
            assert (await post(visitor, process, headers=headers)).status_code == 403
        assert len(visitor.sandbox.requests) == before
        assert (await visitor.status()).json()["data"]["status"] == "PENDING"

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Origin": OWN},
            {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
            {"Host": "localhost:9", "Origin": "http://LOCALHOST:9"},
            {"Host": "[::1]:9", "Origin": "http://[::1]:9"},
            {"Host": "pay.localhost", "Origin": "http://pay.localhost"},
        ],
    )
    async def test_own_posts(self, visitor: Visitor, headers: dict[str, str]) -> None:
        reference = await visitor.reference()
        await visitor.process(reference)
        answer = await post(visitor, headers=headers, reference=reference, answer="pin")
        assert answer.status_code == 303

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil"])
    @pytest.mark.threat("T30")
    async def test_pages_are_shown_to_no_rebound_name(self, visitor: Visitor, host: str) -> None:
        reference = await visitor.reference()
        for path in ("/", f"/checkout/{reference}", "/-/page.js"):
            answer = await visitor.http.get(path, headers={"Host": host})
            assert answer.status_code == 403

    async def test_a_link_from_a_shop_leads_to_the_checkout(self, visitor: Visitor) -> None:
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        reference = await visitor.reference()
        answer = await visitor.http.get(f"/checkout/{reference}", headers=headers)
        assert answer.status_code == 200

    async def test_programs_reach_the_api_by_any_name(self, visitor: Visitor) -> None:
        await visitor.create()
        visitor.http.headers["Host"] = "sandbox.internal:8300"
        assert (await visitor.status()).status_code == 200
        assert (await visitor.process("nothing")).status_code == 404


class TestMarkup:
    def test_text_is_escaped(self) -> None:
        assert (
            element("p", "<&>", title='"x" <') == '<p title="&quot;x&quot; &lt;">&lt;&amp;&gt;</p>'
        )

    def test_elements_are_not(self) -> None:
        assert element("p", [element("br"), None, "a"], class_="x", data_live=True, id=None) == (
            '<p class="x" data-live><br>a</p>'
        )
        assert isinstance(element("p"), Markup)

    def test_document(self) -> None:
        assert document("a") == '<!doctype html>\n<html lang="en">a</html>\n'


@pytest.mark.asyncio_only
@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_the_terminal_says_what_it_is(
    host: str, warned: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "sleep_forever", end)
    with pytest.raises(KeyboardInterrupt):
        await serve(host, 0, as_json=False)
    said = capsys.readouterr().out
    assert "SANDBOX" in said
    assert "No money moves here" in said
    assert "/-/public-key.pem" in said
    assert f"browser: http://{host}:" in said
    assert ("Others can reach it" in said) is warned


def test_long_text_is_cut_and_masked() -> None:
    reference = "12345678-1234-1234-1234-123456789012"
    assert shown(f"{reference} {MOBILE}") == f"{reference} ***"
    assert len(shown("a" * 10_000)) == 2_000
