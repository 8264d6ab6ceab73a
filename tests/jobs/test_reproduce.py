"""A recorded run computed again: agreement, the first stage that differs, and what is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from conf.profile import Profile
from estimators.errors import ContractError, SourceError, UsageError
from jobs import crossfit, estimate
from jobs.lake import read, record_path
from jobs.ledger import Stage
from jobs.reproduce import reproduce
from jobs.windows import read_windows
from tests.jobs import prebuilt


@pytest.fixture
def place(tmp_path: Path) -> Profile:
    prebuilt.write_lake(tmp_path)
    return prebuilt.place(tmp_path)


@pytest.fixture
def run_key(place: Profile) -> str:
    return record(place).key


def record(place: Profile) -> Stage:
    file = prebuilt.write_study(place.home)
    prebuilt.prebuild(file, ("2024-01",), place)
    found = prebuilt.resolved(file, "2024-01", place)
    entries = read_windows(place.record_root, "orders").entries
    built = next(each.stage for (name, _), each in entries.items() if name == "features")
    return estimate.run(found, crossfit.run(found, built, place), place)


def lose_the_source(place: Profile) -> None:
    shutil.rmtree(place.home / "lake" / "orders")


def rewrite(place: Profile, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change rows of the ledger, as nothing but a test does."""
    path = record_path(place.record_root, "stages")
    table = read(path)
    rows = [row | change(row) for row in table.to_pylist()]
    write_deltalake(path, pa.Table.from_pylist(rows, schema=table.schema), mode="overwrite")


def files(place: Profile) -> set[str]:
    """All that the home holds beside logs."""
    return {
        str(each.relative_to(place.home))
        for each in place.home.rglob("*")
        if each.is_file() and "logs" not in each.parts
    }


def test_without_the_source_it_starts_from_the_features_and_names_the_source(
    place: Profile, run_key: str
) -> None:
    lose_the_source(place)
    before = files(place)
    found = reproduce(run_key, place)
    assert found.started_from == "features"
    assert found.gone is not None
    assert found.gone.where.table == "orders"
    assert [(each.name, each.agrees) for each in found.stages] == [
        ("crossfit", True),
        ("estimate", True),
    ]
    assert found.first_difference is None
    assert files(place) == before, "nothing is written, nothing is left"
    assert not [*(place.home / "tmp").iterdir()]


def test_a_table_made_anew_is_another_table(place: Profile, run_key: str) -> None:
    lose_the_source(place)
    prebuilt.write_lake(place.home)
    found = reproduce(run_key, place)
    assert found.started_from == "features"
    assert found.gone is not None
    assert "made anew" in found.gone.message


def test_the_study_is_the_recorded_one_whatever_became_of_its_file(
    place: Profile, run_key: str
) -> None:
    lose_the_source(place)
    (place.home / "orders.yaml").unlink()
    assert reproduce(run_key, place).first_difference is None


def test_features_that_were_tampered_with_show_in_the_first_stage_after_them(
    place: Profile, run_key: str
) -> None:
    lose_the_source(place)
    path = f"{place.features_root}/orders"
    rows = read(path)
    spend = rows["spend"].to_pylist()
    changed = rows.set_column(
        rows.schema.get_field_index("spend"), "spend", [[spend[0] + 1e-9, *spend[1:]]]
    )
    (file,) = Path(path).glob("features_key=*/*.parquet")
    before = file.stat().st_size
    pq.write_table(changed.drop_columns(["features_key"]), file)
    for log in Path(path).glob("_delta_log/*.json"):  # readers trust the size that it tells
        text = log.read_text()
        log.write_text(text.replace(f'"size":{before}', f'"size":{file.stat().st_size}'))
    assert reproduce(run_key, place).first_difference == "crossfit"


@pytest.mark.parametrize(
    ("changed", "first"), [(("estimate",), "estimate"), (("estimate", "crossfit"), "crossfit")]
)
def test_another_digest_in_the_record_shows_in_its_stage(
    place: Profile, run_key: str, changed: tuple[str, ...], first: str
) -> None:
    lose_the_source(place)
    rewrite(place, lambda row: {"digest": "0" * 64} if row["stage"] in changed else {})
    assert reproduce(run_key, place).first_difference == first


def test_neither_sources_nor_features_is_an_error_with_a_place(
    place: Profile, run_key: str
) -> None:
    lose_the_source(place)
    shutil.rmtree(place.home / "features")
    with pytest.raises(SourceError):
        reproduce(run_key, place)
    assert not [*(place.home / "tmp").iterdir()]


def test_a_run_that_is_not_recorded_is_named(place: Profile) -> None:
    with pytest.raises(UsageError) as raised:
        reproduce("0" * 64, place)
    assert raised.value.code == "no_run"


def test_a_run_without_its_study_says_what_to_do(place: Profile, run_key: str) -> None:
    rewrite(place, lambda _row: {"detail": "{}"})
    with pytest.raises(ContractError) as raised:
        reproduce(run_key, place)
    assert raised.value.code == "not_recorded"
    assert "--recompute" in raised.value.remedy
