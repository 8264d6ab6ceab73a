"""Figures are looked at by people; these tests hold what can be held: size, bytes, axes, labels."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure
from PIL import Image

from jobs.pages import figures
from jobs.pages.drawing import style
from jobs.pages.evidence import Evidence
from tests.jobs import record_sample as sample
from tests.jobs.record_sample import evidence


def crowd(monkeypatch: pytest.MonkeyPatch, home: Path, groups: int) -> Evidence:
    """A window with many groups, their names long."""
    few = sample.effects

    def many(label: str, shift: float) -> list[dict[str, Any]]:
        rows = few(label, shift)
        base = next(row for row in rows if row["effect_id"] == "irm.ate.rain.dep_delay")
        by = "destination*carrier_of_the_leg"
        for number in range(groups):
            value = f"airport number {number:03d}*carrier {number}"
            rows.append(
                base
                | {
                    "effect_id": f"{base['effect_id']}@{by}={value}",
                    "group_by": by,
                    "group_value": value,
                }
            )
        return rows

    monkeypatch.setattr(sample, "effects", many)
    return evidence(sample.record(home))


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def test_every_figure_is_a_png_640_pixels_wide(march: Evidence) -> None:
    found = figures.draw(march)
    assert set(found) == {
        "forest.png",
        "figures/timeline.png",
        "figures/overlap.png",
        "figures/balance.png",
        "figures/balance.rain.cancelled.png",
        "figures/missing.png",
    }
    for name, content in found.items():
        image = Image.open(io.BytesIO(content))
        assert image.width == 640, name
        assert 100 < image.height < 1500, name
        assert len(image.convert("L").getcolors() or []) > 10, name
        assert "Software" not in image.info


@pytest.mark.slow
def test_the_same_record_gives_the_same_bytes_whatever_the_users_settings(march: Evidence) -> None:
    first = figures.draw(march)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 50}):
        assert figures.draw(march) == first
        assert mpl.rcParams["font.size"] == 20


def test_the_horizontal_axis_is_that_of_all_windows(tmp_path: Path) -> None:
    recorded = [sample.record(tmp_path, label) for label in sample.LABELS]
    spans = {
        (outcome, figures.limits(evidence(each), outcome))
        for each in recorded
        for outcome in ("dep_delay", "cancelled")
    }
    assert len(spans) == 2
    wide = sample.record(tmp_path, "2013-04", shift=50.0)
    assert figures.limits(evidence(wide), "dep_delay")[1] > 50
    assert figures.limits(evidence(recorded[0]), "dep_delay") == figures.limits(
        evidence(wide), "dep_delay"
    )


def test_the_axis_holds_whole_effects_and_bounds_wild_groups(tmp_path: Path) -> None:
    wild = {"irm.ate.rain.dep_delay@origin=JFK": {"ci_low": -900.0, "ci_high": 900.0}}
    found = evidence(sample.record(tmp_path, changes=wild))
    low, high = figures.limits(found, "dep_delay")
    whole = [row for row in found.whole() if row["outcome"] == "dep_delay"]
    assert low <= 0 <= high
    assert all(low < row["ci_low"] and row["ci_high"] < high for row in whole)
    assert high < 100
    with style():
        axes = figures.forest(found).axes[0]
    arrows = [line for line in axes.lines if line.get_marker() in ("<", ">")]
    assert len(arrows) == 2


def test_one_wild_window_does_not_set_the_scale_of_the_others(tmp_path: Path) -> None:
    calm = evidence(sample.record(tmp_path, "2013-01"))
    before = figures.limits(calm, "cancelled")
    wild = {"irm.ate.rain.cancelled": {"theta": 1.0, "ci_low": -2.0, "ci_high": 4.0, "se": 1.5}}
    found = evidence(sample.record(tmp_path, "2013-02", changes=wild))
    low, high = figures.limits(found, "cancelled")
    assert high - low < 2 * (before[1] - before[0])
    with style():
        axes = figures.forest(found).axes[1]
    assert [line.get_marker() for line in axes.lines if line.get_marker() in ("<", ">")] == [
        "<",
        ">",
    ]
    assert "1.0 [-2.0, 4.0]" in [text.get_text() for text in axes.texts]


def test_hundreds_of_groups_are_capped_and_the_figure_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = crowd(monkeypatch, tmp_path, 300)
    with style():
        figure = drawn(figures.forest(found))
    labels = [label for axes in figure.axes for label in axes.get_yticklabels()]
    assert len(labels) <= 44
    assert (
        figure.get_suptitle()
        == f"{len(found.effects) - len(labels)} more effects are in tables/effects.csv"
    )
    assert figure.get_figheight() < 15
    texts = [label.get_text() for label in labels]
    assert {"PLR slope", "IRM ATE", "IRM ATT"} <= set(texts)
    assert "origin = JFK" in texts


def test_no_label_of_a_crowded_figure_covers_another_or_leaves_the_sheet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = crowd(monkeypatch, tmp_path, 60)
    with style():
        figure = drawn(figures.forest(found))
        width, height = figure.canvas.get_width_height()
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
            for upper, lower in pairwise(boxes):
                assert lower.y1 <= upper.y0 + 1
            notes = [text.get_window_extent() for text in axes.texts]
            for box in [*boxes, *notes, axes.xaxis.label.get_window_extent()]:
                assert box.x0 >= -1
                assert box.x1 <= width + 1
                assert box.y0 >= -1
                assert box.y1 <= height + 1


def test_an_effect_that_cannot_be_had_is_said_and_not_drawn(tmp_path: Path) -> None:
    gone = dict.fromkeys(("theta", "se", "ci_low", "ci_high", "naive"))
    failed = gone | {"status": "failed", "error_code": "empty_arm"}
    nan = {"theta": math.nan, "se": math.nan, "ci_low": math.nan, "ci_high": math.nan}
    found = evidence(
        sample.record(
            tmp_path,
            changes={"irm.ate.rain.dep_delay": failed, "irm.att.rain.dep_delay": nan},
        )
    )
    with style():
        axes = figures.forest(found).axes[0]
    said = [text.get_text() for text in axes.texts]
    assert said.count("not estimable") == 2
    assert figures.draw(found)["forest.png"]


def test_nothing_estimable_still_draws(tmp_path: Path) -> None:
    gone = dict.fromkeys(("theta", "se", "ci_low", "ci_high", "naive"))
    failed = gone | {"status": "failed", "error_code": "empty_arm"}
    ids = [row["effect_id"] for row in sample.effects("2013-03", 0.0)]
    found = evidence(sample.record(tmp_path, changes=dict.fromkeys(ids, failed)))
    assert figures.draw(found)["forest.png"]


def test_the_timeline_begins_with_the_second_window_and_marks_new_numerics(tmp_path: Path) -> None:
    first = sample.record(tmp_path, "2013-01")
    assert figures.timeline(evidence(first)) is None
    same = evidence(sample.record(tmp_path, "2013-02"))
    with style():
        figure = figures.timeline(same)
        assert figure is not None
        assert len(figure.axes) == 2
        assert "numerics changed" not in legend(figure)
    new = evidence(sample.record(tmp_path, "2013-03", numerics="features=2"))
    with style():
        figure = figures.timeline(new)
        assert figure is not None
        assert legend(figure) == ["PLR slope", "IRM ATE", "IRM ATT", "numerics changed"]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


def test_a_study_without_checks_or_time_has_its_forest_only(tmp_path: Path) -> None:
    tree = {
        "window": {"every": "all"},
        "checks": [],
        "publish": {},
    }
    loaded = sample.study(**tree)
    recorded = sample.record(tmp_path, "all", loaded=loaded, checks=False)
    assert set(figures.draw(evidence(recorded))) == {"forest.png"}


def test_the_missing_figure_is_in_the_order_of_the_gaps(tmp_path: Path) -> None:
    found = evidence(sample.record(tmp_path, overcontrolled=True))
    with style():
        figure = figures.missing(found)
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["pressure", "outcome dep_delay", "wind_speed", "late_7d"]


def test_a_timeline_of_any_length_finds_its_ticks() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for hours in (*range(2, 960, 7), *range(960, 96_000, 997)):
        locator = AutoDateLocator(tz=UTC, minticks=figures._FEWEST_TICKS, maxticks=8)
        locator.tick_values(start, start + timedelta(hours=hours))  # a warning is an error
