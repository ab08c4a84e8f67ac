"""The page shows what the sessions of nox have recorded."""

from . import figures


def test_the_page_shows_the_figures_that_were_recorded() -> None:
    assert figures.read("figures") == figures.table_of_figures()
