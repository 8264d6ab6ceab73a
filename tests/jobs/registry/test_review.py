"""Standing and decisions, from a real record on Delta alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from conf.profile import Profile
from conf.study import Study
from estimators.drift import drift
from estimators.errors import ContractError, GateError, RetryableError, UsageError
from jobs import lake
from jobs.lake import read_record
from jobs.registry import comparison, review
from jobs.registry.review import PROMOTED, REJECTED, Ruling, decide
from jobs.registry.standing import Meant, Standing, read_register
from jobs.unit_table import bucket_name
from tests.jobs import record_sample as sample
from tests.jobs import review_sample as windows
from tests.jobs.review_sample import ATE, PLR

LATER = datetime(2100, 1, 1, tzinfo=UTC)
"""After every decision that the tests make."""


def standing(
    home: Path, study: Study, effect_id: str = ATE, meant: Meant | None = None
) -> Standing:
    known = read_register(sample.profile(home).record_root, study)
    return known.standing(effect_id, meant) if meant else known.standing(effect_id)


def promote(home: Path, study: Study, effect_id: str = ATE, **more: str) -> review.Decided:
    return rule(home, study, PROMOTED, effect_id, **more)


def rule(
    home: Path,
    study: Study,
    decision: str,
    effect_id: str = ATE,
    *,
    window: str = "",
    run_key: str = "",
    reason: str = "looks right",
    reviewer: str = "Ada",
) -> review.Decided:
    meant = Meant(sample.span(window) if window else None, run_key)
    return decide(place(home), study, Ruling(effect_id, decision, reason, reviewer, meant))


def place(home: Path) -> Profile:
    return sample.profile(home)


def reviews(home: Path) -> list[dict[str, object]]:
    rows = read_record(place(home).record_root, "reviews").to_pylist()
    return sorted(rows, key=lambda row: row["recorded_at"])


def test_the_newest_window_that_passes_is_the_candidate(tmp_path: Path) -> None:
    for label in ("2013-03", "2013-01", "2013-02"):
        windows.record(tmp_path, label)
    study = windows.study().study
    found = standing(tmp_path, study)
    assert found.candidate is not None
    assert found.candidate.span.label == "2013-03"
    assert (found.champion, found.refused, found.decisions) == (None, (), ())


def test_a_failed_gate_takes_a_window_out_and_says_so(tmp_path: Path) -> None:
    loaded = sample.study()  # its gate on attrition fails for dep_delay
    sample.record(tmp_path, "2013-03", loaded=loaded)
    found = standing(tmp_path, loaded.study)
    assert found.candidate is None
    assert [each.verdict.gates_failed for each in found.refused] == [("attrition.gap",)]
    with pytest.raises(GateError, match=r"never moves the champion") as caught:
        promote(tmp_path, loaded.study)
    assert caught.value.exit_code == 8
    assert reviews(tmp_path) == []


def test_promotion_is_written_once_with_name_reason_and_what_was_before(tmp_path: Path) -> None:
    first = windows.record(tmp_path, "2013-01")
    study = windows.study().study
    assert promote(tmp_path, study).wrote
    again = promote(tmp_path, study)
    assert not again.wrote
    second = windows.record(tmp_path, "2013-02")
    assert promote(tmp_path, study, reason="newer").wrote
    rows = reviews(tmp_path)
    assert [(row["run_key"], row["previous"]) for row in rows] == [
        (first.run_key, None),
        (second.run_key, first.run_key),
    ]
    assert [row["reason"] for row in rows] == ["looks right", "newer"]
    assert {(row["reviewer"], row["decision"], row["effect_id"]) for row in rows} == {
        ("Ada", PROMOTED, ATE)
    }
    found = standing(tmp_path, study)
    assert found.champion is not None
    assert found.champion.run_key == second.run_key
    assert found.candidate is None, "an older window does not follow a newer one by itself"
    assert standing(tmp_path, study, PLR).champion is None, "a decision is on one effect"


def test_drift_is_tested_with_the_covariance_of_the_days_that_both_windows_have(
    tmp_path: Path,
) -> None:
    windows.record(tmp_path, "2013-01")
    study = windows.study().study
    promote(tmp_path, study)
    windows.record(tmp_path, "2013")  # holds January
    found = standing(tmp_path, study, meant=Meant(sample.span("2013")))
    assert found.candidate is not None
    against = found.candidate.against
    assert against is not None
    assert against.drift is not None
    year, january = (windows.sums(label, ATE) for label in ("2013", "2013-01"))
    wanted = drift(windows.influence_of(year), windows.influence_of(january))
    assert against.drift == wanted
    assert wanted.shared == 31
    assert 0.1 < wanted.correlation < 0.6
    assert wanted.se < (year.se**2 + january.se**2) ** 0.5


def test_a_gate_on_drift_holds_the_champion_until_it_is_rejected(tmp_path: Path) -> None:
    first = windows.record(tmp_path, "2013-01")
    study = windows.study().study
    promote(tmp_path, study)
    moved = windows.record(tmp_path, "2013-02", shift=60.0, recorded_at=LATER)
    found = standing(tmp_path, study)
    assert found.candidate is None
    (refused,) = found.refused
    assert refused.verdict.gates_failed == ("drift.p_value",)
    with pytest.raises(GateError, match=r"drift\.p_value") as caught:
        promote(tmp_path, study)
    assert "reject the champion" in caught.value.remedy
    rejected = rule(tmp_path, study, REJECTED, window="2013-01", reason="new airline schedule")
    assert rejected.decision.run_key == first.run_key
    found = standing(tmp_path, study)
    assert found.champion is None
    assert found.candidate is not None
    assert found.candidate.run_key == moved.run_key
    assert promote(tmp_path, study).decision.previous is None


def test_without_sums_there_is_no_test_and_a_gate_on_it_does_not_pass(tmp_path: Path) -> None:
    windows.record(tmp_path, "2013-01", with_sums=False)
    study = windows.study().study
    promote(tmp_path, study)
    windows.record(tmp_path, "2013-02")
    (refused,) = standing(tmp_path, study).refused
    assert refused.against is not None
    assert (refused.against.drift, refused.against.reason) == (None, "no_sums")
    assert refused.verdict.gates_failed == ("drift.p_value",)


def test_a_rejected_run_is_no_candidate_and_the_next_newest_is(tmp_path: Path) -> None:
    windows.record(tmp_path, "2013-01")
    windows.record(tmp_path, "2013-02")
    study = windows.study().study
    assert rule(tmp_path, study, REJECTED).wrote
    found = standing(tmp_path, study)
    assert found.candidate is not None
    assert found.candidate.span.label == "2013-01"
    assert not rule(tmp_path, study, REJECTED).wrote, "said once"
    assert rule(tmp_path, study, REJECTED, reason="this one too").wrote
    assert standing(tmp_path, study).candidate is None


def test_a_rerun_of_the_champions_window_is_a_candidate(tmp_path: Path) -> None:
    old = windows.record(tmp_path, "2013-01")
    study = windows.study().study
    promote(tmp_path, study)
    new = windows.record(tmp_path, "2013-01", salt="again", recorded_at=sample.at(9))
    found = standing(tmp_path, study)
    assert found.champion is not None
    assert found.candidate is not None
    assert (found.champion.run_key, found.candidate.run_key) == (old.run_key, new.run_key)
    assert found.candidate.against is not None
    assert found.candidate.against.drift is not None
    assert found.candidate.against.drift.p_value == 1.0, "the same days with the same values"


def test_windows_off_the_calendar_wait_until_they_are_named(tmp_path: Path) -> None:
    windows.record(tmp_path, "2013-01")
    windows.record(tmp_path, "2013")
    study = windows.study().study
    found = standing(tmp_path, study)
    assert found.candidate is not None
    assert found.candidate.span.label == "2013-01"
    decided = promote(tmp_path, study, window="2013")
    assert decided.decision.run_key == sample.key(study.study, "2013", "")


def test_a_run_may_be_named_by_the_beginning_of_its_key(tmp_path: Path) -> None:
    old = windows.record(tmp_path, "2013-01")
    windows.record(tmp_path, "2013-02")
    study = windows.study().study
    decided = promote(tmp_path, study, run_key=old.run_key[:10])
    assert decided.decision.run_key == old.run_key
    with pytest.raises(UsageError, match="champion already"):
        promote(tmp_path, study, run_key=old.run_key[:10], reason="other words")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"reason": "  "}, "no_reason"),
        ({"reviewer": ""}, "no_reason"),
        ({"effect_id": "irm.ate.rain.dep_dela"}, "no_effect"),
        ({"window": "2013-02"}, "no_candidate"),
    ],
)
def test_what_cannot_be_decided_is_a_named_error_and_writes_nothing(
    tmp_path: Path, more: dict[str, str], code: str
) -> None:
    windows.record(tmp_path, "2013-01")
    with pytest.raises(UsageError) as caught:
        promote(tmp_path, windows.study().study, **more)
    assert (caught.value.code, bool(caught.value.remedy)) == (code, True)
    assert reviews(tmp_path) == []


def test_an_effect_without_an_estimate_cannot_be_promoted(tmp_path: Path) -> None:
    nothing = {"theta": None, "se": None, "status": "failed", "error_code": "no_variation"}
    windows.record(tmp_path, "2013-01", changes={ATE: nothing})
    with pytest.raises(ContractError, match="no_variation"):
        promote(tmp_path, windows.study().study)


def test_of_two_reviewers_at_once_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows.record(tmp_path, "2013-01")
    study = windows.study().study
    append = lake.append_once

    def late(*args: object, **options: object) -> bool:
        monkeypatch.setattr(review, "append_once", append)
        promote(tmp_path, study, reviewer="Grace")  # while Ada looks at her screen
        return append(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(review, "append_once", late)
    with pytest.raises(RetryableError) as caught:
        rule(tmp_path, study, REJECTED)
    assert caught.value.code == "review_conflict"
    assert [row["reviewer"] for row in reviews(tmp_path)] == ["Grace"]


def test_decisions_keep_their_order_when_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows.record(tmp_path, "2013-01")
    study = windows.study().study
    promote(tmp_path, study)

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2001, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(review, "datetime", Yesterday)
    rule(tmp_path, study, REJECTED, window="2013-01")
    assert [row["decision"] for row in reviews(tmp_path)] == [PROMOTED, REJECTED]
    assert standing(tmp_path, study).champion is None


def test_another_study_with_the_same_effects_keeps_its_own_decisions(tmp_path: Path) -> None:
    windows.record(tmp_path, "2013-01")
    twin = windows.study(study="twin")
    windows.record(tmp_path, "2013-01", loaded=twin)
    promote(tmp_path, windows.study().study)
    assert standing(tmp_path, twin.study).champion is None
    assert promote(tmp_path, twin.study).wrote
    root = place(tmp_path).record_root
    assert len(read_record(root, "reviews", ds.field("effect_id") == ATE)) == 2


def cells(*names: str, n: int = 5) -> pa.Table:
    rows = [
        {
            "rep": 0, "cell": name, "effects": [ATE], "n": [n], "a": [-5.0],
            "b": [float(place**2 + 1)],
        }
        for place, name in enumerate(names)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


def test_clusters_meet_their_buckets_where_only_one_window_is_large() -> None:
    calibration = cells("calibration|1", n=0)
    small = pa.concat_tables([cells("ann", "bob", "cy"), calibration])
    large = pa.concat_tables([cells(bucket_name("ann"), bucket_name("bob")), calibration])
    sums = comparison.Sums("", {"s": small, "l": large})
    row = {
        "effect_id": ATE, "theta": 1.0, "se": 0.5, "ci_low": 0.0, "ci_high": 2.0,
        "status": "ok", "n_clusters": 60,
    }  # fmt: skip
    found = comparison.compare(sums, row | {"run_key": "s"}, row | {"run_key": "l"})
    assert found.drift is not None
    assert found.drift.shared == 3, "two clusters by their buckets, and the calibration"
    plain = comparison.compare(sums, row | {"run_key": "s"}, row | {"run_key": "s"})
    assert plain.drift is not None
    assert plain.drift.shared == 4
