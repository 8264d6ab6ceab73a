"""What exists, as plain data: methods, learners and checks. Imports nothing heavy.

A new method, learner or check is one entry here and one module that implements it; the study
schema, the validator, the documentation tables and the command line read these files.
"""

from estimators.catalog.checks import (
    CHECKS,
    REVIEW_CHECKS,
    Check,
    Metric,
    applies,
)
from estimators.catalog.learners import (
    CHOSEN_INSIDE,
    CUSTOM,
    ENTRY_POINTS,
    LEARNERS,
    MOST_CANDIDATES,
    NAMED,
    PACKAGES,
    SET_BY_US,
    SHAPES_MATRIX,
    SUFFIXES,
    TRAINING,
    Learner,
    Parameter,
    class_names,
    is_named,
    learner_of,
)
from estimators.catalog.methods import (
    CORRECTIONS,
    META_LEARNERS,
    METHODS,
    OVERLAP_CLIP,
    POWERED,
    Kind,
    MetaLearner,
    Method,
    TreatmentKind,
    corrections_of,
)

__all__ = [
    "CHECKS",
    "CHOSEN_INSIDE",
    "CORRECTIONS",
    "CUSTOM",
    "ENTRY_POINTS",
    "LEARNERS",
    "META_LEARNERS",
    "METHODS",
    "MOST_CANDIDATES",
    "NAMED",
    "OVERLAP_CLIP",
    "PACKAGES",
    "POWERED",
    "REVIEW_CHECKS",
    "SET_BY_US",
    "SHAPES_MATRIX",
    "SUFFIXES",
    "TRAINING",
    "Check",
    "Kind",
    "Learner",
    "MetaLearner",
    "Method",
    "Metric",
    "Parameter",
    "TreatmentKind",
    "applies",
    "class_names",
    "corrections_of",
    "is_named",
    "learner_of",
]
