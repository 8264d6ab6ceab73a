"""The naive difference: raw means by arm, or the raw slope of a dose; and in groups."""

from __future__ import annotations

import numpy as np
import pytest

from estimators import naive
from estimators.tallies import Tallies
from tests.estimators.samples import Size, build, crossfit, effect

SPECS = (
    effect("irm", "ate", by=(("g",),)),
    effect(treatment="t", by=(("g",),)),
    effect(treatment="t", outcome="s", drop_missing=True),
)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "weighted"])
def found(request):
    units = build(111, Size(300, k=3, reps=2, groups=2), weighted=request.param,
                  missing_outcome=0.1)  # fmt: skip
    _, sums = crossfit(units, SPECS)
    return units, Tallies([row for each in sums for row in each.tallies])


def difference(y, d, w) -> float:
    one, zero = d == 1, d == 0
    return np.average(y[one], weights=w[one]) - np.average(y[zero], weights=w[zero])


def slope(y, t, w) -> float:
    return np.polyfit(t, y, 1, w=np.sqrt(w))[0]


def test_in_all(found) -> None:
    units, tallies = found
    y, d, t, s, w = (*(units.column(name) for name in "ydts"), units.weight)
    seen = ~np.isnan(s)
    expected = difference(y, d, w), slope(y, t, w), slope(s[seen], t[seen], w[seen])
    for spec, value in zip(SPECS, expected, strict=True):
        assert naive.value(tallies, spec.effect_id) == pytest.approx(value, rel=1e-10)


def test_in_groups(found) -> None:
    units, tallies = found
    for code in range(2):
        rows = units.groups["g"].codes == code
        y, d, t, w = (*(units.column(name)[rows] for name in "ydt"), units.weight[rows])
        group = ("g", f"g{code}")
        assert naive.value(tallies, "irm.ate.d.y", group) == pytest.approx(difference(y, d, w))
        assert naive.value(tallies, "plr.slope.t.y", group) == pytest.approx(slope(y, t, w))


def test_undefined_is_none() -> None:
    assert naive.value(Tallies([]), "irm.ate.d.y") is None
