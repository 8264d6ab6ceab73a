"""Nuisances of effects whose scores need every row: outcomes by arm, and propensities.

An arm's outcome regression is a ridge on the Grams of the arm's rows; a propensity is logistic,
with the penalty of the linear fit at the same curvature: its first step is then that ridge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from estimators.effects import EffectSpec
from estimators.gram.blas import Doubles
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout
from estimators.gram.logistic_pass import Logistic
from estimators.gram.partials import Sums
from estimators.gram.predict import predict, probability
from estimators.gram.ridge import Nuisances, fit
from estimators.gram.system import System, gram_of
from estimators.nuisances import Target, needed

Arm = tuple[str, int]
"""Treatment and level: the arm's rows."""
LEAST_PENALTY = 1e-8
"""Of a propensity: without any, a separable treatment has no maximum."""


def targets_of(
    effects: Sequence[EffectSpec], rows: Mapping[str, str]
) -> dict[str, dict[str, Target]]:
    """Nuisances of every effect; those of partialling out are linear, whatever the kind.

    `rows` are the row masks of outcomes.
    """
    linear = {each.effect_id for each in effects if each.method == "plr"}
    return {
        effect_id: {
            name: replace(target, kind="continuous") if effect_id in linear else target
            for name, target in names.items()
        }
        for effect_id, names in needed(effects, rows).items()
    }


def arms_of(targets: Sequence[Target]) -> tuple[Arm, ...]:
    """Arms that a Gram is needed of, in a fixed order."""
    return tuple(sorted({each.arm for each in targets if each.arm is not None}))


def propensities_of(targets: Sequence[Target], layout: Layout) -> dict[str, tuple[str, ...]]:
    """Treatments that a propensity is fitted of, by their row mask."""
    found: dict[str, list[str]] = {}
    for each in targets:
        if each.variable in layout.treatments and each.kind == "binary":
            found.setdefault(each.rows, []).append(each.variable)
    return {rows: tuple(sorted(set(names))) for rows, names in sorted(found.items())}


def in_arm(rows: Rows, arm: Arm | None) -> Rows:
    """The rows of an arm; all without one."""
    return rows if arm is None else rows.take(rows.treatments[arm[0]] == arm[1])


def observed(rows: Rows, mask: str) -> Rows:
    """The rows where an outcome is observed; all for the empty mask."""
    missing = np.isnan(rows.outcomes[mask]) if mask else np.zeros(1, dtype=np.bool_)
    return rows.take(~missing) if bool(missing.any()) else rows


@dataclass(frozen=True, slots=True)
class ByRow:
    """Fitted nuisances, T of them, for predictions out of fold.

    Attributes
    ----------
    targets
        What each predicts.
    coefficients
        ``(K, p, T)``: entry k was fitted without fold k; the constant first.
    centre
        ``(T,)`` added to linear predictions: the pinned centres.
    logistic
        ``(T,)`` whether the prediction is a probability.
    mean
        ``(K, T)`` the training rows' means: the baseline.
    """

    targets: tuple[Target, ...]
    coefficients: Doubles
    centre: Doubles
    logistic: tuple[bool, ...]
    mean: Doubles

    def predict(self, layout: Layout, rows: Rows) -> dict[Target, Doubles]:
        """``(n,)`` of each target, in the order of the rows."""
        linear = predict(layout, rows, self.coefficients)
        found = {}
        for target, row, centre, logistic in zip(
            self.targets, linear, self.centre, self.logistic, strict=True
        ):
            found[target] = probability(row) if logistic else row + centre
        return found


class Fits:
    """Ridge fits of some targets, a system of rows and arms at a time.

    Parameters
    ----------
    sums
        By arm, each fold's merged sums; None holds those of all rows.
    """

    def __init__(
        self,
        layout: Layout,
        sums: Mapping[Arm | None, Sequence[Sums]],
        targets: Sequence[Target],
        penalties: Sequence[float],
    ) -> None:
        self.layout, self.targets = layout, tuple(dict.fromkeys(targets))
        self.ridge: dict[tuple[str, Arm | None], Nuisances] = {}
        self.systems = {
            (each.rows, each.arm): System(each.rows, self._outcomes(each)) for each in self.targets
        }
        for (rows, arm), system in self.systems.items():
            grams = [gram_of(layout, each, system) for each in sums[arm]]
            self.ridge[rows, arm] = fit(grams, penalties)

    def _outcomes(self, like: Target) -> tuple[str, ...]:
        """Outcomes that are regressed on the same rows."""
        same = [each for each in self.targets if (each.rows, each.arm) == (like.rows, like.arm)]
        wanted = {each.variable for each in same}
        return tuple(name for name in self.layout.outcomes if name in wanted)

    def _column(self, target: Target) -> int:
        system = self.systems[target.rows, target.arm]
        return [*self.layout.treatments, *system.outcomes].index(target.variable)

    def centre(self, target: Target) -> float:
        """The pinned centre of a target's column."""
        named = [*self.layout.treatments, *self.layout.outcomes]
        return self.layout.centre[named.index(target.variable)]

    def penalty(self, rows: str, treatments: Sequence[str]) -> Doubles:
        """``(K, J)`` penalties of propensities: the ridge's times the training rows' variance.

        That is the curvature of a logistic fit beside a linear one.
        """
        found = self.ridge[rows, None]
        at = [self.layout.treatments.index(name) for name in treatments]
        share = found.mean[:, at] + np.array([self.layout.centre[i] for i in at])
        return np.asarray(np.maximum(found.penalty[:, at] * share * (1.0 - share), LEAST_PENALTY))

    def finish(self, propensities: Mapping[str, Logistic]) -> ByRow:
        """All nuisances; `propensities` are the logistic fits by row mask."""
        coefficients, logistic, mean = [], [], []
        for each in self.targets:
            found, column = self.ridge[each.rows, each.arm], self._column(each)
            state = propensities.get(each.rows)
            chance = each.kind == "binary" and each.variable in self.layout.treatments
            if chance and state is not None:
                at = state.treatments.index(each.variable)
                coefficients.append(state.coefficients[:, at])
            else:
                coefficients.append(found.coefficients[:, :, column])
            logistic.append(chance)
            mean.append(found.mean[:, column] + self.centre(each))
        return ByRow(
            self.targets,
            np.stack(coefficients, axis=2),
            np.array([self.centre(each) for each in self.targets]),
            tuple(logistic),
            np.stack(mean, axis=1),
        )
