import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.preprocessing import SplineTransformer

from estimators.errors import ContractError
from estimators.gram.basis import Basis
from estimators.gram.blas import Doubles
from estimators.gram.columns import Column, coded
from estimators.gram.evaluate import Evaluator
from estimators.gram.pinning import Choice, pin
from estimators.gram.terms import Category, Linear, Missing, Product, Spline, Term
from tests.estimators.gram.world import basis_columns, make_layout, make_rows


def columns_of(basis: Basis, covariates: dict[str, Column], rows: int = 4096) -> Doubles:
    evaluator = Evaluator(basis, rows)
    columns = evaluator.read(covariates)
    out = np.empty((basis.size, len(next(iter(covariates.values())))))
    evaluator.fill(columns, out)
    return out


def plain_spline(name: str, segments: int, low: float = -1.0, high: float = 2.0) -> Spline:
    width = segments + 2
    return Spline(name, low, high, segments, (0.0,) * width, (1.0,) * width)


@pytest.mark.parametrize("segments", [1, 2, 3, 4, 8, 20])
def test_splines_are_scikit_learns_inside_and_beyond_the_knots(segments):
    x = np.random.default_rng(segments).normal(0.4, 2.0, 1001)
    knots = np.linspace(-1.0, 2.0, segments + 1)[:, None]
    theirs = SplineTransformer(
        degree=3, knots=knots, extrapolation="linear", include_bias=False
    ).fit_transform(x[:, None])
    ours = columns_of(Basis((plain_spline("x", segments),)), {"x": x})
    assert x.min() < -1.0
    assert x.max() > 2.0
    np.testing.assert_allclose(ours.T, theirs, rtol=0, atol=2e-15 * (segments + 1) ** 3)


def test_columns_are_centred_and_scaled_on_the_sample():
    rows = make_rows(gaps=False)
    sample = rows.covariates
    basis = pin(sample, Choice(segments=4, interactions=(("x0", "x1"), ("x0", "carrier"))))
    columns = columns_of(basis, sample)
    np.testing.assert_allclose(columns.mean(axis=1), 0.0, atol=1e-12)
    spread = columns.std(axis=1)
    other = np.array(["(other)" in name for name in basis.names])
    np.testing.assert_allclose(spread[~other], 1.0, rtol=1e-12)
    assert (spread[other] == 0.0).all()


def test_missing_numbers_lie_at_the_centre_and_are_flagged():
    x = np.array([0.3, np.nan, 1.1, 0.7, np.nan, 1.9])
    basis = pin({"x": x}, Choice(segments=2))
    columns = columns_of(basis, {"x": x})
    absent = np.isnan(x)
    assert basis.names == ("x.s0", "x.s1", "x.s2", "x.s3", "x=(missing)")
    assert (columns[:4, absent] == 0.0).all()
    assert np.isfinite(columns).all()
    assert len(np.unique(columns[4, absent])) == 1
    assert columns[4, absent][0] > 0 > columns[4, ~absent][0]


def test_one_missing_value_leaves_the_other_rows_bits_alone():
    x = np.random.default_rng(0).normal(size=(7, 100))
    basis = Basis(tuple(plain_spline(f"x{j}", 3) for j in range(7)))
    whole = columns_of(basis, {f"x{j}": row for j, row in enumerate(x)})
    x[3, 17] = np.nan
    gap = columns_of(basis, {f"x{j}": row for j, row in enumerate(x)})
    same = np.ones(100, dtype=bool)
    same[17] = False
    np.testing.assert_array_equal(gap[:, same], whole[:, same])


def test_categories_keep_pinned_levels_and_count_strays():
    basis = pin({"c": coded(["a"] * 5 + ["b"] * 3 + [None] * 2)}, Choice())
    assert basis.names == ("c=b", "c=(missing)", "c=(other)")
    later = coded(["zebra", None, "b", "a"])
    evaluator = Evaluator(basis, 10)
    columns = evaluator.read({"c": later})
    out = np.empty((3, 4))
    evaluator.fill(columns, out)
    assert evaluator.strays(columns).tolist() == [1]
    term = basis.terms[0]
    assert isinstance(term, Category)
    plain = out * np.array(term.scale)[:, None] + np.array(term.centre)[:, None]
    np.testing.assert_allclose(plain, [[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]], atol=1e-15)


def test_rare_levels_are_pooled():
    labels: list[str | None] = ["a"] * 600 + ["b"] * 399 + ["rare"]
    basis = pin({"c": coded(labels)}, Choice(least_share=0.01))
    assert basis.names == ("c=b", "c=(other)")


def test_a_number_that_is_missing_for_the_first_time_is_a_stray():
    basis = pin({"x": np.linspace(0, 1, 20)}, Choice(segments=2))
    evaluator = Evaluator(basis, 10)
    strays = evaluator.strays(evaluator.read({"x": np.array([0.1, np.nan, np.nan])}))
    assert strays.tolist() == [2]


def test_interactions_are_products_of_the_parts():
    a, b = np.array([1.5, 2.5, -0.5, 0.25]), np.array([0.1, 0.9, -1.1, 2.2])
    term = Product(Linear("a", 0.5, 2.0), Linear("b", 0.2, 3.0), (0.1,), (4.0,))
    expected = ((a - 0.5) / 2.0 * ((b - 0.2) / 3.0) - 0.1) / 4.0
    np.testing.assert_allclose(columns_of(Basis((term,)), {"a": a, "b": b})[0], expected)


def test_a_basis_survives_json_bit_for_bit():
    rows = make_rows()
    layout = make_layout(rows)
    basis = layout.basis
    read = Basis.from_data(json.loads(json.dumps(basis.as_data())))
    assert read == basis
    assert read.digest == basis.digest
    assert {type(term) for term in basis.terms} == {Spline, Linear, Missing, Category, Product}
    again = replace(layout, basis=read)
    np.testing.assert_array_equal(basis_columns(again, rows), basis_columns(layout, rows))


def test_a_basis_of_another_version_is_refused():
    data = Basis((Linear("x", 0.0, 1.0),)).as_data() | {"version": 0}
    with pytest.raises(ValueError, match="version 0"):
        Basis.from_data(data)


@pytest.mark.parametrize(
    ("covariates", "code"),
    [({}, "missing_column"), ({"x": coded(["a", "b"])}, "column_kind")],
)
def test_wrong_columns_are_named(covariates, code):
    terms: tuple[Term, ...] = (Linear("x", 0.0, 1.0),)
    with pytest.raises(ContractError) as caught:
        Evaluator(Basis(terms), 10).read(covariates)
    assert caught.value.code == code
    assert caught.value.where.column == "x"
