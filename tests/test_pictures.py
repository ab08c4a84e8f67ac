"""The pictures of the documents: whole, small, and they load and tell nothing from elsewhere."""

import io
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from little_pay_async import Payment, PaymentStatus, Provider
from little_pay_async._cli.outcomes import Outcome, Tally
from little_pay_async._cli.report import Lines

from .pictures import IMAGES, SVG, shape, shapes_in

# None of them runs or loads anything.
ELEMENTS = {"circle", "clipPath", "defs", "g", "line", "polyline", "rect", "style", "svg", "text"}
ELEMENTS |= {"title"}
DRAWN = sorted(IMAGES.glob("*.svg"))


@pytest.mark.parametrize("picture", sorted(IMAGES.iterdir()), ids=lambda path: path.name)
def test_it_is_small(picture: Path) -> None:
    assert picture.stat().st_size <= 150 * 1024


@pytest.mark.parametrize("picture", DRAWN, ids=lambda path: path.name)
def test_it_loads_nothing_and_tells_nothing_of_the_machine(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert root.tag == f"{SVG}svg"
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    names = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in names if "href" in name or name.startswith("on")}
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text
    addresses = text.replace('xmlns="http://www.w3.org/2000/svg"', "").replace(
        "http://127.0.0.1:", ""
    )
    assert "://" not in addresses
    assert not re.search(r"/(home|root|tmp|work|usr|Users)\b", text)
    assert not re.search(r"\d{10}", "".join(root.itertext())), "phone numbers are masked"


def test_there_is_one_of_each() -> None:
    assert {"demo.svg", "watch.svg"} <= {picture.name for picture in DRAWN}


def test_the_picture_of_a_watch_shows_what_is_printed_today() -> None:
    console = Console(record=True, width=80, file=io.StringIO(), highlight=False)
    report, tally = Lines(console, live=True), Tally()
    for providers, (status, message) in (
        (("MPESA", "MPESA", "MPESA", "AIRTEL", "AIRTEL", "MTN"), ("COMPLETED", "Success")),
        (("MPESA", "MPESA", "MPESA", "AIRTEL", "AIRTEL", "MTN"), ("FAILED", "The payer declined")),
    ):
        for provider in providers:
            payment = Payment(
                date=datetime(2024, 5, 13, 8, 26, 18, tzinfo=UTC),
                status=PaymentStatus(status),
                provider=Provider(provider),
                amount=Decimal(100),
                currency="KES",
                message=message,
            )
            outcome = Outcome(key="ORDER001", payment=payment, elapsed=3.1, polls=1)
            report.found(outcome)
            tally.count(outcome)
    report.summary(tally, 14.5)
    today = [shape(line) for line in console.export_text().splitlines()]
    pictured = shapes_in("watch.svg")
    assert set(pictured) <= set(today)
    after = today[today.index(shape("Time to settle, by provider")) :]
    assert list(dict.fromkeys(pictured[-12:])) == after
