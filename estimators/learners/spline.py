"""Additive cubic B-splines with a ridge: the Gram engine's basis as a learner of one fold."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from estimators.blas import one_blas_thread
from estimators.catalog import Kind
from estimators.effects import Spec
from estimators.gram.basis import Basis
from estimators.gram.columns import Coded, Column
from estimators.gram.evaluate import Evaluator
from estimators.gram.pinning import SAMPLE, Choice, pin
from estimators.gram.ridge import PENALTIES, factor, losses, weakest
from estimators.gram.system import Gram
from estimators.learners.design import Design, Doubles, Hashes, Index
from estimators.learners.draws import mixed, parts, positions
from estimators.learners.linear import regress

BLOCK = 4096
"""Rows that are evaluated at a time."""
PARTS = 5
"""Parts of the training rows between which the penalty is chosen."""


class SplineFold:
    """The basis is pinned on the training rows alone: knots, levels, centres and scales."""

    def __init__(
        self,
        spec: Spec,
        design: Design,
        train: Index,
        test: Index,
        weight: Doubles,
        *,
        place: Hashes | None,
    ) -> None:
        self.weight = weight
        self.place = positions(len(train)) if place is None else place
        sample = train
        if len(train) > SAMPLE:
            smallest = np.argpartition(mixed(self.place, 0), SAMPLE)[:SAMPLE]
            sample = train[np.sort(smallest)]
        basis = pin(_columns(design, sample), Choice(segments=spec["segments"]))
        self.train, self.test = (_evaluate(basis, design, rows) for rows in (train, test))

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        """Fit `y`, its penalty chosen first where none is given, and predict the held-out rows."""
        penalty = spec.get("penalty")
        if penalty is None:
            penalty = self._chosen(y, kind)
        penalty = penalty * float(self.weight.sum())
        return regress(self.train, self.test, y, self.weight, kind=kind, penalty=penalty)

    @cached_property
    def _parts(self) -> list[Index]:
        """Row numbers of each part; whole clusters."""
        part = parts(self.place, PARTS, 0)
        return [np.flatnonzero(part == each) for each in np.unique(part)]

    @cached_property
    def _products(self) -> list[Doubles]:
        """Weighted products of the columns, the constant first, in each part."""
        with one_blas_thread():
            return [self._crossed(rows, self._with_constant(rows)) for rows in self._parts]

    def _with_constant(self, rows: Index) -> Doubles:
        return np.column_stack([np.ones(len(rows)), self.train[rows]])

    def _crossed(self, rows: Index, right: Doubles) -> Doubles:
        return np.asarray(self._with_constant(rows).T @ (self.weight[rows, None] * right))

    def _chosen(self, y: Doubles, kind: Kind) -> float:
        """The weakest penalty that predicts each part from the others as well as the best.

        For a binary target it is chosen on its linear fit. With v = p (1 - p), the logistic fit's
        working response is (y - p) / v at weight v, so that its penalty is v times as large.
        """
        grams = [
            self._gram(products, rows, y[rows])
            for products, rows in zip(self._products, self._parts, strict=True)
        ]
        with one_blas_thread():
            loss = [
                losses(factor(_total(grams[:j] + grams[j + 1 :])), held_out, PENALTIES)
                for j, held_out in enumerate(grams)
            ]
        penalty = PENALTIES[int(weakest(np.stack(loss))[0])]
        if kind == "binary":
            share = float(np.average(y, weights=self.weight))
            penalty *= share * (1.0 - share)
        return penalty

    def _gram(self, products: Doubles, rows: Index, y: Doubles) -> Gram:
        p = len(products)
        values = np.empty((p + 1, p + 1))
        values[:p, :p] = products
        with one_blas_thread():
            values[:p, p] = values[p, :p] = self._crossed(rows, y[:, None])[:, 0]
        values[p, p] = float((self.weight[rows] * y * y).sum())
        return Gram(len(rows), values, p)


def _total(grams: list[Gram]) -> Gram:
    total = grams[0]
    for each in grams[1:]:
        total = total + each
    return total


def _columns(design: Design, rows: Index) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for j, name in enumerate(design.names):
        values = design.values[rows, j].astype(np.float64)
        if j in design.categories:
            codes = np.where(np.isnan(values), -1, values).astype(np.int64)
            found[name] = Coded(codes, design.categories[j])
        else:
            found[name] = values
    return found


def _evaluate(basis: Basis, design: Design, rows: Index) -> Doubles:
    """Basis columns of some rows, ``(n, p)``."""
    out = np.empty((len(rows), basis.size))
    evaluator, block = Evaluator(basis, BLOCK), np.empty((basis.size, BLOCK))
    with one_blas_thread():
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            part = np.ascontiguousarray(block[:, : len(some)])
            evaluator.fill(evaluator.read(_columns(design, some)), part)
            out[start : start + len(some)] = part.T
    return out
