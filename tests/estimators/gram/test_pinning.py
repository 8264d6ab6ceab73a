import numpy as np
import pytest

from estimators.gram.layout import Layout
from estimators.gram.pinning import Choice, pin, smallest
from estimators.gram.terms import Linear, Spline
from tests.estimators.gram.world import make_layout, make_rows


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_the_sample_does_not_depend_on_partitioning_or_order(parts):
    rows = make_rows()
    draw = np.random.default_rng(parts)
    owner = draw.integers(0, parts, rows.n)
    batches = [rows.take(draw.permutation(np.flatnonzero(owner == part))) for part in range(parts)]
    whole, split = smallest([rows], 700), smallest(batches, 700)
    np.testing.assert_array_equal(whole.unit, split.unit)
    assert pin(whole.covariates).digest == pin(split.covariates).digest
    assert whole.unit.max() == np.sort(rows.unit)[699]


def test_a_sample_larger_than_the_data_is_the_data():
    rows = make_rows()
    assert smallest([rows], 10**6).n == rows.n


def test_two_values_or_one_stay_linear():
    covariates = {
        "constant": np.full(50, 3.5),
        "flag": np.arange(50) % 2 * 1.0,
        "curve": np.arange(50) * 0.1,
        "empty": np.full(50, np.nan),
        "asked": np.arange(50) * 0.1,
    }
    kinds = {
        term.name: type(term)
        for term in pin(covariates, Choice(segments=2, raw=frozenset({"asked"}))).terms
        if isinstance(term, Linear | Spline)
    }
    assert kinds == dict.fromkeys(("constant", "flag", "empty", "asked"), Linear) | {
        "curve": Spline
    }


def test_a_number_with_one_dominant_value_gets_knots_that_differ():
    x = np.zeros(1000)
    x[:5] = [1.5, 2.5, 3.5, 4.5, 5.5]
    term = pin({"x": x}, Choice(segments=2)).terms[0]
    assert isinstance(term, Spline)
    assert term.low < term.high


def test_a_layout_survives_plain_data():
    layout = make_layout(make_rows())
    assert Layout.from_data(layout.as_data()) == layout
    assert len(layout.names) == layout.q
    assert layout.own_rows == ("y2",)


def test_no_rows_to_pin_on_is_refused():
    with pytest.raises(ValueError, match="no batch"):
        smallest([], 10)
