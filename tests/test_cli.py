"""The commands `status`, `watch` and `sandbox`, as processes, against a sandbox on a socket."""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest
from anyio.abc import Process, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from little_pay_async import AsyncLittlePay, Provider
from little_pay_async._cli import commands, running
from little_pay_async._cli.key_list import read_keys
from little_pay_async.sandbox import Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_only]

COMMAND = [sys.executable, "-P", "-m", "little_pay_async"]
FIELDS = {"key", "status", "payment", "error", "elapsed", "polls"}
LONGEST_LINE = 1_000_000
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop will do: what is tested runs in processes of its own."""
    return "asyncio"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def environment(sandbox: Sandbox) -> AsyncIterator[dict[str, str]]:
    """What a shell would export to reach the sandbox."""
    async with sandbox.serve() as url:
        yield environment_of(url, sandbox.credentials["api_key"])


def environment_of(url: str, api_key: str | None) -> dict[str, str]:
    found = {name: text for name, text in os.environ.items() if not name.startswith("LITTLE_PAY_")}
    found["LITTLE_PAY_BASE_URL"] = url
    if api_key is not None:
        found["LITTLE_PAY_API_KEY"] = api_key
    return found


async def create(sandbox: Sandbox, environment: dict[str, str], **statuses: str) -> None:
    """Create payments, by merchant key, with these statuses."""
    url = environment["LITTLE_PAY_BASE_URL"]
    async with AsyncLittlePay(**sandbox.credentials, base_url=url) as pay:
        for key, status in statuses.items():
            await pay.create_intent(
                amount=100, key=key, description="Tea", callback_url="https://shop.example/"
            )
            if status != "PENDING":
                sandbox.settle(key, status)


async def ring(sandbox: Sandbox, environment: dict[str, str], key: str, provider: Provider) -> None:
    """Have the handset ring for a payment, with nobody to answer it."""
    url = environment["LITTLE_PAY_BASE_URL"]
    async with AsyncLittlePay(**sandbox.credentials, base_url=url) as pay:
        reference = (await pay.status(key)).reference
        assert reference is not None
        await pay.process(reference, provider, "+254712345678")


class Ran:
    """What a process that has ended left."""

    def __init__(self, code: int | None, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def statuses(self) -> dict[str, str | None]:
        return {line["key"]: line["status"] for line in self.lines}


async def run(*arguments: str, environment: dict[str, str], given: bytes = b"") -> Ran:
    done = await anyio.run_process(
        [*COMMAND, *arguments], env=environment, input=given, check=False
    )
    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in ran.err
    return ran


@asynccontextmanager
async def started(
    *arguments: str, environment: dict[str, str]
) -> AsyncIterator[tuple[Process, BufferedByteReceiveStream]]:
    """A process that is still at it, and its output."""
    process = await anyio.open_process(
        [*COMMAND, *arguments], env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    async with process:
        try:
            yield process, BufferedByteReceiveStream(process.stdout)
        finally:
            if process.returncode is None:
                process.kill()


async def next_line(output: BufferedByteReceiveStream) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(await output.receive_until(b"\n", LONGEST_LINE))
    return line


async def interrupted(process: Process, output: BufferedByteReceiveStream) -> Ran:
    """Send what Ctrl-C sends, and return what the process says to that."""
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    out, err = await everything(output), await everything(process.stderr)
    return Ran(await process.wait(), out, err)


async def everything(stream: Any) -> bytes:
    parts = []
    while True:
        try:
            parts.append(await stream.receive())
        except anyio.EndOfStream:
            return b"".join(parts)


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("command", ["status", "watch"])
@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (["DONE"], 0),
        (["DONE", "DECLINED"], 1),
        (["DECLINED", "NOBODY", "DONE"], 3),
    ],
)
async def test_exit_codes_and_json_lines(
    sandbox: Sandbox, environment: dict[str, str], command: str, keys: list[str], code: int
) -> None:
    await create(sandbox, environment, DONE="COMPLETED", DECLINED="FAILED")
    ran = await run(command, *keys, environment=environment)
    assert ran.code == code, ran.err
    expected = {"DONE": "COMPLETED", "DECLINED": "FAILED", "NOBODY": None}
    assert ran.statuses == {key: expected[key] for key in keys}
    for line in ran.lines:
        assert set(line) == FIELDS
        assert line["elapsed"] >= 0
        assert line["polls"] == 1
        if line["key"] == "NOBODY":
            assert line["payment"] is None
            assert line["error"].startswith("NotFoundError: ")
        else:
            assert line["error"] is None
            assert line["payment"]["status"] == line["status"]
            assert line["payment"]["amount"] == "100"
    assert ran.err == ""


async def test_pending_is_not_settled(sandbox: Sandbox, environment: dict[str, str]) -> None:
    await create(sandbox, environment, RINGING="PENDING", DONE="COMPLETED")
    ran = await run("status", "RINGING", "DONE", environment=environment)
    assert ran.code == 3
    assert ran.statuses == {"RINGING": "PENDING", "DONE": "COMPLETED"}
    ran = await run("watch", "RINGING", "DONE", "--timeout", "0.5", environment=environment)
    assert ran.code == 3
    assert ran.statuses == {"RINGING": ran.lines[-1]["status"], "DONE": "COMPLETED"}
    assert ran.lines[-1]["error"].startswith("SettlementTimeoutError: ")


async def test_a_key_with_a_slash_is_counted_as_itself(environment: dict[str, str]) -> None:
    ran = await run("status", "A/B C", environment=environment)
    assert ran.lines[0]["key"] == "A/B C"
    assert ran.lines[0]["polls"] == 1


async def test_keys_from_a_file(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    await create(sandbox, environment, DONE1="COMPLETED", DONE2="COMPLETED", DONE3="COMPLETED")
    file = tmp_path / "keys.txt"
    file.write_bytes(b"\xef\xbb\xbf# of today\r\nDONE1\r\n\r\n  DONE2\n  # not this\nDONE1\nDONE3")
    ran = await run("watch", "--from", str(file), environment=environment)
    assert ran.code == 0, ran.err
    assert ran.statuses == {"DONE1": "COMPLETED", "DONE2": "COMPLETED", "DONE3": "COMPLETED"}
    assert len(ran.lines) == 3


async def test_a_line_that_is_no_key_is_its_own_error_alone(
    sandbox: Sandbox, environment: dict[str, str]
) -> None:
    await create(sandbox, environment, DONE="COMPLETED")
    given = b"..\nDONE\n\xff\xfe\n"
    ran = await run("watch", "--from", "-", environment=environment, given=given)
    assert ran.code == 3
    assert ran.statuses == {"..": None, "DONE": "COMPLETED", "\ufffd\ufffd": None}


async def test_no_keys_at_all(environment: dict[str, str]) -> None:
    ran = await run("watch", "--from", "-", environment=environment, given=b"# none\n")
    assert (ran.code, ran.out) == (0, "")


async def test_keys_from_a_pipe_are_watched_as_they_come(
    sandbox: Sandbox, environment: dict[str, str]
) -> None:
    await create(sandbox, environment, FIRST="COMPLETED", SECOND="PENDING", THIRD="COMPLETED")
    async with started("watch", "--from", "-", environment=environment) as (process, output):
        assert process.stdin is not None
        await process.stdin.send(b"FIRST\nSEC")
        assert (await next_line(output))["key"] == "FIRST"
        await process.stdin.send(b"OND\nTHIRD\n")
        assert (await next_line(output))["key"] == "THIRD"
        sandbox.settle("SECOND", "COMPLETED")
        assert (await next_line(output))["key"] == "SECOND"
        await process.stdin.aclose()
        assert await process.wait() == 0


@pytest.mark.parametrize("source", ["arguments", "pipe"])
async def test_ctrl_c_prints_what_is_pending(
    sandbox: Sandbox, environment: dict[str, str], source: str
) -> None:
    await create(sandbox, environment, FIRST="PENDING", DONE="COMPLETED", LAST="PENDING")
    keys = ["FIRST", "LAST", "DONE"]
    arguments = keys if source == "arguments" else ["--from", "-"]
    async with started("watch", *arguments, environment=environment) as (process, output):
        if source == "pipe":
            assert process.stdin is not None
            await process.stdin.send("\n".join([*keys, ""]).encode())
        assert (await next_line(output))["key"] == "DONE"
        ran = await interrupted(process, output)
    assert ran.code == 130
    assert ran.statuses == {"FIRST": None, "LAST": None}
    assert all(set(line) == FIELDS and line["error"] for line in ran.lines)
    # What it says can be given back to it.
    sandbox.settle("FIRST", "COMPLETED")
    sandbox.settle("LAST", "COMPLETED")
    again = await run("watch", "--from", "-", environment=environment, given=ran.err.encode())
    assert again.code == 0
    assert again.statuses == {"FIRST": "COMPLETED", "LAST": "COMPLETED"}


async def test_ctrl_c_where_no_answer_comes() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - this is no Django
        environment = environment_of(f"http://127.0.0.1:{port}", "key")
        async with (
            started("status", "ORDER42", environment=environment) as (process, output),
            await listener.listeners[0].accept() as connection,
        ):
            await connection.receive()
            ran = await interrupted(process, output)
    assert ran.code == 130
    assert ran.statuses == {"ORDER42": None}
    assert ran.err.splitlines()[1:] == ["ORDER42"]


@pytest.mark.parametrize("command", ["status", "watch"])
async def test_without_a_credential(command: str) -> None:
    environment = environment_of(f"http://127.0.0.1:{unused_port()}", api_key=None)
    ran = await run(command, "ORDER42", environment=environment)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1
    assert "LITTLE_PAY_API_KEY" in ran.err


async def test_with_a_base_url_that_would_show_credentials() -> None:
    ran = await run("status", "K", environment=environment_of("http://pay.example", "key"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("little-pay: base_url: ")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["status", "watch"])
async def test_where_nobody_answers(command: str) -> None:
    environment = environment_of(f"http://127.0.0.1:{unused_port()}", "key")
    ran = await run(command, "ORDER42", "--timeout", "0.5", environment=environment)
    assert ran.code == 3
    assert ran.statuses == {"ORDER42": None}
    assert "APIConnectionError" in ran.lines[0]["error"]


@pytest.mark.parametrize("command", ["status", "watch"])
async def test_with_a_credential_that_is_refused(environment: dict[str, str], command: str) -> None:
    environment["LITTLE_PAY_API_KEY"] = "canary-of-a-key"
    environment["LITTLE_PAY_LOG"] = "debug"
    ran = await run(command, "ORDER42", environment=environment)
    assert ran.code == 3
    last = ran.err.splitlines()[-1]
    assert last.startswith("little-pay: ")
    assert "401" in last
    assert "canary" not in ran.out + ran.err
    if command == "watch":
        assert "ORDER42" in ran.err.splitlines()
        assert ran.statuses == {"ORDER42": None}


@pytest.mark.parametrize("command", ["status", "watch"])
@pytest.mark.threat("T25")
async def test_secrets_are_shown_nowhere(
    sandbox: Sandbox, environment: dict[str, str], command: str
) -> None:
    await create(sandbox, environment, DONE="COMPLETED")
    environment["LITTLE_PAY_LOG"] = "debug"
    environment["LITTLE_PAY_CLIENT_SECRET"] = "canary-of-a-secret"
    ran = await run(command, "DONE", "NOBODY", environment=environment)
    assert "DEBUG" in ran.err
    for secret in ("canary", *sandbox.credentials.values()):
        assert secret not in ran.out + ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "KEY..."),
        (["status", ""], "key:"),
        (["status", "K", "--timeout", "0"], "--timeout"),
        (["status", "K", "--timeout", "nan"], "timeout:"),
        (["watch"], "--from FILE"),
        (["watch", "K", "--from", "-"], "--from FILE"),
        (["watch", "--from", "no such file"], "no such file"),
        (["watch", ".."], "key:"),
        (["sing"], "sing"),
        (["sandbox", "--port", "70000"], "--port"),
    ],
)
async def test_usage(arguments: list[str], said: str) -> None:
    ran = await run(*arguments, environment=environment_of("http://127.0.0.1:9", "key"))
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


async def test_help_says_what_the_exit_codes_mean() -> None:
    ran = await run("--help", environment=environment_of("http://127.0.0.1:9", None))
    assert ran.code == 0
    for said in ("demo", "sandbox", "status", "watch", "130", "LITTLE_PAY_API_KEY"):
        assert said in ran.out
    assert "key" not in [word for word in ran.out.split() if word.startswith("--")]


async def test_where_nobody_reads(sandbox: Sandbox, environment: dict[str, str]) -> None:
    await create(sandbox, environment, DONE="COMPLETED", RINGING="PENDING")
    readable, writable = os.pipe()
    os.close(readable)
    done = await anyio.run_process(
        [*COMMAND, "watch", "RINGING", "DONE"], env=environment, stdout=writable, check=False
    )
    os.close(writable)
    assert done.returncode == 3
    said, *keys = done.stderr.decode().splitlines()
    assert "2 still pending" in said
    assert sorted(keys) == ["DONE", "RINGING"], "what could not be printed is pending too"


@pytest.mark.parametrize(
    "start",
    ["from little_pay_async._cli import main", "from little_pay_async.__main__ import main"],
)
async def test_without_the_extra(start: str) -> None:
    code = f"import sys; sys.modules['rich'] = None; {start}; main()"
    ran = await anyio.run_process([sys.executable, "-P", "-c", code], check=False)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert len(ran.stderr.splitlines()) == 1
    assert b"pip install 'little-pay-async[cli]'" in ran.stderr


async def test_the_library_loads_nothing_of_the_extra() -> None:
    # httpx itself loads some of it where it finds it.
    code = (
        "import httpx, sys; before = set(sys.modules);"
        "import little_pay_async, little_pay_async._cli; print(*set(sys.modules) - before)"
    )
    ran = await anyio.run_process([sys.executable, "-P", "-c", code])
    loaded = set(ran.stdout.decode().split())
    assert "little_pay_async._cli" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {
        *("click", "cryptography", "rich", "starlette", "uvicorn")
    }


async def test_sandbox_is_served_until_ctrl_c() -> None:
    bare = environment_of("http://127.0.0.1:9", None)
    async with started("sandbox", "--port", "0", environment=bare) as (process, output):
        said = await next_line(output)
        assert said["sandbox"] is True
        assert said["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
        names = {name.removeprefix("LITTLE_PAY_").lower() for name in said["environment"]}
        assert names == {"base_url", "api_key", "client_id", "client_secret", "token_id"}
        ran = await run("status", "NOBODY", environment=bare | said["environment"])
        assert ran.code == 3
        assert "404" in ran.lines[0]["error"]
        port = said["url"].rpartition(":")[2]
        taken = await run("sandbox", "--port", port, environment=bare)
        assert taken.code == 2
        assert len(taken.err.splitlines()) == 1
        assert (await interrupted(process, output)).code == 130


async def test_keys_that_can_not_be_read() -> None:
    readable, writable = os.pipe()
    os.close(writable)
    os.close(readable)
    with pytest.raises(OSError, match="Bad file descriptor"):
        [key async for key in read_keys(readable)]


def test_the_thread_that_could_not_read_ends() -> None:
    before = set(threading.enumerate())
    for _ in range(30):  # the event loop ends while the thread says its last word
        with contextlib.suppress(OSError):
            anyio.run(list_of_keys, -1)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


async def list_of_keys(descriptor: int) -> list[str]:
    return [key async for key in read_keys(descriptor)]


async def test_reading_ends_with_the_watch() -> None:
    readable, writable = os.pipe()
    os.write(writable, b"FIRST\nSECOND\n")
    before = set(threading.enumerate())
    keys = read_keys(readable)
    assert await anext(keys) == "FIRST"
    await keys.aclose()
    os.write(writable, b"THIRD\n")
    os.close(writable)
    for reader in set(threading.enumerate()) - before:
        if reader.name == "little-pay keys":
            await anyio.to_thread.run_sync(reader.join)
    os.close(readable)


def test_a_mistake_of_ours_is_no_failed_payment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mistaken(*_arguments: object, **_options: object) -> None:
        raise ExceptionGroup("tasks", [ZeroDivisionError("a mistake")])

    monkeypatch.setattr(commands, "check_keys", mistaken)
    assert running.run(["status", "ORDER42"]) == 3
    assert "ZeroDivisionError: a mistake" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
async def test_the_limit_on_open_files_is_raised() -> None:
    code = (
        "import resource; from little_pay_async._cli.open_files import raise_limit;"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)); raised = raise_limit();"
        "print(raised, *resource.getrlimit(resource.RLIMIT_NOFILE), hard)"
    )
    ran = await anyio.run_process([sys.executable, "-P", "-c", code])
    assert len(set(ran.stdout.split())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
class TestOnATerminal:
    async def test_watch_shows_lines_and_counts(
        self, sandbox: Sandbox, environment: dict[str, str]
    ) -> None:
        await create(sandbox, environment, DONE="COMPLETED", DECLINED="FAILED")
        code, shown = await on_terminal("watch", "DONE", "DECLINED", "[red]", env=environment)
        assert code == 3
        for said in ("DONE", "COMPLETED", "DECLINED", "FAILED", "[red]", "NotFoundError"):
            assert said in shown
        assert "errors.md" not in shown  # what to do about it, for each key: that is for programs
        assert "1 completed, 1 failed, 1 not settled" in shown
        assert "3 of 3" in shown
        assert "{" not in shown

    async def test_watch_shows_how_long_payments_took(
        self, sandbox: Sandbox, environment: dict[str, str]
    ) -> None:
        await create(sandbox, environment, DONE="COMPLETED", DECLINED="FAILED", RUNG="PENDING")
        await ring(sandbox, environment, "RUNG", Provider.AIRTEL)
        sandbox.settle("RUNG", "COMPLETED")
        code, shown = await on_terminal("watch", "DONE", "DECLINED", "RUNG", "X", env=environment)
        assert code == 3
        summary = shown[shown.index("Time to settle, by provider") :]
        assert "- 2" in summary
        assert "AIRTEL 1" in summary
        assert "median 0.0" in summary
        assert "█" in summary
        assert "not settled: 1 NotFoundError" in summary
        assert summary.index("not settled:") < summary.index("2 completed, 1 failed")

    async def test_ctrl_c_shows_how_long_those_took_that_have_settled(
        self, sandbox: Sandbox, environment: dict[str, str]
    ) -> None:
        await create(sandbox, environment, DONE="COMPLETED", SECOND="COMPLETED", RINGING="PENDING")
        arguments = ["watch", "RINGING", "DONE", "SECOND"]
        code, shown = await on_terminal(*arguments, env=environment, until="2 of 3")
        assert code == 130
        summary = shown[shown.index("Time to settle, by provider") :]
        assert summary.index("2 completed, 0 failed") < summary.index("1 still pending")
        assert shown.splitlines()[-1] == "RINGING"

    @pytest.mark.parametrize(
        ("more", "bar"), [({"NO_COLOR": "1"}, "█"), ({"PYTHONIOENCODING": "latin-1"}, "#")]
    )
    async def test_narrow_and_without_colour_or_without_blocks(
        self, sandbox: Sandbox, environment: dict[str, str], more: dict[str, str], bar: str
    ) -> None:
        await create(sandbox, environment, DONE="COMPLETED", SECOND="COMPLETED")
        code, shown = await on_terminal(
            "watch", "DONE", "SECOND", env=environment | more, width=40, coloured=True
        )
        assert code == 0
        summary = shown[shown.index("Time to settle, by provider") :]
        assert bar in summary
        assert all(len(_COLOUR.sub("", line)) <= 40 for line in summary.splitlines())
        assert ("\x1b[36m" in summary) is ("NO_COLOR" not in more)

    async def test_one_payment_is_no_histogram(
        self, sandbox: Sandbox, environment: dict[str, str]
    ) -> None:
        await create(sandbox, environment, DONE="COMPLETED")
        code, shown = await on_terminal("watch", "DONE", env=environment)
        assert code == 0
        assert "Time to settle" not in shown

    async def test_status_shows_lines(self, sandbox: Sandbox, environment: dict[str, str]) -> None:
        await create(sandbox, environment, DONE="COMPLETED", RINGING="PENDING")
        code, shown = await on_terminal("status", "DONE", "RINGING", env=environment)
        assert code == 3
        assert "✓ DONE           COMPLETED  100" in shown
        assert "? RINGING        PENDING    100" in shown
        assert "Time to settle" not in shown

    async def test_json_if_it_is_asked_for(
        self, sandbox: Sandbox, environment: dict[str, str]
    ) -> None:
        await create(sandbox, environment, DONE="COMPLETED")
        code, shown = await on_terminal("watch", "DONE", "--json", env=environment)
        assert code == 0
        assert json.loads(shown)["status"] == "COMPLETED"

    async def test_sandbox_says_what_to_export(self) -> None:
        bare = environment_of("http://127.0.0.1:9", None)
        code, shown = await on_terminal("sandbox", "--port", "0", env=bare, until="Ctrl-C ends")
        assert code == 130
        assert "SANDBOX" in shown
        assert "export LITTLE_PAY_BASE_URL=http://127.0.0.1:" in shown
        assert "export LITTLE_PAY_API_KEY=sandbox-api-key" in shown

    async def test_ctrl_c(self, sandbox: Sandbox, environment: dict[str, str]) -> None:
        await create(sandbox, environment, DONE="COMPLETED", RINGING="PENDING")
        arguments = ["watch", "RINGING", "DONE"]
        code, shown = await on_terminal(*arguments, env=environment, until="COMPLETED")
        assert code == 130
        assert shown.splitlines()[-1] == "RINGING"
        assert "1 still pending" in shown
        assert "\x1b[?25h" in shown, "the cursor is back"


async def on_terminal(
    *arguments: str,
    env: dict[str, str],
    until: str | None = None,
    width: int = 100,
    coloured: bool = False,
) -> tuple[int | None, str]:
    """Run it on a terminal, typing Ctrl-C once `until` is shown; return code and output."""
    import pty

    ours, theirs = pty.openpty()
    env = env | {"TERM": "xterm-256color", "COLUMNS": str(width), "LINES": "30"}
    shown = b""
    async with await anyio.open_process(
        [*COMMAND, *arguments],
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        while True:
            await anyio.wait_readable(ours)
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            shown += part
            if until is not None and until.encode() in shown:
                until = None
                process.send_signal(signal.SIGINT)
        code = await process.wait()
    os.close(ours)
    text = shown.decode(env.get("PYTHONIOENCODING", "utf-8"))
    return code, text if coloured else _COLOUR.sub("", text)
