"""From rows to basis columns, a block at a time, into a buffer that is used again.

A block lies as ``(columns, rows)``: each column is contiguous, as it is in the input, and the
block's transpose is what ``dsyrk`` takes without a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.errors import ContractError, Where
from estimators.gram.basis import Basis
from estimators.gram.blas import Doubles
from estimators.gram.columns import Coded, Column
from estimators.gram.terms import Category, Linear, Missing, Product, Spline, Term, spline_weights

TILE = 10
"""Splines evaluated together: their scratch then stays in the second-level cache."""

Longs = NDArray[np.int64]


class Evaluator:
    """Evaluates one basis on blocks of at most `rows` rows. Not to be shared by threads.

    Parameters
    ----------
    basis
        The pinned basis.
    rows
        Largest block.
    """

    def __init__(self, basis: Basis, rows: int) -> None:
        self.basis = basis
        self.names = basis.covariates
        self.flagged = {term.name for term in basis.terms if isinstance(term, Missing)}
        self.categories = {
            term.name: term.levels for factor in basis.terms for term in _categories(factor)
        }
        self.tiles = _tiles(basis, rows)
        self.spare = np.empty(rows)

    def read(self, covariates: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
        """Check the covariates once for many blocks.

        Returns
        -------
        dict
            Numbers as they are; a category as its level's index, ``len(levels)`` for all others.
        """
        columns: dict[str, NDArray[Any]] = {}
        for name in self.names:
            column = _column(covariates, name, category=name in self.categories)
            if isinstance(column, Coded):
                columns[name] = _pinned_codes(column, self.categories[name])
            else:
                columns[name] = column
        return columns

    def strays(self, columns: Mapping[str, NDArray[Any]]) -> Longs:
        """By covariate, values that the basis does not know.

        Labels that are no level, numbers missing without a column that says so. They count as
        any other label, or lie at the centre.
        """
        strays = np.zeros(len(self.names), dtype=np.int64)
        for j, name in enumerate(self.names):
            column = columns[name]
            if name in self.categories:
                strays[j] = int((column == len(self.categories[name])).sum())
            elif name not in self.flagged and np.isnan(column.sum()):
                strays[j] = int(np.isnan(column).sum())
        return strays

    def fill(self, columns: Mapping[str, NDArray[Any]], out: Doubles) -> None:
        """Write the basis columns of some rows.

        Parameters
        ----------
        columns
            From `read`, cut to the block.
        out
            ``(p, rows)``, C-ordered.
        """
        for tile in self.tiles:
            tile.fill(columns, out)
        at = 0
        for term in self.basis.terms:
            if not isinstance(term, Spline):
                self._fill(term, columns, out[at : at + term.width])
            at += term.width

    def _fill(self, term: Term, columns: Mapping[str, NDArray[Any]], out: Doubles) -> None:
        match term:
            case Linear():
                _linear(term, columns[term.name], out[0])
            case Missing():
                absent = np.isnan(columns[term.name])
                low, high = -term.centre / term.scale, (1.0 - term.centre) / term.scale
                out[0] = np.where(absent, high, low)
            case Category():
                _indicators(columns[term.name], np.array(term.centre), np.array(term.scale), out)
            case Product():
                self._product(term, columns, out)

    def _product(self, term: Product, columns: Mapping[str, NDArray[Any]], out: Doubles) -> None:
        left, right = (_factor(side, columns) for side in (term.left, term.right))
        pairs = ((a, b) for a in left for b in right)
        for row, (a, b), centre, scale in zip(out, pairs, term.centre, term.scale, strict=True):
            np.multiply(a, b, out=row)
            np.subtract(row, centre, out=row)
            np.divide(row, scale, out=row)


class _Tile:
    """Splines with equal segments, side by side in the basis."""

    def __init__(self, terms: list[Spline], at: int, rows: int) -> None:
        self.terms = terms
        self.segments = terms[0].segments
        self.width = terms[0].width
        self.slice = slice(at, at + self.width * len(terms))
        plain = spline_weights(self.segments)[:-1]
        scale = np.array([term.scale for term in terms])[:, :, None]
        self.weights = plain[None, :, :] / scale
        self.weights[:, :, 0] -= np.array([term.centre for term in terms]) / scale[:, :, 0]
        self.scratch = np.empty((len(terms), self.segments + 5, rows))
        self.scratch[:, 0] = 1.0
        self.spare = np.empty((len(terms), rows))
        self.half = self.segments / 2.0

    def fill(self, columns: Mapping[str, NDArray[Any]], out: Doubles) -> None:
        rows = out.shape[1]
        parts = self.scratch[:, :, :rows]
        _, clipped, excess, distance, square, cube = (parts[:, j] for j in range(6))
        for row, term in zip(excess, self.terms, strict=True):
            np.subtract(columns[term.name], (term.low + term.high) / 2.0, out=row)
            np.multiply(row, self.segments / (term.high - term.low), out=row)
        np.clip(excess, -self.half, self.half, out=clipped)
        np.subtract(excess, clipped, out=excess)
        np.abs(excess, out=distance)
        np.multiply(clipped, clipped, out=square)
        np.multiply(square, clipped, out=cube)
        for step in range(1, self.segments):
            self._bend(step, clipped, square, parts[:, 5 + step])
        shape = (len(self.terms), self.width, rows)
        absent = np.isnan(clipped) if np.isnan(distance.sum()) else None
        if absent is not None:
            parts.transpose(0, 2, 1)[absent] = 0.0
        np.matmul(self.weights, parts, out=out[self.slice].reshape(shape))
        if absent is not None:
            self.scratch[:, 0] = 1.0

    def _bend(self, step: int, clipped: Doubles, square: Doubles, out: Doubles) -> None:
        """Write ``abs(c - k)^3`` of an inner knot."""
        knot = step - self.half
        if knot == 0.0:
            np.abs(clipped, out=out)
            np.multiply(out, square, out=out)
            return
        distance = self.spare[:, : out.shape[1]]
        np.subtract(clipped, knot, out=distance)
        np.abs(distance, out=out)
        np.multiply(distance, distance, out=distance)
        np.multiply(out, distance, out=out)


def _tiles(basis: Basis, rows: int) -> list[_Tile]:
    tiles: list[_Tile] = []
    run: list[Spline] = []
    at = start = 0
    for term in (*basis.terms, None):
        same = isinstance(term, Spline) and bool(run) and term.segments == run[0].segments
        if run and not (same and len(run) < TILE):
            tiles.append(_Tile(run, start, rows))
            run = []
        if isinstance(term, Spline):
            start = at if not run else start
            run.append(term)
        at += term.width if term is not None else 0
    return tiles


def _categories(term: Term) -> list[Category]:
    sides = (term.left, term.right) if isinstance(term, Product) else (term,)
    return [side for side in sides if isinstance(side, Category)]


def _column(covariates: Mapping[str, Column], name: str, *, category: bool) -> Column:
    if name not in covariates:
        raise ContractError(
            f"covariate {name!r} of the basis is not in the rows",
            code="missing_column",
            where=Where(column=name),
            remedy="read every covariate that the pinned basis names, or pin a new basis",
        )
    column = covariates[name]
    if isinstance(column, Coded) != category:
        found, wanted = ("numbers", "a category") if category else ("a category", "numbers")
        raise ContractError(
            f"covariate {name!r} is {found}, the pinned basis takes {wanted}",
            code="column_kind",
            where=Where(column=name),
            remedy="cast the column as it was when the basis was pinned, or pin a new basis",
        )
    return column


def _pinned_codes(column: Coded, levels: tuple[str | None, ...]) -> Longs:
    known = {level: code for code, level in enumerate(levels)}
    table = [known.get(label, len(levels)) for label in column.labels]
    table.append(known.get(None, len(levels)))  # code -1, missing, reads the last entry
    return np.asarray(np.array(table, dtype=np.int64)[column.codes], dtype=np.int64)


def _linear(term: Linear, values: NDArray[Any], out: Doubles) -> None:
    np.subtract(values, term.centre, out=out)
    np.divide(out, term.scale, out=out)
    if np.isnan(out.sum()):
        out[np.isnan(values)] = 0.0


def _indicators(codes: NDArray[Any], centre: Doubles, scale: Doubles, out: Doubles) -> None:
    """Indicators of levels 1, 2, ...; level 0 is the reference."""
    out[...] = (-centre / scale)[:, None]
    rows = np.flatnonzero(codes)
    level = codes[rows] - 1
    out[level, rows] = ((1.0 - centre) / scale)[level]


def _factor(term: Linear | Category, columns: Mapping[str, NDArray[Any]]) -> Doubles:
    """One side of an interaction: ``(columns, rows)``; indicators as 0 and 1."""
    values = columns[term.name]
    if isinstance(term, Linear):
        out = np.empty((1, len(values)))
        _linear(term, values, out[0])
        return out
    out = np.empty((term.width, len(values)))
    _indicators(values, np.zeros(term.width), np.ones(term.width), out)
    return out
