"""Which conditional means a set of effects needs, each fitted once however many effects use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from estimators.catalog import Kind
from estimators.effects import EffectSpec, Spec
from estimators.learners import shares_matrix

_ARMS = {"ate": (0, 1), "att": (0,), "atu": (1,), "ato": (0, 1)}
"""Arms whose outcome an estimand of IRM regresses."""


@dataclass(frozen=True, slots=True)
class Target:
    """One regression to cross-fit.

    Attributes
    ----------
    variable
        Column of the regressand.
    rows
        The outcome whose observed rows are used; empty for all rows.
    arm
        Treatment and level: fitted on that arm's rows only, predicted on all.
    learner
        The resolved learner as sorted pairs, so that targets can be compared and hashed.
    """

    variable: str
    kind: Kind
    rows: str
    arm: tuple[str, int] | None
    learner: tuple[tuple[str, object], ...]

    @property
    def name(self) -> str:
        """A stable name: it seeds the learner."""
        arm = f"|{self.arm[0]}={self.arm[1]}" if self.arm else ""
        rows = f"@{self.rows}" if self.rows else ""
        return f"{self.variable}{arm}{rows}"

    @property
    def spec(self) -> Spec:
        """The resolved learner."""
        return dict(self.learner)


@dataclass(frozen=True, slots=True)
class Pass:
    """Targets that share training rows and a binned matrix: fitted together in a task."""

    rows: str
    arm: tuple[str, int] | None
    targets: tuple[Target, ...]


def targets_of(effect: EffectSpec, rows: str) -> dict[str, Target]:
    """The nuisances of an effect by their names in the paper (``l``, ``m``, ``g0``, ``g1``)."""

    def target(
        variable: str, kind: Kind, learner: Spec, arm: tuple[str, int] | None = None
    ) -> Target:
        return Target(variable, kind, rows, arm, tuple(sorted(learner.items())))

    outcome, treatment = effect.column, effect.treatment
    needed = {"m": target(treatment, effect.treatment_kind, effect.treatment_learner)}
    if effect.method == "plr":
        needed["l"] = target(outcome, effect.outcome_kind, effect.outcome_learner)
        return needed
    for level in _ARMS[effect.estimand]:
        needed[f"g{level}"] = target(
            outcome, effect.outcome_kind, effect.outcome_learner, (treatment, level)
        )
    return needed


def passes(targets: Iterable[Target]) -> tuple[Pass, ...]:
    """Group targets into passes, in a fixed order."""
    groups: dict[tuple[object, ...], list[Target]] = {}
    for target in dict.fromkeys(targets):
        groups.setdefault((target.rows, target.arm, shares_matrix(target.spec)), []).append(target)
    return tuple(
        Pass(members[0].rows, members[0].arm, tuple(members)) for members in groups.values()
    )


def needed(effects: Sequence[EffectSpec], rows: dict[str, str]) -> dict[str, dict[str, Target]]:
    """Nuisances of every effect; `rows` maps an outcome to its row mask."""
    return {each.effect_id: targets_of(each, rows[each.column]) for each in effects}
