"""What a study is: one frozen model a section of the file. Cross-references live in `conf.load`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from estimators.catalog import (
    META_LEARNERS,
    OVERLAP_CLIP,
    TRAINING,
    Kind,
    MetaLearner,
    Parameter,
    TreatmentKind,
    is_named,
    learner_of,
)

Name = str
Scalar = bool | int | float | str | None


class Section(BaseModel):
    """Base of all sections: unknown keys are faults, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Source(Section):
    """A Delta table that the study reads."""

    table: str = Field(description="Path of the Delta table; {lake} is the profile's lake.")
    version: int | None = Field(None, ge=0, description="Pinned version; omitted: the newest.")
    event_time: str | None = Field(None, description="Column that says when a row happened.")
    known_at: str | None = Field(
        None, description="SQL expression: when the row's values became known."
    )
    watermark: str | None = Field(
        None, description="SQL expression of the time up to which the table is complete."
    )


class Window(Section):
    """How time is cut into windows."""

    every: str = Field("all", description="`all`, or a number of days, weeks, months or years.")
    timezone: str = Field("UTC", description="IANA zone of the window's bounds.")


class Units(Section):
    """The unit table: one row a unit."""

    sql: str = Field(description="One deterministic SELECT over the sources.")
    id: Name
    time: Name | None = None
    cluster: Name | None = None
    weight: Name | None = Field(None, description="Sampling weight, positive.")


class History(Section):
    """Aggregates of a source's rows before each unit's time."""

    source: Name = Field(alias="from")
    by: Name
    lookback: str = Field(description="Such as `7 days`.")
    columns: dict[Name, str] = Field(
        description="name: count(*), sum, avg, min or max of a column."
    )


class Variable(Section):
    """What has a kind; the kind alone is short for `{kind: ...}`."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class Treatment(Variable):
    """A treatment; `binary` alone is short for `{kind: binary}`."""

    kind: TreatmentKind
    arms: list[str] = Field(
        default_factory=list, description="Of a categorical treatment: all its values."
    )
    control: str | None = Field(None, description="The arm that the others are compared with.")
    propensity: Name | None = Field(
        None, description="Column with the known probability of a binary treatment, by design."
    )


class Instrument(Variable):
    """What moves a treatment and nothing else; `binary` alone is short for `{kind: binary}`."""

    kind: Kind
    propensity: Name | None = Field(
        None, description="Column with the known probability of a binary instrument, by design."
    )


class CalibrationTable(Section):
    """Rows with a prediction and the truth, which the predictor never saw."""

    table: str = Field(description="Path of the Delta table; {lake} is the profile's lake.")
    version: int | None = Field(None, ge=0, description="Pinned version; omitted: the newest.")
    prediction: Name
    truth: Name
    arm: Name | None = Field(
        None, description="Column with the treatment's arm; omitted: the gate is untested."
    )
    group: Name | None = Field(None, description="Column of groups to judge apart, by arm.")
    weight: Name | None = Field(None, description="Sampling weight of the labelled rows.")
    cluster: Name | None = Field(None, description="Labelled rows that were drawn together.")
    id: Name | None = Field(None, description="Id of a row, to compare with the training rows.")


class TrainingTable(Section):
    """The rows that the predictor was trained on: calibration rows must not be among them."""

    table: str
    version: int | None = Field(None, ge=0, description="Pinned version; omitted: the newest.")
    id: Name


class Predicted(Section):
    """An outcome that a model predicted: its effects shrink unless they are corrected."""

    column: Name = Field(description="Column of the unit SQL with the prediction.")
    calibration: CalibrationTable
    correct: Literal["auto", "none", "lcc", "tweedie", "ppi"] = Field(
        "auto", description="`auto` takes what the gate allows; the others are applied as asked."
    )
    training: TrainingTable | None = None


class Outcome(Variable):
    """An outcome, known `horizon` after the unit's time."""

    kind: Kind
    horizon: Annotated[str, BeforeValidator(lambda value: "0" if value == 0 else value)] = Field(
        "0", description="How long after the unit's time it is known, such as `1 day`."
    )
    missing: Literal["error", "drop"] = "error"
    predicted: Predicted | None = None


class Folds(Section):
    """Cross-fitting folds: whole clusters, by hash."""

    k: int = Field(5, ge=2, le=100)
    repetitions: int = Field(1, ge=1, le=1000)
    salt: str = ""


class LearnerSpec(Section):
    """A learner and its parameters, checked against the catalogue by `conf.load`.

    Written flat in the file: ``{learner: xgboost, max_depth: 4}``, or just ``xgboost``. A learner
    of an installed package is named by path, without the ending of its two classes:
    ``{learner: sklearn.ensemble.RandomForest, n_estimators: 200}`` is the regressor of a
    continuous target and the classifier of a binary one. Defaults are the package's; its version
    enters the key. Every learner has ``max_train_rows`` and ``search``, a list of parameters to
    choose from inside the training fold.
    """

    learner: str
    parameters: dict[str, Scalar | list[dict[str, Scalar]]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"learner": value}
        if isinstance(value, dict) and "parameters" not in value:
            rest = {key: item for key, item in value.items() if key != "learner"}
            return {"learner": value.get("learner"), "parameters": rest}
        return value

    def resolved(self) -> dict[str, Any]:
        """All parameters with the catalogue's defaults filled in: what enters the key.

        Numbers have the catalogue's type, so that ``1`` and ``1.0`` are one key. A parameter
        without a value is left out, so that a new one changes no key.
        """
        known = {**learner_of(self.learner).parameters, **TRAINING}
        if is_named(self.learner):
            resolved: dict[str, Any] = {"learner": self.learner, **self.parameters}
        else:
            defaults = {name: each.default for name, each in known.items()}
            given = _typed(defaults | self.parameters, known)
            resolved = {"learner": self.learner, **given}
        if "search" in self.parameters:
            sets = cast("list[dict[str, Any]]", self.parameters["search"])
            resolved["search"] = tuple(tuple(sorted(_typed(one, known).items())) for one in sets)
        return resolved


def _typed(values: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Values of the catalogue's types; those of no parameter of it as they are."""
    return {
        name: known[name].type(value) if name in known and value is not None else value
        for name, value in values.items()
        if value is not None or name not in known
    }


class Nuisances(Section):
    """Learners of the outcome and of the treatment."""

    outcome: LearnerSpec = LearnerSpec(learner="xgboost")
    treatment: LearnerSpec = LearnerSpec(learner="xgboost")


class Effect(Section):
    """Effects to estimate: a method, for each treatment and outcome unless named."""

    method: str
    estimand: str | None = Field(None, description="Omitted: the method's first.")
    treatment: Name | None = None
    outcome: Name | None = None
    by: list[str] = Field(default_factory=list, description="Groupings; `a*b` crosses two columns.")
    nuisances: Nuisances | None = None
    clip: float = Field(OVERLAP_CLIP, gt=0, lt=0.5, description="Bound of the propensity.")
    instrument: Name | None = Field(
        None, description="Of pliv and iivm; omitted: the study's only instrument."
    )
    marginal: bool = Field(
        False, description="PLR: one treatment at a time; omitted, several are one joint fit."
    )


class CheckSpec(Section):
    """A check by name, with thresholds where they differ from the catalogue's."""

    name: str
    thresholds: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            ((name, thresholds),) = value.items()
            return {"name": name, "thresholds": thresholds or {}}
        return value


class Inference(Section):
    """Intervals."""

    level: float = Field(0.95, gt=0.5, lt=1)


class Publish(Section):
    """What a run must pass, by glob of effect ids: ``{"irm.*": {overlap.ess_share: ">= 0.5"}}``."""

    gates: dict[str, dict[str, str]] = Field(default_factory=dict)
    headline: int = Field(20, ge=1, description="Effects that get a run of their own in MLflow.")


class Schedule(Section):
    """When the study is due."""

    cron: str
    timezone: str = "UTC"


ALL_CHECKS = ("overlap", "balance", "attrition", "missingness", "nuisance_quality", "variation")


class Cate(Section):
    """Conditional effects of every unit, out of fold, from meta-learners on shared nuisances."""

    learners: list[MetaLearner] = Field(default_factory=lambda: list(META_LEARNERS), min_length=1)
    final: LearnerSpec = Field(
        LearnerSpec(learner="xgboost"), description="Learner of the second stages."
    )
    treatment: Name | None = Field(None, description="Omitted: every binary treatment.")
    outcome: Name | None = Field(None, description="Omitted: every outcome that is observed.")


class Study(Section):
    """One study file."""

    study: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    question: str = ""
    sources: dict[Name, Source] = Field(min_length=1)
    window: Window = Window(every="all", timezone="UTC")
    units: Units
    history: dict[Name, History] = Field(default_factory=dict)
    treatments: dict[Name, Treatment] = Field(min_length=1)
    instruments: dict[Name, Instrument] = Field(default_factory=dict)
    outcomes: dict[Name, Outcome] = Field(min_length=1)
    covariates: list[Name] = Field(min_length=1)
    folds: Folds = Folds(k=5, repetitions=1, salt="")
    nuisances: Nuisances = Nuisances()
    effects: list[Effect] = Field(min_length=1)
    cate: Cate | None = Field(None, description="Conditional effects by unit; omitted: none.")
    inference: Inference = Inference(level=0.95)
    checks: list[CheckSpec] = Field(
        default_factory=lambda: [CheckSpec(name=name) for name in ALL_CHECKS]
    )
    publish: Publish = Publish()
    schedule: Schedule | None = None
