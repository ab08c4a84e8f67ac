"""What the pictures of terminals in the documents show."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

IMAGES = Path(__file__).parent.parent / "docs" / "images"
SVG = "{http://www.w3.org/2000/svg}"
_DRAWN = re.compile(r"[\s━╸╺─█▉▊▋▌▍▎▏]")
_FIGURES = re.compile(r"[\d*][\d,.*]*")


def shape(line: str) -> str:
    """Return what is the same of a line in every run: no figures, no bars, no room."""
    return _FIGURES.sub("#", _DRAWN.sub("", line))


def shapes_in(name: str) -> list[str]:
    """Return the shapes of the lines in a picture, from above; what is empty is left out."""
    lines: dict[float, str] = {}
    root = ET.parse(IMAGES / name)  # noqa: S314 - our own
    (terminal,) = root.findall(f"{SVG}g[@clip-path]/{SVG}g[@class]")
    for text in terminal.iter(f"{SVG}text"):
        height = float(text.attrib["y"])
        lines[height] = lines.get(height, "") + "".join(text.itertext())
    return [found for _, line in sorted(lines.items()) if (found := shape(line))]
