"""Groups from unit scores: what declared groups give, and what a refit in the group gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from estimators.grouped import grouped_sums
from estimators.inference import FamilySums, estimate
from estimators.units import Groups, Units
from tests.estimators.samples import Size, build, crossfit, effect, family_sums, oracle, scored

PLR = effect(by=(("g",),))
ATT = effect("irm", "att", by=(("g",),))
FIGURES = ("theta", "se", "se_hc0", "ci_low", "p_value")


def from_scores(units: Units, scores) -> list[FamilySums]:
    ordered = sorted(scores, key=lambda each: each.effect_id)
    return [grouped_sums(ordered, units.weight, units.cluster, units.groups["g"], "g")]


@pytest.mark.parametrize("clusters", [None, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_declared_groups_and_groups_from_scores_agree(clusters, weighted: bool) -> None:
    units = build(31, Size(400, k=4, clusters=clusters, groups=5), weighted=weighted)
    _, sums = crossfit(units, (PLR, ATT))
    declared = estimate(family_sums(units, sums)["g"], 0.95)
    found = estimate(from_scores(units, sums[0].scores), 0.95)
    assert [each.effect_id for each in found] == [each.effect_id for each in declared]
    for mine, theirs in zip(found, declared, strict=True):
        assert (mine.n, mine.n_clusters) == (theirs.n, theirs.n_clusters)
        for name in FIGURES:
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-9), name
        # Equal covariances up to rounding; which draws they give may differ.
        assert mine.p_adjusted == pytest.approx(theirs.p_adjusted, abs=0.02)
        assert mine.band_high == pytest.approx(theirs.band_high, abs=0.02 * theirs.se)


def test_a_missing_outcome_and_a_unit_without_a_group_are_left_out() -> None:
    units = build(32, Size(300, clusters=30, groups=3), missing_outcome=0.2)
    codes = units.groups["g"].codes.copy()
    codes[::7] = -1
    units = replace(units, groups={"g": Groups(codes, units.groups["g"].values)})
    score = scored(units, effect(outcome="s"), oracle(units))
    (family,) = from_scores(units, [score])
    for place, estimated in enumerate(estimate([family], 0.95)):
        assert estimated.n == int((score.rows & (codes == place)).sum())


def test_a_group_without_a_unit_of_the_effect_has_no_row() -> None:
    units = build(33, Size(90, groups=3))
    groups = Groups(units.groups["g"].codes, (*units.groups["g"].values, "nobody"))
    score = scored(units, PLR, oracle(units))
    family = grouped_sums([score], units.weight, None, groups, "g")
    assert len(family.ids) == 3


@pytest.mark.parametrize("clusters", [None, 60])
def test_a_group_is_solved_again_as_a_regression_within_it(clusters) -> None:
    """statsmodels on the group's rows: residuals of the whole fit, slope of the group alone."""
    units = build(34, Size(600, k=3, clusters=clusters, groups=4), weighted=True)
    nuisance = oracle(units)
    y = units.outcomes["y"] - nuisance["l"]
    d = units.treatments["d"] - nuisance["m"]
    found = estimate(from_scores(units, [scored(units, PLR, nuisance)]), 0.95)
    for code, mine in enumerate(found):
        rows = units.groups["g"].codes == code
        kind = (
            {"cov_type": "HC0"}
            if clusters is None
            else {
                "cov_type": "cluster",
                "cov_kwds": {"groups": units.cluster[rows], "use_correction": True},
            }
        )
        theirs = sm.WLS(y[rows], d[rows], weights=units.weight[rows]).fit(**kind)
        assert mine.theta == pytest.approx(theirs.params[0], rel=1e-9)
        assert mine.se == pytest.approx(theirs.bse[0], rel=1e-9)


def test_subset_means_of_influence_values_would_be_wrong() -> None:
    """PLR where psi_a is not constant: solving within the group is not averaging over it."""
    rng = np.random.default_rng(5)
    units = build(35, Size(4000, groups=2))
    code = units.groups["g"].codes
    v = rng.normal(0.0, np.where(code == 0, 0.5, 2.0))
    truth = np.where(code == 0, 1.0, 2.0)
    nuisance = {"l": np.zeros(units.n), "m": np.zeros(units.n)}
    units = replace(
        units,
        treatments={"d": v},
        outcomes={"y": truth * v + rng.normal(0.0, 0.1, units.n)},
    )
    score = scored(units, PLR, nuisance)
    found = {each.effect_id[-2:]: each for each in estimate(from_scores(units, [score]), 0.95)}
    whole = -score.psi_b.sum() / score.psi_a.sum()
    phi = -(score.psi_a * whole + score.psi_b) / score.psi_a.mean()
    averaged = whole + phi[code == 0].mean()
    assert found["g0"].theta == pytest.approx(1.0, abs=0.02)
    assert found["g1"].theta == pytest.approx(2.0, abs=0.02)
    assert averaged > 1.5, "the average over the group is pulled to the other's effect"
