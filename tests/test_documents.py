"""README and docs say what is so. Their code blocks are run where they stand; see conftest.py."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from little_pay_async.sandbox import OUTCOMES, Kind

ROOT = Path(__file__).parent.parent


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def table(document: str, heading: str) -> list[list[str]]:
    text = (ROOT / document).read_text(encoding="utf-8")
    section = re.split(rf"^## {heading}$", text, flags=re.MULTILINE)[1].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_readmes_ten_lines_run_as_a_script_and_are_ten(tmp_path: Path) -> None:
    (code, *_) = blocks("README.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    script = tmp_path / "ten_lines.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, check=True
    )
    assert "COMPLETED" in done.stdout
    assert done.stderr == ""


FIGURES = [
    ("TLS, 1,000 parked", "connect_ms", ".2f"),
    ("TLS, 1,000 parked", "reused_ms", ".2f"),
    ("TLS, 1,000 parked", "kib", ".0f"),
    ("TLS, 10,000 parked", "reused_ms", ".2f"),
    ("TLS, 10,000 parked", "kib", ".0f"),
    ("plain, 1,000 parked", "reused_ms", ".2f"),
    ("plain, 1,000 parked", "kib", ".0f"),
    ("plain, check() of 5,000 keys", "check_ms", ".2f"),
]


def test_figures_in_the_readme_are_those_of_the_benchmark() -> None:
    cases = json.loads((ROOT / "benchmarks/results.json").read_text(encoding="utf-8"))["cases"]
    shown = {row[0]: row[1:] for row in table("README.md", "How light it is")}
    measured = set().union(*(cases[case]["clients"] for case, _, _ in FIGURES))
    assert shown.keys() == measured
    for client, cells in shown.items():
        for cell, (case, figure, form) in zip(cells, FIGURES, strict=True):
            found = cases[case]["clients"].get(client)
            assert cell == (format(found[figure], form) if found else "-"), (client, case, figure)


def test_what_the_documents_say_and_draw_of_the_benchmark_is_of_its_results() -> None:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/pages.py", "--check"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for document, figures in (("README.md", 3), ("docs/how-fast.md", 6)):
        text = (ROOT / document).read_text(encoding="utf-8")
        assert text.count("<!-- figures: ") == text.count("<!-- end of figures -->") == figures


def test_readme_says_what_it_is_in_two_sentences() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    paragraph = text.split("\n\n")[1]
    assert len(re.findall(r"\.(?:\s|$)", paragraph)) == 2


def test_magic_numbers_are_those_of_the_sandbox() -> None:
    listed = {
        digits: row[1]
        for row in table("docs/sandbox.md", "Magic phone numbers")[:-1]
        for digits in row[0].split(", ")
    }
    assert listed.keys() == OUTCOMES.keys()
    for digits, outcome in OUTCOMES.items():
        assert (outcome.status or "PENDING") in listed[digits]


def test_kinds_of_weather_are_those_of_the_sandbox() -> None:
    listed = [row[0].strip("`") for row in table("docs/sandbox.md", "Bad weather")]
    assert listed == [kind.value for kind in Kind]


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    path = ROOT / document if document == "README.md" else ROOT / "docs" / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
