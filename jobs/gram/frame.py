"""What the Gram engine reads of a features table, and where each column lies in its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Frame:
    """Columns by their part.

    Attributes
    ----------
    numbers, categories
        Covariates, in the study's order.
    treatments
        Treatments, and indicators of a categorical one's arms (``dose=high``).
    binary
        Those with arms 0 and 1.
    own_rows
        Outcomes that may be missing.
    groupings
        Each a tuple of columns that are crossed.
    k, reps
        Folds and repetitions.
    clustered
        Whether a cluster is declared.
    arms
        Of each indicator its treatment and arm.
    """

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    treatments: tuple[str, ...]
    binary: frozenset[str]
    outcomes: tuple[str, ...]
    own_rows: tuple[str, ...]
    groupings: tuple[tuple[str, ...], ...]
    k: int
    reps: int
    clustered: bool
    arms: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def group_names(self) -> tuple[str, ...]:
        """The record's names of the groupings."""
        return tuple("*".join(each) for each in self.groupings)

    @property
    def columns(self) -> list[str]:
        """Columns of the features table, each once."""
        grouped = [name for columns in self.groupings for name in columns]
        owner = ["cluster_id"] if self.clustered else []
        treated = [self.arms.get(name, (name,))[0] for name in self.treatments]
        return list(
            dict.fromkeys(
                ["unit_id", *owner, "unit_time", "weight", "fold", *self.numbers,
                 *self.categories, *treated, *self.outcomes, *grouped]
            )
        )  # fmt: skip

    @property
    def rows(self) -> tuple[str, ...]:
        """What the rows of a block are, one below the other."""
        folds = [f"fold {rep}" for rep in range(self.reps)]
        return (
            *self.numbers, *self.treatments, *self.outcomes, "weight", *self.categories, *folds,
            *(f"by {name}" for name in self.group_names), "cell", "unit", "place",
        )  # fmt: skip
