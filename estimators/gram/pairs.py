"""Sums over every pair of treatment and outcome in one product: raw means by arm, doses, gaps.

What checks tally pair by pair is a sum of (weight x something of the treatment) x (something of
the outcome or of a covariate): a block's rows of the former times its rows of the latter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.gram.blas import Doubles
from estimators.gram.columns import Coded, Rows

WEIGHTINGS = 3
"""Rows count once, by their weight, and by its square."""


@dataclass(frozen=True, slots=True)
class PairShape:
    """Where each sum lies.

    Attributes
    ----------
    treatments, outcomes, covariates
        Names.
    binary
        Treatments that are arms 0 and 1; the others are doses.
    """

    treatments: tuple[str, ...]
    outcomes: tuple[str, ...]
    covariates: tuple[str, ...]
    binary: frozenset[str]

    @property
    def forms(self) -> int:
        """Forms of the treatments: one for all rows, two of each treatment."""
        return 1 + 2 * len(self.treatments)

    @property
    def size(self) -> tuple[int, int]:
        """Shape of the sums."""
        return WEIGHTINGS * self.forms, 1 + 4 * len(self.outcomes) + len(self.covariates)

    def form(self, treatment: str, which: int) -> int:
        """Of a binary treatment arm `which`; of a dose d (0) and its square (1)."""
        return 1 + 2 * self.treatments.index(treatment) + which

    def outcome(self, name: str, which: str) -> int:
        """Column of ``observed``, ``y``, ``yy`` or ``missing`` of an outcome."""
        part = ("observed", "y", "yy", "missing").index(which)
        return 1 + part * len(self.outcomes) + self.outcomes.index(name)

    def absent(self, covariate: str) -> int:
        """Column of a covariate's missing values."""
        return 1 + 4 * len(self.outcomes) + self.covariates.index(covariate)


class PairColumns:
    """The two sides of the product for blocks of rows."""

    def __init__(self, shape: PairShape) -> None:
        self.shape = shape

    def sides(self, rows: Rows) -> tuple[Doubles, Doubles]:
        """``(3 forms, rows)`` and ``(columns, rows)``."""
        return self._left(rows), self._right(rows)

    def _left(self, rows: Rows) -> Doubles:
        forms = np.empty((self.shape.forms, rows.n))
        forms[0] = 1.0
        for name in self.shape.treatments:
            d = rows.treatments[name]
            if name in self.shape.binary:
                forms[self.shape.form(name, 0)] = d == 0.0
                forms[self.shape.form(name, 1)] = d == 1.0
            else:
                forms[self.shape.form(name, 0)] = d
                forms[self.shape.form(name, 1)] = d * d
        weighted = forms * rows.weight
        return np.concatenate([forms, weighted, weighted * rows.weight])

    def _right(self, rows: Rows) -> Doubles:
        shape = self.shape
        out = np.empty((shape.size[1], rows.n))
        out[0] = 1.0
        for name in shape.outcomes:
            y = rows.outcomes[name]
            missing = np.isnan(y)
            known = np.where(missing, 0.0, y)
            out[shape.outcome(name, "observed")] = ~missing
            out[shape.outcome(name, "y")] = known
            out[shape.outcome(name, "yy")] = known * known
            out[shape.outcome(name, "missing")] = missing
        for name in shape.covariates:
            out[shape.absent(name)] = _absent(rows.covariates[name])
        return out


def _absent(column: Doubles | Coded) -> NDArray[Any]:
    return column.codes < 0 if isinstance(column, Coded) else np.isnan(column)


@dataclass(frozen=True, slots=True)
class PairSums:
    """One group's sums, read by name.

    Attributes
    ----------
    values
        ``shape.size``.
    """

    shape: PairShape
    values: Doubles

    def row(self, form: int, column: int) -> tuple[float, float, float]:
        """A sum over rows once, by weight and by squared weight."""
        parts = (self.values[w * self.shape.forms + form, column] for w in range(WEIGHTINGS))
        n, weight, square = (float(each) for each in parts)
        return n, weight, square

    def arms(self, treatment: str, outcome: str) -> Iterator[tuple[str, tuple[float, ...]]]:
        """By arm ``(n, w, ww, x, xx, xy)`` of a raw outcome."""
        for arm in (0, 1):
            form = self.shape.form(treatment, arm)
            counts = self.row(form, self.shape.outcome(outcome, "observed"))
            x = self.row(form, self.shape.outcome(outcome, "y"))[1]
            xx = self.row(form, self.shape.outcome(outcome, "yy"))[1]
            yield str(arm), (*counts, x, xx, xx)

    def dose(self, treatment: str, outcome: str) -> Iterator[tuple[str, tuple[float, ...]]]:
        """``outcome`` and ``dose``: ``(n, w, ww, x, xx, xy)``."""
        shape = self.shape
        seen, y = shape.outcome(outcome, "observed"), shape.outcome(outcome, "y")
        counts = self.row(0, seen)
        yy = self.row(0, shape.outcome(outcome, "yy"))[1]
        yield "outcome", (*counts, self.row(0, y)[1], yy, yy)
        d, dd = (shape.form(treatment, which) for which in (0, 1))
        yield "dose", (*counts, self.row(d, seen)[1], self.row(dd, seen)[1], self.row(d, y)[1])

    def share(self, treatment: str, column: int) -> Iterator[tuple[str, tuple[float, ...]]]:
        """By arm ``(n, w, ww, x, xx, xy)`` of an indicator over all rows."""
        for arm in (0, 1):
            form = self.shape.form(treatment, arm)
            x = self.row(form, column)[1]
            yield str(arm), (*self.row(form, 0), x, x, x)
