"""What a repetition's checks read: all tallies of its effects, each taken once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from estimators import naive
from estimators.checks import IMPLEMENTATIONS, applicable
from estimators.effects import EffectSpec, group_by_name
from estimators.nuisances import Target
from estimators.tallies import Fitted, Selection, Tally, selection, tally
from estimators.units import Units

_OF_TREATMENT = frozenset({"overlap", "balance", "missingness", "design"})
"""Checks that tally nothing of the outcome but its rows."""


def alike(
    effects: Sequence[EffectSpec],
    rows: Mapping[str, str],
    targets: Mapping[str, Mapping[str, Target]],
) -> dict[str, str]:
    """By effect, the first one with the same rows, arms, weights and propensity.

    What checks tally of the treatment alone is then the same, whatever the outcome. `rows` and
    `targets` are those of a `crossfit.Plan`.
    """
    first: dict[tuple[object, ...], str] = {}
    found = {}
    for each in effects:
        of = targets[each.effect_id]
        same = (
            each.method, each.estimand, each.compared, each.clip, each.propensity,
            rows[each.column], of.get("m"), of.get("m0"),
        )  # fmt: skip
        found[each.effect_id] = first.setdefault(same, each.effect_id)
    return found


def tallies_of(
    units: Units, fitted: Sequence[Fitted], first: Mapping[str, str], *, once: bool = False
) -> list[Tally]:
    """All tallies of a repetition; those about no single effect are taken once.

    Parameters
    ----------
    first
        From `alike`.
    once
        Leave those out that an effect shares with its first.
    """
    found: dict[tuple[object, ...], Tally] = {}
    shared: dict[tuple[str, str], list[Tally]] = {}
    for each in fitted:
        own = each.effect.effect_id
        rows = naive.tallies_of(units, each) + clusters(units, each)
        for name in applicable(each.effect):
            if name not in _OF_TREATMENT or first[own] == own:
                made = shared[name, own] = IMPLEMENTATIONS[name].tallies_of(units, each)
                rows += made
            elif not once:
                rows += [_renamed(row, own) for row in shared[name, first[own]]]
        for row in rows:
            key = (row.subject, row.effect_id, row.arm, row.weighting, row.fold)
            found.setdefault((*key, row.group_by, row.group_value), row)
    return list(found.values())


def _renamed(row: Tally, effect_id: str) -> Tally:
    return row if row.effect_id is None else replace(row, effect_id=effect_id)


def clusters(units: Units, fitted: Fitted) -> list[Tally]:
    """Clusters of an effect and of its groups, counted where cells are buckets of them."""
    if not units.bucketed or units.cluster is None or fitted.rep > 0:
        return []
    everyone = selection(units, fitted.rep, fitted.rows)
    chosen: list[tuple[Selection, str | None, str | None]] = [(everyone, None, None)]
    for by in fitted.effect.by:
        groups = units.groups[group_by_name(by)]
        codes = groups.codes[everyone.index]
        chosen += [
            (everyone.narrow(codes == code), group_by_name(by), value)
            for code, value in enumerate(groups.values)
        ]
    rows = []
    for part, name, value in chosen:
        _, first = np.unique(units.cluster[part.index], return_index=True)
        one = np.zeros(len(part.index), dtype=np.bool_)
        one[first] = True
        narrowed = part.narrow(one)
        rows += tally(
            narrowed, np.ones(len(first)), "clusters", effect_id=fitted.effect.effect_id,
            group_by=name, group_value=value,
        )  # fmt: skip
    return rows
