"""What tests give as credentials, phone number and access token: made up, and easy to find again.

Here alone they are named. `leak_scan.py` looks for them after every test, in all that the library
has shown.
"""

import base64
import re
from collections.abc import Iterator

CREDENTIALS = {
    "api_key": "CANARY-api-key-7f3a",
    "client_id": "CANARY-client-id-91bd",
    "client_secret": "CANARY-client-secret-c0de",
    "token_id": "CANARY-token-id-5e11",
}
ACCESS_TOKEN = "CANARY-access-token-a11e"
MOBILE = "254712345678"
# Client id and secret, as HTTP Basic writes them.
BASIC = base64.b64encode(
    f"{CREDENTIALS['client_id']}:{CREDENTIALS['client_secret']}".encode()
).decode()

# All are of letters, digits and hyphens: they look the same in a URL, in JSON, in the repr of bytes
# and in a pickle.
_WORDS = {"access token": ACCESS_TOKEN, "Basic": BASIC, **CREDENTIALS}
# In one, or in groups as people write it; at home without the country's code.
_NUMBER = re.compile(r"[ ().-]{0,3}".join(MOBILE[3:]))
_GROUP = MOBILE[3:6]


def found_in(text: str, *, customer: bool = True) -> Iterator[str]:
    """Name each canary that a text shows.

    Args:
        text: What may show one.
        customer: Look for the phone number and the access token too, which are a customer's.
    """
    if "CANARY" in text or BASIC in text:
        for name, value in _WORDS.items():
            if value in text and (customer or value != ACCESS_TOKEN):
                yield name
    if customer and _GROUP in text and _NUMBER.search(text):
        yield "phone number"
