"""AIPW on the Gram engine: the record's sums are those of rows in memory, and DoubleML's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import doubleml as dml
import numpy as np
import pytest
from doubleml.utils import DMLDummyClassifier, DMLDummyRegressor, PSProcessorConfig
from numpy.typing import NDArray

from conf.plan import effect_specs
from conf.profile import Profile
from estimators.crossfit import Plan, Sums, summarise
from estimators.gram.accumulate import accumulate
from estimators.gram.by_row import in_arm, observed, targets_of
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout
from estimators.gram.logistic import fit_logistic
from estimators.gram.moments import Fitted, fit_all
from estimators.gram.partials import by_fold
from estimators.gram.predict import predict, probability
from estimators.nuisances import Target
from estimators.units import Units
from jobs import crossfit
from jobs.estimate import read_effects
from jobs.estimate import run as run_estimate
from jobs.gram import layouts, tasks
from jobs.lake import read_record
from jobs.ledger import Stage
from jobs.unit_table import read_units
from tests.jobs.gram import clinic
from tests.jobs.gram.test_rows import as_rows, same_record

PLR = "  - {method: plr, marginal: true, by: [ward, ward*kind]}\n"
FOUR = (
    "  - {method: irm, estimand: ate, clip: 0.2, by: [ward, ward*kind]}\n"
    "  - {method: irm, estimand: att}\n"
    "  - {method: irm, estimand: atu}\n"
    "  - {method: irm, estimand: ato}\n"
    "  - {method: plr, by: [ward]}\n"
)
IRM = (
    clinic.STUDY.replace("dose: continuous, call: binary", "call: binary")
    .replace(PLR, FOUR)
    .replace("[attrition,", "[overlap, balance, attrition,")
)
ARMS = (
    clinic.STUDY.replace("dose: continuous, call: binary", "ward: {kind: categorical, arms: "
                         '["0", "1", "2"], control: "0"}')
    .replace(PLR, "  - {method: apo, estimand: mean}\n  - {method: apo, estimand: ate}\n")
    .replace("kind, ward]", "kind]")
)  # fmt: skip

JOINTLY = IRM.replace("call: binary", "call: binary, back: binary").replace("  back: binary\n", "")

Predicted = Mapping[Target, NDArray[np.float64]]


def predictions(layout: Layout, rows: Rows, targets: set[Target]) -> Predicted:
    """Every nuisance by itself, on all rows at once."""
    found = {}
    names = [*layout.treatments, *layout.outcomes]
    for target in targets:
        mine = in_arm(observed(rows, target.rows), target.arm)
        fitted = fit_all(layout, accumulate(layout, mine))
        if target.kind == "binary" and target.variable in layout.treatments:
            slopes = propensity(layout, mine, fitted, target.variable)
            found[target] = probability(predict(layout, rows, slopes)[0])
            continue
        for system, nuisances in zip(fitted.shape.systems, fitted.nuisances, strict=True):
            columns = [*layout.treatments, *system.outcomes]
            if target.variable in columns and (system.rows in ("", target.rows)):
                at = columns.index(target.variable)
                linear = predict(layout, rows, nuisances.coefficients[:, :, [at]])[0]
                found[target] = linear + layout.centre[names.index(target.variable)]
    return found


def propensity(layout: Layout, rows: Rows, fitted: Fitted, name: str) -> NDArray[np.float64]:
    """``(K, p, 1)`` logistic coefficients at the ridge's penalty times the variance."""
    at, ridge = layout.treatments.index(name), fitted.nuisances[0]
    share = ridge.mean[:, at] + layout.centre[at]
    penalty = ridge.penalty[:, at] * share * (1.0 - share)
    folds = by_fold(layout, accumulate(layout, rows))
    state = fit_logistic(layout, folds, lambda: [rows], [name], penalty[:, None])
    return np.moveaxis(state.coefficients, 1, 2)


def in_memory(
    found: Any, built: Any, profile: Any
) -> tuple[Units, list[Sums], Plan, list[Predicted]]:
    study = found.loaded.study
    linear = {"learner": "linear", "penalty": 1.0}  # doubles, and no fit
    specs = tuple(
        replace(each, outcome_learner=linear, treatment_learner=linear)
        for each in effect_specs(study)
    )
    units = read_units(built, specs, study.covariates, profile).units
    pinned = layouts.find(found, profile.record_root)
    assert pinned is not None
    layout = replace(pinned.layout, depth=0)
    rows = units.row_masks(specs)
    targets = targets_of(specs, rows)
    plan = Plan(specs, targets, rows, (), {})
    wanted = {target for each in targets.values() for target in each.values()}
    made = [predictions(layout, as_rows(units, rep), wanted) for rep in range(units.fold.shape[1])]
    sums = [summarise(units, plan, rep, each) for rep, each in enumerate(made)]
    return units, sums, plan, made


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (IRM, "clusters"),
        pytest.param(IRM, "buckets", marks=pytest.mark.slow),
        pytest.param(ARMS, "clusters", marks=pytest.mark.slow),
        pytest.param(JOINTLY, "buckets", marks=pytest.mark.slow),
        pytest.param(
            IRM.replace("  weight: share\n", "").replace("  cluster: person\n", ""),
            "unit buckets",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_cells_moments_and_tallies(
    tmp_path: Path, text: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "clusters":
        for limit in ("CELLS_MAX", "UNITS_AS_CELLS_MAX"):
            monkeypatch.setattr(f"jobs.unit_table.{limit}", 50)
    profile = clinic.place(tmp_path)
    file = clinic.write(tmp_path, clinic.visits(range(2)), text)
    found, built = clinic.prebuild(file, profile)
    stage = crossfit.run(found, built, profile)
    assert not stage.detail["failed"]
    units, sums, _, _ = in_memory(found, built, profile)
    same_record(stage, profile, units, sums, clustered="cluster: person" in text)


SINGLE = (
    IRM.replace("  weight: share\n", "").replace("  cluster: person\n", "")
    .replace("cost: {kind: continuous, missing: drop}", "stay: continuous")
    .replace("  stay: continuous\n  back: binary\n", "")
    .replace("repetitions: 2", "repetitions: 1")
)  # fmt: skip


@pytest.mark.parametrize(
    ("estimand", "score"), [("ate", "ATE"), pytest.param("att", "ATTE", marks=pytest.mark.slow)]
)
def test_doubleml_agrees(tmp_path: Path, estimand: str, score: str) -> None:
    text = SINGLE.replace(FOUR, f"  - {{method: irm, estimand: {estimand}}}\n")
    profile = clinic.place(tmp_path)
    rows = clinic.visits(range(2))
    file = clinic.write(tmp_path, rows.filter(rows["bmi"].is_valid()), text)
    found, built = clinic.prebuild(file, profile)
    done = run_estimate(found, crossfit.run(found, built, profile), profile)
    (ours,) = read_effects(profile.record_root, done.key)
    units, _, plan, (made,) = in_memory(found, built, profile)
    data = dml.DoubleMLData.from_arrays(
        units.design.values[:, :2], units.outcomes["stay"], units.treatments["call"]
    )
    model = dml.DoubleMLIRM(
        data, DMLDummyRegressor(), DMLDummyClassifier(), score=score, n_folds=3,
        ps_processor_config=PSProcessorConfig(clipping_threshold=0.01),
        draw_sample_splitting=False,
    )  # fmt: skip
    fold = units.fold[:, 0]
    model.set_sample_splitting(
        [[(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(3)]]
    )
    nothing = np.zeros(units.n)
    targets = plan.targets[ours["effect_id"]]
    external = {
        f"ml_{name}": (made[targets[name]] if name in targets else nothing)[:, None]
        for name in ("g0", "g1", "m")
    }
    model.fit(external_predictions={"d": external})
    assert abs(ours["theta"] - model.coef[0]) < 1e-9
    assert abs(ours["se"] - model.se[0]) < 1e-9


DAILY = SINGLE.replace(", by: [ward, ward*kind]", "").replace(", by: [ward]", "")


def run(home: Path, days: int, **given: Any) -> tuple[Any, Stage, Profile]:
    home.mkdir(exist_ok=True)
    profile = clinic.place(home, **given)
    file = clinic.write(home, clinic.visits(range(days), a_day=300), DAILY)
    found, built = clinic.prebuild(file, profile)
    return found, crossfit.run(found, built, profile), profile


def blocks(profile: Profile) -> dict[str, set[int]]:
    """Slices in the table, by arm."""
    found: dict[str, set[int]] = {}
    for row in read_record(profile.record_root, "gram_partials").to_pylist():
        found.setdefault(row["layout_digest"].partition("/")[2], set()).add(row["slice"])
    return found


def test_a_new_day_on_the_arms_sums_of_yesterday(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digest for digest what the same rows and layout give from scratch."""
    run(tmp_path / "one", 2)
    summed: list[int] = []
    plain = tasks.sum_block

    def counted(shared: Any, block: Any) -> Any:
        summed.append(block.slice)
        return plain(shared, block)

    monkeypatch.setattr(tasks, "sum_block", counted)
    found, stage, profile = run(tmp_path / "one", 3)
    assert len(summed) == 3  # the new day: all rows, and two arms
    assert len(set(summed)) == 1
    assert {arm: len(days) for arm, days in blocks(profile).items()} == {
        "": 3, "call=0": 3, "call=1": 3,
    }  # fmt: skip
    again = clinic.prebuild(tmp_path / "one" / "clinic.yaml", profile)
    assert crossfit.run(*again, profile, recompute=True).digest == stage.digest
    layouts.lend(found, profile.record_root, str(tmp_path / "two" / "record"))
    assert run(tmp_path / "two", 3)[1].digest == stage.digest


@pytest.mark.engines
@pytest.mark.parametrize(
    ("grams", "engine"),
    [("ray", "ray_session"), pytest.param("spark", "spark", marks=pytest.mark.slow)],
)
def test_workers_give_the_bytes_of_inline(
    tmp_path: Path, grams: str, engine: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(engine)
    here = run(tmp_path / "inline", 2)[1]
    assert run(tmp_path / grams, 2, inline=False, grams=grams)[1].digest == here.digest


def test_arms_that_cannot_be_had(tmp_path: Path) -> None:
    """A treatment that a covariate gives away fails by name; the other's effects are there."""
    rows = clinic.visits(range(2), a_day=300)
    rows = rows.set_column(rows.column_names.index("ward"), "ward", rows["call"])
    text = DAILY.replace("call: binary", "call: binary, back: binary")
    text = text.replace("{method: plr}", "{method: plr, marginal: true}")
    profile = clinic.place(tmp_path)
    found, built = clinic.prebuild(clinic.write(tmp_path, rows, text), profile)
    done = run_estimate(found, crossfit.run(found, built, profile), profile)
    codes = {
        row["effect_id"]: row["error_code"] for row in read_effects(profile.record_root, done.key)
    }
    assert codes["irm.ate.call.stay"] == codes["irm.att.call.stay"] == "perfectly_predicted"
    assert codes["irm.ate.back.stay"] is None
