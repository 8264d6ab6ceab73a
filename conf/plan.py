"""What a study asks for, spelled out: its effects and the columns of its features table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from conf.study import CalibrationTable, Effect, Nuisances, Outcome, Study, TrainingTable
from estimators.catalog import METHODS, corrections_of, learner_of
from estimators.effects import CateSpec, EffectSpec, Spec, arms_asked


def effect_specs(study: Study) -> tuple[EffectSpec, ...]:
    """All effects of a study, in file order: each over its treatments, then its outcomes."""
    return tuple(spec for effect in study.effects for spec in _specs(study, effect))


def _specs(study: Study, effect: Effect) -> Iterator[EffectSpec]:
    nuisances = _nuisances(study, effect)
    estimand = effect.estimand or METHODS[effect.method].estimands[0]
    instrument = instrument_of(study, effect)
    moved = study.instruments[instrument] if instrument else None
    for treatment, treated in study.treatments.items():
        for outcome, measured in study.outcomes.items():
            if effect.treatment not in (None, treatment) or effect.outcome not in (None, outcome):
                continue
            spec = EffectSpec(
                method=effect.method,
                estimand=estimand,
                treatment=treatment,
                treatment_kind=treated.kind,
                outcome=outcome,
                outcome_kind=measured.kind,
                outcome_learner=nuisances.outcome.resolved(),
                treatment_learner=nuisances.treatment.resolved(),
                by=tuple(grouping(text) for text in effect.by),
                drop_missing=measured.missing == "drop",
                clip=effect.clip,
                prediction=measured.predicted.column if measured.predicted else None,
                instrument=instrument,
                instrument_kind=moved.kind if moved else None,
                propensity=moved.propensity if moved else treated.propensity,
                joint=_joint(study, effect),
            )
            for arm, control in arms_asked(estimand, treated.arms, treated.control):
                yield from _corrected(replace(spec, arm=arm, control=control), measured)


def _joint(study: Study, effect: Effect) -> tuple[str, ...] | None:
    """Treatments of a joint fit: several in PLR are one, unless it is asked for one at a time."""
    alone = effect.marginal or effect.treatment is not None or len(study.treatments) == 1
    return None if effect.method != "plr" or alone else tuple(study.treatments)


def joint_treatments(study: Study) -> tuple[str, ...]:
    """Treatments that PLR takes in one joint fit; none where it takes one at a time."""
    return next((each.joint for each in effect_specs(study) if each.joint), ())


def cate_specs(study: Study) -> tuple[CateSpec, ...]:
    """Conditional effects that a study asks for, with the effects whose nuisances they use."""
    asked = study.cate
    if asked is None:
        return ()
    found = []
    for treatment, treated in study.treatments.items():
        for outcome, measured in study.outcomes.items():
            fits = treated.kind == "binary" and measured.predicted is None
            named = asked.treatment in (None, treatment) and asked.outcome in (None, outcome)
            if not (fits and named):
                continue
            same = {"treatment": treatment, "outcome": outcome}
            irm, plr = (
                next(_specs(study, Effect.model_validate({"method": method} | same)))
                for method in ("irm", "plr")
            )
            found.append(CateSpec(tuple(asked.learners), asked.final.resolved(), irm, plr))
    return tuple(found)


def instrument_of(study: Study, effect: Effect) -> str | None:
    """The instrument of an effect: the named, or the study's only one; None without."""
    if not METHODS[effect.method].instruments:
        return None
    return effect.instrument or next(iter(study.instruments))


def _corrected(spec: EffectSpec, outcome: Outcome) -> Iterator[EffectSpec]:
    """The effect itself, or as each correction of a predicted outcome has it.

    Labelled rows of a group's arms are few: PPI has no groups.
    """
    correct = outcome.predicted.correct if outcome.predicted else None
    for correction in corrections_of(correct, spec.method):
        by = () if correction == "ppi" else spec.by
        yield replace(spec, correction=correction, by=by)


def _nuisances(study: Study, effect: Effect) -> Nuisances:
    """The effect's own learners; the study's where the effect names only one of the two."""
    own = effect.nuisances
    if own is None:
        return study.nuisances
    given = {name: getattr(own, name) for name in own.model_fields_set}
    return study.nuisances.model_copy(update=given)


def gram_learner(study: Study) -> Spec | None:
    """The learner of a study on the Gram engine, which all its effects share; else None."""
    spec = effect_specs(study)[0].outcome_learner
    return spec if learner_of(spec["learner"]).sums else None


def grouping(text: str) -> tuple[str, ...]:
    """Columns of one entry of `by:`; ``a*b`` crosses two."""
    return tuple(part.strip() for part in text.split("*"))


def group_columns(study: Study) -> tuple[str, ...]:
    """Columns that effects are grouped by, each once, in file order."""
    groupings = (grouping(text) for effect in study.effects for text in effect.by)
    return tuple(dict.fromkeys(column for columns in groupings for column in columns))


def outcome_columns(study: Study) -> dict[str, str]:
    """The unit SQL's column of each outcome: its own name, or its prediction's."""
    return {
        name: each.predicted.column if each.predicted else name
        for name, each in study.outcomes.items()
    }


def calibration_name(outcome: str) -> str:
    """The record's name of an outcome's calibration table among the sources."""
    return f"calibration:{outcome}"


def training_name(outcome: str) -> str:
    """The record's name of the table of an outcome's training rows among the sources."""
    return f"training:{outcome}"


def correction_tables(study: Study) -> dict[str, CalibrationTable | TrainingTable]:
    """Tables that correct predicted outcomes, by the record's names; the unit SQL sees none."""
    found: dict[str, CalibrationTable | TrainingTable] = {}
    for name, each in study.outcomes.items():
        if each.predicted is not None:
            found[calibration_name(name)] = each.predicted.calibration
            if each.predicted.training is not None:
                found[training_name(name)] = each.predicted.training
    return found


def history_columns(study: Study) -> tuple[str, ...]:
    """Columns that the history makes, in file order: time guards them."""
    return tuple(name for each in study.history.values() for name in each.columns)


def asserted_covariates(study: Study) -> tuple[str, ...]:
    """Covariates of the unit SQL: that they come before treatment is asserted, not guarded."""
    guarded = history_columns(study)
    return tuple(name for name in study.covariates if name not in guarded)


def propensity_columns(study: Study) -> tuple[str, ...]:
    """Columns with known probabilities, of treatments and of instruments, each once."""
    of_treatments = (each.propensity for each in study.treatments.values())
    of_instruments = (each.propensity for each in study.instruments.values())
    return tuple(dict.fromkeys(name for name in (*of_treatments, *of_instruments) if name))


def feature_columns(study: Study) -> tuple[str, ...]:
    """The study's own columns of the features table, each once.

    Treatments, outcomes, covariates, group columns, instruments, then known propensities; each
    in file order.
    """
    names = (
        *study.treatments, *outcome_columns(study).values(), *study.covariates,
        *group_columns(study), *study.instruments, *propensity_columns(study),
    )  # fmt: skip
    return tuple(dict.fromkeys(names))


def learner_names(study: Study) -> list[str]:
    """Names of all learners that a study fits, those of conditional effects among them."""
    effects, conditional = effect_specs(study), cate_specs(study)
    used = [each.outcome_learner for each in effects] + [each.treatment_learner for each in effects]
    return sorted({str(spec["learner"]) for spec in (*used, *(each.final for each in conditional))})
