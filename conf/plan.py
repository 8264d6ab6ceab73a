"""What a study asks for, spelled out: its effects and the columns of its features table."""

from __future__ import annotations

from collections.abc import Iterator

from conf.study import Effect, Nuisances, Study
from estimators.catalog import METHODS
from estimators.effects import EffectSpec


def effect_specs(study: Study) -> tuple[EffectSpec, ...]:
    """All effects of a study, in file order: each over its treatments, then its outcomes."""
    return tuple(spec for effect in study.effects for spec in _specs(study, effect))


def _specs(study: Study, effect: Effect) -> Iterator[EffectSpec]:
    nuisances = _nuisances(study, effect)
    for treatment, treated in study.treatments.items():
        for outcome, measured in study.outcomes.items():
            if effect.treatment not in (None, treatment) or effect.outcome not in (None, outcome):
                continue
            yield EffectSpec(
                method=effect.method,
                estimand=effect.estimand or METHODS[effect.method].estimands[0],
                treatment=treatment,
                treatment_kind=treated.kind,
                outcome=outcome,
                outcome_kind=measured.kind,
                outcome_learner=nuisances.outcome.resolved(),
                treatment_learner=nuisances.treatment.resolved(),
                by=tuple(grouping(text) for text in effect.by),
                drop_missing=measured.missing == "drop",
                clip=effect.clip,
            )


def _nuisances(study: Study, effect: Effect) -> Nuisances:
    """The effect's own learners; the study's where the effect names only one of the two."""
    own = effect.nuisances
    if own is None:
        return study.nuisances
    given = {name: getattr(own, name) for name in own.model_fields_set}
    return study.nuisances.model_copy(update=given)


def grouping(text: str) -> tuple[str, ...]:
    """Columns of one entry of `by:`; ``a*b`` crosses two."""
    return tuple(part.strip() for part in text.split("*"))


def group_columns(study: Study) -> tuple[str, ...]:
    """Columns that effects are grouped by, each once, in file order."""
    groupings = (grouping(text) for effect in study.effects for text in effect.by)
    return tuple(dict.fromkeys(column for columns in groupings for column in columns))


def feature_columns(study: Study) -> tuple[str, ...]:
    """The study's own columns of the features table, each once.

    Treatments, outcomes, covariates, then group columns; each in file order.
    """
    names = (*study.treatments, *study.outcomes, *study.covariates, *group_columns(study))
    return tuple(dict.fromkeys(names))
