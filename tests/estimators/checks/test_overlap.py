"""Overlap: effective sample shares and clipping, against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from estimators.checks import overlap
from estimators.checks.arms import weighting_of
from estimators.tallies import Tallies
from tests.estimators.checks.small import ATE, ATT, findings, fitted_of, units_of
from tests.estimators.samples import BOOSTED, Size, build, crossfit, effect, plan, predict

D = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
M = np.array([0.5, 0.2, 0.9, 0.5, 0.25, 0.005, 0.999])


def ess(weights: np.ndarray) -> float:
    return weights.sum() ** 2 / (weights**2).sum() / len(weights)


def test_by_hand_for_the_ate() -> None:
    units = units_of(D)
    found = findings("overlap", units, fitted_of(units, ATE, {"m": M}))
    clipped = np.clip(M, 0.01, 0.99)
    treated, control = ess(1 / clipped[:3]), ess(1 / (1 - clipped[3:]))
    assert found["clipped_share"].value == pytest.approx(2 / 7)
    assert found["ess_share"].value == pytest.approx(min(treated, control), rel=1e-12)
    detail = found["ess_share"].detail
    assert detail["ess"] == pytest.approx({"0": control, "1": treated}, rel=1e-12)
    assert detail["n"] == {"0": 4, "1": 3}
    assert detail["weighting"] == "ipw"
    assert detail["clip"] == 0.01


def test_by_hand_for_the_att() -> None:
    """The treated weigh alike; controls weigh m / (1 - m)."""
    units = units_of(D)
    found = findings("overlap", units, fitted_of(units, ATT, {"m": M}))
    m = np.clip(M[3:], 0.01, 0.99)
    assert found["ess_share"].value == pytest.approx(ess(m / (1 - m)), rel=1e-12)
    assert found["ess_share"].detail["ess"]["1"] == 1.0
    assert found["ess_share"].detail["weighting"] == "att"


def test_by_hand_for_the_atu() -> None:
    """Controls weigh alike; the treated weigh (1 - m) / m."""
    units = units_of(D)
    found = findings("overlap", units, fitted_of(units, effect("irm", "atu"), {"m": M}))
    assert found["ess_share"].value == pytest.approx(ess((1 - M[:3]) / M[:3]), rel=1e-12)
    assert found["ess_share"].detail["ess"]["0"] == 1.0
    assert found["ess_share"].detail["weighting"] == "atu"


def test_overlap_weights_are_bounded_and_nothing_is_clipped() -> None:
    """Of a treatment that is nearly told by the covariates, the few comparable units count."""
    units = build(3, Size(400))
    greedy = BOOSTED | {"max_depth": 6, "learning_rate": 0.5, "n_estimators": 60}
    spec = effect("irm", "ato", treatment_learner=greedy)
    _, (sums,) = crossfit(units, (spec,))
    m = next(v for t, v in predict(units, plan(units, (spec,)))[0].items() if t.variable == "d")
    assert ((m < 0.01) | (m > 0.99)).any()
    found = {each.metric: each for each in overlap.run(Tallies(sums.tallies), spec)}
    assert found["clipped_share"].value == 0.0
    d = units.treatments["d"]
    expected = min(ess(m[d == 0]), ess(1 - m[d == 1]))
    assert found["ess_share"].value == pytest.approx(expected, rel=1e-10)
    assert found["ess_share"].detail["weighting"] == "ato"


def test_histograms_count_the_raw_propensities() -> None:
    units = units_of(D)
    hist = findings("overlap", units, fitted_of(units, ATE, {"m": M}))["ess_share"].detail["hist"]
    for arm, values in (("1", M[:3]), ("0", M[3:])):
        expected, _ = np.histogram(values, bins=50, range=(0.0, 1.0))
        assert hist[arm] == expected.tolist()


def test_propensities_of_zero_and_one_fall_into_the_outer_bins() -> None:
    units = units_of([1.0, 0.0])
    found = findings("overlap", units, fitted_of(units, ATE, {"m": np.array([1.0, 0.0])}))
    assert found["ess_share"].detail["hist"]["1"][49] == 1
    assert found["ess_share"].detail["hist"]["0"][0] == 1
    assert found["clipped_share"].value == 1.0


def test_sampling_weights_alone_cost_no_overlap() -> None:
    """A constant propensity overlaps perfectly, however unequal the sampling weights."""
    units = units_of(D, weight=[1.0, 5.0, 2.0, 1.0, 9.0, 3.0, 3.0])
    found = findings("overlap", units, fitted_of(units, ATE, {"m": np.full(7, 0.4)}))
    assert found["ess_share"].value == pytest.approx(1.0, rel=1e-12)


def test_clipped_share_is_weighted() -> None:
    units = units_of(D, weight=[1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 1.0])
    found = findings("overlap", units, fitted_of(units, ATE, {"m": M}))
    assert found["clipped_share"].value == pytest.approx(5 / 10)


def test_repetitions_are_averaged() -> None:
    """The same propensities twice change nothing; histograms add up."""
    units = units_of(D, reps=2)
    once = findings("overlap", units, fitted_of(units, ATE, {"m": M}))
    twice = findings(
        "overlap", units, fitted_of(units, ATE, {"m": M}), fitted_of(units, ATE, {"m": M}, rep=1)
    )
    assert twice["ess_share"].value == pytest.approx(once["ess_share"].value, rel=1e-12)
    assert twice["clipped_share"].value == once["clipped_share"].value
    assert twice["ess_share"].detail["n"] == once["ess_share"].detail["n"]
    hist = once["ess_share"].detail["hist"]["1"]
    assert twice["ess_share"].detail["hist"]["1"] == [2 * count for count in hist]


def test_bad_data_fail() -> None:
    """A treatment that a covariate all but decides: both figures leave their bounds."""
    units = build(51, Size(400, k=4))
    x = units.design.values[:, 0]
    d = ((x + 0.05 * np.sin(100 * x)) > 0).astype(float)
    units.treatments["d"][:] = d
    spec = effect("irm", "ate", treatment_learner=BOOSTED | {"n_estimators": 100})
    work = plan(units, (spec,))
    (fits,) = predict(units, work)
    m = fits[work.targets[spec.effect_id]["m"]]
    found = findings("overlap", units, fitted_of(units, spec, {"m": m}))
    assert found["clipped_share"].value > 0.05
    assert found["ess_share"].value < 0.5


def test_an_empty_arm_has_no_share() -> None:
    units = units_of([1.0, 1.0])
    found = findings("overlap", units, fitted_of(units, ATE, {"m": np.array([0.5, 0.6])}))
    assert found["ess_share"].value is None
    assert found["clipped_share"].value == 0.0


def test_names_of_weights() -> None:
    assert weighting_of(ATE) == "ipw"
    assert weighting_of(ATT) == "att"
