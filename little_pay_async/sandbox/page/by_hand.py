"""Requests that are fired by hand, as an app would send them."""

from collections import deque
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs
import httpx
import msgspec

from little_pay_async.sandbox.page.shown import shown

if TYPE_CHECKING:
    from little_pay_async.sandbox.sandbox import Sandbox

OPERATIONS = {
    "pay": "Create an intent and ring the handset",
    "create_intent": "Create an intent only",
    "status": "Ask for the status",
    "refund": "Refund",
}
_KEPT = 5
_CREATE = "/api/payments/-/pay"
"""With "-" for the token id."""
_encode = msgspec.json.Encoder(decimal_format="number").encode

Form = Mapping[str, str]


@attrs.frozen
class Fired:
    """A request that was fired, and what the sandbox answered.

    Attributes:
        number: Which one it was, from 1.
        request: Method and path, without the token id.
        status: The status code, or None if no answer came.
        body: The answer, without phone numbers.
    """

    number: int
    request: str
    status: int | None
    body: str


class Hand:
    """Fires requests at the sandbox that it belongs to, and keeps the last of them."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._number = 0
        self.fired: deque[Fired] = deque(maxlen=_KEPT)

    async def fire(self, form: Form, base_url: str) -> str | None:
        """Do what a form says; return the reference of the intent, if one was made."""
        key = form.get("key", "").strip()
        match form.get("operation"):
            case "status":
                await self._send(base_url, "GET", f"/api/payments-v2/{quote(key, safe='')}")
            case "refund":
                body = {"amount": _number(form.get("amount", ""))}
                await self._send(base_url, "POST", f"/api/refund/{quote(key, safe='')}", body)
            case operation:
                reference = await self._create(form, key, base_url)
                if operation == "pay" and reference is not None:
                    await self.ring(reference, form, base_url)
                return reference
        return None

    async def ring(self, reference: str, form: Form, base_url: str) -> None:
        """Ring the handset of a payment, as `process` does."""
        mobile = "".join(c for c in form.get("mobile", "") if c not in "+-(). ")
        body = {"type": form.get("provider"), "payment": {"mobile": mobile}}
        await self._send(base_url, "POST", f"/pay/{quote(reference, safe='')}/process", body)

    async def _create(self, form: Form, key: str, base_url: str) -> str | None:
        body = {
            "amount": _number(form.get("amount", "")),
            "currency": form.get("currency", ""),
            "description": form.get("description", ""),
            "callbackUrl": form.get("callback_url", ""),
            "key": key,
        }
        answer = await self._send(base_url, "POST", _CREATE, body)
        if answer is None or answer.status_code != 200:
            return None
        reference = answer.json()["data"]["reference"]
        return str(reference)

    async def _send(
        self, base_url: str, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response | None:
        made_up = self._sandbox.credentials
        client = httpx.AsyncClient(
            transport=self._sandbox.transport,
            base_url=base_url,
            timeout=None,  # noqa: S113 - the sandbox answers, or drops the connection
            trust_env=False,
        )
        extensions: dict[str, Any] = {}
        if path == _CREATE:
            # As the library does it: httpx logs the URL, and the token id is a credential.
            extensions["target"] = f"/api/payments/{made_up['token_id']}/pay".encode()
            client.auth = httpx.BasicAuth(made_up["client_id"], made_up["client_secret"])
        elif path.startswith("/api/"):
            client.headers["X-API-KEY"] = made_up["api_key"]
        answer = None
        async with client:
            try:
                answer = await client.request(
                    method,
                    path,
                    content=None if body is None else _encode(body),
                    extensions=extensions,
                )
            except httpx.HTTPError as error:
                said = str(error)
            else:
                said = answer.text
        self._number += 1
        self.fired.appendleft(
            Fired(
                number=self._number,
                request=shown(f"{method} {path}"),
                status=None if answer is None else answer.status_code,
                body=shown(said),
            )
        )
        return answer


def _number(text: str) -> Decimal | str:
    """Return an amount with the digits that were typed; what is none goes out as it is."""
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        return text
    return amount if amount.is_finite() else text
