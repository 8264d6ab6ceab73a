"""Calibration tables of predicted outcomes: read at their pins, checked, fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from conf.plan import calibration_name, training_name
from conf.study import CalibrationTable, Study
from estimators.debias.calibration import Calibration, calibration_rows
from estimators.debias.in_study import ARMS, Predicted, fit_predicted
from estimators.errors import ContractError, SourceError, Where
from jobs.lake import Pin, read
from jobs.resolve import Resolved


def read_predicted(resolved: Resolved) -> dict[str, Predicted]:
    """Every predicted outcome of a study with the corrections that its calibration gives.

    Raises
    ------
    ContractError
        A calibration that no correction can stand on, named at its table and version
        (`estimators.debias.calibration`); ``calibration_arm`` where a binary treatment's labelled
        rows name an arm that is neither 0 nor 1.
    SourceError
        A table cannot be read.
    """
    found = {}
    with threadpool_limits(limits=1):  # two BLAS threads would change the last bits
        for outcome, treatment in _predicted(resolved.loaded.study):
            found[outcome] = _fitted(resolved, outcome, treatment)
    return found


def _predicted(study: Study) -> Iterator[tuple[str, str | None]]:
    """Predicted outcomes, each with the treatment whose arm its labelled rows tell."""
    for name, outcome in study.outcomes.items():
        if outcome.predicted is not None:
            arm = outcome.predicted.calibration.arm
            only = next(iter(study.treatments)) if len(study.treatments) == 1 else arm
            yield name, None if arm is None else only


def _fitted(resolved: Resolved, outcome: str, treatment: str | None) -> Predicted:
    study = resolved.loaded.study
    asked = study.outcomes[outcome].predicted
    assert asked is not None  # noqa: S101  `_predicted` chose it
    pin = resolved.corrections[calibration_name(outcome)]
    where = Where(table=pin.name, version=pin.version, window=resolved.span.label)
    binary = treatment is not None and study.treatments[treatment].kind == "binary"
    training = None
    if asked.training is not None:
        rows = rows_at(resolved.corrections[training_name(outcome)], [asked.training.id])
        training = _labels(rows[asked.training.id]).tolist()
    calibration = read_calibration(
        pin, asked.calibration, binary=binary, training_ids=training, where=where
    )
    label = f"{pin.name}:{pin.table_id}@{pin.version}"
    return fit_predicted(
        outcome, label, calibration, asked.correct, treatment=treatment, where=where
    )


def read_calibration(
    pin: Pin,
    table: CalibrationTable,
    *,
    binary: bool,
    training_ids: list[Any] | None = None,
    where: Where | None = None,
) -> Calibration:
    """A calibration table's rows, checked, in an order that no writer decides.

    Parameters
    ----------
    binary
        The arms are those of a binary treatment: 0 and 1.
    training_ids
        Ids of the rows that the predictor was trained on, as text.
    """
    names = {key: column for key, column in table.model_dump().items() if column is not None}
    columns = {key: column for key, column in names.items() if key not in ("table", "version")}
    rows = rows_at(pin, sorted(set(columns.values())))
    rows = rows.sort_by([(name, "ascending") for name in rows.column_names])
    labels = {key: _labels(rows[columns[key]]) for key in ("group", "cluster", "id")
              if key in columns}  # fmt: skip
    arm = rows[columns["arm"]] if "arm" in columns else None
    place = where or Where(table=pin.name, version=pin.version)
    return calibration_rows(
        _doubles(rows[columns["prediction"]]),
        _doubles(rows[columns["truth"]]),
        weight=_doubles(rows[columns["weight"]]) if "weight" in columns else None,
        arm=None if arm is None else _arms(arm, binary, place),
        group=labels.get("group"),
        unit_id=labels.get("id"),
        cluster_id=labels.get("cluster"),
        training_ids=training_ids,
        where=place,
    )


def rows_at(pin: Pin, columns: list[str]) -> pa.Table:
    """Columns of a table at its pinned version.

    Raises
    ------
    SourceError
        ``unreadable``: the table has a feature (deletion vectors) that needs Spark.
    """
    try:
        return read(pin.path, columns, version=pin.version)
    except DeltaError as error:
        raise SourceError(
            f"the table cannot be read without Spark: {error}",
            code="unreadable",
            where=Where(table=pin.name, version=pin.version),
            remedy="purge its deletion vectors (REORG TABLE ... APPLY (PURGE)), or copy it",
        ) from error


def _doubles(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values = column.cast(pa.float64()).to_numpy()
    return np.asarray(values, dtype=np.float64)


def _labels(column: pa.ChunkedArray) -> NDArray[Any]:
    """Labels as text; NULL is a label of its own."""
    return np.array(column.cast(pa.string()).fill_null("NULL").to_pylist(), dtype=object)


def _arms(column: pa.ChunkedArray, binary: bool, where: Where) -> NDArray[Any]:
    """Arms as text: whole numbers without a fraction, so that 1, 1.0 and true are one arm."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int64())
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64())
        if pc.all(pc.equal(values, pc.floor(values))).as_py():
            column = values.cast(pa.int64())
    labels = _labels(column)
    strange = sorted(set(labels.tolist()) - set(ARMS))
    if binary and strange:
        raise ContractError(
            f"labelled rows of arm {strange[0]!r}; expected 0 or 1",
            code="calibration_arm",
            where=where,
            remedy="code the arm as the treatment is, and leave rows without an arm out",
        )
    return labels
