"""Balance: standardised mean differences before and after weighting, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.estimators.checks.small import ATE, ATT, findings, fitted_of, units_of
from tests.estimators.samples import LINEAR, Size, build, effect, plan, predict

D = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
X = np.array([1.0, 2.0, 4.0, 0.5, 1.0, 3.0])
M = np.array([0.6, 0.5, 0.8, 0.3, 0.4, 0.7])


def smd(x: np.ndarray, d: np.ndarray, w: np.ndarray, base: np.ndarray | None = None) -> float:
    """Difference in weighted means over the raw pooled standard deviation."""
    base = np.ones(len(x)) if base is None else base
    variances = []
    for level in (0, 1):
        mine = d == level
        mean = np.average(x[mine], weights=base[mine])
        variances.append(np.average((x[mine] - mean) ** 2, weights=base[mine]))
    means = [np.average(x[d == level], weights=w[d == level]) for level in (0, 1)]
    return (means[1] - means[0]) / np.sqrt(sum(variances) / 2)


@pytest.mark.parametrize("spec", [ATE, ATT], ids=["ate", "att"])
@pytest.mark.parametrize("weighted", [False, True])
def test_by_hand(spec, weighted: bool) -> None:
    base = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 0.7]) if weighted else np.ones(6)
    units = units_of(D.tolist(), x={"x": X.tolist()}, weight=base.tolist())
    found = findings("balance", units, fitted_of(units, spec, {"m": M}))
    arms = D / M + (1 - D) / (1 - M) if spec is ATE else D + (1 - D) * M / (1 - M)
    raw, after = smd(X, D, base, base), smd(X, D, base * arms, base)
    assert found["max_smd_raw"].value == pytest.approx(abs(raw), rel=1e-12)
    assert found["max_smd"].value == pytest.approx(abs(after), rel=1e-12)
    assert found["max_smd"].detail["smd"] == [
        {"covariate": "x", "raw": pytest.approx(raw), "weighted": pytest.approx(after)}
    ]


def test_levels_of_a_category() -> None:
    units = units_of(D.tolist(), x={"c": [0, 0, 1, 1, 1, 2]}, categories={0: ("a", "b", "z")})
    table = findings("balance", units, fitted_of(units, ATE, {"m": M}))["max_smd"].detail["smd"]
    raw = {row["covariate"]: row["raw"] for row in table}
    codes = np.array([0, 0, 1, 1, 1, 2])
    assert raw.keys() == {"c=a", "c=b", "c=z"}
    for level, label in enumerate("abz"):
        assert raw[f"c={label}"] == pytest.approx(
            smd((codes == level).astype(float), D, np.ones(6))
        )


def test_missing_values_of_a_number_are_left_out() -> None:
    gaps = X.copy()
    gaps[[1, 4]] = np.nan
    units = units_of(D.tolist(), x={"x": gaps.tolist()})
    seen = ~np.isnan(gaps)
    found = findings("balance", units, fitted_of(units, ATE, {"m": M}))
    assert found["max_smd_raw"].value == pytest.approx(abs(smd(X[seen], D[seen], np.ones(4))))


def test_the_largest_counts() -> None:
    units = units_of(D.tolist(), x={"near": [1, 2, 3, 1, 2, 3.1], "far": [9, 8, 7.5, 1, 2, 1.5]})
    found = findings("balance", units, fitted_of(units, ATE, {"m": M}))
    table = {row["covariate"]: row["raw"] for row in found["max_smd"].detail["smd"]}
    assert found["max_smd_raw"].value == abs(table["far"]) > abs(table["near"])


def test_a_constant_covariate_is_balanced() -> None:
    for value in (0.0, 2013.0, 1e-7, 0.1):
        units = units_of(D.tolist(), x={"year": [value] * 6})
        found = findings("balance", units, fitted_of(units, ATE, {"m": M}))
        assert found["max_smd"].value == 0.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_covariate_that_is_the_treatment_is_not(scale: float) -> None:
    """Constant within each arm, so without a spread to standardise by: still no reason to pass."""
    units = units_of(D.tolist(), x={"x": (5.0 + scale * D).tolist()} if scale > 1e-6 else
                     {"x": (scale * D).tolist()})  # fmt: skip
    found = findings("balance", units, fitted_of(units, ATE, {"m": M}))
    assert found["max_smd"].value == pytest.approx(2.0)  # 1 / sd of the treatment
    assert found["max_smd_raw"].value == pytest.approx(2.0)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1e-8), (0.0, 1e8), (1e4, 1.0)])
def test_units_of_measurement_are_nothing(shift: float, scale: float) -> None:
    one, other = (
        findings("balance", each, fitted_of(each, ATE, {"m": M}))["max_smd"].value
        for each in (
            units_of(D.tolist(), x={"x": X.tolist()}),
            units_of(D.tolist(), x={"x": (X * scale + shift).tolist()}),
        )
    )
    assert one == pytest.approx(other, rel=1e-6)


def test_weighting_by_a_good_propensity_balances_and_by_none_does_not() -> None:
    """Known bad: confounded data with a propensity that knows nothing."""
    units = build(61, Size(3_000, k=3))
    spec = effect("irm", "ate", outcome_learner=LINEAR)
    work = plan(units, (spec,))
    (fits,) = predict(units, work)
    good = {"m": fits[work.targets[spec.effect_id]["m"]]}
    useless = {"m": np.full(units.n, 0.5)}
    after = findings("balance", units, fitted_of(units, spec, good))
    unadjusted = findings("balance", units, fitted_of(units, spec, useless))
    assert after["max_smd_raw"].value > 0.3
    assert after["max_smd"].value < 0.1
    assert unadjusted["max_smd"].value == pytest.approx(after["max_smd_raw"].value, rel=1e-9)


def test_only_the_frequent_levels_are_compared() -> None:
    n = 400
    codes = np.concatenate([np.arange(80), np.repeat(np.arange(20), 16)])
    d = (np.arange(n) % 2).astype(float)
    labels = tuple(f"l{i:02d}" for i in range(80))
    units = units_of(d.tolist(), x={"c": codes.tolist()}, categories={0: labels})
    table = findings("balance", units, fitted_of(units, ATE, {"m": np.full(n, 0.5)}))
    found = [row["covariate"] for row in table["max_smd"].detail["smd"]]
    assert len(found) == 50
    assert {f"c=l{i:02d}" for i in range(20)} <= set(found)


def test_an_empty_arm_has_no_figure() -> None:
    units = units_of([1.0, 1.0], x={"x": [1.0, 2.0]})
    found = findings("balance", units, fitted_of(units, ATE, {"m": np.array([0.5, 0.5])}))
    assert found["max_smd"].value is None
