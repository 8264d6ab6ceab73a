"""Three saved views of a study's runs in MLflow's page, written as experiment tags.

A plain address cannot choose columns; a saved view can. The format is internal to the page of
MLflow 3.17 (see the version bound in pyproject): the tests open the views in its own code's terms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

_TAG = "mlflow.sharedViewState."
_CREATED = 1_700_000_000_000
"""A fixed time: the same study gives the same tags."""

_CHARTS = 60
"""Charts that are named as deleted: the tag holds 20,000 characters."""

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


def tags(metrics: Iterable[str]) -> dict[str, str]:
    """The experiment tags of the three views.

    Parameters
    ----------
    metrics
        Metrics of the windows' runs: MLflow draws a chart of each that a view does not name, so
        the timeline names them as deleted.
    """
    return {
        f"{_TAG}{key}": _envelope(name, state)
        for key, name, state in (
            (REVIEW, "1 Review: a row a window", _review()),
            (TIMELINE, "2 Timeline: the effect by window", _timeline(metrics)),
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


def _table(kind: str, columns: dict[str, int]) -> dict[str, Any]:
    """Rows of one kind that are not superseded, newest window first; columns with their widths.

    Widths take effect only beside an order, and an order only where it names the fixed columns.
    """
    fixed = {"attributes.`Run Name`": 200, "runDateAndNestInfo": 140}
    return {
        "searchFilter": f"tags.kind = '{kind}' AND tags.superseded = 'false'",
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": [*fixed, *columns],
        "columnWidths": fixed | columns,
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": None,
        "viewMaximized": False,
        "runListHidden": False,
    }


def _review() -> dict[str, Any]:
    widths = {"verdict": 90, "effect": 160, "change": 135, "failed": 230, "data": 170}
    return _table("window", {_tag(name): width for name, width in widths.items()})


def _estimands() -> dict[str, Any]:
    tags = {"effect": 180, "verdict": 90, "failed": 240}
    metrics = {"effect/naive": 110, "effect/n": 90, "overlap/ess_share": 130}
    return _table(
        "estimate",
        {_tag(name): width for name, width in tags.items()}
        | {_metric(name): width for name, width in metrics.items()},
    )


def _timeline(metrics: Iterable[str]) -> dict[str, Any]:
    section = {
        "uuid": "causeway-effect",
        "name": "effect",
        "display": True,
        "columns": 1,
        "cardHeight": 480,
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
    others = [
        {
            "uuid": f"causeway-{name}",
            "type": "LINE",
            "metricKey": name,
            "metricSectionId": section["uuid"],
            "deleted": True,
            "isGenerated": True,
        }
        for name in sorted(metrics)[:_CHARTS]
        if name != chart["metricKey"]
    ]
    return _table("window", {_tag("effect"): 160, _tag("verdict"): 90}) | {
        "compareRunCharts": [chart, *others],
        "compareRunSections": [section],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": False,
    }
