"""Checks of an effect or a study, with the bounds that they pass within."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from estimators.catalog.methods import TreatmentKind


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
    "design": Check(
        "does the treatment, or the instrument, occur as its known propensity says?",
        "effect",
        {
            "p_value": Metric(
                "p-value of no covariate, nor their mean, telling more than the propensity",
                ">= 0.001",
            ),
        },
        treatments=("binary",),
    ),
    "clusters": Check(
        "do enough clusters carry the estimate for an interval to be had from them?",
        "effect",
        {
            "effective": Metric(
                "clusters, were all alike, that tell as much (units, where none are declared)",
                ">= 10",
            ),
        },
        treatments=("binary", "continuous", "categorical"),
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


def applies(
    check: str,
    method: str,
    treatment_kind: str,
    *,
    drops: bool,
    predicted: bool = False,
    known: bool = False,
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
    known
        Whether the propensity is known: else there is no design to judge.
    """
    found = CHECKS.get(check) or REVIEW_CHECKS[check]
    fits = found.methods is None or method in found.methods
    fits = fits and (drops or check != "attrition") and (predicted or check != "correction")
    fits = fits and (known or check != "design")
    return fits and treatment_kind in found.treatments
