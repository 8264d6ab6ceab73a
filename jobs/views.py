"""Three saved views of a study's runs in MLflow's page, written as experiment tags.

A plain address cannot choose columns; a saved view can. The format is internal to the page of
MLflow 3.17 (see the version bound in pyproject): the tests open the views in its own code's terms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

_TAG = "mlflow.sharedViewState."
_CREATED = 1_700_000_000_000
"""A fixed time: the same study gives the same tags."""

REVIEW, TIMELINE, ESTIMANDS = "review", "timeline", "estimands"
_WORKFLOW = "workflowType=machine_learning"
"""Without it a new browser shows MLflow's page for language models."""


def experiment_link(experiment: str) -> str:
    """Address of the experiment's runs, from any page of the same MLflow."""
    return f"#/experiments/{experiment}/runs?{_WORKFLOW}"


def view_link(experiment: str, key: str) -> str:
    """Address of a saved view."""
    mode = "&compareRunsMode=CHART" if key == TIMELINE else ""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={key}&{_WORKFLOW}{mode}"


def run_link(experiment: str, run: str) -> str:
    """Address of a run."""
    return f"#/experiments/{experiment}/runs/{run}?{_WORKFLOW}"


def artifact_link(experiment: str, run: str, path: str) -> str:
    """Address of an artifact in the run's page."""
    return f"#/experiments/{experiment}/runs/{run}/artifacts/{quote(path)}?{_WORKFLOW}"


def compare_link(experiment: str, runs: Sequence[str]) -> str:
    """Address of MLflow's comparison of some runs."""
    chosen = quote(json.dumps(list(runs)), safe="")
    within = quote(json.dumps([experiment]), safe="")
    return f"#/compare-runs?runs={chosen}&experiments={within}&{_WORKFLOW}"


def tags() -> dict[str, str]:
    """The experiment tags of the three views."""
    return {
        f"{_TAG}{key}": _envelope(name, state)
        for key, name, state in (
            (REVIEW, "1 Review: a row a window", _review()),
            (TIMELINE, "2 Timeline: the effect by window", _timeline()),
            (ESTIMANDS, "3 Estimands: a row an effect and window", _estimands()),
        )
    }


def _envelope(name: str, state: dict[str, Any]) -> str:
    text = json.dumps(state, sort_keys=True)
    return json.dumps({"name": name, "createdAt": _CREATED, "updatedAt": _CREATED, "state": text})


def _tag(name: str) -> str:
    return f"tags.`{name}`"


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _table(kind: str, columns: list[str], widths: dict[str, int]) -> dict[str, Any]:
    """Rows of one kind that are not superseded, newest window first."""
    return {
        "searchFilter": f"tags.kind = '{kind}' AND tags.superseded = 'false'",
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": widths,
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": None,
        "viewMaximized": False,
        "runListHidden": False,
    }


def _review() -> dict[str, Any]:
    columns = [_tag(name) for name in ("verdict", "effect", "change", "failed", "data")]
    widths = dict(zip(columns, (100, 170, 150, 260, 170), strict=True))
    return _table("window", columns, widths)


def _estimands() -> dict[str, Any]:
    names = [_tag(name) for name in ("effect", "verdict", "failed")]
    numbers = [_metric(name) for name in ("effect/naive", "effect/n", "overlap/ess_share")]
    widths = dict(zip(names, (180, 100, 230), strict=True))
    return _table("estimate", names + numbers, widths)


def _timeline() -> dict[str, Any]:
    section = {
        "uuid": "causeway-effect",
        "name": "effect",
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }
    chart = {
        "uuid": "causeway-timeline",
        "type": "LINE",
        "runsCountToCompare": 1000,
        "metricSectionId": section["uuid"],
        "deleted": False,
        "isGenerated": False,
        "displayName": "Headline effect by window, with its interval",
        "metricKey": "effect/theta",
        "selectedMetricKeys": ["effect/theta", "effect/ci_low", "effect/ci_high"],
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "displayPoints": True,
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
    return _table("window", [_tag("effect"), _tag("verdict")], {}) | {
        "compareRunCharts": [chart],
        "compareRunSections": [section],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": False,
    }
