"""What a browser is shown."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from little_pay_async.sandbox.book import Entry
from little_pay_async.sandbox.callbacks import PostedCallback, is_posted_to
from little_pay_async.sandbox.page.by_hand import OPERATIONS, Fired
from little_pay_async.sandbox.page.markup import Child, Markup, document, element
from little_pay_async.sandbox.page.shown import shown
from little_pay_async.sandbox.shapes import PROVIDERS

if TYPE_CHECKING:
    from little_pay_async.sandbox.sandbox import Sandbox

ANSWERS: dict[str, tuple[str, str | None, str]] = {
    "pin": ("Enter PIN", "COMPLETED", "Success"),
    "wrong-pin": ("Wrong PIN", "FAILED", "Wrong PIN"),
    "cancel": ("Cancel", "FAILED", "The payer declined"),
    "no-answer": ("No answer", None, "No answer from the handset"),
}
"""What a payer may do: what the button says, and the status and message that come of it."""

_SHOWN = 50


def index(sandbox: "Sandbox", fired: Sequence[Fired]) -> str:
    """Return the page of all payments."""
    entries = list(sandbox.book)[::-1]
    ringing = sum(entry.ringing for entry in entries)
    cards = [_card(sandbox, entry) for entry in entries[:_SHOWN]]
    return _page(
        "Payments",
        element("h1", "Payments"),
        element(
            "p",
            f"{_counted(len(entries), 'payment')}, {_counted(ringing, 'handset')} ringing."
            + (f" Shown are the latest {_SHOWN}." if len(entries) > _SHOWN else ""),
            id="summary",
            role="status",
            data_live=True,
        ),
        element("div", cards, id="payments", data_live=True, class_="cards"),
        element(
            "section",
            element("h2", "Fire a request by hand", id="by-hand"),
            _request_form(len(entries) + 1),
            element("div", [_fired(each) for each in fired], id="fired", data_live=True),
            aria_labelledby="by-hand",
        ),
    )


def checkout(sandbox: "Sandbox", entry: Entry) -> str:
    """Return the page that pays one intent: where its checkout URL leads to."""
    back = entry.return_url
    pay = None
    if not entry.final and not entry.ringing:
        pay = element(
            "form",
            element("h2", "Pay by mobile money"),
            _choice("provider", "Provider", {name: name for name in PROVIDERS}),
            _field("mobile", "Phone number", type="tel", autocomplete="tel", required=True),
            element("button", "Pay", id="pay"),
            method="post",
            id="pay-form",
        )
    link = None
    if entry.final and back is not None and back.startswith(("http://", "https://")):
        link = element("p", element("a", "Back to the shop", href=back), id="back")
    return _page(
        f"Checkout: {entry.description}",
        element("h1", "Checkout"),
        element("div", _card(sandbox, entry), pay, link, id="checkout", data_live=True),
    )


def unknown() -> str:
    """Return the page of a payment that is not there."""
    return _page("Not found", element("h1", "No such payment"), element("p", _home()))


def _page(title: str, *main: Child) -> str:
    return document(
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", f"{shown(title)} - Little Pay sandbox"),
            element("link", rel="stylesheet", href="/-/page.css"),
            element("script", src="/-/page.js", defer=True),
        ),
        element(
            "body",
            element(
                "header",
                element("strong", "SANDBOX: no money moves"),
                element("span", "A local Little Pay for trying things out. "),
                _home(),
            ),
            element(
                "main",
                element("p", id="connection", role="alert"),
                element("noscript", element("p", element("a", "Look again", href=""))),
                *main,
            ),
        ),
    )


def _home() -> Markup:
    return element("a", "All payments", href="/")


def _card(sandbox: "Sandbox", entry: Entry) -> Markup:
    reference = entry.reference
    posted = [each for each in sandbox.callbacks if each.key == entry.key]
    return element(
        "article",
        element(
            "h2",
            f"{entry.currency} {entry.amount} ",
            element("span", entry.status, class_=f"status {_colour(entry)}"),
            id=f"name-{reference}",
            tabindex="-1",
        ),
        element(
            "dl",
            _item("Key", entry.key),
            _item("Reference", reference),
            _item("For", shown(entry.description)),
            _item("Little Pay says", shown(entry.message) or "Not processed yet"),
            [
                _item("Rang", f"{attempt.provider} {attempt.payer}: {attempt.status}")
                for attempt in entry.attempts
            ],
            [
                _item("Refund", f"{entry.currency} {refund.amount}: {refund.status}")
                for refund in entry.refunds
            ],
        ),
        _handset(sandbox, entry) if entry.ringing else None,
        _callbacks(entry, posted),
        id=f"payment-{reference}",
        aria_labelledby=f"name-{reference}",
    )


def _handset(sandbox: "Sandbox", entry: Entry) -> Markup:
    attempt, reference = entry.attempts[-1], entry.reference
    return element(
        "form",
        element("p", f"{attempt.provider} to {attempt.payer}", class_="handset-top"),
        element(
            "p",
            f"Pay {entry.currency} {entry.amount} to {sandbox.merchant}?",
            element("br"),
            f"Reference {reference}",
            element("br"),
            "Enter your PIN:",
            id=f"prompt-{reference}",
            class_="prompt",
        ),
        element("input", type="hidden", name="reference", value=reference),
        [
            element(
                "button",
                label,
                name="answer",
                value=answer,
                id=f"{answer}-{reference}",
                aria_describedby=f"prompt-{reference}",
            )
            for answer, (label, _, _) in ANSWERS.items()
        ],
        method="post",
        class_="handset",
        aria_label=f"Handset {attempt.payer}",
    )


def _callbacks(entry: Entry, posted: Iterable[PostedCallback]) -> Child:
    if not is_posted_to(entry.callback_url):
        return element("p", f"No callback: {shown(entry.callback_url)} is not on this machine.")
    return [
        element(
            "details",
            element("summary", f"Callback {number}: {_came_of(each)}"),
            element("p", f"POST {shown(each.url)}"),
            element("pre", shown(each.body.decode())),
            element("p", "The app answered:" if each.answer else "No answer:"),
            element("pre", shown(each.said) or "(nothing)"),
            id=f"callback-{number}-{entry.reference}",
        )
        for number, each in enumerate(posted, 1)
    ]


def _came_of(posted: PostedCallback) -> str:
    return f"the app answered {posted.answer}" if posted.answer else f"{posted.error}"


def _request_form(number: int) -> Markup:
    return element(
        "form",
        _choice("operation", "Request", OPERATIONS),
        _field("key", "Key", value=f"BYHAND{number}", required=True),
        _field("amount", "Amount", value="100", inputmode="decimal"),
        _field("currency", "Currency", value="KES", size="4"),
        _field("description", "Description", value="2 tickets"),
        _choice("provider", "Provider", {name: name for name in PROVIDERS}),
        _field("mobile", "Phone number", type="tel", value="+254 712 345678"),
        _field("callback_url", "Callback URL", value="http://127.0.0.1:8000/callbacks/little-pay"),
        element("button", "Fire", id="fire"),
        method="post",
        class_="fields",
    )


def _fired(fired: Fired) -> Markup:
    came = "no answer" if fired.status is None else str(fired.status)
    return element(
        "div",
        element("h3", f"{fired.request}: {came}"),
        element("pre", fired.body),
        id=f"fired-{fired.number}",
    )


def _field(name: str, label: str, **attributes: str | bool) -> Markup:
    return element("label", label, " ", element("input", name=name, id=name, **attributes))


def _choice(name: str, label: str, options: dict[str, str]) -> Markup:
    return element(
        "label",
        label,
        " ",
        element(
            "select",
            [element("option", text, value=value) for value, text in options.items()],
            name=name,
            id=name,
        ),
    )


def _item(name: str, value: str) -> Child:
    return [element("dt", name), element("dd", value)]


def _colour(entry: Entry) -> str:
    return entry.status.lower() if entry.final else "pending"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
