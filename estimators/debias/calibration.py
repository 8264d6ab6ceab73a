"""Calibration rows: predictions beside the truth, from rows that the predictor never saw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from estimators.errors import ContractError, Where

Doubles = NDArray[np.float64]
Labels = NDArray[Any]

MIN_ROWS = 30
"""Fewer calibration rows are refused."""

SCALE_BOUND = 5.0
"""The slope of truth on prediction lies within ``[1/5, 5]`` where both are on one scale."""

SHIFT_BOUND = 3.0
"""Largest mean of truth - prediction, in standard deviations of the truth, on one scale."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Rows with a prediction and the truth, held out of the predictor's training.

    Attributes
    ----------
    prediction, truth
        ``(n,)`` float64, finite, in the outcome's unit.
    weight
        ``(n,)`` float64 sampling weights, 1 where none are given.
    arm, group
        ``(n,)`` labels (treatment arm; declared group), or None.
    unit_id, cluster_id
        ``(n,)`` ids, or None. Rows of one cluster are drawn together.
    """

    prediction: Doubles
    truth: Doubles
    weight: Doubles
    arm: Labels | None = None
    group: Labels | None = None
    unit_id: Labels | None = None
    cluster_id: Labels | None = None

    @property
    def n(self) -> int:
        """Calibration rows."""
        return len(self.prediction)

    @property
    def share(self) -> Doubles:
        """Weights that sum to one, ``(n,)``."""
        return np.asarray(self.weight / self.weight.sum(), dtype=np.float64)

    def clusters(self) -> NDArray[np.int64]:
        """Index of each row's cluster, ``(n,)``; of the row itself where there are none."""
        if self.cluster_id is None:
            return np.arange(self.n, dtype=np.int64)
        return np.unique(self.cluster_id, return_inverse=True)[1].astype(np.int64)


def calibration_rows(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    arm: ArrayLike | None = None,
    group: ArrayLike | None = None,
    unit_id: ArrayLike | None = None,
    cluster_id: ArrayLike | None = None,
    training_ids: Iterable[Any] | None = None,
    where: Where | None = None,
) -> Calibration:
    """Check the rows and hold them.

    Parameters
    ----------
    prediction, truth
        ``(n,)``; anything numpy reads, Arrow columns included (NULL becomes NaN).
    training_ids
        Ids of the rows that the predictor was trained on, where the study declares them.
    where
        The place to name in an error.

    Raises
    ------
    ContractError
        ``too_few_calibration_rows``, ``calibration_not_finite``, ``calibration_shape``,
        ``constant_prediction``, ``constant_truth``, ``other_scale``,
        ``calibration_overlaps_training``.
    """
    f, y = _column(prediction), _column(truth)
    w = np.ones(len(f)) if weight is None else _column(weight)
    labels = {
        name: None if values is None else np.asarray(values)
        for name, values in
        {"arm": arm, "group": group, "unit_id": unit_id, "cluster_id": cluster_id}.items()
    }  # fmt: skip
    lengths = {"truth": len(y), "weight": len(w)} | {
        name: len(values) for name, values in labels.items() if values is not None
    }
    _check_shape(len(f), lengths, where)
    _check_finite(f, y, w, where)
    _check_spread(f, y, w, where)
    _check_scale(f, y, w, where)
    if training_ids is not None:
        check_held_out(labels["unit_id"], training_ids, where)
    return Calibration(f, y, w, **labels)


def check_held_out(
    unit_id: Labels | None, training_ids: Iterable[Any], where: Where | None = None
) -> None:
    """Refuse calibration rows that the predictor was trained on: their residuals are too small.

    Raises
    ------
    ContractError
        ``calibration_overlaps_training``; also where the calibration rows have no ids.
    """
    code = "calibration_overlaps_training"
    if unit_id is None:
        raise ContractError(
            "training ids are declared, but the calibration rows have no ids to compare them with",
            code=code, where=where, remedy="name the calibration table's id column",
        )  # fmt: skip
    seen = set(training_ids)
    both = [each for each in unit_id.tolist() if each in seen]
    if both:
        raise ContractError(
            f"{len(both)} of {len(unit_id)} calibration rows were in the predictor's training, "
            f"first {both[0]!r}; expected none",
            code=code, where=where,
            remedy="hold calibration rows out of training, or drop these rows from the table",
        )  # fmt: skip


def _column(values: ArrayLike) -> Doubles:
    return np.ascontiguousarray(values, dtype=np.float64)


def _check_shape(n: int, lengths: dict[str, int], where: Where | None) -> None:
    wrong = {name: size for name, size in lengths.items() if size != n}
    if wrong:
        raise ContractError(
            f"the calibration's columns differ in length: prediction {n}, {wrong}",
            code="calibration_shape", where=where, remedy="give one value a row in every column",
        )  # fmt: skip
    if n < MIN_ROWS:
        raise ContractError(
            f"{n} calibration rows; expected at least {MIN_ROWS}",
            code="too_few_calibration_rows", where=where,
            remedy="label more rows (a few hundred make the correction's own error small), "
            "or set `correct: none`",
        )  # fmt: skip


def _check_finite(f: Doubles, y: Doubles, w: Doubles, where: Where | None) -> None:
    for name, values in {"prediction": f, "truth": y}.items():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise ContractError(
                f"{bad} of {len(values)} calibration rows have no finite {name}; expected none",
                code="calibration_not_finite", where=where,
                remedy="leave rows without a prediction or a truth out of the calibration table",
            )  # fmt: skip
    if not np.all(np.isfinite(w)) or w.min() < 0.0 or w.sum() <= 0.0:
        raise ContractError(
            f"calibration weights from {w.min():g} to {w.max():g} in {len(w)} rows; "
            "expected finite, none negative, some positive",
            code="calibration_not_finite", where=where, remedy="mend the weight column",
        )  # fmt: skip


def _check_spread(f: Doubles, y: Doubles, w: Doubles, where: Where | None) -> None:
    for name, values in {"prediction": f, "truth": y}.items():
        used = values[w > 0.0]
        # Rounding alone gives a constant column a spread of some 1e-16 of its size.
        if np.ptp(used) <= 1e-12 * max(1.0, float(np.abs(used).max())):
            raise ContractError(
                f"the {name} is {used[0]:g} in all calibration rows; expected it to vary",
                code=f"constant_{name}", where=where,
                remedy="a constant prediction carries no effect: use another predictor"
                if name == "prediction" else "calibrate on rows whose truth varies",
            )  # fmt: skip


def _check_scale(f: Doubles, y: Doubles, w: Doubles, where: Where | None) -> None:
    """Compare centre and slope: a good predictor's truth has slope 1 on it, however it shrinks."""
    share = w / w.sum()
    f_mean, y_mean = float(share @ f), float(share @ y)
    f_var, y_var = float(share @ (f - f_mean) ** 2), float(share @ (y - y_mean) ** 2)
    slope = float(share @ ((f - f_mean) * (y - y_mean))) / f_var
    residual = (y - y_mean) - slope * (f - f_mean)
    error = float(np.sqrt(np.sum((share * (f - f_mean) * residual) ** 2))) / f_var
    shift = abs(y_mean - f_mean) / float(np.sqrt(y_var))
    steep = abs(slope) - 3.0 * error > SCALE_BOUND
    # A small slope alone is a noisy prediction (weak, its own error): units also differ in spread.
    wide = f_var > SCALE_BOUND**2 * y_var
    flat = 3.0 * error < abs(slope) < 1.0 / SCALE_BOUND - 3.0 * error and wide
    if steep or flat or shift > SHIFT_BOUND:
        raise ContractError(
            f"truth and prediction are on different scales: slope of truth on prediction "
            f"{slope:.3g} (expected {1 / SCALE_BOUND:g} to {SCALE_BOUND:g}), mean {y_mean:.3g} "
            f"against {f_mean:.3g}, sd {np.sqrt(y_var):.3g} against {np.sqrt(f_var):.3g}",
            code="other_scale", where=where,
            remedy="bring the prediction to the truth's unit (percent, logarithm, currency) first",
        )  # fmt: skip
