"""A basis of the covariates: frozen, serialisable, the same columns for the same row anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from estimators.gram.terms import Term, as_data, covariates_of, from_data

VERSION = 1
"""Version of the meaning of the columns; it enters the digest."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Terms in the order of their columns. The constant is not among them.

    Attributes
    ----------
    terms
        What each covariate becomes.
    """

    terms: tuple[Term, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the p columns."""
        return tuple(label for term in self.terms for label in term.labels)

    @property
    def size(self) -> int:
        """Number of columns, p."""
        return sum(term.width for term in self.terms)

    @property
    def covariates(self) -> tuple[str, ...]:
        """Covariates that are read, in order of first use."""
        return tuple(dict.fromkeys(name for term in self.terms for name in covariates_of(term)))

    def as_data(self) -> dict[str, Any]:
        """Plain data; JSON keeps the floats exactly."""
        return {"version": VERSION, "terms": [as_data(term) for term in self.terms]}

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Basis:
        """Read what `as_data` wrote.

        Raises
        ------
        ValueError
            Another version: the columns would mean something else.
        """
        if data["version"] != VERSION:
            raise ValueError(f"basis of version {data['version']}, this code writes {VERSION}")
        return Basis(tuple(from_data(term) for term in data["terms"]))

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hex."""
        return digest_of(self.as_data())


def digest_of(data: Mapping[str, Any]) -> str:
    """sha256 of canonical JSON, 64 hex."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
