"""Which conditional means a set of effects needs, each fitted once however many effects use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from estimators.catalog import Kind
from estimators.effects import EffectSpec, Spec, arm_column
from estimators.learners import shares_matrix

_ARMS = {"ate": (0, 1), "att": (0,), "atu": (1,), "ato": (0, 1), "late": (0, 1)}
"""Arms whose outcome an estimand of IRM or IIVM regresses."""


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

    def cut(self, parts: int) -> list[Pass]:
        """At most `parts` passes over the same rows, of about equally many targets."""
        count = min(parts, len(self.targets))
        return [replace(self, targets=self.targets[part::count]) for part in range(count)]


def targets_of(effect: EffectSpec, rows: str) -> dict[str, Target]:
    """The nuisances of an effect by their names in the paper (``l``, ``m``, ``g0``, ``g1``).

    Of a contrast of arms ``g0, m0`` are those of the control arm.
    """

    def target(
        variable: str, kind: Kind, learner: Spec, arm: tuple[str, int] | None = None
    ) -> Target:
        return Target(variable, kind, rows, arm, tuple(sorted(learner.items())))

    def of_outcome(arm: tuple[str, int] | None = None) -> Target:
        return target(effect.column, effect.outcome_kind, effect.outcome_learner, arm)

    def of_treatment(
        variable: str, kind: Kind = "binary", arm: tuple[str, int] | None = None
    ) -> Target:
        return target(variable, kind, effect.treatment_learner, arm)

    assigned = effect.assigned
    needed: dict[str, Target] = {}
    if effect.propensity is None:
        needed["m"] = of_treatment(assigned, effect.assigned_kind)
    match effect.method:
        case "plr" | "pliv":
            needed["l"] = of_outcome()
            if effect.method == "pliv":
                needed["r"] = of_treatment(effect.exposure, effect.exposure_kind)
        case "apo":
            needed["g1"] = of_outcome((assigned, 1))
            if effect.control is not None:
                control = arm_column(effect.treatment, effect.control)
                needed |= {"m0": of_treatment(control), "g0": of_outcome((control, 1))}
        case "irm" | "iivm":
            for level in _ARMS[effect.estimand]:
                needed[f"g{level}"] = of_outcome((assigned, level))
                if effect.method == "iivm":
                    needed[f"r{level}"] = of_treatment(effect.exposure, arm=(assigned, level))
    return needed


def passes(targets: Iterable[Target]) -> tuple[Pass, ...]:
    """Group targets into passes, in a fixed order."""
    groups: dict[tuple[object, ...], list[Target]] = {}
    for target in dict.fromkeys(targets):
        groups.setdefault((target.rows, target.arm, shares_matrix(target.spec)), []).append(target)
    return tuple(
        Pass(members[0].rows, members[0].arm, tuple(members)) for members in groups.values()
    )


def needed(effects: Sequence[EffectSpec], rows: Mapping[str, str]) -> dict[str, dict[str, Target]]:
    """Nuisances of every effect; `rows` maps an outcome to its row mask."""
    return {each.effect_id: targets_of(each, rows[each.column]) for each in effects}
