"""The words of a preview: what was looked at is always said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conf.windows import Span
from jobs.preview import Arm, Column, Preview, TreatmentSeen
from pipelines.preview import as_object, text
from tests.jobs import prebuilt
from tests.pipelines.command import Causeway, causeway_in

SEEN = Preview(
    "orders",
    Span(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC), "2024-01"),
    {"orders": 2},
    200,
    True,
    30,
    (Column("age", "covariate", "double", 50, 140),),
    (
        TreatmentSeen(
            "coupon",
            (Arm("0", 120, {"spend": 3.25}), Arm("1", 80, {"spend": None})),
            (),
            {"0": 0.91, "1": 0.83},
            0.015,
        ),
        TreatmentSeen("dose", (), (0.0, 1.5, 2.0, 2.5, 9.0), {}, None),
    ),
    0.4,
)


def test_text_for_a_reader() -> None:
    shown = text(SEEN)
    for part in ("200 units, 30 clusters, from orders@2", "all units of the window", "25.0 %",
                 "arm 1: 80 units; means: spend unknown", "effective share arm 0 0.91, arm 1 0.83",
                 "minimum, quartiles, maximum: 0, 1.5, 2, 2.5, 9"):  # fmt: skip
        assert part in shown


def test_what_a_run_would_refuse_is_said_before() -> None:
    assert "refuses" not in text(SEEN)
    shown = text(replace(SEEN, columns=(Column("age", "covariate", "double", 0, 140, 406),)))
    assert "age: 406 NaN or infinite, which a run refuses; nanvl(age, NULL)" in shown


def test_a_part_of_the_window_is_said_to_be_one() -> None:
    part = replace(SEEN, complete=False)
    assert "not drawn at random" in text(part)
    assert "not drawn at random" in as_object(part)["sampled"]
    assert as_object(part)["complete"] is False


def test_one_arm_has_no_overlap() -> None:
    alone = TreatmentSeen("coupon", (Arm("1", 200, {"spend": 1.0}),), (), {}, None)
    assert "no overlap to look at" in text(replace(SEEN, treatments=(alone,)))


def test_a_window_that_is_not_mature_starts_no_spark(here: Causeway, home: Path) -> None:
    prebuilt.write_lake(home)
    ran = here("preview", str(prebuilt.write_study(home)), "--window", "2024-09", "--json")
    assert ran.code == 75
    assert ran.object["error"]["code"] == "not_mature"


@pytest.mark.engines
@pytest.mark.slow
def test_the_command_looks_at_the_newest_window(tmp_path: Path) -> None:
    prebuilt.write_lake(tmp_path / "home")
    study = prebuilt.write_study(tmp_path)
    ran = causeway_in(tmp_path, tmp_path / "home")("preview", str(study), "--json")
    assert ran.code == 0, ran.err
    assert ran.object["window"]["label"] == "2024-03"
    assert ran.object["units"] == 240
