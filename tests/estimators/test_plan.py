"""What is fitted, how often and on which rows; and what cannot be had."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimators.crossfit import fit, plan, tasks
from estimators.effects import EffectSpec
from estimators.units import Units
from tests.estimators.samples import (
    BOOSTED,
    LINEAR,
    Size,
    build,
    crossfit,
    effect,
    from_arrays,
    predict,
    run,
    trio,
)


def many(j: int, m: int, *, missing: int = 0, n: int = 90) -> tuple[Units, tuple[EffectSpec, ...]]:
    """J doses and M outcomes, the first of which miss rows; a PLR of each pair."""
    base = build(91, Size(n, k=3))
    rng = np.random.default_rng(0)
    doses = {f"t{i}": rng.standard_normal(n) for i in range(j)}
    outcomes = {f"y{i}": rng.standard_normal(n) for i in range(m)}
    for i in range(missing):
        outcomes[f"y{i}"][i : i + 5] = np.nan
    units = from_arrays(base.design, doses, outcomes, k=3)
    specs = tuple(
        EffectSpec("plr", "slope", t, "continuous", y, "continuous", LINEAR, LINEAR)
        for t in doses for y in outcomes
    )  # fmt: skip
    return units, specs


def fits(work) -> int:
    return sum(len(each.targets) for each in work.passes)


@pytest.mark.parametrize(("j", "m"), [(1, 1), (3, 4), (5, 20)])
def test_plr_costs_j_plus_m_fits(j: int, m: int) -> None:
    """Never J x M: and all of them share one pass, so one binned matrix a fold."""
    units, specs = many(j, m)
    work = plan(units, specs)
    assert len(specs) == j * m
    assert fits(work) == j + m
    assert len(work.passes) == 1
    assert len(tasks(units, work)) == units.k


def test_outcomes_that_miss_rows_have_their_own_nuisances() -> None:
    """On its own rows, the treatment's nuisance too: 3 + 2 complete, and 2 x (3 + 1)."""
    units, specs = many(3, 4, missing=2)
    work = plan(units, specs)
    assert work.rows == {"y0": "y0", "y1": "y1", "y2": "", "y3": ""}
    assert fits(work) == (3 + 2) + 2 * (3 + 1)
    assert sorted(each.rows for each in work.passes) == ["", "y0", "y1"]


def test_irm_adds_a_fit_an_arm_and_outcome() -> None:
    units = build(92)
    work = plan(units, trio())
    named = {effect_id: sorted(names) for effect_id, names in work.targets.items()}
    assert named == {
        "plr.slope.d.y": ["l", "m"],
        "irm.ate.d.y": ["g0", "g1", "m"],
        "irm.att.d.y": ["g0", "m"],
    }
    assert fits(work) == 4  # l, m, g0, g1: shared by the three
    more = plan(units, (*trio(), effect("irm", "atu"), effect("irm", "ato")))
    assert fits(more) == 4
    assert sorted(more.targets["irm.atu.d.y"]) == ["g1", "m"]
    assert sorted(more.targets["irm.ato.d.y"]) == ["g0", "g1", "m"]
    assert {each.arm for each in work.passes} == {None, ("d", 0), ("d", 1)}


def test_learners_of_other_bins_are_other_passes() -> None:
    units = build(93)
    coarse = BOOSTED | {"max_bin": 16}
    spec = effect(outcome_learner=BOOSTED, treatment_learner=coarse)
    assert len(plan(units, (spec,)).passes) == 2
    deeper = effect(outcome_learner=BOOSTED, treatment_learner=BOOSTED | {"max_depth": 2})
    assert len(plan(units, (deeper,)).passes) == 1


def test_arms_are_fitted_on_their_rows_and_predict_all() -> None:
    """g1 never sees an untreated outcome, and every unit gets its prediction."""
    units = build(94, Size(120, k=3))
    spec = effect("irm", "ate")
    spoilt = units.outcomes["y"].copy()
    spoilt[units.treatments["d"] == 0] += 1e6
    work = plan(units, (spec,))
    target = work.targets[spec.effect_id]["g1"]
    (clean,), (other,) = (predict(each, work) for each in
                          (units, replace(units, outcomes={"y": spoilt})))  # fmt: skip
    assert clean[target].tobytes() == other[target].tobytes()
    assert np.isfinite(clean[target]).all()


def test_a_row_mask_leaves_its_rows_out_of_fit_and_prediction() -> None:
    units = build(95, Size(150, k=3), missing_outcome=0.2)
    spec = effect(treatment="t", outcome="s", drop_missing=True)
    seen = ~np.isnan(units.outcomes["s"])
    work, sums = crossfit(units, (spec,))
    (predictions,) = predict(units, work)
    for target, values in predictions.items():
        assert target.rows == "s"
        assert np.isfinite(values[seen]).all()
        assert np.isnan(values[~seen]).all()
    (scores,) = sums[0].scores
    assert scores.rows.tolist() == seen.tolist()
    assert not scores.psi_a[~seen].any()
    # As if the rows had never been.
    alone = from_arrays(
        replace(units.design, values=units.design.values[seen]),
        {"t": units.treatments["t"][seen]}, {"s": units.outcomes["s"][seen]}, k=3,
    )  # fmt: skip
    alone = replace(alone, fold=units.fold[seen])
    one, other = run(units, spec)[spec.effect_id], run(alone, spec)[spec.effect_id]
    assert one.n == other.n == seen.sum()
    assert one.theta == pytest.approx(other.theta, rel=1e-10)
    assert one.se == pytest.approx(other.se, rel=1e-10)


def failed(units: Units, *specs: EffectSpec) -> dict[str, str]:
    return dict(plan(units, specs or trio()).failed)


def test_nothing_fails_without_reason() -> None:
    assert failed(build(96)) == {}


def test_missing_outcome() -> None:
    units = build(96)
    units = replace(units, outcomes={"y": np.full(units.n, np.nan)})
    assert set(failed(units).values()) == {"missing_outcome"}
    assert plan(units, trio()).effects == ()
    assert plan(units, trio()).passes == ()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_treatment(value: float) -> None:
    units = build(96)
    units = replace(units, treatments={"d": np.full(units.n, value), "t": np.full(units.n, value)})
    assert set(failed(units).values()) == {"constant_treatment"}
    assert failed(units, effect(treatment="t")) == {"plr.slope.t.y": "constant_treatment"}


def test_a_treatment_constant_where_the_outcome_is_seen() -> None:
    units = build(96)
    y = np.where(units.treatments["d"] == 1, units.outcomes["y"], np.nan)
    assert set(failed(replace(units, outcomes={"y": y})).values()) == {"constant_treatment"}


@pytest.mark.parametrize(("treated", "code"), [(1, True), (4, True), (5, True), (8, False)])
def test_empty_arm(treated: int, code: bool) -> None:
    """Some training set has fewer units of an arm than folds (here 4)."""
    units = build(96, Size(80, k=4))
    d = np.zeros(80)
    order = np.argsort(units.fold[:, 0], kind="stable").reshape(4, 20).T.ravel()
    d[order[:treated]] = 1.0  # spread over the folds
    units = replace(units, treatments={"d": d})
    assert set(failed(units).values()) == ({"empty_arm"} if code else set())


def test_an_arm_within_one_fold_is_empty_elsewhere() -> None:
    """Twenty treated, all in fold 0: its training rows have none."""
    units = build(96, Size(80, k=4))
    units = replace(units, treatments={"d": (units.fold[:, 0] == 0).astype(float)})
    assert set(failed(units).values()) == {"empty_arm"}


def test_one_bad_effect_leaves_the_others() -> None:
    units = build(97)
    units = replace(units, outcomes=dict(units.outcomes) | {"s": np.full(units.n, np.nan)})
    specs = (effect(), effect(treatment="t", outcome="s"), effect("irm", "ate"))
    work = plan(units, specs)
    assert work.failed == {"plr.slope.t.s": "missing_outcome"}
    assert [each.effect_id for each in work.effects] == ["plr.slope.d.y", "irm.ate.d.y"]
    assert run(units, *specs)["irm.ate.d.y"].error_code is None


def test_a_binary_outcome_without_events_in_an_arm_is_estimated() -> None:
    units = build(98, Size(200, k=4))
    z = np.where(units.treatments["d"] == 1, units.outcomes["z"], 0.0)
    units = replace(units, outcomes=dict(units.outcomes) | {"z": z})
    for learner in (LINEAR, BOOSTED):
        specs = trio(outcome="z", outcome_learner=learner, treatment_learner=learner)
        for found in run(units, *specs).values():
            assert found.error_code is None
            assert 0.0 < found.theta < 1.0


def test_what_travels_to_workers_gives_the_same_fit() -> None:
    units = build(99, Size(90, k=3, groups=2, clusters=10))
    work = plan(units, trio())
    bare = units.for_fitting()
    assert bare.groups == {}
    assert bare.cells == ()
    for task in tasks(units, work):
        assert fit(bare, task, "salt").tobytes() == fit(units, task, "salt").tobytes()


def test_seeds_follow_salt_and_place() -> None:
    units = build(100, Size(90, k=3))
    drawn = BOOSTED | {"subsample": 0.5}
    work = plan(units, (effect(outcome_learner=drawn, treatment_learner=drawn),))
    first, second = tasks(units, work)[:2]
    assert fit(units, first, "a").tobytes() == fit(units, first, "a").tobytes()
    assert fit(units, first, "a").tobytes() != fit(units, first, "b").tobytes()
    assert first.fold != second.fold
