"""The effect model of a registered version: models from code, no pickle. MLflow runs this file.

It stands alone: it is copied beside its numbers and needs only mlflow and pandas.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

COLUMNS = ("effect_id", "theta", "se", "ci_low", "ci_high")


class EffectModel(PythonModel):  # type: ignore[misc]
    """One effect of one window, with its groups.

    A row of the input gets the estimate of its group where the input has the columns of a
    grouping (``origin``), of the whole window otherwise. A group that was not estimated gets
    nothing.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Read the numbers."""
        self.effect = json.loads(Path(context.artifacts["effect"]).read_text(encoding="utf-8"))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Effect, standard error and interval, a row each row of the input."""
        by = next(
            (
                name
                for name in self.effect["groups"]
                if set(name.split("*")) <= set(model_input.columns)
            ),
            None,
        )
        if by is None:
            rows = [self.effect["whole"]] * len(model_input)
        else:
            columns = model_input[by.split("*")].astype(str)
            if len(columns.columns) > 1:  # stars inside a label are escaped, as in the record
                for mark in ("\\", "*"):
                    columns = columns.apply(
                        lambda each, mark=mark: each.str.replace(mark, f"\\{mark}", regex=False)
                    )
            values = columns.agg("*".join, axis=1)
            known = self.effect["groups"][by]
            rows = [known.get(value, {}) for value in values]
        found = [[row.get(name) for name in COLUMNS] for row in rows]
        return pd.DataFrame(found, columns=list(COLUMNS), index=model_input.index)


mlflow.models.set_model(EffectModel())
