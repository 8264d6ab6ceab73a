"""Saved views: a format internal to MLflow's page, so held against the MLflow that is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.pages import tracking, views
from jobs.register import run
from tests.jobs import record_sample as sample

METRICS = ("effect/theta", "effect/ci_low", "overlap/ess_share")


def state(key: str) -> dict[str, Any]:
    envelope = json.loads(views.tags(METRICS)[f"mlflow.sharedViewState.{key}"])
    assert set(envelope) == {"name", "createdAt", "updatedAt", "state"}
    found: dict[str, Any] = json.loads(envelope["state"])
    return found


@pytest.fixture(scope="module")
def page() -> str:
    """The scripts of the installed MLflow's page."""
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    scripts = Path(spec.origin).parent / "server" / "js" / "build" / "static" / "js"
    return "\n".join(path.read_text() for path in sorted(scripts.glob("main*.js")))


def test_the_page_still_reads_what_the_views_write(page: str) -> None:
    assert '"mlflow.sharedViewState."' in page
    assert '"viewStateShareKey"' in page
    kept = page[page.index('["selectedColumns","columnOrder"') :][:600]
    search = {
        "searchFilter", "orderByKey", "orderByAsc", "startTime", "lifecycleFilter",
        "datasetsFilter", "modelVersionFilter",
    }  # fmt: skip
    for key in (views.REVIEW, views.TIMELINE, views.ESTIMANDS):
        for name in set(state(key)) - search:
            assert f'"{name}"' in kept, name
    assert f'SHOWALL="{state(views.REVIEW)["runsHiddenMode"]}"' in page
    assert 'LINE="LINE"' in page


def test_tags_fit_into_mlflow_and_are_the_same_each_time() -> None:
    many = [f"effect/irm.ate.rain.an_outcome_{number:03d}" for number in range(500)]
    found = views.tags(many)
    assert found == views.tags(reversed(many))
    assert max(map(len, found.values())) < 20_000
    assert len(found) == 3


def test_the_timeline_is_one_chart_of_the_effect_with_its_interval() -> None:
    charts = state(views.TIMELINE)["compareRunCharts"]
    shown = [chart for chart in charts if not chart["deleted"]]
    assert [chart["selectedMetricKeys"] for chart in shown] == [
        ["effect/theta", "effect/ci_low", "effect/ci_high"]
    ]
    assert {chart["metricKey"] for chart in charts} == set(METRICS)


def test_columns_have_an_order_without_which_widths_do_nothing() -> None:
    for key in (views.REVIEW, views.ESTIMANDS):
        found = state(key)
        assert set(found["columnWidths"]) == set(found["columnOrder"])
        assert set(found["selectedColumns"]) < set(found["columnOrder"])


def test_links_go_to_the_training_page() -> None:
    assert views.view_link("3", views.TIMELINE) == (
        "#/experiments/3/runs?viewStateShareKey=timeline&workflowType=machine_learning"
        "&compareRunsMode=CHART"
    )
    assert views.artifact_link("3", "r", "figures/a b.png") == (
        "#/experiments/3/runs/r/artifacts/figures/a%20b.png?workflowType=machine_learning"
    )
    for link in (views.experiment_link("3"), views.run_link("3", "r"), views.compare_link("3", [])):
        assert "workflowType=machine_learning" in link


@pytest.mark.engines
def test_the_filters_of_the_views_find_what_they_name(tmp_path: Path) -> None:
    recorded = sample.record(tmp_path)
    found = run(recorded.resolved, recorded.estimate, recorded.profile)
    with tracking.store(recorded.profile) as client:
        names = {}
        for key in (views.REVIEW, views.ESTIMANDS):
            view = state(key)
            order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
            rows = client.search_runs([found.experiment_id], view["searchFilter"], 1, 100, [order])
            names[key] = [row.info.run_name for row in rows]
            for column in view["selectedColumns"]:
                kind, name = column.split(".", 1)
                data = {"tags": rows[-1].data.tags, "metrics": rows[-1].data.metrics}[kind]
                if name.strip("`") not in ("change", "overlap/ess_share"):
                    assert name.strip("`") in data, column
    assert names[views.REVIEW] == ["2013-03 rejected"]
    assert len(names[views.ESTIMANDS]) == 6
    assert names[views.ESTIMANDS] == sorted(names[views.ESTIMANDS], reverse=True)
