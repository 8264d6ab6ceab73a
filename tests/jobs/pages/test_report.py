"""The report: whole, readable without anything beside it, and safe whatever a study holds."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from jobs.lake import Pin
from jobs.pages import figures
from jobs.pages.report import report
from tests.jobs import record_sample as sample
from tests.jobs.record_sample import evidence

VOID = {"meta", "img"}


class _Page(HTMLParser):
    """Elements, their text, and whether every one that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(tmp_path: Path, **changes: Any) -> tuple[_Page, bytes]:
    found = evidence(sample.record(tmp_path, **changes))
    at = datetime(2014, 1, 1, tzinfo=UTC)
    pins = {"flights": Pin("flights", "/lake/flights", "table-id", 12, at)}
    content = report(found, pins, {"forest.png": b"\x89PNG", "figures/overlap.png": b"\x89PNG"})
    return _Page(content.decode()), content


def test_it_is_whole_and_reaches_for_nothing(tmp_path: Path) -> None:
    found, content = page(tmp_path)
    assert found.open == []
    links = [value for _, name, value in found.attributes if name in ("src", "href")]
    assert links
    assert all(each.startswith("data:image/png;base64,") for each in links)
    assert b"http" not in content
    buttons = {value for tag, name, value in found.attributes if (tag, name) == ("button", "value")}
    places = {value for tag, name, value in found.attributes if (tag, name) == ("h2", "id")}
    assert buttons == places == {"Effects", "Checks", "Figures", "Windows", "Data", "Study"}


def test_it_says_what_the_record_says(tmp_path: Path) -> None:
    found, _ = page(tmp_path, overcontrolled=True)
    text = " ".join(found.text)
    for said in (
        "rejected",
        "pressure is missing for 57 % of rain = 1 and 7 % of rain = 0",
        "IRM ATE of rain on dep_delay, origin = JFK",
        "27,000",
        "version 12, table-id",
        "causeway reproduce ",
        "units:",
    ):
        assert said in text, said


def test_what_a_study_holds_is_text_and_never_markup(tmp_path: Path) -> None:
    loaded = sample.study(question="<script>alert(1)</script> & more")
    found, content = page(tmp_path, loaded=loaded)
    assert b"<script>alert" not in content
    assert "<script>alert(1)</script> & more" in found.text


def test_the_real_figures_fit(tmp_path: Path) -> None:
    found = evidence(sample.record(tmp_path))
    content = report(found, {}, figures.draw(found))
    assert content.count(b"data:image/png") >= 4
    assert len(content) < 10_000_000
