"""Pin a basis: knots, levels and centres from the units with the smallest hashes.

Which units those are depends on the units alone, not on how they are partitioned: the smallest of
the parts' smallest are the smallest of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.gram.basis import Basis
from estimators.gram.blas import Doubles, one_thread
from estimators.gram.columns import Coded, Column, Rows, join
from estimators.gram.evaluate import Evaluator
from estimators.gram.terms import Category, Linear, Missing, Product, Spline, Term

SAMPLE = 20_000
"""Units that a basis is pinned on."""
OUTER = 0.01
"""Outer knots lie at this quantile and its mirror; beyond them a spline is linear."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the study asks of the basis.

    Attributes
    ----------
    segments
        Segments of a number's spline; 0 leaves numbers as they are.
    raw
        Numbers that stay one column.
    interactions
        Pairs of covariates.
    least_share
        A level rarer than this in the sample counts as any other label.
    """

    segments: int = 4
    raw: frozenset[str] = frozenset()
    interactions: tuple[tuple[str, str], ...] = ()
    least_share: float = 0.001


def smallest(batches: Iterable[Rows], size: int = SAMPLE) -> Rows:
    """The `size` units with the smallest hashes, in that order; batches may come in any order."""
    kept: Rows | None = None
    for batch in batches:
        rows = (
            batch if batch.n <= size else batch.take(np.argpartition(batch.unit, size - 1)[:size])
        )
        kept = rows if kept is None else join([kept, rows])
        kept = kept.in_order().take(slice(0, size))
    if kept is None:
        raise ValueError("no batch of rows to pin a basis on")
    return kept


def pin(covariates: Mapping[str, Column], choice: Choice = Choice()) -> Basis:
    """Choose the terms and centre them on a sample.

    Parameters
    ----------
    covariates
        The sample's columns, from `smallest`.

    Returns
    -------
    Basis
        Splines first, then other numbers, missing flags, categories and interactions. A number
        with two values in the sample, or one, stays linear.
    """
    numbers = {name: x for name, x in covariates.items() if not isinstance(x, Coded)}
    categories = {name: x for name, x in covariates.items() if isinstance(x, Coded)}
    drafts: list[Term] = []
    for name, x in numbers.items():
        bent = choice.segments > 0 and name not in choice.raw
        drafts.append(_number(name, x, choice.segments if bent else 0))
    drafts.sort(key=lambda term: not isinstance(term, Spline))
    drafts += [Missing(name, 0.0, 1.0) for name, x in numbers.items() if bool(np.isnan(x).any())]
    drafts += [_category(name, x, choice.least_share) for name, x in categories.items()]
    drafts += [
        _product(covariates, left, right, choice.least_share) for left, right in choice.interactions
    ]
    return Basis(tuple(_centred(term, covariates) for term in drafts))


def _number(name: str, x: Doubles, segments: int) -> Linear | Spline:
    seen = x[np.isfinite(x)]
    if segments and len(np.unique(seen)) > 2:  # noqa: PLR2004  two values span a line
        low, high = np.quantile(seen, [OUTER, 1.0 - OUTER], method="inverted_cdf")
        if high <= low:
            low, high = seen.min(), seen.max()
        width = segments + 2
        return Spline(name, float(low), float(high), segments, (0.0,) * width, (1.0,) * width)
    return Linear(name, *_location(seen))


def _location(values: Doubles) -> tuple[float, float]:
    """Mean and standard deviation; a constant has scale 1."""
    if len(values) == 0:
        return 0.0, 1.0
    mean = float(values.mean())
    spread = float(np.sqrt(np.mean((values - mean) ** 2)))
    constant = spread <= 1e-12 * max(abs(mean), 1.0)
    return mean, 1.0 if constant else spread


def _category(name: str, column: Coded, least_share: float) -> Category:
    """Levels by falling frequency; equal ones by label, missing last."""
    labels: list[str | None] = [*column.labels, None]
    counts = np.bincount(np.where(column.codes < 0, len(labels) - 1, column.codes), minlength=1)
    found = [(labels[code], int(count)) for code, count in enumerate(counts) if count]
    found.sort(key=lambda pair: (-pair[1], pair[0] is None, pair[0] or ""))
    least = least_share * len(column.codes)
    kept = [label for label, count in found if count >= least] or [None]
    return Category(name, tuple(kept), (0.0,) * len(kept), (1.0,) * len(kept))


def _product(
    covariates: Mapping[str, Column], left: str, right: str, least_share: float
) -> Product:
    sides: list[Linear | Category] = []
    for name in (left, right):
        x = covariates[name]
        if isinstance(x, Coded):
            sides.append(_category(name, x, least_share))
        else:
            sides.append(Linear(name, *_location(x[np.isfinite(x)])))
    width = len(sides[0].labels) * len(sides[1].labels)
    return Product(sides[0], sides[1], (0.0,) * width, (1.0,) * width)


def _centred(term: Term, covariates: Mapping[str, Column]) -> Term:
    """Centre and scale a term's columns on the rows where none of its numbers is missing."""
    if isinstance(term, Linear):
        return term
    basis = Basis((term,))
    names = basis.covariates
    present = np.ones(len(next(iter(covariates.values()))), dtype=np.bool_)
    if not isinstance(term, Missing):
        for name in names:
            x = covariates[name]
            if not isinstance(x, Coded):
                present &= np.isfinite(x)
    evaluator = Evaluator(basis, max(len(present), 1))
    columns = evaluator.read({name: covariates[name] for name in names})
    chosen: dict[str, NDArray[Any]] = {name: column[present] for name, column in columns.items()}
    out = np.empty((basis.size, int(present.sum())))
    with one_thread():
        evaluator.fill(chosen, out)
    places = [_location(row) for row in out]
    centre, scale = tuple(a for a, _ in places), tuple(b for _, b in places)
    if isinstance(term, Missing):
        return replace(term, centre=centre[0], scale=scale[0])
    return replace(term, centre=centre, scale=scale)


def centres(columns: Sequence[Doubles]) -> tuple[float, ...]:
    """Means of the observed values: where treatments and outcomes are centred."""
    return tuple(_location(column[np.isfinite(column)])[0] for column in columns)
