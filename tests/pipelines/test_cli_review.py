"""`review` and `maintain` as a user types them, on a real record; MLflow only where one decides."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs import register
from jobs.lake import read_record
from tests.jobs import record_sample as sample
from tests.jobs import review_sample as windows
from tests.jobs.review_sample import ATE
from tests.pipelines.command import Causeway

WORDS = ("--reviewer", "Ada", "--reason", "all checks hold")


@pytest.fixture
def study(tmp_path: Path) -> str:
    file = tmp_path / "rain_delays.yaml"
    file.write_text(windows.study().text)
    return str(file)


def test_candidate_stands_beside_champion(here: Causeway, home: Path, study: str) -> None:
    first = windows.record(home, "2013-01")
    register.run(first.resolved, first.estimate, first.profile)
    promoted = here("review", study, "--promote", ATE, *WORDS, "--json")
    assert promoted.code == 0, promoted.err
    (decided,) = promoted.object["decided"]
    assert (decided["decision"], decided["reviewer"], decided["wrote"]) == ("promoted", "Ada", True)
    windows.record(home, "2013-02")
    shown = here("review", study, "--json")
    assert shown.code == 0, shown.err
    (row,) = [each for each in shown.object["effects"] if each["effect_id"] == ATE]
    champion, candidate = row["champion"], row["candidate"]
    assert (champion["window"], candidate["window"]) == ("2013-01", "2013-02")
    assert champion["run_key"] == first.run_key
    assert row["promoted"]["reason"] == "all checks hold"
    assert candidate["drift"]["champion"] == first.run_key
    assert 0 < candidate["drift"]["p_value"] <= 1
    assert candidate["drift"]["shared"] == 0
    assert candidate["sources"] == {"flights": 12, "weather": 0}
    assert candidate["checks_failed"] == ["attrition.gap"]
    assert candidate["ci_low"] < candidate["theta"] < candidate["ci_high"]
    text = here("review", study).out
    assert "champion" in text
    assert "candidate" in text
    assert "p " in text
    assert "flights v12" in text


def test_a_decision_twice_is_one_row(here: Causeway, home: Path, study: str) -> None:
    windows.record(home, "2013-01")
    for wrote in (True, False):
        done = here("review", study, "--reject", ATE, *WORDS, "--json")
        assert done.code == 0, done.err
        assert [each["wrote"] for each in done.object["decided"]] == [wrote]
    assert len(read_record(f"{home}/record", "reviews")) == 1
    assert "already in the record" in here("review", study, "--reject", ATE, *WORDS).out


def test_a_failed_gate_exits_with_8_and_moves_nothing(
    here: Causeway, home: Path, tmp_path: Path
) -> None:
    sample.record(home, "2013-03")
    file = tmp_path / "gated.yaml"
    file.write_text(sample.STUDY)
    done = here("review", str(file), "--promote", ATE, *WORDS, "--json")
    assert done.code == 8
    assert done.object["error"]["code"] == "gate_failed"
    assert "attrition.gap" in done.err
    (row,) = [
        each
        for each in here("review", str(file), "--json").object["effects"]
        if each["effect_id"] == ATE
    ]
    assert row["champion"] is None
    assert row["candidate"] is None
    assert [each["gates_failed"] for each in row["refused"]] == [["attrition.gap"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--promote", ATE),
        ("--promote", ATE, "--reviewer", "Ada"),
        ("--promote", "irm.nothing", *WORDS),
        ("--promote", ATE, "--reject", ATE, *WORDS),
        ("--promote", ATE, "--window", "2013-01", "--run", "0123456789", *WORDS),
        ("--promote", ATE, "--run", "01", *WORDS),
        ("--promote", ATE, "--window", "yesterday", *WORDS),
    ],
)
def test_half_a_decision_is_a_usage_error(
    here: Causeway, home: Path, study: str, arguments: tuple[str, ...]
) -> None:
    windows.record(home, "2013-01")
    done = here("review", study, *arguments, "--json")
    assert done.code == 2, done.err
    assert done.object["error"]["remedy"]
    assert len(read_record(f"{home}/record", "reviews")) == 0


def test_an_empty_record_has_nothing_to_review(here: Causeway, study: str) -> None:
    shown = here("review", study, "--json")
    assert (shown.code, shown.object["effects"]) == (0, [])
    assert "nothing is recorded yet" in here("review", study).out


def test_upkeep_says_what_it_did_a_line_a_table(here: Causeway, home: Path) -> None:
    for number in range(25):
        windows.record(home, "2013-01", salt=str(number))
    would = here("maintain", "--dry-run", "--json").object
    assert would["dry_run"] is True
    before = len(read_record(f"{home}/record", "effects"))
    done = here("maintain", "--json")
    assert done.code == 0, done.err
    tables = {each["table"]: each for each in done.object["tables"]}
    assert tables["record/effects"]["files_after"] == 26, "kept for thirty days"
    assert len(DeltaTable(f"{home}/record/effects").file_uris()) == 1
    assert len(read_record(f"{home}/record", "effects")) == before
    assert "record/effects: nothing to do" in here("maintain").out


def test_a_person_is_erased_by_the_command(here: Causeway, home: Path) -> None:
    path = f"{home}/lake/flights"
    write_deltalake(path, pa.table({"tailnum": ["N1", "N2"], "x": [0.5, 1.5]}))
    who = ("--reason", "request 17", "--by", "Ada")
    done = here("maintain", "--erase", "flights", "--where", "tailnum = 'N1'", *who, "--json")
    assert done.code == 0, done.err
    (erased,) = done.object["erased"]
    assert (erased["table"], erased["rows"], erased["versions"]) == ("lake/flights", 1, [0])
    assert DeltaTable(path).to_pyarrow_table()["tailnum"].to_pylist() == ["N2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--erase", "flights"),
        ("--where", "x = 1"),
        ("--unit", "7"),
        ("--erase", "s", "--unit", "7", "--cluster", "8"),
        ("--erase", "s", "--unit", "7", "--dry-run"),
        ("--erase", "s", "--unit", "7"),
        ("--erase", "/etc", "--where", "x = 1", "--reason", "r", "--by", "b"),
    ],
)
def test_options_that_do_not_go_together(here: Causeway, arguments: tuple[str, ...]) -> None:
    done = here("maintain", *arguments, "--json")
    assert done.code == 2, done.err
    assert done.object["error"]["remedy"]


def test_a_look_at_a_study_tells_of_its_gates(here: Causeway, home: Path, tmp_path: Path) -> None:
    sample.record(home, "2013-03")
    file = tmp_path / "gated.yaml"
    file.write_text(sample.STUDY)
    done = here("maintain", str(file), "--json")
    assert done.code == 0, done.err
    (found,) = done.object["alerts"]
    kinds = {each["kind"] for each in found["told"]}
    assert "gates_failed" in kinds
    assert found["problem"] is None


def test_a_webhook_that_is_down_is_no_error_and_is_not_named(
    here: Causeway, home: Path, tmp_path: Path
) -> None:
    sample.record(home, "2013-03")
    file = tmp_path / "gated.yaml"
    file.write_text(sample.STUDY)
    address = "http://127.0.0.1:1/planted-5ecret"
    done = here("maintain", str(file), "--json", CAUSEWAY_WEBHOOK_URL=address)
    assert done.code == 0, done.err
    (found,) = done.object["alerts"]
    assert found["waiting"] > 0
    assert "127.0.0.1" in found["problem"]
    assert "planted" not in done.out + done.err


def test_a_newer_record_is_refused_by_name(here: Causeway, home: Path, study: str) -> None:
    windows.record(home, "2013-01")
    DeltaTable(f"{home}/record/effects").alter.set_table_properties(
        {"causeway.schemaVersion": "9"}, raise_if_not_exists=False
    )
    shown = here("effects", study, "--json")
    assert shown.code == 6
    assert shown.object["error"]["code"] == "record_newer"
