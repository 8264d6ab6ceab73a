"""The command `reproduce`: its object, its words and its exit code; no engine starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs import crossfit, estimate
from jobs.lake import read, record_path
from jobs.windows import read_windows
from tests.jobs import prebuilt
from tests.pipelines.command import Causeway


@pytest.fixture
def run_key(home: Path) -> str:
    """A recorded run whose source is gone since."""
    prebuilt.write_lake(home)
    file, place = prebuilt.write_study(home), prebuilt.place(home)
    prebuilt.prebuild(file, ("2024-01",), place)
    found = prebuilt.resolved(file, "2024-01", place)
    entries = read_windows(place.record_root, "orders").entries
    built = next(each.stage for (name, _), each in entries.items() if name == "features")
    done = estimate.run(found, crossfit.run(found, built, place), place)
    shutil.rmtree(home / "lake")
    return done.key


def test_agreement_is_0_and_names_what_is_gone(here: Causeway, run_key: str) -> None:
    ran = here("reproduce", run_key, "--json")
    assert ran.code == 0, ran.err
    found = ran.object
    assert found["schema"] == "causeway.reproduce/1"
    assert (found["agrees"], found["first_difference"]) == (True, None)
    assert (found["started_from"], found["gone"]["code"]) == ("features", "source_gone")
    assert found["sources"] == {"orders": 2}
    assert [stage["name"] for stage in found["stages"]] == ["crossfit", "estimate"]
    assert found["recorded_on"] == found["computed_on"]
    shown = here("reproduce", run_key).out
    assert "reproduced" in shown
    assert "orders@" in shown


def test_a_difference_is_1_with_the_stage_that_differs_first(
    here: Causeway, run_key: str, home: Path
) -> None:
    path = record_path(str(home / "record"), "stages")
    table = read(path)
    rows = [
        row | {"digest": "0" * 64 if row["stage"] != "features" else row["digest"]}
        for row in table.to_pylist()
    ]
    write_deltalake(path, pa.Table.from_pylist(rows, schema=table.schema), mode="overwrite")
    ran = here("reproduce", run_key, "--json")
    assert ran.code == 1
    assert ran.object["first_difference"] == "crossfit"
    error = ran.object["error"]
    assert (error["code"], error["where"]["table"]) == ("not_reproducible", "crossfit")
    assert "platform and versions are those of the record" in error["remedy"]


def test_another_platform_is_the_reason_that_is_given(
    here: Causeway, run_key: str, home: Path
) -> None:
    path = record_path(str(home / "record"), "stages")
    table = read(path)
    rows = [row | {"digest": "0" * 64, "platform": "vax"} for row in table.to_pylist()]
    write_deltalake(path, pa.Table.from_pylist(rows, schema=table.schema), mode="overwrite")
    ran = here("reproduce", run_key, "--json")
    assert ran.code == 1
    assert "recorded on vax" in ran.object["error"]["remedy"]
    assert ran.object["recorded_on"]["platform"] == "vax"


def test_a_key_that_is_not_recorded_is_usage(here: Causeway) -> None:
    ran = here("reproduce", "0" * 64, "--json")
    assert ran.code == 2
    assert ran.object["error"]["code"] == "no_run"
