"""Rows with equal regressors as one: counts, sums and products, and nothing is lost.

Basis columns and treatments depend on the regressors alone, so a group of rows with equal
regressors enters a Gram, the scores and their second moments through sums of weights, of outcomes
and of products of outcomes.

References
----------
Wong et al. 2021, *You Only Compress Once: optimal data compression for estimating linear models*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.gram.accumulate import accumulate, check
from estimators.gram.blas import Doubles, one_thread, pack, unpack
from estimators.gram.columns import Hashes, Rows
from estimators.gram.evaluate import Evaluator
from estimators.gram.layout import WHOLE, Layout
from estimators.gram.moments import Fitted
from estimators.gram.partials import Partial
from estimators.gram.predict import predict
from estimators.sums import sum_by

Groups = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Compressed:
    """C groups of rows within the leaves of a layout.

    Attributes
    ----------
    rows
        One row a group: weights summed, outcomes at their weighted means.
    n
        ``(C,)`` units.
    ww
        ``(C,)`` sums of squared weights.
    wy
        ``(M, C)`` sums of squared weights times outcomes, centred at the layout's centres.
    wyy
        ``(M (M + 1) / 2, C)`` the same of products of outcomes, upper triangle.
    products
        By (fold, bucket), ``(M, M)`` weighted products of the centred outcomes.
    """

    rows: Rows
    n: Groups
    ww: Doubles
    wy: Doubles
    wyy: Doubles
    products: dict[tuple[int, int], Doubles]


def compress(layout: Layout, rows: Rows) -> Compressed:
    """Compress rows to groups with equal covariates, treatments, missing outcomes and leaf.

    The sums run over rows in the order of their units, so that the order of arrival does not show.
    """
    check(layout, rows)
    rows = rows.in_order(layout.buckets(rows.place), rows.fold)
    group, first, hashes = _groups(layout, rows)
    size = len(first)
    y = _outcomes(layout, rows)
    weight = sum_by(group, rows.weight, size)
    square = rows.weight**2
    sums = np.stack([sum_by(group, rows.weight * each, size) for each in y])
    mean = np.divide(sums, weight, out=np.zeros_like(sums), where=weight > 0)
    pairs = zip(*np.triu_indices(len(y)), strict=True)
    return Compressed(
        _representatives(layout, rows.take(first), hashes, weight, mean),
        np.bincount(group, minlength=size).astype(np.int64),
        sum_by(group, square, size),
        np.stack([sum_by(group, square * each, size) for each in y]),
        np.stack([sum_by(group, square * y[i] * y[j], size) for i, j in pairs]),
        _products(layout, rows, y),
    )


def accumulate_compressed(
    layout: Layout, compressed: Compressed, *, slice_: int = 0
) -> list[Partial]:
    """Partial Grams of compressed rows: equal to the rows' own up to rounding."""
    partials = accumulate(layout, compressed.rows, slice_=slice_)
    bucket = layout.buckets(compressed.rows.place)
    own = [np.isnan(compressed.rows.outcomes[name]) for name in layout.own_rows]
    mended = []
    for each in partials:
        leaf, r = each.leaf, layout.with_treatments
        mine = (compressed.rows.fold == leaf.fold) & (bucket == np.uint64(leaf.bucket))
        square = unpack(each.sums.gram, layout.q)
        square[r:, r:] = compressed.products[leaf.fold, leaf.bucket]
        missing = [int(compressed.n[mine & absent].sum()) for absent in own]
        sums = replace(
            each.sums,
            n=int(compressed.n[mine].sum()),
            gram=pack(square),
            n_missing=np.array(missing, dtype=np.int64),
        )
        mended.append(Partial(leaf, sums))
    return mended


def second_moments(layout: Layout, compressed: Compressed, fitted: Fitted) -> Doubles:
    """Packed ``(L, L)`` second moments of the units' scores (HC0), from compressed rows.

    An element of the score vector is a factor that is equal within a group (``v v'`` or ``v``)
    times 1 or an outcome's residual u; so each moment needs a group's sums of squared weights, of
    those times u, or of those times u u'.
    """
    shape = fitted.shape
    factors, labels, fits = _factors(layout, compressed, fitted)
    second = np.zeros((shape.size, shape.size))
    order = [layout.outcomes.index(name) for name in shape.outcomes]
    with one_thread():
        for x in range(-1, len(order)):
            left = np.flatnonzero(labels == x)
            for y in range(x, len(order)):
                right = np.flatnonzero(labels == y)
                weight = _residual_sums(compressed, fits, order, x, y)
                part = (factors[left] * weight) @ factors[right].T
                second[np.ix_(left, right)] = part
                second[np.ix_(right, left)] = part.T
    return pack(second)


def _factors(
    layout: Layout, compressed: Compressed, fitted: Fitted
) -> tuple[Doubles, Groups, Doubles]:
    """Factors ``(L, C)``, the outcome that each goes with (-1: none), predictions ``(M, C)``."""
    shape, rows = fitted.shape, compressed.rows
    j = len(shape.treatments)
    treated = np.stack([rows.treatments[name] for name in shape.treatments])
    treated = treated - np.array(layout.centre[:j])[:, None]
    factors = np.zeros((shape.size, rows.n))
    labels = np.full(shape.size, -1, dtype=np.int64)
    fits: list[Doubles] = []
    for s, system in enumerate(shape.systems):
        linear = predict(layout, rows, fitted.nuisances[s].coefficients)
        v = treated - linear[:j]
        if system.rows:
            v = np.where(np.isnan(rows.outcomes[system.rows]), 0.0, v)
        upper, before = np.triu_indices(j), len(fits)
        factors[shape.a(s)[upper]] = v[upper[0]] * v[upper[1]]
        for positions in shape.b(s):
            factors[positions] = v
            labels[positions] = len(fits)
            fits.append(linear[j + len(fits) - before])
    return factors, labels, np.stack(fits)


def _residual_sums(
    compressed: Compressed, fits: Doubles, order: list[int], x: int, y: int
) -> Doubles:
    """``(C,)`` sums of squared weights times the residuals of outcomes x and y; -1 stands for 1."""
    ww = compressed.ww
    if y < 0:
        return ww
    wy = compressed.wy[order[y]]
    if x < 0:
        return np.asarray(wy - fits[y] * ww)
    wx, size = compressed.wy[order[x]], len(compressed.wy)
    low, high = sorted((order[x], order[y]))
    both = compressed.wyy[low * size - low * (low - 1) // 2 + high - low]
    return np.asarray(both - fits[x] * wy - fits[y] * wx + fits[x] * fits[y] * ww)


def _outcomes(layout: Layout, rows: Rows) -> Doubles:
    """``(M, n)`` outcomes about their pinned centres; a missing one counts as its centre."""
    centre = layout.centre[len(layout.treatments) :]
    columns = zip(layout.outcomes, centre, strict=True)
    return np.stack([np.nan_to_num(rows.outcomes[name] - place) for name, place in columns])


def _products(layout: Layout, rows: Rows, y: Doubles) -> dict[tuple[int, int], Doubles]:
    found: dict[tuple[int, int], Doubles] = {}
    bucket = layout.buckets(rows.place)
    with one_thread():
        for fold, place in sorted({*zip(rows.fold.tolist(), bucket.tolist(), strict=True)}):
            mine = (rows.fold == fold) & (bucket == np.uint64(place))
            scaled = y[:, mine] * np.sqrt(rows.weight[mine])
            found[fold, place] = scaled @ scaled.T
    return found


def _representatives(
    layout: Layout, chosen: Rows, hashes: Hashes, weight: Doubles, mean: Doubles
) -> Rows:
    centre = layout.centre[len(layout.treatments) :]
    outcomes = {
        name: np.where(np.isnan(chosen.outcomes[name]), np.nan, value + place)
        for name, value, place in zip(layout.outcomes, mean, centre, strict=True)
    }
    shift = np.uint64(WHOLE - layout.depth)
    bucket = layout.buckets(chosen.place)
    place = bucket << shift if layout.depth else np.zeros_like(bucket)
    return replace(chosen, outcomes=outcomes, weight=weight, unit=hashes, place=place)


def _groups(layout: Layout, rows: Rows) -> tuple[Groups, Groups, Hashes]:
    """Group of each row, first row and hash of each group; groups lie in the order of leaves."""
    columns = Evaluator(layout.basis, 1).read(rows.covariates)
    keys = [_bits(values) for values in columns.values()]
    keys += [_bits(rows.treatments[name]) for name in layout.treatments]
    keys += [np.isnan(rows.outcomes[name]).astype(np.uint64) for name in layout.own_rows]
    keys += [rows.fold.astype(np.uint64), layout.buckets(rows.place)]
    mixed = _mix(keys)
    order = np.lexsort((mixed, keys[-1], keys[-2]))
    change = np.concatenate([[True], mixed[order][1:] != mixed[order][:-1]])
    if any(bool((key[order][1:] != key[order][:-1])[~change[1:]].any()) for key in keys):
        order = np.lexsort(keys)  # two unlike rows share a hash
        change[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    group = np.empty(rows.n, dtype=np.int64)
    group[order] = np.cumsum(change) - 1
    first = order[change]
    return group, first, mixed[first]


def _mix(keys: list[Hashes]) -> Hashes:
    mixed = np.zeros(len(keys[0]), dtype=np.uint64)
    for key in keys:
        mixed = (mixed ^ key) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _bits(values: NDArray[Any]) -> Hashes:
    """Values as 64 bits; equal values have equal bits."""
    if values.dtype.kind in "iu":
        return values.astype(np.uint64)
    plain = np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, one zero
    return plain.view(np.uint64)
