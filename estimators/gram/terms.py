"""Basis terms as plain data: which columns a covariate becomes, and where they are centred.

A term holds every number that its columns need (knots, centres, scales), pinned once from a
sample, so that a row gives the same columns wherever and whenever it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import comb
from typing import Any, Literal

import numpy as np

from estimators.gram.blas import Doubles

Floats = tuple[float, ...]
OTHER = "(other)"
MISSING = "(missing)"


@dataclass(frozen=True, slots=True)
class Linear:
    """One column, ``(x - centre) / scale``; 0 where x is missing."""

    name: str
    centre: float
    scale: float
    kind: Literal["linear"] = "linear"

    @property
    def width(self) -> int:
        """Number of columns."""
        return 1

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Spline:
    """Cubic B-splines on uniform knots, linear beyond the ends; 0 where x is missing.

    Attributes
    ----------
    low, high
        The outer knots.
    segments
        Intervals between them; the space has ``segments + 3`` dimensions, one of which is the
        constant: the last B-spline is left out.
    centre, scale
        Of each of the ``segments + 2`` columns.
    """

    name: str
    low: float
    high: float
    segments: int
    centre: Floats
    scale: Floats
    kind: Literal["spline"] = "spline"

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.segments + 2

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(f"{self.name}.s{j}" for j in range(self.segments + 2))


@dataclass(frozen=True, slots=True)
class Missing:
    """One column: is the number missing? Centred and scaled."""

    name: str
    centre: float
    scale: float
    kind: Literal["missing"] = "missing"

    @property
    def width(self) -> int:
        """Number of columns."""
        return 1

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (f"{self.name}={MISSING}",)


@dataclass(frozen=True, slots=True)
class Category:
    """Indicator columns of every level but the first, and one for all other labels.

    Attributes
    ----------
    levels
        Pinned levels, the reference first; None is the missing value as a level of its own.
    centre, scale
        Of each of the ``len(levels)`` columns, the last for labels that are no level.
    """

    name: str
    levels: tuple[str | None, ...]
    centre: Floats
    scale: Floats
    kind: Literal["category"] = "category"

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.levels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns."""
        names = [MISSING if level is None else level for level in self.levels[1:]]
        return tuple(f"{self.name}={level}" for level in (*names, OTHER))


@dataclass(frozen=True, slots=True)
class Product:
    """Interaction: every column of `left` times every column of `right`, centred and scaled."""

    left: Linear | Category
    right: Linear | Category
    centre: Floats
    scale: Floats
    kind: Literal["product"] = "product"

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.left.width * self.right.width

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(f"{a}*{b}" for a in self.left.labels for b in self.right.labels)


Term = Linear | Spline | Missing | Category | Product


def covariates_of(term: Term) -> tuple[str, ...]:
    """Names of the covariates that a term reads."""
    if isinstance(term, Product):
        return (term.left.name, term.right.name)
    return (term.name,)


def as_data(term: Term) -> dict[str, Any]:
    """A term as plain data; JSON keeps its floats exactly."""
    return asdict(term)


def from_data(data: Mapping[str, Any]) -> Term:
    """Read a term written by `as_data`."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    match data["kind"]:
        case "linear":
            return Linear(**fields)
        case "spline":
            return Spline(**fields)
        case "missing":
            return Missing(**fields)
        case "category":
            return Category(**fields)
        case "product":
            left, right = from_data(data["left"]), from_data(data["right"])
            if isinstance(left, Linear | Category) and isinstance(right, Linear | Category):
                return Product(left, right, fields["centre"], fields["scale"])
    raise ValueError(f"no basis term of kind {data['kind']!r}")


def spline_weights(segments: int) -> Doubles:
    """B-splines as sums of functions that cost few operations a row.

    With t = (x - (low + high) / 2) segments / (high - low), c = t clipped to the knots and
    e = t - c, the functions are 1, c, e, abs(e), c^2, c^3 and abs(c - k)^3 for the inner knots k.
    The weights are rationals with small denominators, so rounding is that of one sum of
    ``segments + 5`` products.

    Returns
    -------
    ndarray
        ``(segments + 3, segments + 5)``.

    References
    ----------
    de Boor 1978, *A practical guide to splines*: a B-spline is a divided difference of truncated
    powers.
    """
    weights = np.zeros((segments + 3, segments + 5))
    for j in range(segments + 3):
        for i in range(5):
            sign, step = (-1.0) ** i * comb(4, i) / 6.0, j - 3 + i
            if step >= segments:
                continue
            knot = step - segments / 2.0
            share = 1.0 if step <= 0 else 0.5  # (c-k)+^3 = ((c-k)^3 + |c-k|^3) / 2
            cube = np.array([-(knot**3), 3.0 * knot**2, -3.0 * knot, 1.0])
            weights[j, [0, 1, 4, 5]] += sign * share * cube
            if step > 0:
                weights[j, 5 + step] += sign * 0.5
    at_low, at_high = np.zeros(segments + 3), np.zeros(segments + 3)
    at_low[[0, 2]] = -0.5, 0.5
    at_high[[segments, segments + 2]] = -0.5, 0.5
    weights[:, 2] = (at_low + at_high) / 2.0
    weights[:, 3] = (at_high - at_low) / 2.0
    return weights
