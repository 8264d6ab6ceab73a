"""The pipeline's sums are those that rows in memory give, on the same folds and predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import doubleml as dml
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from doubleml.utils import DMLDummyRegressor

from conf.plan import effect_specs
from conf.profile import Profile
from estimators.crossfit import Sums, plan, summarise
from estimators.gram.accumulate import accumulate
from estimators.gram.columns import Coded, Rows
from estimators.gram.moments import fit_all
from estimators.gram.predict import predict
from estimators.inference import estimate
from estimators.tallies import Tallies
from estimators.units import Units
from jobs import crossfit
from jobs.estimate import read_effects
from jobs.estimate import run as run_estimate
from jobs.gram import layouts
from jobs.lake import read_record
from jobs.ledger import Stage
from jobs.sums import cells_table, families, moments_table, read_families, read_tallies
from jobs.unit_table import read_units
from tests.jobs.gram import clinic

PLAIN = clinic.STUDY.replace("  weight: share\n", "").replace("  cluster: person\n", "")
SINGLE = (
    PLAIN.replace("dose: continuous, call: binary", "dose: continuous")
    .replace("cost: {kind: continuous, missing: drop}", "stay: continuous")
    .replace("  stay: continuous\n  back: binary\n", "")
    .replace(", marginal: true, by: [ward, ward*kind]", "")
    .replace("repetitions: 2", "repetitions: 1")
)


def as_rows(units: Any, rep: int) -> Rows:
    """Units in memory as the engine's rows, their numbers for hashes."""
    covariates: dict[str, Any] = {}
    for j, name in enumerate(units.design.names):
        x = units.design.values[:, j].astype(np.float64)
        labels = units.design.categories.get(j)
        codes = np.where(np.isnan(x), -1, x).astype(np.int64)
        covariates[name] = x if labels is None else Coded(codes, labels)
    number = np.arange(units.n, dtype=np.uint64)
    return Rows(
        covariates, units.treatments, units.outcomes, units.weight, units.fold[:, rep], number,
        number,
    )  # fmt: skip


def in_memory(found: Any, built: Any, profile: Any) -> tuple[Any, list[Sums]]:
    """The same nuisances, fitted on all rows at once, through the path of rows."""
    study = found.loaded.study
    linear = {"learner": "linear", "penalty": 1.0}  # doubles, and no fit
    specs = tuple(
        replace(each, outcome_learner=linear, treatment_learner=linear)
        for each in effect_specs(study)
    )
    units = read_units(built, specs, study.covariates, profile).units
    work = plan(units, specs)
    pinned = layouts.find(found, profile.record_root)
    assert pinned is not None
    layout = replace(pinned.layout, depth=0)
    sums = []
    for rep in range(units.fold.shape[1]):
        rows = as_rows(units, rep)
        fitted = fit_all(layout, accumulate(layout, rows))
        predictions = {}
        for system, nuisances in zip(fitted.shape.systems, fitted.nuisances, strict=True):
            fits = predict(layout, rows, nuisances.coefficients)
            names = [*layout.treatments, *system.outcomes]
            for name, values in zip(names, fits, strict=True):
                centre = layout.centre[[*layout.treatments, *layout.outcomes].index(name)]
                predictions[name, system.rows] = values + centre
        wanted = {target for each in work.targets.values() for target in each.values()}
        sums.append(
            summarise(
                units, work, rep, {each: predictions[each.variable, each.rows] for each in wanted}
            )
        )
    return units, sums


def close(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max(initial=1.0))


@pytest.mark.parametrize(
    "kind",
    [
        "clusters",
        "clusters, jointly",
        pytest.param("buckets", marks=pytest.mark.slow),
        pytest.param("units", marks=pytest.mark.slow),
        "unit buckets",
        pytest.param("buckets, jointly", marks=pytest.mark.slow),
    ],
)
def test_cells_moments_and_tallies(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, _, jointly = kind.partition(", ")
    study = clinic.STUDY.replace("marginal: true, ", "") if jointly else clinic.STUDY
    text = study if kind in ("clusters", "buckets") else PLAIN
    if kind not in ("clusters", "units"):
        for limit in ("CELLS_MAX", "UNITS_AS_CELLS_MAX"):
            monkeypatch.setattr(f"jobs.unit_table.{limit}", 50)
    profile = clinic.place(tmp_path)
    file = clinic.write(tmp_path, clinic.visits(range(2)), text)
    found, built = clinic.prebuild(file, profile)
    stage = crossfit.run(found, built, profile)
    units, sums = in_memory(found, built, profile)
    names = same_record(stage, profile, units, sums, clustered=text is study)
    assert names == [None, "ward", "ward*kind"]
    cells = read_record(profile.record_root, "cells")
    lengths = pa.compute.list_value_length(cells["a"]).unique().to_pylist()
    assert lengths == ([4] if jointly else [6])


def same_record(
    stage: Stage, profile: Profile, units: Units, sums: list[Sums], *, clustered: bool
) -> list[str | None]:
    """The stage's cells, moments and tallies are those of rows in memory, and so is inference."""
    rows = [row for each in sums for row in each.tallies]
    key, root = stage.key, profile.record_root
    theirs = families(
        cells_table(key, units, sums), moments_table(key, units, sums), Tallies(rows), clustered
    )
    tallies = read_tallies(root, key)
    ours = read_families(root, key, tallies, clustered)
    assert list(ours) == list(theirs)
    for name in ours:
        for one, other in zip(ours[name], theirs[name], strict=True):
            assert one.ids == other.ids
            for column in ("column", "cell", "n", "clusters"):
                assert np.array_equal(getattr(one, column), getattr(other, column))
            for column in ("a", "b", "unit"):
                close(getattr(one, column), getattr(other, column))
            if other.cluster is not None:
                close(one.cluster, other.cluster)
        for each, peer in zip(
            estimate(ours[name], 0.95), estimate(theirs[name], 0.95), strict=True
        ):
            close([each.theta, each.se, each.se_hc0], [peer.theta, peer.se, peer.se_hc0])
    same_tallies(tallies, Tallies(rows))
    return list(ours)


def same_tallies(ours: Tallies, theirs: Tallies) -> None:
    assert set(ours._rows) == set(theirs._rows)
    for key, rows in theirs._rows.items():
        mine = {(each.rep, each.fold): each for each in ours._rows[key]}
        assert len(mine) == len(rows)
        for other in rows:
            each = mine[other.rep, other.fold]
            assert (each.n, each.hist) == (other.n, other.hist)
            if key[0] != "clusters":  # there the weight is that of whichever unit comes first
                names = ("w", "ww", "x", "xx", "xy")
                close(*([getattr(row, name) for name in names] for row in (each, other)))


def test_doubleml_agrees(tmp_path: Path) -> None:
    profile = clinic.place(tmp_path)
    rows = clinic.visits(range(2)).filter(pa.compute.is_valid(clinic.visits(range(2))["bmi"]))
    file = clinic.write(tmp_path, rows, SINGLE)
    found, built = clinic.prebuild(file, profile)
    stage = crossfit.run(found, built, profile)
    done = run_estimate(found, stage, profile)
    (ours,) = read_effects(profile.record_root, done.key)
    units, _ = in_memory(found, built, profile)
    pinned = layouts.find(found, profile.record_root)
    assert pinned is not None
    layout = replace(pinned.layout, depth=0)
    batch = as_rows(units, 0)
    fitted = fit_all(layout, accumulate(layout, batch))
    m, l = predict(layout, batch, fitted.nuisances[0].coefficients)  # noqa: E741
    x, d, y = units.design.values[:, :2], units.treatments["dose"], units.outcomes["stay"]
    model = dml.DoubleMLPLR(
        dml.DoubleMLData.from_arrays(x, y, d), DMLDummyRegressor(), DMLDummyRegressor(),
        n_folds=3, draw_sample_splitting=False,
    )  # fmt: skip
    fold = units.fold[:, 0]
    model.set_sample_splitting(
        [[(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(3)]]
    )
    external = {"ml_l": l + layout.centre[1], "ml_m": m + layout.centre[0]}
    model.fit(external_predictions={"d": {name: v[:, None] for name, v in external.items()}})
    assert abs(ours["theta"] - model.coef[0]) < 1e-9
    assert abs(ours["se"] - model.se[0]) < 1e-9


def test_the_linear_learner_agrees_without_a_penalty(tmp_path: Path) -> None:
    """Two least squares: on pinned and centred columns, and on each fold's standardised ones."""
    text = SINGLE.replace("bmi, kind, ward", "ward, kind")
    effects = []
    for name, learner in (
        ("gram", "{learner: gram, segments: 0, penalty: 0, slice_days: 1}"),
        ("linear", "{learner: linear, penalty: 0}"),
    ):
        home = tmp_path / name
        home.mkdir()
        profile = clinic.place(home)
        own = text.replace("{learner: gram, segments: 3, slice_days: 1}", learner)
        file = clinic.write(home, clinic.visits(range(2)), own)
        found, built = clinic.prebuild(file, profile)
        done = run_estimate(found, crossfit.run(found, built, profile), profile)
        effects += read_effects(profile.record_root, done.key)
    ours, theirs = effects
    assert ours["n"] == theirs["n"] == 1400
    for name in ("theta", "se", "naive", "ci_low"):
        assert abs(ours[name] - theirs[name]) < 1e-9
    assert ours["se"] == pytest.approx(theirs["se"], rel=1e-9)


def test_no_unit_scores_are_written(tmp_path: Path) -> None:
    profile = clinic.place(tmp_path)
    file = clinic.write(tmp_path, clinic.visits([0], a_day=300))
    found, built = clinic.prebuild(file, profile)
    stage = crossfit.run(found, built, profile)
    assert stage.detail is not None
    assert stage.detail["unit_scores"] is False
    rows = read_record(profile.record_root, "scores", ds.field("crossfit_key") == stage.key)
    assert len(rows) == 0
