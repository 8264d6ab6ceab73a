"""What the ledger tells of a study's windows, and what they will cost."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conf.keys import study_key
from conf.windows import ALL, Span, split
from jobs import crossfit, estimate, ledger
from jobs.ledger import Stage
from jobs.windows import costs, read_run, read_windows
from tests.jobs import prebuilt

STUDY = "orders"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prebuilt.write_lake(tmp_path)
    return tmp_path


def record(home: Path, file: Path, window: str, **versions: int) -> Stage:
    place = prebuilt.place(home)
    prebuilt.prebuild(file, (window,), place, **versions)
    found = prebuilt.resolved(file, window, place, **versions)
    entries = read_windows(place.record_root, STUDY).entries.values()
    stages = [each.stage for each in entries if each.stage.name == "features"]
    key = next(stage for stage in stages if (stage.detail or {})["window"] == window)
    return estimate.run(found, crossfit.run(found, key, place), place)


def test_a_home_without_a_record_has_no_windows(tmp_path: Path) -> None:
    windows = read_windows(str(tmp_path / "record"), STUDY)
    assert windows.runs == ()
    assert costs(windows).units(ALL) is None
    assert costs(windows).seconds(ALL, ["features"]) is None


def test_a_run_knows_what_made_it(home: Path) -> None:
    file, place = prebuilt.write_study(home), prebuilt.place(home)
    found = record(home, file, "2024-01")
    windows = read_windows(place.record_root, STUDY)
    (run,) = windows.runs
    assert run.run_key == found.key
    assert run.stage.digest == found.digest
    assert run.text == file.read_text()
    assert run.sources == {"orders": 2}
    assert run.libraries["numpy"]
    assert [stage.name for stage in windows.lineage(run, place.record_root)] == [
        "features", "crossfit", "estimate",
    ]  # fmt: skip
    assert read_run(place.record_root, found.key) == run
    assert read_run(place.record_root, "0" * 64) is None


def test_the_same_study_is_found_after_its_sources_moved_on(home: Path) -> None:
    file, place = prebuilt.write_study(home), prebuilt.place(home)
    record(home, file, "2024-01")
    prebuilt.write_month(home, "2024-04")
    now = prebuilt.resolved(file, "2024-01", place)
    assert now.sources == {"orders": 3}
    key = study_key(now.loaded.study, now.span, now.table_ids, place.device)
    windows = read_windows(place.record_root, STUDY)
    assert windows.same_study(now.span, key) == windows.current(now.span) == windows.runs[0]
    assert windows.same_study(now.span, "another") is None
    february = split("2024-02", "2024-02", now.loaded.study.window)[0]
    assert windows.current(february) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("covariates: [age]", "covariates: [age, shop]"),
        ("{k: 3}", "{k: 4}"),
        ("outcome: linear", "outcome: xgboost"),
        ("effects:\n", "inference: {level: 0.9}\neffects:\n"),
        ('watermark: "max(at)"}', 'watermark: "max(at)", version: 2}'),
        ("age, coupon", "age,  coupon"),
    ],
)
def test_another_study_has_another_key(home: Path, old: str, new: str) -> None:
    place = prebuilt.place(home)
    one = prebuilt.resolved(prebuilt.write_study(home), "2024-01", place)
    text = prebuilt.STUDY.replace(old, new)
    assert text != prebuilt.STUDY
    other = prebuilt.resolved(prebuilt.write_study(home / "other", text), "2024-01", place)
    keys = {study_key(each.loaded.study, each.span, each.table_ids, "cpu") for each in (one, other)}
    assert len(keys) == 2


def test_another_table_window_or_device_is_another_study_and_a_question_is_not(
    home: Path,
) -> None:
    place = prebuilt.place(home)
    found = prebuilt.resolved(prebuilt.write_study(home), "2024-01", place)
    study, span = found.loaded.study, found.span
    same = study_key(study, span, found.table_ids, "cpu")
    later = prebuilt.resolved(prebuilt.write_study(home), "2024-02", place).span
    asked = study.model_copy(update={"question": "Another?"})
    assert study_key(asked, span, found.table_ids, "cpu") == same
    others = {
        study_key(study, later, found.table_ids, "cpu"),
        study_key(study, span, {"orders": "another"}, "cpu"),
        study_key(study, span, found.table_ids, "cuda"),
    }
    assert len(others | {same}) == 4


def committed(root: str, stage: Stage, span: Span) -> None:
    ledger.commit(
        root,
        stage,
        study=STUDY,
        window=(span.start, span.end),
        sources={},
        numerics="n",
        platform="p",
    )


def test_costs_are_medians_a_row_and_a_window(tmp_path: Path) -> None:
    root = str(tmp_path / "record")
    days = [datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4)]
    spans = [Span(*pair, "") for pair in itertools.pairwise(days)]
    for number, (span, rows) in enumerate(zip(spans, (310, 290, 620), strict=True)):
        key, units = f"{number}", {"units": rows}
        committed(root, Stage("features", "computed", key, "f", 0, rows, 0.1 * rows), span)
        committed(root, Stage("crossfit", "computed", key, "c", 0, 7, 0.2 * rows, "", units), span)
        committed(root, Stage("estimate", "computed", key, "e", 0, 2, 1.0 + number), span)
    known = costs(read_windows(root, STUDY))
    assert known.units(spans[2]) == 620
    may = Span(datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 11, tzinfo=UTC), "")
    assert known.units(may) == 100
    assert known.seconds(may, ["features", "crossfit"]) == pytest.approx(30.0)
    assert known.seconds(may, ["features", "crossfit", "estimate"]) == pytest.approx(32.0)
    assert known.seconds(may, ["register"]) is None, "nothing was ever registered"
    assert known.seconds(may, []) == 0.0
