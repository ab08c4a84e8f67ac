"""How far a try came: what is told, and what is believed."""

import httpx
import pytest

from little_pay_async._progress import Progress

REQUEST = httpx.Request("POST", "https://pay.little.africa/")


def handed_over() -> Progress:
    progress = Progress(plain_httpx=True)
    progress.hand_over()
    return progress


def test_what_was_not_handed_over_has_not_left() -> None:
    assert not Progress(plain_httpx=True).may_have_left(None, None)


def test_without_a_word_only_the_error_tells() -> None:
    progress = handed_over()
    assert progress.may_have_left(REQUEST, None)
    assert progress.may_have_left(REQUEST, httpx.ReadError(""))
    assert not progress.may_have_left(REQUEST, httpx.PoolTimeout(""))
    assert not progress.told


def test_a_pool_that_tells_is_believed_whatever_the_error() -> None:
    progress = handed_over()
    progress.waiting()
    assert progress.told
    assert not progress.may_have_left(REQUEST, None)
    assert not progress.may_have_left(REQUEST, httpx.ReadError(""))
    progress.sending()
    assert progress.may_have_left(REQUEST, httpx.ConnectError(""))


def test_once_sent_is_sent_even_if_somebody_sends_it_a_second_time() -> None:
    progress = handed_over()
    progress.waiting()
    progress.sending()
    progress.waiting()
    assert progress.may_have_left(REQUEST, httpx.ConnectError(""))


@pytest.mark.anyio
async def test_a_traced_request_that_was_sent_stays_so_while_it_waits_again() -> None:
    progress = handed_over()
    for name in (
        "lease.wait.started",
        "lease.wait.complete",
        "http11.send_request_headers.started",
        "lease.wait.started",
        "lease.wait.complete",
        "connection.connect_tcp.started",
    ):
        await progress.trace(name, {})
    assert progress.may_have_left(REQUEST, httpx.ConnectError(""))
