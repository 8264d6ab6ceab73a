"""What must hold for any data: order, shifts, scales, weights, merging, groups, copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimators.cells import EffectScores, sum_cells
from estimators.crossfit import summarise
from estimators.learners import Design
from estimators.tallies import Tallies, merge
from estimators.units import Groups, Units, cross
from jobs.sums import cells_table, families, moments_table, tallies_table
from tests.estimators.samples import (
    BOOSTED,
    CONSTANT,
    LINEAR,
    Size,
    build,
    crossfit,
    effect,
    estimates,
    from_arrays,
    irm,
    oracle,
    plan,
    predict,
    run,
    scored,
    solved,
    summed,
    take,
    trio,
)

few = settings(max_examples=6, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)
specs = st.sampled_from((effect(), *irm()))


def sample(seed: int, **changes: object) -> Units:
    return build(seed, Size(120, k=3, groups=2, clusters=20), weighted=True, **changes)


# --- order -----------------------------------------------------------------------------------


@few
@given(seeds, st.sampled_from([LINEAR, BOOSTED]))
def test_shuffled_and_sorted_again_gives_the_same_bytes(seed: int, learner: dict) -> None:
    """Units are sorted by id before anything else: arrival order leaves no trace."""
    units = sample(seed, missing=0.1, category=True)
    arrival = np.random.default_rng(seed).permutation(units.n)
    back = take(take(units, arrival), np.argsort(arrival))
    tables = []
    for each in (units, back):
        _, sums = crossfit(each, trio(outcome_learner=learner, by=(("g",),)))
        tables.append(
            [cells_table("k", each, sums), moments_table("k", each, sums), tallies_table("k", sums)]
        )
    assert all(a.equals(b) for a, b in zip(*tables, strict=True))


@few
@given(seeds, specs)
def test_row_order_changes_only_the_last_bits(seed: int, spec) -> None:
    units = sample(seed)
    nuisance = oracle(units)
    order = np.random.default_rng(seed).permutation(units.n)
    moved = solved(take(units, order), spec, {k: v[order] for k, v in nuisance.items()})
    still = solved(units, spec, nuisance)
    close(moved[spec.effect_id], still[spec.effect_id], rel=1e-9)


def close(left, right, *, rel: float, shift: float = 0.0, scale: float = 1.0) -> None:
    """`left` is `right` after theta -> scale theta + shift."""
    assert left.error_code is right.error_code is None
    room = rel * max(abs(right.se), abs(right.theta), 1e-3) * max(abs(scale), 1e-3)
    assert left.theta == pytest.approx(scale * right.theta + shift, abs=room)
    assert left.se == pytest.approx(abs(scale) * right.se, rel=1e-6)
    assert left.se_hc0 == pytest.approx(abs(scale) * right.se_hc0, rel=1e-6)


# --- shifts and scales, nuisance predictions moved along ---------------------------------------


@few
@given(seeds, st.floats(-50, 50), st.floats(0.02, 50), st.booleans())
def test_dose_location_and_scale(seed: int, shift: float, scale: float, flip: bool) -> None:
    """d -> s d + c leaves theta / s; the intercept of the dose is not identified, nor used."""
    scale = -scale if flip else scale
    units, spec = sample(seed), effect(treatment="t")
    x = units.design.values[:, 0]
    fits = {"l": 0.8 * x, "m": 0.3 * x}
    moved = replace(units, treatments={"t": scale * units.treatments["t"] + shift})
    found = solved(moved, spec, {"l": fits["l"], "m": scale * fits["m"] + shift})
    close(found[spec.effect_id], solved(units, spec, fits)[spec.effect_id], rel=1e-8,
          scale=1.0 / scale)  # fmt: skip


@few
@given(seeds, specs, st.floats(-100, 100), st.floats(0.02, 50))
def test_outcome_affine_maps(seed: int, spec, shift: float, scale: float) -> None:
    units = sample(seed)
    fits = oracle(units)
    moved = replace(units, outcomes={"y": scale * units.outcomes["y"] + shift})
    mapped = {name: v if name == "m" else scale * v + shift for name, v in fits.items()}
    close(solved(moved, spec, mapped)[spec.effect_id],
          solved(units, spec, fits)[spec.effect_id], rel=1e-8, scale=scale)  # fmt: skip


@few
@given(seeds)
def test_arms_swapped(seed: int) -> None:
    """The ATE of not being treated is minus the ATE: contrast(a, b) = -contrast(b, a)."""
    units, spec = sample(seed), effect("irm", "ate")
    fits = oracle(units)
    swapped = replace(units, treatments={"d": 1.0 - units.treatments["d"]})
    other = {"g0": fits["g1"], "g1": fits["g0"], "m": 1.0 - fits["m"]}
    close(solved(swapped, spec, other)[spec.effect_id],
          solved(units, spec, fits)[spec.effect_id], rel=1e-8, scale=-1.0)  # fmt: skip


@pytest.mark.parametrize("learner", [LINEAR, CONSTANT], ids=["linear", "constant"])
@pytest.mark.parametrize("index", range(3), ids=["plr", "ate", "att"])
def test_outcome_affine_maps_with_fitted_nuisances(learner: dict, index: int) -> None:
    """The linear learner standardises what it sees, so even the fits follow."""
    spec = trio(outcome_learner=learner, treatment_learner=learner)[index]
    units = build(41, Size(200, k=4))
    moved = replace(units, outcomes={"y": 7.0 * units.outcomes["y"] - 30.0})
    close(run(moved, spec)[spec.effect_id], run(units, spec)[spec.effect_id], rel=1e-8, scale=7.0)


# --- weights and copies -----------------------------------------------------------------------


@few
@given(seeds, specs, st.sampled_from([LINEAR, CONSTANT]))
def test_weight_k_is_k_copies_for_theta(seed: int, spec, learner: dict) -> None:
    """Nuisances are fitted on both: folds of copies are those of their unit."""
    spec = replace(spec, outcome_learner=learner, treatment_learner=learner)
    units = build(seed, Size(120, k=3), missing=0.05, category=True)
    copies = np.random.default_rng(seed).integers(1, 4, units.n)
    weighted = run(replace(units, weight=copies.astype(float)), spec)[spec.effect_id]
    copied = run(take(units, np.repeat(np.arange(units.n), copies)), spec)[spec.effect_id]
    assert weighted.theta == pytest.approx(copied.theta, rel=1e-7, abs=1e-9)
    assert weighted.n == 120
    assert copied.n == copies.sum()


@few
@given(seeds, specs, st.integers(2, 5))
def test_copies_shrink_the_se_unless_clustered(seed: int, spec, k: int) -> None:
    units = build(seed, Size(90, k=3))
    fits = oracle(units)
    rows = np.tile(np.arange(units.n), k)
    copied = {name: values[rows] for name, values in fits.items()}
    once = solved(units, spec, fits)[spec.effect_id]
    # Every copy a unit of its own: the SE believes in k times the data.
    alone = replace(take(units, rows), cell=np.arange(units.n * k),
                    cells=tuple(str(i) for i in range(units.n * k)))  # fmt: skip
    free = solved(alone, spec, copied)[spec.effect_id]
    assert free.theta == pytest.approx(once.theta, rel=1e-9)
    assert free.se == pytest.approx(once.se / np.sqrt(k), rel=1e-9)
    # Copies in the cluster of their unit: nothing was learnt.
    owned = replace(take(units, rows), cluster=rows.astype(np.int64), clusters=units.n)
    held = solved(owned, spec, copied)[spec.effect_id]
    assert held.se == pytest.approx(once.se * np.sqrt(90 / 89), rel=1e-9)
    assert held.se_hc0 == pytest.approx(free.se, rel=1e-9)


@few
@given(seeds, specs, st.floats(0.01, 100))
def test_the_scale_of_weights_is_nothing(seed: int, spec, scale: float) -> None:
    """With nuisances that have no penalty: a penalty is on the scale of the weights."""
    units = sample(seed)
    heavier = replace(units, weight=units.weight * scale)
    spec = replace(spec, outcome_learner=CONSTANT, treatment_learner=CONSTANT)
    left, right = (run(each, spec)[spec.effect_id] for each in (heavier, units))
    close(left, right, rel=1e-9)


# --- merging ----------------------------------------------------------------------------------


@few
@given(seeds, st.integers(2, 6))
def test_partial_cells_merge_to_the_whole(seed: int, parts: int) -> None:
    """Rows split anywhere: cells of the parts, added by (fold, cell, group), are the whole's."""
    units = sample(seed)
    scores = [scored(units, spec, oracle(units)) for spec in trio()]
    groups = units.groups["g"]
    whole = keyed(sum_cells(units, 0, scores, groups))
    owner = np.random.default_rng(seed).integers(0, parts, units.n)
    merged: dict = {}
    for part in range(parts):
        rows = np.flatnonzero(owner == part)
        pieces = [EffectScores(s.effect_id, s.rows[rows], s.psi_a[rows], s.psi_b[rows])
                  for s in scores]  # fmt: skip
        some = take(units, rows)
        for key, sums in keyed(sum_cells(some, 0, pieces, some.groups["g"])).items():
            merged[key] = merged.get(key, 0.0) + sums
    assert merged.keys() == whole.keys()
    for key, sums in whole.items():
        assert merged[key] == pytest.approx(sums, rel=1e-12, abs=1e-12)


def keyed(cells) -> dict[tuple[int, int, int], np.ndarray]:
    stacked = np.stack([cells.n, cells.w, cells.a, cells.b])
    keys = zip(cells.fold.tolist(), cells.cell.tolist(), cells.group.tolist(), strict=True)
    return {key: stacked[:, i] for i, key in enumerate(keys)}


@few
@given(seeds)
def test_cells_by_group_add_up_to_the_totals(seed: int) -> None:
    units = sample(seed)
    scores = [scored(units, spec, oracle(units)) for spec in trio()]
    total, parts = sum_cells(units, 0, scores, None), sum_cells(units, 0, scores, units.groups["g"])
    for name in ("n", "w", "a", "b"):
        left, right = getattr(total, name).sum(axis=0), getattr(parts, name).sum(axis=0)
        assert left == pytest.approx(right, rel=1e-12, abs=1e-10)


@few
@given(seeds)
def test_rows_of_the_record_in_any_order_give_the_same_bytes(seed: int) -> None:
    units = build(seed, Size(90, k=3, reps=2, groups=3, clusters=15))
    _, sums = crossfit(units, trio(by=(("g",),)))
    cells, moments = cells_table("k", units, sums), moments_table("k", units, sums)
    rng = np.random.default_rng(seed)
    shuffled = [each.take(rng.permutation(len(each))) for each in (cells, moments)]
    left = families(cells, moments, Tallies([]), True)
    right = families(*shuffled, Tallies([]), True)
    for name, repetitions in left.items():
        for one, other in zip(repetitions, right[name], strict=True):
            for column in ("column", "cell", "n", "a", "b", "unit", "clusters"):
                assert getattr(one, column).tobytes() == getattr(other, column).tobytes()


@few
@given(seeds)
def test_tallies_merge_in_any_order(seed: int) -> None:
    units = build(seed, Size(120, k=4, reps=2), weighted=True, missing=0.1)
    _, sums = crossfit(units, trio())
    rows = [row for each in sums for row in each.tallies]
    order = np.random.default_rng(seed).permutation(len(rows))
    left, right = Tallies(rows), Tallies([rows[i] for i in order])
    for key in left._rows:
        subject, effect_id, arm, weighting, *group = key
        asked = {"effect_id": effect_id, "arm": arm, "weighting": weighting, "group": tuple(group)}
        assert left.find(subject, **asked) == right.find(subject, **asked)


def test_one_fold_merged_is_itself() -> None:
    units = build(42)
    _, sums = crossfit(units, trio())
    first = sums[0].tallies[0]
    assert merge([first]) == replace(first, fold=-1)


# --- groups are solved again --------------------------------------------------------------------


def test_groups_of_a_slope_are_solved_in_the_group() -> None:
    """METHODS: truths 1 and 2; averaging influence values over the group gave 1.34 and 2.13."""
    rng = np.random.default_rng(7)
    n = 8_000
    group = rng.integers(0, 2, n)
    x = rng.standard_normal((n, 2))
    t = 0.7 * x[:, 0] + np.where(group == 1, 1.6, 0.8) * rng.standard_normal(n)
    y = np.where(group == 1, 2.0, 1.0) * t + x[:, 1] + rng.standard_normal(n)
    # The conditional means know the group: the effect in it is what is asked.
    design = Design(np.column_stack([x, group, group * x[:, 0]]), ("a", "b", "g", "ga"), {})
    units = from_arrays(
        design, {"t": t}, {"y": y}, groups={"g": Groups(group.astype(np.int64), ("one", "two"))}
    )
    spec = effect(treatment="t", by=(("g",),))
    _, sums = crossfit(units, (spec,))
    found = estimates(units, sums)
    (scores,) = sums[0].scores
    total = found["plr.slope.t.y"].theta
    for value, truth, code in (("one", 1.0, 0), ("two", 2.0, 1)):
        each = found[f"plr.slope.t.y@g={value}"]
        assert abs(each.theta - truth) < 3.5 * each.se
        assert each.se < 0.03
        mine = group == code
        hand = -scores.psi_b[mine].sum() / scores.psi_a[mine].sum()
        assert each.theta == pytest.approx(hand, rel=1e-12)
        influence = -(scores.psi_a * total + scores.psi_b) / scores.psi_a.mean()
        averaged = total + influence[mine].mean()
        assert abs(averaged - truth) > 5 * each.se


@few
@given(seeds, specs)
def test_a_group_is_the_effect_on_its_rows(seed: int, spec) -> None:
    """Same nuisances, the group's rows alone: same theta and SE (folds pooled, clusters theirs)."""
    units = sample(seed)
    fits = oracle(units)
    grouped = solved(units, replace(spec, by=(("g",),)), fits, by="g")
    for code in range(2):
        rows = np.flatnonzero(units.groups["g"].codes == code)
        alone = solved(take(units, rows), spec, {k: v[rows] for k, v in fits.items()})
        found = grouped[f"{spec.effect_id}@g=g{code}"]
        assert found.theta == pytest.approx(alone[spec.effect_id].theta, rel=1e-10)
        assert found.se == pytest.approx(alone[spec.effect_id].se, rel=1e-10)
        assert found.n_clusters == alone[spec.effect_id].n_clusters


def test_a_null_group_counts_in_the_totals_only() -> None:
    units = sample(43)
    codes = units.groups["g"].codes.copy()
    codes[:30] = -1
    units = replace(units, groups={"g": replace(units.groups["g"], codes=codes)})
    found = run(units, effect(by=(("g",),)))
    assert found["plr.slope.d.y"].n == units.n
    assert sum(found[f"plr.slope.d.y@g=g{i}"].n for i in range(2)) == units.n - 30


def test_a_grouping_that_is_null_everywhere_has_no_groups() -> None:
    units = sample(44)
    nothing = Groups(np.full(units.n, -1), ())
    found = run(replace(units, groups={"g": nothing}), effect(by=(("g",),)))
    assert list(found) == ["plr.slope.d.y"]


def test_crossing_two_groupings() -> None:
    a = np.array(["x", "y", None, "x"], dtype=object)
    b = np.array(["1", "2", "1", None], dtype=object)
    name, groups = cross({"a": a, "b": b}, ("a", "b"))
    assert name == "a*b"
    assert groups.values == ("x*1", "y*2")
    assert groups.codes.tolist() == [0, 1, -1, -1]


@few
@given(st.lists(st.tuples(*[st.text("a*\\b", max_size=4)] * 3), min_size=2, max_size=8))
def test_crossed_groups_never_meet(rows: list[tuple[str, str, str]]) -> None:
    """Labels may hold the mark that joins them: ``a*b`` with ``c`` is not ``a`` with ``b*c``."""
    rows += [("a*b", "c", "c"), ("a", "b*c", "c")]
    columns = {
        name: np.array(values, dtype=object)
        for name, values in zip("xyz", zip(*rows, strict=True), strict=True)
    }
    _, groups = cross(columns, ("x", "y", "z"))
    assert len(groups.values) == len(set(rows))
    assert {"a\\*b*c*c", "a*b\\*c*c"} <= set(groups.values)


# --- nothing of the held-out fold ---------------------------------------------------------------


@few
@given(seeds, st.sampled_from([LINEAR, BOOSTED, CONSTANT]))
def test_predictions_are_out_of_fold(seed: int, learner: dict) -> None:
    """Other outcomes and treatments in a fold change no prediction for that fold."""
    units = build(seed, Size(90, k=3))
    held = units.fold[:, 0] == 1
    rng = np.random.default_rng(seed)
    y = np.where(held, rng.standard_normal(90) * 50, units.outcomes["y"])
    d = np.where(held, 1.0 - units.treatments["d"], units.treatments["d"])
    other = replace(units, treatments={"d": d}, outcomes={"y": y})
    spec = trio(outcome_learner=learner, treatment_learner=learner)
    work = plan(units, spec)
    (left,), (right,) = predict(units, work), predict(other, work)
    for target, values in left.items():
        assert values[held].tobytes() == right[target][held].tobytes()
        if target.variable == "y":
            assert not np.array_equal(values[~held], right[target][~held])


def test_repetitions_use_their_own_folds() -> None:
    """Each repetition's scores are those of its own folds alone, not of the first's."""
    units = build(45, Size(120, k=3, reps=3))
    spec = trio()
    _, together = crossfit(units, spec)
    for rep in range(3):
        alone = replace(units, fold=units.fold[:, [rep]])
        work = plan(alone, spec)
        (fits,) = predict(alone, work)
        sums = summarise(alone, work, 0, fits)
        for mine, other in zip(sums.scores, together[rep].scores, strict=True):
            assert mine.psi_b == pytest.approx(other.psi_b, rel=1e-12)


def test_summed_scores_and_summarise_agree() -> None:
    """The short way of these tests is the real one."""
    units = build(46)
    _, sums = crossfit(units, (effect(),))
    short = summed(units, sums[0].scores)
    assert np.array_equal(short.cells[None].b, sums[0].cells[None].b)
    assert short.moments[None] == sums[0].moments[None]
