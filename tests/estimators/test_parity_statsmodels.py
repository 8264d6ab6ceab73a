"""Clustered, weighted and plain standard errors agree with statsmodels to 1e-9."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from estimators.inference import Estimate
from estimators.units import Units
from tests.estimators.samples import Size, bucket, build, effect, oracle, solved

PLR = effect()
ATE = effect("irm", "ate")
TOLERANCE = 1e-9


def regression(units: Units, spec, nuisance: dict) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares problem whose slope is the effect: regressand and one regressor."""
    y, d = units.outcomes["y"], units.treatments["d"]
    l, m, g0, g1 = (nuisance[name] for name in ("l", "m", "g0", "g1"))  # noqa: E741
    if spec.method == "plr":
        return y - l, d - m
    pseudo = g1 - g0 + d * (y - g1) / m - (1 - d) * (y - g0) / (1 - m)
    return pseudo, np.ones(units.n)


def ours(units: Units, spec, nuisance: dict) -> Estimate:
    return solved(units, spec, nuisance)[spec.effect_id]


@pytest.mark.parametrize("spec", [PLR, ATE], ids=["plr", "ate"])
@pytest.mark.parametrize("weighted", [False, True])
def test_hc0(spec, weighted: bool) -> None:
    units = build(21, Size(311), weighted=weighted)
    nuisance = oracle(units)
    y, x = regression(units, spec, nuisance)
    found = sm.WLS(y, x, weights=units.weight).fit(cov_type="HC0")
    mine = ours(units, spec, nuisance)
    assert mine.theta == pytest.approx(found.params[0], rel=TOLERANCE)
    assert mine.se == pytest.approx(found.bse[0], rel=TOLERANCE)
    assert mine.se_hc0 == mine.se
    assert (mine.ci_low, mine.ci_high) == pytest.approx(tuple(found.conf_int()[0]), rel=1e-8)
    assert mine.p_value == pytest.approx(found.pvalues[0], rel=1e-7)


@pytest.mark.parametrize("spec", [PLR, ATE], ids=["plr", "ate"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("clusters", [7, 61])
def test_cluster_with_the_factor(spec, weighted: bool, clusters: int) -> None:
    units = build(22, Size(307, k=3, clusters=clusters), weighted=weighted)
    nuisance = oracle(units)
    y, x = regression(units, spec, nuisance)
    found = sm.WLS(y, x, weights=units.weight).fit(
        cov_type="cluster", cov_kwds={"groups": units.cluster, "use_correction": True}
    )
    plain = sm.WLS(y, x, weights=units.weight).fit(cov_type="HC0")
    mine = ours(units, spec, nuisance)
    assert mine.theta == pytest.approx(found.params[0], rel=TOLERANCE)
    assert mine.se == pytest.approx(found.bse[0], rel=TOLERANCE)
    assert mine.se_hc0 == pytest.approx(plain.bse[0], rel=TOLERANCE)
    assert mine.n_clusters == clusters


def test_few_clusters_take_t_quantiles() -> None:
    """Below 50 clusters: G - 1 degrees of freedom, as statsmodels gives with ``use_t``."""
    units = build(23, Size(240, k=3, clusters=8))
    nuisance = oracle(units)
    y, x = regression(units, PLR, nuisance)
    found = sm.OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": units.cluster}, use_t=True)
    mine = ours(units, PLR, nuisance)
    assert (mine.ci_low, mine.ci_high) == pytest.approx(tuple(found.conf_int()[0]), rel=1e-8)
    assert mine.p_value == pytest.approx(found.pvalues[0], rel=1e-7)


def test_fifty_clusters_take_normal_quantiles() -> None:
    units = build(24, Size(250, k=5, clusters=50))
    mine = ours(units, PLR, oracle(units))
    assert (mine.ci_high - mine.theta) / mine.se == pytest.approx(1.959963984540054, rel=1e-9)


@pytest.mark.parametrize("spec", [PLR, ATE, effect("irm", "att")], ids=["plr", "ate", "att"])
@pytest.mark.parametrize("weighted", [False, True])
def test_buckets_change_nothing(spec, weighted: bool) -> None:
    """The moments of clusters (cells are buckets) against cells that are clusters: 1e-12."""
    units = build(25, Size(300, k=3, clusters=60), weighted=weighted)
    nuisance = oracle(units)
    cells = ours(units, spec, nuisance)
    buckets = counted(bucket(units), spec, nuisance)
    assert buckets.theta == pytest.approx(cells.theta, rel=1e-12)
    assert buckets.se == pytest.approx(cells.se, rel=1e-12)
    assert buckets.se_hc0 == pytest.approx(cells.se_hc0, rel=1e-12)
    assert buckets.n_clusters == cells.n_clusters == 60


def counted(units: Units, spec, nuisance: dict) -> Estimate:
    """As `ours`, with the tally of clusters that buckets need."""
    from dataclasses import replace

    from estimators.tallied import clusters
    from estimators.tallies import Fitted
    from tests.estimators.samples import estimates, scored, summed

    score = scored(units, spec, nuisance)
    fitted = Fitted(
        spec, 0, score.rows, units.outcomes[spec.outcome], units.treatments[spec.treatment], {}, {}
    )
    sums = replace(summed(units, [score]), tallies=clusters(units, fitted))
    return estimates(units, [sums])[spec.effect_id]


def test_buckets_of_units_without_clusters() -> None:
    units = build(26, Size(300))
    nuisance = oracle(units)
    whole, buckets = (ours(each, PLR, nuisance) for each in (units, bucket(units)))
    assert buckets.theta == pytest.approx(whole.theta, rel=1e-12)
    assert buckets.se == pytest.approx(whole.se, rel=1e-12)
    assert buckets.n_clusters is None
