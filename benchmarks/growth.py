"""How cost grows with the number of parked polls: a drawing and a table, from results.json."""

import math
from collections.abc import Iterator
from typing import Any

from cases import ALL, FLOOR, HTTPX_ALONE, RIVAL, US
from plot import text

Points = list[tuple[int, float]]

DRAWN = (US, RIVAL, HTTPX_ALONE, FLOOR)
# Figure, title, format.
PANELS = [
    ("connect_ms", "connect and poll, CPU ms", ".2f"),
    ("reused_ms", "poll, reused, CPU ms", ".2f"),
    ("kib", "KiB a poll", ".0f"),
]
WIDTH, HEIGHT, GAP, LEFT, TOP = 250, 180, 60, 50, 40  # of a panel, in pixels
STYLES = {US: "us", RIVAL: "rival", HTTPX_ALONE: "alone", FLOOR: "floor"}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #59636e; } .title { font-weight: 600; }
line { stroke: #d1d9e0; } polyline { fill: none; stroke-width: 2; }
.us { stroke: #0969da; fill: #0969da; } .rival { stroke: #bc4c00; fill: #bc4c00; }
.alone { stroke: #8250df; fill: #8250df; } .floor { stroke: #8c959f; fill: #8c959f; }
polyline.us, polyline.rival, polyline.alone, polyline.floor { fill: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1; } line { stroke: #3d444d; }
  .us { stroke: #4493f8; fill: #4493f8; } .rival { stroke: #db6d28; fill: #db6d28; }
  .alone { stroke: #ab7df8; fill: #ab7df8; }
}
"""


def points(written: Any, client: str, figure: str) -> Points:
    """Return counts of polls parked over TLS, on asyncio's own loop, and the figure at each."""
    found: dict[int, float] = {}
    for case in written["cases"].values():
        what = case["what"]
        measured = case["clients"].get(client)
        if measured and what["tls"] and not what["uvloop"] and not what["at_once"]:
            found[int(measured["keys"])] = measured[figure]
    return sorted(found.items())


def table(written: Any) -> str:
    """Return the figures of one poll by how many are parked, as Markdown."""
    counts = sorted({count for client in ALL for count, _ in points(written, client, "reused_ms")})
    lines = ["| polls parked | " + " | ".join(f"{count:,}" for count in counts) + " |"]
    lines.append("|---|" + "---|" * len(counts))
    for figure, title, form in PANELS:
        for client in DRAWN:
            at = dict(points(written, client, figure))
            cells = (format(at[count], form) if count in at else "-" for count in counts)
            lines.append(f"| {client}: {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(written: Any) -> str:
    """Return the drawing, with both axes logarithmic: what grows is seen, however much."""
    parts: list[str] = []
    for at, panel in enumerate(PANELS):
        parts += drawn(written, panel, LEFT + at * (WIDTH + GAP))
    width, y = LEFT + len(PANELS) * (WIDTH + GAP), TOP + HEIGHT + 60
    x = LEFT
    for client in DRAWN:
        parts.append(f'<circle class="{STYLES[client]}" cx="{x}" cy="{y - 4}" r="4"/>')
        parts.append(text(x + 10, y, client, ""))
        x += 50 + 7 * len(client)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 12}" '
        f'width="{width}" height="{y + 12}" role="img">\n'
        f"<title>Cost of a poll over TLS by how many are parked</title>\n<style>{STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def drawn(written: Any, panel: tuple[str, str, str], left: int) -> Iterator[str]:
    figure, title, form = panel
    series = {client: points(written, client, figure) for client in DRAWN}
    everything = [point for line in series.values() for point in line]
    counts = sorted({count for count, _ in everything})
    # Whole decades, so that lines can be read off.
    low, high = (
        edge(math.log10(value))
        for edge, value in (
            (math.floor, min(value for _, value in everything)),
            (math.ceil, max(value for _, value in everything)),
        )
    )

    def place(count: int, value: float) -> tuple[float, float]:
        along = math.log(count / counts[0]) / (math.log(counts[-1] / counts[0]) or 1)
        up = (math.log10(value) - low) / (high - low)
        return left + round(along * WIDTH, 1), TOP + round((1 - up) * HEIGHT, 1)

    yield text(left, TOP - 16, title, "title")
    for exponent in range(low, high + 1):
        _, y = place(counts[0], 10.0**exponent)
        yield f'<line x1="{left}" y1="{y}" x2="{left + WIDTH}" y2="{y}"/>'
        yield f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{10.0**exponent:g}</text>'
    for count in counts:
        x, _ = place(count, 10.0**low)
        yield f'<text x="{x}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{count:,}</text>'
    for client, line in series.items():
        places = [place(*point) for point in line]
        if len(places) > 1:
            joined = " ".join(f"{x},{y}" for x, y in places)
            yield f'<polyline class="{STYLES[client]}" points="{joined}"/>'
        for (x, y), (_, value) in zip(places, line, strict=True):
            yield (
                f'<circle class="{STYLES[client]}" cx="{x}" cy="{y}" r="4">'
                f"<title>{client}: {value:{form}}</title></circle>"
            )
