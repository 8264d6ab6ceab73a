"""Unchanged blocks keep their committed sums; whatever computed them, the bytes are equal."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from conf.keys import OWN_LAYOUT
from conf.profile import Profile
from jobs import crossfit, estimate
from jobs.gram import choice, layouts, tasks
from jobs.gram.reading import batches
from jobs.lake import append_once, read_record
from jobs.ledger import Stage
from jobs.resolve import Resolved
from tests.jobs.gram import clinic

# Folds by hash and cells by unit, so that a new day moves no other: clusters would share cells.
DAILY = (
    clinic.STUDY.replace("  cluster: person\n", "")
    .replace("repetitions: 2", "repetitions: 1")
    .replace(", by: [ward, ward*kind]", "")
)


def run(home: Path, rows: pa.Table, **given: Any) -> tuple[Resolved, Stage, Profile]:
    profile = clinic.place(home)
    file = clinic.write(home, rows, DAILY)
    found, built = clinic.prebuild(file, profile, **given)
    return found, crossfit.run(found, built, profile), profile


def partials(profile: Profile) -> list[tuple[int, int, str]]:
    rows = read_record(profile.record_root, "gram_partials").to_pylist()
    return sorted({(row["slice"], row["bucket"], row["rows_digest"]) for row in rows})


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("yesterday")
    run(home, clinic.visits(range(3), a_day=300))
    return home


@pytest.fixture
def home(yesterday: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(yesterday, tmp_path / "home"))


def from_scratch(home: Path, rows: pa.Table, other: Path) -> Stage:
    """The same rows and layout in a home that knows no block."""
    pinned = layouts.find(
        clinic.prebuild(home / "clinic.yaml", clinic.place(home))[0], f"{home}/record"
    )
    assert pinned is not None
    profile = clinic.place(other)
    file = clinic.write(other, rows, DAILY)
    found, built = clinic.prebuild(file, profile, files=1, seed=5)
    layouts.keep(found, pinned, profile.record_root)
    return crossfit.run(found, built, profile)


def test_yesterdays_blocks_and_a_new_day_are_a_run_from_scratch(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = partials(clinic.place(home))
    assert len(before) == 3
    computed = []
    real = tasks.sum_block
    monkeypatch.setattr(
        tasks, "sum_block", lambda shared, block: computed.append(block) or real(shared, block)
    )
    rows = clinic.visits(range(4), a_day=300)
    _, stage, profile = run(home, rows)
    assert [each.place for each in computed] == [(19_786, 0)]  # days since the epoch
    assert set(partials(profile)) > set(before)
    assert len(partials(profile)) == 4
    other = from_scratch(home, rows, tmp_path / "other")
    assert len(computed) == 5
    assert other.digest == stage.digest


def test_an_erased_unit_costs_its_block(home: Path, tmp_path: Path) -> None:
    rows = clinic.visits(range(3), a_day=300)
    rows = rows.filter(pc.not_equal(rows["visit_id"], "001-00007"))
    before = partials(clinic.place(home))
    _, stage, profile = run(home, rows)
    (new,) = set(partials(profile)) - set(before)
    assert new[:2] == (19_784, 0)
    assert from_scratch(home, rows, tmp_path / "other").digest == stage.digest


def test_the_layout_enters_the_key_of_later_rows(home: Path) -> None:
    rows = clinic.visits(range(4), a_day=300)
    found, stage, profile = run(home, rows)
    pinned = layouts.find(found, profile.record_root)
    assert pinned is not None
    assert pinned.key_input(pinned.features_digest) == OWN_LAYOUT
    again = run(home, rows)[1]
    assert (again.status, again.key) == ("reused", stage.key)
    first = run(home, clinic.visits(range(3), a_day=300))[1]
    assert (first.status, first.key != stage.key) == ("reused", True)


def test_computing_again_takes_no_block_and_agrees(home: Path) -> None:
    profile = clinic.place(home)
    found, built = clinic.prebuild(home / "clinic.yaml", profile)
    recorded = crossfit.run(found, built, profile)
    files = sorted(path.name for path in home.rglob("*.json"))
    again = crossfit.run(found, built, profile, recompute=True)
    assert (recorded.status, again.status) == ("reused", "computed")
    assert again.digest == recorded.digest
    assert estimate.run(found, again, profile, recompute=True).digest.startswith("sha256:")
    assert sorted(path.name for path in home.rglob("*.json")) == files


def test_workers_files_and_order_of_rows_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "ROWS_A_BUCKET", 40)
    digests = set()
    for cpus, files, seed in ((1, 1, 1), (3, 4, 2)):
        profile = clinic.place(tmp_path / str(cpus), cpus=cpus)
        file = clinic.write(profile.home, clinic.visits([0], a_day=600), clinic.STUDY)
        found, built = clinic.prebuild(file, profile, files=files, seed=seed)
        stage = crossfit.run(found, built, profile)
        assert stage.detail is not None
        assert stage.detail["gram"]["blocks"] == 16
        digests.add(stage.digest)
    assert len(digests) == 1


def test_sums_without_missing_outcomes_are_read_back(tmp_path: Path) -> None:
    profile = clinic.place(tmp_path)
    text = DAILY.replace("  cost: {kind: continuous, missing: drop}\n", "")
    for days in (2, 3):
        file = clinic.write(tmp_path, clinic.visits(range(days), a_day=200), text)
        found, built = clinic.prebuild(file, profile)
        stage = crossfit.run(found, built, profile)
    assert len(partials(profile)) == 3
    assert crossfit.run(found, built, profile, recompute=True).digest == stage.digest


def test_files_that_an_erasure_wrote_are_read(home: Path) -> None:
    """delta-rs writes string views, which the rest of the table has not."""
    profile = clinic.place(home)
    _, built = clinic.prebuild(home / "clinic.yaml", profile)
    table = DeltaTable(f"{profile.features_root}/clinic")
    table.delete("unit_id = '001-00007'")
    left = replace(built, version=table.version())
    found = pa.concat_tables(batches(left, profile, ["unit_id", "kind", "unit_time", "age"]))
    assert len(found) == 899
    assert found.schema.field("kind").type == pa.string()


def test_a_lent_layout_is_the_windows(home: Path, tmp_path: Path) -> None:
    profile = clinic.place(home)
    found, _ = clinic.prebuild(home / "clinic.yaml", profile)
    other = str(tmp_path / "scratch" / "record")
    layouts.lend(found, profile.record_root, other)
    assert layouts.find(found, other) == layouts.find(found, profile.record_root)


@pytest.mark.engines
@pytest.mark.parametrize(("grams", "engine"), [("ray", "ray_session"), ("spark", "spark")])
def test_workers_give_the_bytes_of_inline(
    home: Path, tmp_path: Path, grams: str, engine: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(engine)
    profile = clinic.place(tmp_path / grams, inline=False, grams=grams)
    file = clinic.write(profile.home, clinic.visits(range(3), a_day=300), DAILY)
    found, built = clinic.prebuild(file, profile, files=3, seed=9)
    here = crossfit.run(
        *clinic.prebuild(home / "clinic.yaml", clinic.place(home)), clinic.place(home)
    )
    assert crossfit.run(found, built, profile).digest == here.digest


def test_a_second_process_takes_the_first_ones_layout(home: Path) -> None:
    profile = clinic.place(home)
    found, _ = clinic.prebuild(home / "clinic.yaml", profile)
    first = layouts.find(found, profile.record_root)
    assert first is not None
    other = layouts.Pinned(first.layout, first.cut, "other rows")
    assert layouts.keep(found, other, profile.record_root) == first


def test_partials_that_came_twice_count_once(home: Path) -> None:
    profile = clinic.place(home)
    rows = read_record(profile.record_root, "gram_partials")
    assert append_once(profile.record_root, "gram_partials", "another process", rows)
    _, stage, _ = run(home, clinic.visits(range(4), a_day=300))
    shutil.rmtree(home / "record" / "gram_partials")
    profile = clinic.place(home)
    found, built = clinic.prebuild(home / "clinic.yaml", profile)
    assert crossfit.run(found, built, profile, recompute=True).digest == stage.digest


def test_a_layout_is_of_the_treatments_that_have_an_effect(tmp_path: Path) -> None:
    """One treatment first, then both: the first layout has no column of the second."""
    profile = clinic.place(tmp_path)
    rows = clinic.visits(range(2), a_day=300)
    first = DAILY.replace(
        "{method: plr, marginal: true}", "{method: plr, marginal: true, treatment: dose}"
    )
    for text, effects in ((first, 3), (DAILY, 6)):
        found, built = clinic.prebuild(clinic.write(tmp_path, rows, text), profile)
        stage = crossfit.run(found, built, profile)
        assert stage.detail is not None
        assert len(stage.detail["n"]) == effects
        assert not stage.detail["failed"]
