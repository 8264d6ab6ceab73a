"""Learners of nuisances: their parameters, and what a study may name beside them."""

from __future__ import annotations

from dataclasses import dataclass

from estimators.catalog.methods import Kind


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
            "num_workers": Parameter(int, None, 2, 1000),
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
        devices=("cpu", "cuda"),
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

SHAPES_MATRIX = ("max_bin", "segments", "num_workers")
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
