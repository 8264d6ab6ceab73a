"""The naive difference beside every effect: raw means by arm, or the raw slope of a dose."""

from __future__ import annotations

from estimators.effects import group_by_name
from estimators.tallies import Fitted, Selection, Tallies, Tally, selection, tally
from estimators.units import Units


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Tally outcome and dose, in all and by the effect's groupings."""
    if fitted.rep > 0:
        return []
    everyone = selection(units, fitted.rep, fitted.rows)
    rows = _tally(everyone, fitted)
    for by in fitted.effect.by:
        name = group_by_name(by)
        groups = units.groups[name]
        codes = groups.codes[everyone.index]
        for code, value in enumerate(groups.values):
            rows += _tally(everyone.narrow(codes == code), fitted, name, value)
    return rows


def _tally(
    rows: Selection, fitted: Fitted, group_by: str | None = None, group_value: str | None = None
) -> list[Tally]:
    effect = fitted.effect
    y, d = fitted.y[rows.index], fitted.d[rows.index]
    if effect.exposure_kind == "binary":
        arms = [("1", d == 1)]
        if effect.arm is None:
            arms.insert(0, ("0", d == 0))
        elif fitted.z is not None:
            arms.insert(0, ("0", fitted.z[rows.index] == 1))
        return [
            each
            for arm, kept in arms
            for each in tally(
                rows.narrow(kept), y[kept], "outcome", effect_id=effect.effect_id, arm=arm,
                group_by=group_by, group_value=group_value,
            )
        ]  # fmt: skip
    return [
        *tally(rows, y, "outcome", effect_id=effect.effect_id, group_by=group_by,
               group_value=group_value),
        *tally(rows, d, "dose", effect_id=effect.effect_id, y=y, group_by=group_by,
               group_value=group_value),
    ]  # fmt: skip


def value(
    tallies: Tallies, effect_id: str, group: tuple[str | None, str | None] = (None, None)
) -> float | None:
    """Difference in weighted means (treated less control), or the slope; None where undefined.

    Of an arm's mean (no control was tallied) the arm's weighted mean.
    """
    dose = tallies.find("dose", effect_id=effect_id, group=group)
    if dose is not None:
        outcome = tallies.find("outcome", effect_id=effect_id, group=group)
        if outcome is None or dose.w <= 0:
            return None
        spread = dose.xx - dose.x * dose.x / dose.w
        return (dose.xy - dose.x * outcome.x / dose.w) / spread if spread > 0 else None
    control, treated = (
        tallies.find("outcome", effect_id=effect_id, arm=arm, group=group) for arm in ("0", "1")
    )
    if treated is None or treated.w <= 0:
        return None
    if control is None:
        return treated.x / treated.w
    if control.w <= 0:
        return None
    return treated.x / treated.w - control.x / control.w
