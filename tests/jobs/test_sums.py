"""Sums between arrays and the record: written, read back, in buckets, in any order of rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import xxhash
from deltalake import write_deltalake

from conf.profile import Profile
from estimators.errors import ContractError
from estimators.inference import estimate
from estimators.tallies import Tallies
from estimators.units import Groups, Units
from jobs.contracts import CELLS, MOMENTS, SCORES, TALLIES
from jobs.lake import append_once, read_record
from jobs.ledger import Stage
from jobs.sums import (
    cells_table,
    families,
    moments_table,
    read_families,
    read_tallies,
    scores_table,
    tallies_table,
)
from jobs.unit_table import BUCKETS, UnitTable, read_units
from tests.estimators.samples import (
    BOOSTED,
    LINEAR,
    Size,
    bucket,
    build,
    crossfit,
    effect,
    estimates,
    trio,
)

BY = trio(by=(("g",),))


def write(root: str, units: Units, sums, key: str = "k") -> None:
    tables = {
        "cells": cells_table(key, units, sums),
        "moments": moments_table(key, units, sums),
        "tallies": tallies_table(key, sums),
    }
    for name, rows in tables.items():
        assert append_once(root, name, key, rows)


def assert_same(left, right) -> None:
    assert left.keys() == right.keys()
    for name in left:
        for one, other in zip(left[name], right[name], strict=True):
            assert one.ids == other.ids
            for column in ("column", "cell", "n", "a", "b", "unit", "cluster", "clusters"):
                assert np.array_equal(getattr(one, column), getattr(other, column))


@pytest.mark.parametrize("clusters", [None, 12])
@pytest.mark.parametrize("bucketed", [False, True])
def test_the_record_gives_back_the_sums(tmp_path: Path, clusters, bucketed: bool) -> None:
    units = build(121, Size(150, k=3, reps=2, groups=3, clusters=clusters), weighted=True)
    units = bucket(units) if bucketed else units
    _, sums = crossfit(units, BY)
    root = str(tmp_path)
    write(root, units, sums)
    write(root, units, sums[:1], "another key")
    tallies = read_tallies(root, "k")
    rows = [row for each in sums for row in each.tallies]
    assert sorted(tallies._rows, key=str) == sorted(Tallies(rows)._rows, key=str)
    for key, found in Tallies(rows)._rows.items():
        assert tallies._rows[key] == found
    there = read_families(root, "k", tallies, clusters is not None)
    here = families(
        cells_table("k", units, sums), moments_table("k", units, sums), Tallies(rows),
        clusters is not None,
    )  # fmt: skip
    assert_same(there, here)
    assert list(there) == [None, "g"]
    assert there["g"][0].ids[0] == "irm.ate.d.y@g=g0"
    ours = estimates(units, sums)
    for family in there.values():
        for each in estimate(family, 0.95):
            assert each == ours[each.effect_id]


def test_tables_have_the_contracts_columns() -> None:
    units = build(122, Size(90, k=3, groups=2))
    _, sums = crossfit(units, BY)
    ids = pa.chunked_array([[f"u{i:03d}" for i in range(units.n)]])
    for table, schema in (
        (cells_table("k", units, sums), CELLS),
        (moments_table("k", units, sums), MOMENTS),
        (tallies_table("k", sums), TALLIES),
        (scores_table("k", UnitTable(units, ids, None), sums), SCORES),
    ):
        assert table.schema.names == schema.names
        assert table.cast(schema).num_rows == table.num_rows > 0


def test_unit_scores_are_every_row_of_every_effect() -> None:
    units = build(123, Size(120, k=3, reps=2, clusters=12), weighted=True, missing_outcome=0.2)
    specs = (effect(), effect(treatment="t", outcome="s", drop_missing=True))
    _, sums = crossfit(units, specs)
    ids = pa.chunked_array([[f"u{i:03d}" for i in range(units.n)]])
    owners = pa.chunked_array([[units.cells[i] for i in units.cluster]])
    rows = scores_table("k", UnitTable(units, ids, owners), sums).to_pandas()
    observed = int((~np.isnan(units.outcomes["s"])).sum())
    assert len(rows) == 2 * (units.n + observed)
    found = estimates(units, sums)
    for spec in specs:
        # The effect from its unit scores, as anyone may compute it.
        mine = rows[rows.effect_id == spec.effect_id]
        thetas = []
        for _, each in mine.groupby("rep"):
            a, b = (each.weight * each[name] for name in ("psi_a", "psi_b"))
            thetas.append(-b.sum() / a.sum())
        assert found[spec.effect_id].theta == pytest.approx(np.median(thetas), rel=1e-12)
        assert set(mine.cluster_id) == set(units.cells)


def test_clusters_are_counted_where_an_effect_has_rows() -> None:
    """An outcome missing throughout some clusters: they are not among its clusters."""
    units = build(124, Size(120, k=3, clusters=12, groups=2))
    s = units.outcomes["s"].copy()
    s[np.isin(units.cluster, (0, 1, 2))] = np.nan
    units = replace(units, outcomes=dict(units.outcomes) | {"s": s})
    specs = (effect(by=(("g",),)), effect(outcome="s", drop_missing=True, by=(("g",),)))
    for each in (units, bucket(units)):
        found = estimates(each, crossfit(each, specs)[1])
        assert found["plr.slope.d.y"].n_clusters == 12
        assert found["plr.slope.d.s"].n_clusters == 9
        for code in range(2):
            rows = (units.groups["g"].codes == code) & ~np.isnan(s)
            mine = found[f"plr.slope.d.s@g=g{code}"]
            assert mine.n_clusters == len(np.unique(units.cluster[rows]))
            assert mine.n == rows.sum()


def test_buckets_and_cells_give_the_same_groups() -> None:
    units = build(125, Size(200, k=4, clusters=40, groups=3), weighted=True)
    plain, buckets = (estimates(each, crossfit(each, BY)[1]) for each in (units, bucket(units)))
    assert plain.keys() == buckets.keys()
    for name, each in plain.items():
        assert buckets[name].se == pytest.approx(each.se, rel=1e-12)
        assert buckets[name].n_clusters == each.n_clusters


def test_groups_whose_labels_are_names_of_others() -> None:
    """Labels with the record's own separators come back as they are."""
    units = build(126, Size(120, k=3, groups=3))
    labels = ("a@g=b", "irm.ate", "x*y")
    units = replace(units, groups={"g": Groups(units.groups["g"].codes, labels)})
    found = estimates(units, crossfit(units, (effect(by=(("g",),)),))[1])
    assert set(found) == {"plr.slope.d.y", *(f"plr.slope.d.y@g={label}" for label in labels)}
    assert sum(found[f"plr.slope.d.y@g={label}"].n for label in labels) == units.n


# --- the unit table ---------------------------------------------------------------------------

N = 200
TREES = {"outcome_learner": BOOSTED, "treatment_learner": BOOSTED}
SPECS = (
    effect(by=(("origin",), ("origin", "late")), **TREES),
    effect("irm", "ate", outcome="s", drop_missing=True, outcome_learner=LINEAR,
           treatment_learner=LINEAR),
)  # fmt: skip
COVARIATES = ("x0", "carrier", "flag")


def features(clustered: bool = True) -> pa.Table:
    """Rows as the features stage writes them: unsorted ids, NULLs, categories as strings."""
    rng = np.random.default_rng(8)
    unit = rng.permutation([f"u{i}" for i in range(N)])  # u10 sorts before u2
    day = [f"2013-01-{1 + i % 20:02d}" for i in range(N)]
    x = rng.standard_normal(N)
    d = (rng.random(N) < 1 / (1 + np.exp(-x))).astype(int)
    y = x + 0.5 * d + rng.standard_normal(N)
    fold = {each: i % 4 for i, each in enumerate(sorted(set(day)))}
    return pa.table(
        {
            "features_key": pa.repeat("k", N),
            "unit_id": pa.array(unit),
            "cluster_id": pa.array(day if clustered else [None] * N, pa.string()),
            "weight": pa.array(rng.uniform(0.5, 2.0, N)),
            "fold": pa.array([[fold[each], (fold[each] + 1) % 4] for each in day],
                             pa.list_(pa.int32())),
            "d": pa.array(d, pa.int32()),
            "y": pa.array(y),
            "s": pa.array([None if i % 9 == 0 else v for i, v in enumerate(y)]),
            "x0": pa.array([None if i % 7 == 0 else v for i, v in enumerate(x)]),
            "carrier": pa.array([None if i % 11 == 0 else ("UA", "AA", "B6")[i % 3]
                                 for i in range(N)]),
            "flag": pa.array((x > 1).tolist(), pa.bool_()),
            "origin": pa.array([None if i % 13 == 0 else ("JFK", "EWR")[i % 2]
                                for i in range(N)]),
            "late": pa.array((np.arange(N) % 5 == 0).astype(int), pa.int64()),
        }
    )  # fmt: skip


def read_back(home: Path, table: pa.Table, **settings: object) -> UnitTable:
    write_deltalake(str(home / "features" / "study"), table, mode="overwrite")
    stage = Stage("features", "computed", "k", "features/study", 0, len(table), 0.0)
    profile = Profile(name="tests", home=home, **settings)
    return read_units(stage, SPECS, COVARIATES, profile)


@pytest.fixture(scope="module")
def unit_table(tmp_path_factory: pytest.TempPathFactory) -> UnitTable:
    return read_back(tmp_path_factory.mktemp("home"), features())


def test_units_are_sorted_by_id(unit_table: UnitTable) -> None:
    ids = unit_table.unit_id.to_pylist()
    assert ids == sorted(ids)
    source = {row["unit_id"]: row for row in features().to_pylist()}
    units = unit_table.units
    for i, name in enumerate(ids):
        row = source[name]
        assert units.outcomes["y"][i] == row["y"]
        assert units.treatments["d"][i] == row["d"]
        assert units.weight[i] == row["weight"]
        assert units.fold[i].tolist() == row["fold"]
        assert units.cells[units.cell[i]] == row["cluster_id"]
        assert np.isnan(units.outcomes["s"][i]) == (row["s"] is None)
        x, carrier, flag = units.design.values[i]
        assert (np.isnan(x) and row["x0"] is None) or x == row["x0"]
        labels = units.design.categories[1]
        assert (np.isnan(carrier) and row["carrier"] is None) or labels[int(carrier)] == row[
            "carrier"
        ]
        assert flag == row["flag"]


def test_groups_of_the_unit_table(unit_table: UnitTable) -> None:
    groups = unit_table.units.groups
    assert groups["origin"].values == ("EWR", "JFK")
    assert groups["origin*late"].values == ("EWR*0", "EWR*1", "JFK*0", "JFK*1")
    source = {row["unit_id"]: row for row in features().to_pylist()}
    for i, name in enumerate(unit_table.unit_id.to_pylist()):
        row = source[name]
        code = groups["origin*late"].codes[i]
        label = None if code < 0 else groups["origin*late"].values[code]
        assert label == (f"{row['origin']}*{row['late']}" if row["origin"] else None)


@pytest.mark.parametrize("parts", [1, 3])
def test_rows_in_any_order_give_the_same_bytes(tmp_path: Path, unit_table, parts: int) -> None:
    """Shuffled rows, in several files: cells, moments and tallies are the same bytes."""
    order = np.random.default_rng(parts).permutation(N)
    table = features().take(order)
    path = str(tmp_path / "features" / "study")
    for i in range(parts):
        write_deltalake(path, table.slice(i * N // parts, (i + 1) * N // parts - i * N // parts),
                        mode="append")  # fmt: skip
    stage = Stage("features", "computed", "k", "features/study", parts - 1, N, 0.0)
    other = read_units(stage, SPECS, COVARIATES, Profile(name="tests", home=tmp_path))
    left, right = (
        [
            cells_table("k", each.units, sums),
            moments_table("k", each.units, sums),
            tallies_table("k", sums),
            scores_table("k", each, sums),
        ]
        for each in (unit_table, other)
        for sums in [crossfit(each.units, SPECS)[1]]
    )
    for one, two in zip(left, right, strict=True):
        assert one.combine_chunks().equals(two.combine_chunks())


def test_covariates_are_read_in_batches(tmp_path: Path, unit_table, monkeypatch) -> None:
    """Batches end anywhere; rows and the codes of categories find their places."""
    monkeypatch.setattr("jobs.gram.reading.BATCH", 7)
    found = read_back(tmp_path, features()).units.design
    assert found.values.tobytes() == unit_table.units.design.values.tobytes()
    assert found.categories == unit_table.units.design.categories


def test_only_the_key_and_the_version_are_read(tmp_path: Path) -> None:
    path = str(tmp_path / "features" / "study")
    table = features()
    write_deltalake(path, table)
    other = table.set_column(0, "features_key", pa.repeat("other", N))
    write_deltalake(path, other, mode="append")
    write_deltalake(path, table, mode="append")  # version 2 would hold the rows twice
    stage = Stage("features", "computed", "k", "features/study", 1, N, 0.0)
    found = read_units(stage, SPECS, COVARIATES, Profile(name="tests", home=tmp_path))
    assert found.units.n == N


def test_doubles_stay_doubles_where_a_learner_needs_them(unit_table: UnitTable) -> None:
    """Trees compare in float32; one linear learner among them wants all the digits."""
    assert unit_table.units.design.values.dtype == np.float64


def test_many_clusters_become_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket depends on the cluster's id alone: windows that share clusters share cells."""
    monkeypatch.setattr("jobs.unit_table.CELLS_MAX", 10)
    units = read_back(tmp_path, features()).units
    assert units.bucketed
    assert units.clusters == 20
    assert len(units.cells) == BUCKETS
    days = sorted({row["cluster_id"] for row in features().to_pylist()})
    for i in range(N):
        day = days[units.cluster[i]]
        assert units.cell[i] == xxhash.xxh64_intdigest(day.encode(), 42) % BUCKETS
        assert units.cells[units.cell[i]] == f"bucket:{units.cell[i]:04d}"


def test_without_clusters_a_cell_is_a_unit_while_they_are_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = read_back(tmp_path / "few", features(clustered=False))
    assert few.cluster_id is None
    assert few.units.cluster is None
    assert list(few.units.cells) == few.unit_id.to_pylist()
    monkeypatch.setattr("jobs.unit_table.UNITS_AS_CELLS_MAX", 50)
    many = read_back(tmp_path / "many", features(clustered=False)).units
    assert many.bucketed
    assert len(many.cells) == BUCKETS
    left, right = (estimates(each, crossfit(each, SPECS)[1]) for each in (few.units, many))
    for name, each in left.items():
        assert right[name].theta == pytest.approx(each.theta, rel=1e-12)
        assert right[name].se == pytest.approx(each.se, rel=1e-12)


@pytest.mark.parametrize("column", ["y", "s", "x0"])
def test_infinite_values_are_refused_before_any_fit(tmp_path: Path, column: str) -> None:
    table = features()
    values = table[column].to_pylist()
    values[1], values[2] = float("inf"), float("-inf")
    place = table.schema.get_field_index(column)
    with pytest.raises(ContractError, match="2 of 200 values are infinite") as caught:
        read_back(tmp_path, table.set_column(place, column, pa.array(values)))
    assert caught.value.code == "not_finite"
    assert caught.value.where.column == column


def test_a_key_is_appended_once(tmp_path: Path) -> None:
    units = build(127, Size(60, k=3))
    _, sums = crossfit(units, (effect(),))
    root = str(tmp_path)
    write(root, units, sums)
    assert not append_once(root, "cells", "k", cells_table("k", units, sums))
    rows = read_record(root, "cells", ds.field("crossfit_key") == "k")
    assert len(rows) == units.n
