"""Diagnostics, one a file: what each tallies from rows, and what it finds in the sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from estimators.catalog import CHECKS, applies
from estimators.checks import (
    attrition,
    balance,
    clusters,
    correction,
    design,
    instrument_strength,
    missingness,
    nuisance_quality,
    overlap,
    variation,
)
from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally
from estimators.units import Units


@dataclass(frozen=True, slots=True)
class Implementation:
    """A check's two halves: `tallies_of` sees rows, `run` sees sums only."""

    tallies_of: Callable[[Units, Fitted], list[Tally]]
    run: Callable[[Tallies, EffectSpec], list[Finding]]


IMPLEMENTATIONS: dict[str, Implementation] = {
    "overlap": Implementation(overlap.tallies_of, overlap.run),
    "balance": Implementation(balance.tallies_of, balance.run),
    "attrition": Implementation(attrition.tallies_of, attrition.run),
    "missingness": Implementation(missingness.tallies_of, missingness.run),
    "nuisance_quality": Implementation(nuisance_quality.tallies_of, nuisance_quality.run),
    "variation": Implementation(variation.tallies_of, variation.run),
    "instrument_strength": Implementation(instrument_strength.tallies_of, instrument_strength.run),
    "design": Implementation(design.tallies_of, design.run),
    "clusters": Implementation(clusters.tallies_of, clusters.run),
    "correction": Implementation(correction.tallies_of, correction.run),
}


def applicable(effect: EffectSpec) -> list[str]:
    """Checks that say something about an effect, in the catalogue's order."""
    kind = effect.instrument_kind or effect.treatment_kind
    return [
        name
        for name in CHECKS
        if applies(
            name, effect.method, kind, drops=effect.drop_missing,
            predicted=effect.correction is not None, known=effect.propensity is not None,
        )
    ]  # fmt: skip


__all__ = ["IMPLEMENTATIONS", "Finding", "Implementation", "applicable"]
