"""The files of an effect model in MLflow's open format: code, numbers and a description of both.

Written by hand rather than by MLflow's writer, which stores paths of this machine and asks the
package index for versions. Nothing here is a pickle, and equal runs give equal files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from conf.gates import Verdict
from jobs.pages.artifacts import plain
from jobs.pages.wording import Row

CODE, NUMBERS = "effect_model.py", "effect.json"
_NEEDS = ("mlflow", "pandas")
_FIGURES = (
    "effect_id", "theta", "se", "ci_low", "ci_high", "level", "n", "n_clusters", "se_kind",
    "p_value", "naive", "status",
)  # fmt: skip


def files(
    rows: Sequence[Row], verdict: Verdict, facts: Mapping[str, Any], python: str
) -> dict[str, bytes]:
    """Path in the model's folder to content.

    Parameters
    ----------
    rows
        The whole effect's row of ``effects``, then its groups'.
    facts
        What identifies the run: study, window, run key, pinned versions.
    python
        Version of Python that the model asks for.
    """
    numbers = _numbers(rows, verdict) | {name: plain(each) for name, each in facts.items()}
    content = json.dumps(numbers, indent=1, sort_keys=True, allow_nan=False).encode()
    requirements = "".join(f"{name}=={version(name)}\n" for name in _NEEDS)
    environment = {"python": python, "dependencies": ["-r requirements.txt"]}
    return {
        "MLmodel": yaml.safe_dump(_description(content, python, rows[0])).encode(),
        CODE: Path(__file__).with_name(CODE).read_bytes(),
        NUMBERS: content,
        "requirements.txt": requirements.encode(),
        "python_env.yaml": yaml.safe_dump(environment).encode(),
    }


def _numbers(rows: Sequence[Row], verdict: Verdict) -> dict[str, Any]:
    groups: dict[str, dict[str, Any]] = {}
    for row in rows[1:]:
        groups.setdefault(row["group_by"], {})[row["group_value"]] = _figures(row)
    return {
        "schema": "causeway.effect/1",
        "whole": _figures(rows[0]),
        "groups": groups,
        "verdict": verdict.verdict,
        "checks_failed": list(verdict.failed),
        "gates_failed": list(verdict.gates_failed),
    }


def _figures(row: Row) -> dict[str, Any]:
    return {name: plain(row.get(name)) for name in _FIGURES}


def _description(content: bytes, python: str, row: Row) -> dict[str, Any]:
    """``MLmodel``. Its id is a digest of the numbers, its time the run's."""
    return {
        "flavors": {
            "python_function": {
                "loader_module": "mlflow.pyfunc.loaders.code_model",
                "model_code_path": CODE,
                "artifacts": {"effect": {"path": NUMBERS, "uri": NUMBERS}},
                "env": {"virtualenv": "python_env.yaml"},
                "python_version": python,
                "streamable": False,
            }
        },
        "mlflow_version": version("mlflow"),
        "model_uuid": hashlib.sha256(content).hexdigest()[:32],
        "utc_time_created": row["recorded_at"].strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
