"""The record's schema version: refused when it differs, migrated from a home of schema 1.

``record-1.tar.gz`` is the record of a home that schema version 1 wrote, kept as it was:
``python -m tests.jobs.upkeep.test_migration`` made it, and is not run again when the schema
changes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from estimators.errors import PlatformError
from jobs import lake
from jobs.contracts import EFFECTS, RECORD
from jobs.estimate import effects_digest, read_effects
from jobs.failpoints import VARIABLE
from jobs.lake import append_once, exists, read_record, record_path, schema_version
from jobs.registry.standing import read_register
from jobs.upkeep import migration
from jobs.upkeep.migration import Step, Steps, migrate, outdated
from tests.jobs import record_sample as sample
from tests.jobs import review_sample as windows

FROZEN = Path(__file__).with_name("record-1.tar.gz")
KEY = sample.key("rain_delays", "2013-01", "")
NOTE = pa.field("note", pa.string())


def _shout(rows: pa.Table) -> pa.Table:
    place = rows.schema.get_field_index("reason")
    return rows.set_column(place, "reason", pc.utf8_upper(rows["reason"]))


STEPS: Steps = {
    2: {"effects": Step(columns=(NOTE,)), "reviews": Step(rewrite=_shout)},
    3: {"checks": Step(columns=(NOTE,))},
}
"""Of a test-only future."""


@pytest.fixture
def root(tmp_path: Path) -> str:
    """The record of a home that schema version 1 wrote."""
    with tarfile.open(FROZEN) as archive:
        archive.extractall(tmp_path, filter="data")
    return str(tmp_path / "record")


def tables(root: str) -> dict[str, int]:
    return {
        name: schema_version(DeltaTable(record_path(root, name)))
        for name in RECORD
        if exists(record_path(root, name))
    }


def test_todays_code_reads_a_home_of_schema_1(root: str) -> None:
    assert set(tables(root).values()) == {1}
    rows = read_effects(root, KEY)
    assert len(rows) == 12
    assert effects_digest(rows).startswith("sha256:")
    known = read_register(root, windows.study().study)
    champion = known.standing(windows.ATE).champion
    assert champion is not None
    assert champion.run_key == KEY
    assert outdated(root) == {}
    assert migrate(root) == []


def test_every_table_reaches_the_target_and_no_row_is_lost_or_doubled(root: str) -> None:
    before = effects_digest(read_effects(root, KEY))
    counts = {name: len(read_record(root, name)) for name in tables(root)}
    done = migrate(root, 3, STEPS)
    assert {(each.before, each.after) for each in done} == {(1, 3)}
    assert set(tables(root).values()) == {3}
    for name, count in counts.items():
        assert len(lake.read(record_path(root, name))) == count, name
    assert "note" in lake.read(record_path(root, "effects")).schema.names
    (review,) = lake.read(record_path(root, "reviews")).to_pylist()
    assert review["reason"] == "FIRST THAT HOLDS"
    rows = lake.read(record_path(root, "effects")).filter(pc.field("run_key") == KEY)
    assert effects_digest(rows.to_pylist()) == before
    assert migrate(root, 3, STEPS) == []


def test_keys_stay_known_so_that_nothing_is_appended_twice(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(root, 3, STEPS)
    monkeypatch.setattr(lake, "SCHEMA_VERSION", 3)
    rows = pa.Table.from_pylist(read_effects(root, KEY), schema=EFFECTS)
    assert not append_once(root, "effects", KEY, rows)
    key = "review:rain_delays:irm.ate.rain.dep_delay:0"
    assert not append_once(root, "reviews", key, read_record(root, "reviews"))


@pytest.mark.parametrize(("written", "code"), [("0", "record_older"), ("7", "record_newer")])
def test_a_record_of_another_schema_is_refused_before_anything_is_written(
    root: str, written: str, code: str
) -> None:
    table = DeltaTable(record_path(root, "effects"))
    table.alter.set_table_properties({lake.SCHEMA_PROPERTY: written}, raise_if_not_exists=False)
    version = DeltaTable(record_path(root, "effects")).version()
    for touch in (
        lambda: read_effects(root, KEY),
        lambda: append_once(root, "effects", "k" * 64, EFFECTS.empty_table()),
    ):
        with pytest.raises(PlatformError) as caught:
            touch()
        assert (caught.value.code, caught.value.exit_code) == (code, 6)
        assert caught.value.remedy
    assert DeltaTable(record_path(root, "effects")).version() == version


def test_a_version_without_a_step_is_a_named_error(root: str) -> None:
    with pytest.raises(PlatformError) as caught:
        migrate(root, 2, {})
    assert caught.value.code == "no_migration"
    assert set(tables(root).values()) == {1}


@pytest.mark.parametrize("point", ["after_columns", "before_property"])
def test_a_killed_migration_goes_on(root: str, point: str) -> None:
    program = "from tests.jobs.upkeep.test_migration import STEPS, migrate"
    code = f"{program}\nmigrate({root!r}, 3, STEPS)\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {VARIABLE: f"migration.{point}"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert min(tables(root).values()) == 1
    migrate(root, 3, STEPS)
    assert set(tables(root).values()) == {3}
    (review,) = lake.read(record_path(root, "reviews")).to_pylist()
    assert review["reason"] == "FIRST THAT HOLDS"


def test_a_rewrite_is_done_once_even_if_its_version_was_not_written(root: str) -> None:
    step = Step(rewrite=lambda rows: pa.concat_tables([rows, rows]))
    path = record_path(root, "reviews")
    for _ in range(2):
        migration._advance(path, "reviews", 2, step)
    assert len(lake.read(path)) == 2


def freeze() -> None:
    """Write the archive."""
    from jobs.registry.review import PROMOTED, Ruling, decide
    from jobs.registry.standing import Meant

    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        for label in ("2013-01", "2013-02"):
            windows.record(home, label)
        meant = Meant(sample.span("2013-01"))
        ruling = Ruling(windows.ATE, PROMOTED, "first that holds", "Ada", meant)
        decide(sample.profile(home), windows.study().study, ruling)
        with tarfile.open(FROZEN, "w:gz") as archive:
            archive.add(home / "record", "record", filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


if __name__ == "__main__":
    freeze()
