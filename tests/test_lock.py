"""The lock of development pins everything by hashes, and tells nothing of where it was made."""

import re
from pathlib import Path

import pytest

LINES = (Path(__file__).parent.parent / "requirements-dev.lock").read_text().splitlines()
PIN = re.compile(r"[a-z0-9][a-z0-9._-]*==[^ ;]+( ; .+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


@pytest.mark.threat("T29")
def test_all_is_pinned_with_hashes() -> None:
    assert [line for line in LINES if not (PIN.fullmatch(line) or HASH.fullmatch(line))] == []
    for line, following in zip(LINES, [*LINES[1:], ""], strict=True):
        assert line.endswith("\\") == bool(HASH.fullmatch(following)), line


@pytest.mark.threat("T29")
def test_no_host_is_named() -> None:
    assert [line for line in LINES if re.search(r"://|[a-z]\.(org|com|net|io)\b| @ ", line)] == []
