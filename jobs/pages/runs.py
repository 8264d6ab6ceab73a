"""What a run in MLflow holds, as plain data: name, tags, parameters, metrics and datasets."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from conf.gates import CheckRow
from conf.plan import correction_tables
from jobs.lake import Pin
from jobs.pages import wording
from jobs.pages.evidence import Evidence
from jobs.pages.note import change
from jobs.pages.reasons import counts, findings
from jobs.pages.wording import Row

WINDOW, ESTIMATE = "window", "estimate"
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
_EFFECT = ("theta", "ci_low", "ci_high", "se", "se_hc0", "naive", "p_value", "n", "n_clusters")
_LONG = 500
_FORBIDDEN = re.compile(r"[^/\w.\- ]")
"""What MLflow refuses in the name of a metric."""


@dataclass(frozen=True, slots=True)
class RunContent:
    """A run to write.

    Attributes
    ----------
    metrics
        At four significant digits, in the order in which the run's page lists them.
    params
        Facts that do not change: tables, versions, sizes.
    """

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Data:
    """A source table as MLflow's dataset: no path of this machine where the study has none."""

    name: str
    digest: str
    source: str
    path: str
    version: int


def datasets(evidence: Evidence, pins: Mapping[str, Pin]) -> tuple[Data, ...]:
    """The pinned sources in the study's order, then the tables that correct outcomes."""
    found = []
    tables = {**evidence.study.sources, **correction_tables(evidence.study)}
    for source, pin in pins.items():
        path = tables[source].table
        facts = {
            "path": path,
            "delta_table_id": pin.table_id,
            "delta_table_version": pin.version,
        }
        name = PurePosixPath(path.rstrip("/")).name or source
        found.append(Data(name, f"v{pin.version}", json.dumps(facts), path, pin.version))
    return tuple(found)


def window_run(evidence: Evidence, data: Iterable[Data], digest: str) -> RunContent:
    """The parent: one execution of the study on one window."""
    data = tuple(data)
    main = evidence.main
    values = _effect_metrics(main)
    for each in evidence.headline[1:]:
        values[f"effect/{each}"] = evidence.row(each)["theta"]
    for row in evidence.checks:
        name = _check_name(row)
        if name not in values:
            values[name] = _worst(evidence, row)
    passed, judged = counts(evidence)
    values |= {"checks/passed": passed, "checks/failed": judged - passed}
    metrics, dropped = _clean(values)
    failed = [row["effect_id"] for row in evidence.effects if row["status"] != "ok"]
    moved = change(main, evidence.previous) if evidence.previous else ""
    tags = _tags(evidence, main, WINDOW, evidence.verdict) | {
        "question": evidence.study.question,
        "change": f"{moved} vs {evidence.previous.label}" if moved and evidence.previous else "",
        "data": ", ".join(f"{each.name} {each.digest}" for each in data),
        "failed": _failed(evidence),
        "effects_digest": digest,
    }
    return RunContent(
        f"{evidence.label} {evidence.verdict}",
        _filled(tags | {"not_estimable": ", ".join([*failed, *dropped])}),
        _params(evidence, data),
        metrics,
    )


def estimate_run(evidence: Evidence, row: Row) -> RunContent:
    """A child: one effect of the window."""
    values = _effect_metrics(row)
    for check in evidence.checks:
        if check.effect_id in (row["effect_id"], None):
            values.setdefault(_check_name(check), check.value)
    metrics, dropped = _clean(values)
    verdict = evidence.verdicts[row["effect_id"]]
    moved = change(row, evidence.previous) if evidence.previous else ""
    tags = _tags(evidence, row, ESTIMATE, verdict.verdict) | {
        "effect_id": row["effect_id"],
        "change": f"{moved} vs {evidence.previous.label}" if moved and evidence.previous else "",
        "failed": ", ".join(dict.fromkeys((*verdict.gates_failed, *verdict.failed))),
        "not_estimable": ", ".join(dropped),
    }
    params = {name: str(row[name]) for name in ("method", "estimand", "treatment", "outcome")}
    params |= {"se_kind": row["se_kind"], "effect_id": row["effect_id"]}
    return RunContent(f"{evidence.label} {_child(evidence, row)}", _filled(tags), params, metrics)


def _child(evidence: Evidence, row: Row) -> str:
    """``IRM ATT dep_delay``; the treatment too where the study has several."""
    several = len(evidence.study.treatments) > 1 or row["arm"]
    middle = f" {wording.treatment(row)}" if several else ""
    return f"{wording.model(row)}{middle} {row['outcome']}"


def _effect_metrics(row: Row) -> dict[str, float | None]:
    return {f"effect/{name}": row[name] for name in _EFFECT}


def _check_name(check: CheckRow) -> str:
    return f"{check.check}/{check.metric}"


def _worst(evidence: Evidence, check: CheckRow) -> float | None:
    """The worst value over whole effects where the metric is judged, the largest otherwise."""
    name = f"{check.check}.{check.metric}"
    for each in findings(evidence):
        if each.name == name:
            return each.worst.value
    same = [each.value for each in evidence.checks if (each.check, each.metric) == _pair(check)]
    return max((value for value in same if value is not None), default=None)


def _pair(check: CheckRow) -> tuple[str, str]:
    return check.check, check.metric


def _clean(values: Mapping[str, float | None]) -> tuple[dict[str, float], list[str]]:
    """Metrics that MLflow shows rightly, and the names of those that are no finite number."""
    metrics, dropped = {}, []
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            if name in ("effect/theta", "effect/se") or (value is not None):
                dropped.append(name)
            continue
        metrics[_FORBIDDEN.sub("_", name)] = wording.significant(float(value))
    return metrics, dropped


def _tags(evidence: Evidence, row: Row, kind: str, verdict: str) -> dict[str, str]:
    return {
        "kind": kind,
        "study": evidence.study.study,
        "window": evidence.label,
        "window_start": evidence.start.isoformat(),
        "window_end": evidence.end.isoformat(),
        "verdict": verdict,
        "effect": wording.interval(row),
        "run_key": evidence.run_key,
        "superseded": str(evidence.current != evidence.run_key).lower(),
        "mlflow.source.name": f"causeway run {evidence.study.study} --window {evidence.label}",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": "causeway",
    }


def _failed(evidence: Evidence) -> str:
    return ", ".join(
        f"{each.name}{' (gate)' if each.status == 'fail' else ''}"
        for each in findings(evidence)
        if each.status != "pass"
    )


def _filled(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: wording.shorten(text, _LONG) for name, text in tags.items() if text}


def _params(evidence: Evidence, data: tuple[Data, ...]) -> dict[str, str]:
    """Tables and versions first: `delta_path` is the study's first source."""
    params: dict[str, str] = {}
    for place, each in enumerate(data):
        tail = f".{each.name}" if place else ""
        params[f"delta_path{tail}"] = each.path
        params[f"delta_version{tail}"] = str(each.version)
    study, main = evidence.study, evidence.main
    return params | {
        "treatments": wording.shorten(", ".join(study.treatments), _LONG),
        "outcomes": wording.shorten(", ".join(study.outcomes), _LONG),
        "covariates": wording.shorten(", ".join(study.covariates), _LONG),
        "headline": main["effect_id"],
        "effects": str(len(evidence.effects)),
        "folds": str(main["folds"]),
        "repetitions": str(main["reps"]),
        "se_kind": main["se_kind"],
        "level": f"{main['level']:g}",
        "numerics": wording.shorten(main["numerics"], _LONG),
        "platform": wording.shorten(main["platform"], _LONG),
    }
