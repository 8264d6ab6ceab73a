"""Effects whose scores need every row (AIPW), by their nuisances from Grams of arms.

Grams of an arm's rows are committed and reused like those of all rows. A propensity takes passes
over the blocks, whose weights differ by fold and step: nothing of them can be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from estimators.crossfit import Plan, Sums
from estimators.effects import EffectSpec
from estimators.gram import row_record
from estimators.gram.by_row import Arm, ByRow, Fits, arms_of, propensities_of, targets_of
from estimators.gram.layout import Layout
from estimators.gram.logistic import start
from estimators.gram.narrow import narrow_sums
from estimators.gram.partials import Sums as Grams
from estimators.gram.row_pass import RowRecording, template
from estimators.nuisances import Target
from jobs.gram.blocks import in_repetition
from jobs.gram.passes import FirstPass, propensities, row_sums
from jobs.gram.spill import Spilled
from jobs.gram.workers import Workers
from jobs.ledger import Progress

Folds = tuple[tuple[Grams, ...], ...]
"""Merged sums by repetition and fold."""


def needs_rows(effects: Sequence[EffectSpec]) -> bool:
    """Whether sums of products do not give every effect's score; then none is taken from them."""
    return any(each.method != "plr" for each in effects)


@dataclass(frozen=True, slots=True)
class Interactive:
    """A study's effects on the path of rows.

    Attributes
    ----------
    whole, layout
        The pinned layout, and that of the effects alone.
    sums
        By arm; None holds those of all rows.
    """

    whole: Layout
    layout: Layout
    spilled: Spilled
    crew: Workers
    sums: Mapping[Arm | None, Folds]
    plan: Plan
    penalties: Sequence[float]
    clustered: bool
    progress: Progress

    def repetition(self, rep: int) -> Sums:
        """The record's sums of a repetition."""
        groups = {
            name: (labels, rank)
            for name, (labels, rank) in self.spilled.groups.items()
            if name in self.spilled.file.frame.group_names
        }
        reps = self.spilled.file.frame.reps
        what = RowRecording(
            self.plan, rep, reps, self.layout.folds, groups, clustered=self.clustered
        )
        fitted = self._fitted(rep)
        keyed = row_sums(
            self.layout, self.spilled.file, self.spilled.blocks, self.crew, fitted,
            what=what, progress=self.progress,
        )  # fmt: skip
        sample = in_repetition(self.spilled.sample, rep).take(slice(0, 1))
        named = template(self.layout, sample, fitted, what)
        return row_record.recorded(keyed, what, self.spilled.cells[1], named)

    def _fitted(self, rep: int) -> ByRow:
        targets = _targets(self.plan)
        sums = {
            arm: [narrow_sums(self.whole, self.layout, each) for each in folds[rep]]
            for arm, folds in self.sums.items()
        }
        fits = Fits(self.layout, sums, targets, self.penalties)
        states = {}
        for mask, names in propensities_of(targets, self.layout).items():
            begun = start(self.layout, sums[None], names, fits.penalty(mask, names), rows=mask)
            states[mask] = propensities(
                self.layout, self.spilled.file, self.spilled.blocks, self.crew, begun,
                rep=rep, mask=mask, progress=self.progress,
            )  # fmt: skip
        return fits.finish(states)


def plan_of(effects: Sequence[EffectSpec], own_rows: Sequence[str]) -> Plan:
    """The effects with their nuisances and row masks."""
    rows = {each.column: each.outcome if each.outcome in own_rows else "" for each in effects}
    return Plan(tuple(effects), targets_of(effects, rows), rows, (), {})


def sums_of_arms(
    plan: Plan, every: FirstPass, sum_arm: Callable[[Arm], FirstPass]
) -> dict[Arm | None, Folds]:
    """Grams of all rows, and of every arm whose outcomes are regressed."""
    found: dict[Arm | None, Folds] = {None: every.sums}
    for arm in arms_of(_targets(plan)):
        found[arm] = sum_arm(arm).sums
    return found


def _targets(plan: Plan) -> list[Target]:
    return list(
        dict.fromkeys(target for names in plan.targets.values() for target in names.values())
    )
