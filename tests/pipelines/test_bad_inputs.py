"""Sixty bad inputs and more: each a typed error with place and remedy, and nothing is written."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from jobs.lake import field_in, read_record
from tests.jobs import prebuilt
from tests.pipelines.bad_inputs import (  # noqa: F401 - they fill the table
    command_line,
    data,
    environment,
    figures,
)
from tests.pipelines.bad_inputs import rows as _rows  # noqa: F401
from tests.pipelines.bad_inputs.world import (
    RECORDED,
    TABLE,
    WINDOW,
    WITHOUT_JSON,
    Bad,
    Command,
    World,
    error_of,
    fingerprint,
)
from tests.pipelines.command import Causeway

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STUDIES = Path(__file__).parents[1] / "conf" / "bad_studies.yaml"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one window recorded, and its study; every row spoils a copy."""
    from pipelines.backfill import backfill
    from pipelines.backfill_report import Request

    folder = tmp_path_factory.mktemp("sound")
    prebuilt.write_lake(folder / "home", prebuilt.MONTHS[:2])
    study = prebuilt.write_study(folder)
    prebuilt.prebuild(study, (RECORDED,), prebuilt.place(folder / "home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSEWAY_HOME", str(folder / "home"))
        report = backfill(Request(str(study), RECORDED, RECORDED), lambda *_: None)
    assert report.error is None, report.error
    return folder


@pytest.fixture
def world(
    sound: Path, tmp_path: Path, here: Causeway, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    made = World(tmp_path, here, monkeypatch)
    yield made
    for each in made.undo:
        each()


def rows(*, needs: str | None, several: bool = False) -> list[Any]:
    return [
        pytest.param(each, id=each.name, marks=[pytest.mark.slow] if each.slow else [])
        for each in TABLE
        if each.needs == needs and (len(each.commands) > 1 or not several)
    ]


@pytest.mark.parametrize("row", rows(needs=None))
def test_a_bad_input(world: World, row: Bad) -> None:
    judge(world, row, row.commands[:1])


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(needs="record"))
def test_what_can_be_estimated_and_not_be_trusted_fails_a_check(world: World, row: Bad) -> None:
    row.spoil(world)
    ran = world.here(*(each.format(study=world.study) for each in row.commands[0]), "--json")
    assert ran.code == 0, ran.err
    (run,) = ran.object["windows"]
    mine = field_in("run_key", [run["run_key"]])
    failed = [
        each["effect_id"]
        for each in read_record(world.place.record_root, "checks", mine).to_pylist()
        if each["passed"] is False and f"{each['check']}.{each['metric']}" == row.code
    ]
    for name in row.names:
        assert any(name in each for each in failed), (name, failed)
    assert "doubtful" in world.here("effects", str(world.study), "--window", WINDOW).out


@pytest.mark.slow
@pytest.mark.engines
@pytest.mark.parametrize("row", rows(needs="spark"))
def test_a_bad_input_that_spark_meets(world: World, row: Bad, spark: SparkSession) -> None:
    judge(world, row, row.commands)


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(needs=None, several=True))
def test_another_command_says_the_same(world: World, row: Bad) -> None:
    judge(world, row, row.commands[1:])


def judge(world: World, row: Bad, commands: Sequence[Command]) -> None:
    row.spoil(world)
    before = fingerprint(world.home)
    for command in commands:
        words = {"study": world.study, "home": world.home} | world.words
        filled = [each.format(**words) for each in command]
        plain = command[0] in WITHOUT_JSON
        ran = world.here(*filled, *([] if plain else ["--json"]), **world.settings)
        error = error_of(ran)
        said = f"{row.name}: {' '.join(command)}: {error}"
        print(said)
        assert error["code"] == row.code, said
        assert error["remedy"], said
        told = f"{error['message']} {[each for each in error['where'].values() if each]}"
        for name in row.names:
            assert name in told, f"{name!r} is not named by {said}"
        assert "Traceback" not in ran.err
        assert fingerprint(world.home) == before, "something was written"


def test_there_are_sixty_and_more_of_three_kinds() -> None:
    counts = Counter(each.kind for each in TABLE)
    assert counts["data"] + counts["environment"] >= 60
    counts["studies"] += len(yaml.safe_load(STUDIES.read_text()))
    assert min(counts[each] for each in ("studies", "data", "environment")) >= 30
    assert len({each.name for each in TABLE}) == len(TABLE)
