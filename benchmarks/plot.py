"""The figures as a drawing: SVG text, readable on a light and on a dark page."""

from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from cases import FLOOR, US

DRAWN = ("TLS, 1,000 parked", "TLS, 10,000 parked")
# Figure, title, format.
PANELS = [
    ("connect_ms", "connect and poll, CPU ms", ".2f"),
    ("reused_ms", "poll, reused, CPU ms", ".2f"),
    ("kib", "KiB a poll", ".0f"),
]
NAMES, PANEL, BAR, ROW, TOP = 225, 215, 150, 22, 64  # widths and heights, in pixels

CAPTION = "Less is better. The floor is a bare protocol that handles no errors."

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; } .small { font-size: 12px; fill: #59636e; }
rect { fill: #8c959f; } .us { fill: #0969da; } .floor { fill: #d1d9e0; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; } .small { fill: #9198a1; }
  rect { fill: #656c76; } .us { fill: #4493f8; } .floor { fill: #3d444d; }
}
"""


def draw(written: Mapping[str, Any]) -> str:
    """Return the drawing of what results.json has."""
    cases = [(name, written["cases"][name]) for name in DRAWN if name in written["cases"]]
    longest = {figure: longest_bar(figure, [case for _, case in cases]) for figure, _, _ in PANELS}
    parts: list[str] = []
    y = 0
    for name, case in cases:
        parts += heading(name, y)
        y += TOP
        for client, found in case["clients"].items():
            parts += row(client, found, longest, y, remark(client, case))
            y += ROW
        y += ROW
    width = NAMES + PANEL * len(PANELS)
    parts.append(text(0, y, f"{CAPTION} Python {written['about']['python']}.", "small"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 8}" '
        f'width="{width}" height="{y + 8}" role="img">\n'
        f"<title>CPU and memory of a parked poll</title>\n<style>{STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def longest_bar(figure: str, cases: Iterable[Mapping[str, Any]]) -> float:
    """Return what the full width stands for. One far beyond all others runs off the scale."""
    values = sorted(found[figure] for case in cases for found in case["clients"].values())
    if not values:  # a part of the cases alone
        return 1.0
    return values[-2] if len(values) > 1 and values[-1] > 2 * values[-2] else values[-1]


def heading(name: str, y: int) -> list[str]:
    return [
        text(0, y + 18, f"{name} polls", "title"),
        *(
            text(NAMES + PANEL * at, y + 48, title, "small")
            for at, (_, title, _) in enumerate(PANELS)
        ),
    ]


def remark(client: str, case: Mapping[str, Any]) -> str:
    keys = case["clients"][client]["keys"]
    return "" if keys == case["what"]["keys"] else f" (at {keys:.0f})"


def row(
    client: str, found: Mapping[str, float], longest: Mapping[str, float], y: int, more: str
) -> list[str]:
    style = {US: "us", FLOOR: "floor"}.get(client, "rival")
    parts = [text(0, y + 13, client + more, "title" if client == US else "")]
    for at, (figure, _, form) in enumerate(PANELS):
        x = NAMES + PANEL * at
        long = max(1, round(BAR * min(1.0, found[figure] / longest[figure])))
        beyond = "… " if found[figure] > longest[figure] else ""
        parts.append(f'<rect class="{style}" x="{x}" y="{y + 2}" width="{long}" height="14"/>')
        parts.append(text(x + long + 5, y + 13, beyond + format(found[figure], form), "small"))
    return parts


def text(x: int, y: int, words: str, style: str) -> str:
    return f'<text class="{style}" x="{x}" y="{y}">{escape(words)}</text>'
