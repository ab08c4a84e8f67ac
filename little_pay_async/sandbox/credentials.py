"""What lets an app into a sandbox."""

from typing import TypedDict


class Credentials(TypedDict):
    """What `AsyncLittlePay` takes to be let in; made up, and the same in every sandbox."""

    api_key: str
    client_id: str
    client_secret: str
    token_id: str


def made_up() -> Credentials:
    """Return the credentials of every sandbox."""
    return Credentials(
        api_key="sandbox-api-key",
        client_id="sandbox-client",
        client_secret="sandbox-client-secret",  # noqa: S106 - made up
        token_id="sandbox-token",  # noqa: S106
    )
