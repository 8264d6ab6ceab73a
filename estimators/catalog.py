"""What exists, as plain data: methods, learners and checks. Imports nothing heavy.

A new method, learner or check is one entry here and one module that implements it; the study
schema, the validator, the documentation table and the command line read this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["binary", "continuous"]
TreatmentKind = Literal["binary", "continuous", "categorical"]


@dataclass(frozen=True, slots=True)
class Method:
    """An effect model.

    Attributes
    ----------
    estimands
        Allowed estimands, the default first.
    treatments, outcomes
        The kinds of variable that it takes.
    instruments
        The kinds of instrument; empty for a method without one.
    nuisances
        Names of the conditional means that it needs (METHODS: ``l``, ``m``, ``g0``, ``g1``).
    """

    title: str
    estimands: tuple[str, ...]
    treatments: tuple[TreatmentKind, ...]
    outcomes: tuple[Kind, ...]
    nuisances: tuple[str, ...]
    source: str
    instruments: tuple[Kind, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A learner's parameter: its type, default and closed range.

    Without a default it may be left out: the learner's docstring says what happens then.
    """

    type: type
    default: int | float | str | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner of conditional means.

    Attributes
    ----------
    missing
        Takes missing values as such; otherwise they are filled, with a flag.
    devices
        Where it runs.
    single_precision
        Compares values in float32, so that wider covariates would only cost memory.
    sums
        Fits from sums of products of columns, and every effect of the study at once; such a
        learner is no `learners.Fold`.
    """

    title: str
    parameters: dict[str, Parameter]
    missing: bool
    devices: tuple[str, ...] = ("cpu",)
    single_precision: bool = False
    sums: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a check. `threshold` is the condition that passes, None is for information."""

    title: str
    threshold: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A diagnostic. `scope` says whether it belongs to an effect or to the whole study."""

    title: str
    scope: Literal["effect", "study"]
    metrics: dict[str, Metric]
    treatments: tuple[TreatmentKind, ...] = ("binary", "categorical")
    methods: tuple[str, ...] | None = field(default=None)


_CHERNOZHUKOV = "Chernozhukov et al. 2018, Double/debiased machine learning"

METHODS: dict[str, Method] = {
    "plr": Method(
        "partially linear regression (partialling out)",
        ("slope",),
        ("binary", "continuous"),
        ("continuous", "binary"),
        ("l", "m"),
        _CHERNOZHUKOV,
    ),
    "irm": Method(
        "interactive regression (augmented inverse probability weighting)",
        ("ate", "att", "atu", "ato"),
        ("binary",),
        ("continuous", "binary"),
        ("g0", "g1", "m"),
        _CHERNOZHUKOV,
    ),
    "apo": Method(
        "potential outcomes of many arms (augmented inverse probability weighting)",
        ("mean", "ate"),
        ("categorical",),
        ("continuous", "binary"),
        ("g0", "g1", "m0", "m"),
        "Cattaneo 2010, Efficient semiparametric estimation of multi-valued treatment effects",
    ),
    "pliv": Method(
        "partially linear regression with an instrument (partialling out)",
        ("slope",),
        ("binary", "continuous"),
        ("continuous", "binary"),
        ("l", "m", "r"),
        _CHERNOZHUKOV,
        ("binary", "continuous"),
    ),
    "iivm": Method(
        "interactive regression with a binary instrument (effect on compliers)",
        ("late",),
        ("binary",),
        ("continuous", "binary"),
        ("g0", "g1", "r0", "r1", "m"),
        _CHERNOZHUKOV,
        ("binary",),
    ),
}

LEARNERS: dict[str, Learner] = {
    "xgboost": Learner(
        "gradient boosted trees (XGBoost, hist)",
        {
            "max_depth": Parameter(int, 4, 1, 20),
            "learning_rate": Parameter(float, 0.05, 1e-4, 1.0),
            "n_estimators": Parameter(int, 100, 1, 10_000),
            "min_child_weight": Parameter(float, 1.0, 0.0, None),
            "subsample": Parameter(float, 1.0, 0.01, 1.0),
            "colsample_bytree": Parameter(float, 1.0, 0.01, 1.0),
            "reg_lambda": Parameter(float, 1.0, 0.0, None),
            "reg_alpha": Parameter(float, 0.0, 0.0, None),
            "gamma": Parameter(float, 0.0, 0.0, None),
            "max_bin": Parameter(int, 256, 2, 4096),
            "early_stopping_rounds": Parameter(int, None, 1, 1000),
        },
        missing=True,
        devices=("cpu", "cuda"),
        single_precision=True,
    ),
    "linear": Learner(
        "ridge regression, or logistic regression for a binary target",
        {"penalty": Parameter(float, 1.0, 0.0, None)},
        missing=False,
    ),
    "spline": Learner(
        "additive cubic B-splines with ridge, or logistic regression for a binary target",
        {
            "segments": Parameter(int, 4, 1, 50),
            "penalty": Parameter(float, None, 0.0, None),
        },
        missing=False,
    ),
    "gram": Learner(
        "ridge on splines and categories, all effects in one pass over sums of products",
        {
            "segments": Parameter(int, 4, 0, 20),
            "penalty": Parameter(float, None, 0.0, None),
            "slice_days": Parameter(int, None, 0, 3660),
            "pin": Parameter(int, 1, 1, None),
        },
        missing=True,
        sums=True,
    ),
    "constant": Learner(
        "the mean of the training fold: a baseline", {}, missing=True, single_precision=True
    ),
}

TRAINING: dict[str, Parameter] = {"max_train_rows": Parameter(int, None, 100, None)}
"""Parameters of every learner: how it is trained.

``max_train_rows`` trains on the units of a training fold with the smallest hashes, and predicts
everywhere. ``search`` is a list of parameters to choose from inside the training fold.
"""

CHOSEN_INSIDE = frozenset({"max_train_rows", "early_stopping_rounds", "search"})
"""What a fit is not given: it is settled inside the training fold first."""

SHAPES_MATRIX = ("max_bin", "segments")
"""Parameters that the opened training rows depend on: a search cannot vary them."""

MOST_CANDIDATES = 50

PACKAGES: dict[str, str] = {
    "sklearn": "scikit-learn",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
}
"""Packages whose learners a study may name by path, and the distributions that bring them."""

CUSTOM = "custom"
"""What the name of a learner from an entry point begins with: ``custom.NAME``."""

ENTRY_POINTS = "causeway.learners"
"""Group of the entry points by which an installed package adds learners.

Each is a callable ``(kind, **parameters)`` that returns an unfitted scikit-learn estimator: with
`predict` for the kind ``continuous``, with `predict_proba` for ``binary``.
"""

SUFFIXES: dict[Kind, str] = {"continuous": "Regressor", "binary": "Classifier"}
"""Endings of the two classes that one name stands for."""

NAMED = Learner("a scikit-learn compatible learner of an installed package", {}, missing=True)
"""What is known of any learner that is named by path: its parameters are its class's."""

SET_BY_US = (
    "random_state", "seed", "n_jobs", "nthread", "num_threads", "device", "early_stopping_rounds",
)  # fmt: skip
"""Parameters of named learners that a study may not set: the seeds and the profile do, and rounds
that stop early need rows that they are not given."""


def learner_of(name: str) -> Learner:
    """A learner of the catalogue, or what is known of one that is named by path."""
    return LEARNERS.get(name, NAMED)


def is_named(name: str) -> bool:
    """Whether a learner is named by path: ``sklearn.ensemble.RandomForest``, ``custom.mine``."""
    head, _, rest = name.partition(".")
    return bool(rest) and head in (*PACKAGES, CUSTOM)


def class_names(given: str, kind: Kind) -> tuple[str, ...]:
    """Classes to look for, the first that serves: the twin of the kind, or the name as it is."""
    stem = given
    for suffix in SUFFIXES.values():
        stem = stem.removesuffix(suffix)
    return (f"{stem}{SUFFIXES[kind]}", given)


CHECKS: dict[str, Check] = {
    "overlap": Check(
        "do both arms occur everywhere?",
        "effect",
        {
            "clipped_share": Metric("share of units with a clipped propensity", "<= 0.05"),
            "ess_share": Metric("effective sample size over n, smallest over arms", ">= 0.5"),
        },
        methods=("irm", "apo", "iivm"),
    ),
    "balance": Check(
        "do the weighted arms look alike?",
        "effect",
        {
            "max_smd_raw": Metric("largest standardised mean difference before weighting"),
            "max_smd": Metric("largest standardised mean difference after weighting", "<= 0.1"),
        },
        methods=("irm", "apo", "iivm"),
    ),
    "attrition": Check(
        "is the outcome missing equally often in both arms?",
        "effect",
        {
            "gap": Metric(
                "difference between the arms in the share of missing outcomes", "<= 0.05"
            ),
            "share": Metric("share of missing outcomes"),
        },
    ),
    "missingness": Check(
        "are the covariates missing equally often in both arms?",
        "study",
        {"max_gap": Metric("largest difference between the arms in a missing share", "<= 0.1")},
    ),
    "nuisance_quality": Check(
        "do the nuisances predict better than a constant, out of fold?",
        "effect",
        {
            "outcome_r2": Metric(
                "R2 of the outcome nuisance out of fold, smallest over arms", ">= 0"
            ),
            "treatment_r2": Metric("R2 of the treatment nuisance out of fold", ">= 0"),
        },
        treatments=("binary", "continuous", "categorical"),
    ),
    "variation": Check(
        "is there variation of the treatment that the covariates do not explain?",
        "effect",
        {
            "residual_share": Metric(
                "share of the treatment's variance left out of fold", ">= 0.02"
            ),
        },
        treatments=("binary", "continuous"),
        methods=("plr",),
    ),
    "instrument_strength": Check(
        "does the instrument move the treatment?",
        "effect",
        {"first_stage_f": Metric("F statistic of the first stage, robust", ">= 10")},
        treatments=("binary", "continuous"),
        methods=("pliv", "iivm"),
    ),
    "correction": Check(
        "do labelled rows, arm by arm, bear out the predicted outcome as it was used?",
        "effect",
        {
            "wald_p": Metric(
                "p-value of no difference from the truth in any arm and group", ">= 0.05"
            ),
            "reach": Metric(
                "largest difference from the truth not ruled out, in sd of the truth", "<= 0.1"
            ),
            "outside_share": Metric(
                "share of units predicted outside the calibrated range", "<= 0.05"
            ),
            "slope": Metric("slope of prediction on truth", ">= 0.2"),
            "slope_ratio": Metric("that slope over its standard error", ">= 5"),
            "labelled": Metric("labelled rows, smallest over the arms"),
            "likeness_p": Metric(
                "p-value of labelled rows' predictions differing by arm as the trial's do",
                ">= 0.05",
            ),
        },
        treatments=("binary", "continuous", "categorical"),
    ),
}

CORRECTIONS: dict[str, str] = {
    "lcc": "linear calibration correction",
    "tweedie": "Tweedie's correction",
    "ppi": "prediction-powered inference",
}
"""Corrections of predicted outcomes; ``auto`` tries them in this order."""

POWERED = ("irm",)
"""Methods that `ppi` goes with: it needs the arms' means."""

MetaLearner = Literal["s", "t", "x", "r", "dr"]
META_LEARNERS: tuple[MetaLearner, ...] = ("s", "t", "x", "r", "dr")
"""Learners of conditional effects: see `estimators.meta`."""

REVIEW_CHECKS: dict[str, Check] = {
    "drift": Check(
        "does the effect differ from the champion's?",
        "effect",
        {
            "p_value": Metric("p-value of the difference from the champion"),
            "z": Metric("size of the difference from the champion, in standard errors"),
        },
        treatments=("binary", "continuous", "categorical"),
    ),
}
"""Checks against the champion: made when a run is registered and reviewed, so that they enter no
run key. A gate may stand on them; `checks:` cannot name them."""

OVERLAP_CLIP = 0.01
"""Default bound of the propensity: clipped to [clip, 1 - clip]."""


def corrections_of(correct: str | None, method: str) -> tuple[str | None, ...]:
    """What an effect is estimated with: None for an outcome that is no prediction.

    Parameters
    ----------
    correct
        The outcome's ``correct``; None where it is no prediction. ``none`` (the prediction as it
        is) always comes first; of ``auto`` all that the gate may choose from follows.
    method
        The effect's.
    """
    if correct is None:
        return (None,)
    named = tuple(CORRECTIONS) if correct == "auto" else (correct,)
    fitting = (each for each in named if each != "none" and (each != "ppi" or method in POWERED))
    return ("none", *fitting)


def applies(
    check: str, method: str, treatment_kind: str, *, drops: bool, predicted: bool = False
) -> bool:
    """Whether a check has something to say on an effect.

    Parameters
    ----------
    check
        A check of the catalogue, of a run or of its review.
    method, treatment_kind
        The effect's; with an instrument, the instrument's kind.
    drops
        Whether rows without the outcome are dropped: else there is no attrition.
    predicted
        Whether the outcome is a prediction: else there is no correction to judge.
    """
    known = CHECKS.get(check) or REVIEW_CHECKS[check]
    fits = known.methods is None or method in known.methods
    fits = fits and (drops or check != "attrition") and (predicted or check != "correction")
    return fits and treatment_kind in known.treatments
