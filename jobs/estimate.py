"""The estimate stage: committed sums become effects and checks. Arithmetic on sums, no refit."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from threadpoolctl import threadpool_limits

from conf.gates import passes, thresholds
from conf.keys import (
    NUMERICS,
    named_libraries,
    numeric_libraries,
    numerics_label,
    platform_label,
    run_key,
    study_key,
)
from conf.plan import effect_specs
from conf.profile import Profile
from estimators import naive
from estimators.checks import IMPLEMENTATIONS, Finding, applicable
from estimators.checks.clusters import leverage
from estimators.effects import EffectSpec
from estimators.inference import Estimate, estimate
from estimators.tallies import Tallies
from jobs import ledger
from jobs.contracts import CHECKS, EFFECTS
from jobs.failpoints import reach
from jobs.lake import append_once, open_table, read_record, record_path
from jobs.ledger import Progress, Stage, silent
from jobs.resolve import Resolved
from jobs.sums import read_families, read_tallies

_NOT_IN_DIGEST = ("run_key", "sources", "numerics", "platform", "recorded_at")


def run(
    resolved: Resolved,
    crossfit: Stage,
    profile: Profile,
    progress: Progress = silent,
    *,
    recompute: bool = False,
) -> Stage:
    """Estimate effects and run checks from the sums, and commit both under the run key.

    The stage's digest is the effects digest of the contract. With `recompute` nothing is written.
    """
    study, span = resolved.loaded.study, resolved.span
    key = run_key(study, span, crossfit.key)
    root = profile.record_root
    done = ledger.find(root, "estimate", key)
    if done is not None and not recompute:
        return done
    began = time.monotonic()
    progress("estimate", 0, 1, "effects and checks")
    # Of predicted outcomes `auto` withholds corrections: these have neither effect nor checks.
    kept = (crossfit.detail or {})["n"]
    specs = tuple(each for each in effect_specs(study) if each.effect_id in kept)
    tallies = read_tallies(root, crossfit.key, (crossfit.detail or {}).get("corrections"))
    with threadpool_limits(limits=1):  # two BLAS threads would change the last bits
        families = read_families(root, crossfit.key, tallies, study.units.cluster is not None)
        estimates = {name: estimate(sums, study.inference.level) for name, sums in families.items()}
    effects = _effect_rows(resolved, crossfit, key, specs, estimates=estimates, tallies=tallies)
    tallies = tallies.with_rows(leverage(families.get(None, [])))
    checks = _check_rows(resolved, key, specs, tallies)
    stage = Stage(
        "estimate",
        "computed",
        key,
        "effects",
        -1,
        len(effects),
        time.monotonic() - began,
        effects_digest(effects),
        {"effects": len(effects)} | _origin(resolved, crossfit, profile),
    )
    progress("estimate", 1, 1, f"{len(effects)} effects")
    return stage if recompute else _commit(resolved, stage, effects, checks, root)


def _origin(resolved: Resolved, crossfit: Stage, profile: Profile) -> dict[str, Any]:
    """What finds this run again, plans the next one against it, and rebuilds it."""
    study, tables = resolved.loaded.study, resolved.table_ids
    return {
        "crossfit": crossfit.key,
        "study_key": study_key(study, resolved.span, tables, profile.device),
        "table_ids": tables,
        "device": profile.device,
        "libraries": numeric_libraries() | named_libraries(study),
        "numerics": NUMERICS,
        "text": resolved.loaded.text,
    }


def _commit(
    resolved: Resolved,
    stage: Stage,
    effects: list[dict[str, Any]],
    checks: list[dict[str, Any]],
    root: str,
) -> Stage:
    """Checks first: the commit of the effects is what makes the run recorded."""
    reach("estimate.before_checks")
    append_once(root, "checks", stage.key, pa.Table.from_pylist(checks, schema=CHECKS))
    reach("estimate.before_effects")
    append_once(root, "effects", stage.key, pa.Table.from_pylist(effects, schema=EFFECTS))
    reach("estimate.after_effects")
    version = open_table(record_path(root, "effects")).version()
    reach("estimate.before_ledger")
    return ledger.commit(
        root,
        replace(stage, version=version),
        study=resolved.loaded.study.study,
        window=(resolved.span.start, resolved.span.end),
        sources=resolved.sources,
        numerics=numerics_label(resolved.loaded.study),
        platform=platform_label(),
    )


def _effect_rows(
    resolved: Resolved,
    crossfit: Stage,
    key: str,
    specs: Sequence[EffectSpec],
    *,
    estimates: Mapping[str | None, Sequence[Estimate]],
    tallies: Tallies,
) -> list[dict[str, Any]]:
    study, detail = resolved.loaded.study, crossfit.detail or {}
    same = {
        "run_key": key,
        "study": study.study,
        "window_start": resolved.span.start,
        "window_end": resolved.span.end,
        "folds": detail["folds"],
        "reps": detail["reps"],
        "level": study.inference.level,
        "se_kind": f"cluster:{study.units.cluster}" if study.units.cluster else "hc0",
        "sources": list(resolved.sources.items()),
        "numerics": numerics_label(study),
        "platform": platform_label(),
        "recorded_at": datetime.now(UTC),
    }
    by_id = {each.effect_id: each for each in specs}
    rows = []
    for name, family in estimates.items():
        for each in family:
            base, _, group = each.effect_id.partition("@")
            value = group.removeprefix(f"{name}=") if name is not None else None
            rows.append(same | _effect_row(by_id[base], each, tallies, (name, value)))
    for effect_id, code in detail["failed"].items():
        missing = Estimate(effect_id, detail["n"][effect_id], None, error_code=code)
        rows.append(same | _effect_row(by_id[effect_id], missing, tallies, (None, None)))
    return sorted(rows, key=lambda row: str(row["effect_id"]))


def _effect_row(
    spec: EffectSpec,
    each: Estimate,
    tallies: Tallies,
    group: tuple[str | None, str | None],
) -> dict[str, Any]:
    clipped = tallies.find("clipped", effect_id=spec.effect_id)
    return {
        "effect_id": each.effect_id,
        "method": spec.model,
        "estimand": spec.estimand,
        "treatment": spec.treatment,
        "arm": spec.arm,
        "control": spec.control,
        "outcome": spec.outcome,
        "group_by": group[0],
        "group_value": group[1],
        "n": each.n,
        "n_clusters": each.n_clusters,
        "theta": each.theta,
        "se": each.se,
        "se_hc0": each.se_hc0,
        "ci_low": each.ci_low,
        "ci_high": each.ci_high,
        "p_value": each.p_value,
        "p_adjusted": each.p_adjusted,
        "band_low": each.band_low,
        "band_high": each.band_high,
        "naive": naive.value(tallies, spec.effect_id, group),
        "clipped_share": clipped.x / clipped.w if clipped and clipped.w > 0 else None,
        "status": "failed" if each.error_code else "ok",
        "error_code": each.error_code,
    }


def _check_rows(
    resolved: Resolved, key: str, specs: Sequence[EffectSpec], tallies: Tallies
) -> list[dict[str, Any]]:
    study = resolved.loaded.study
    same = {
        "run_key": key,
        "study": study.study,
        "window_start": resolved.span.start,
        "window_end": resolved.span.end,
    }
    rows = []
    for check, conditions in thresholds(study).items():
        seen: set[tuple[str | None, str, str]] = set()
        for spec in specs:
            if check not in applicable(spec):
                continue
            for finding in IMPLEMENTATIONS[check].run(tallies, spec):
                about = spec.compared if finding.effect_id is None else ""
                if (finding.effect_id, finding.metric, about) not in seen:
                    seen.add((finding.effect_id, finding.metric, about))
                    rows.append(same | _check_row(check, finding, conditions[finding.metric]))
    return rows


def _check_row(check: str, finding: Finding, condition: tuple[str, float] | None) -> dict[str, Any]:
    value = finding.value if finding.value is not None and math.isfinite(finding.value) else None
    op, threshold = condition or (None, None)
    passed = passes(value, *condition) if condition else None
    return {
        "effect_id": finding.effect_id,
        "check": check,
        "metric": finding.metric,
        "value": value,
        "op": op,
        "threshold": threshold,
        "passed": passed,
        "detail": json.dumps(finding.detail, sort_keys=True),
    }


def effects_digest(rows: Sequence[Mapping[str, Any]]) -> str:
    """``sha256:`` of the canonical JSON of a run's effects: the contract's digest.

    Effects sorted by id, columns in contract order without the run key, sources, numerics,
    platform and time of recording; doubles as hex of their big-endian IEEE-754 bytes,
    times as ``2013-03-01T05:00:00Z``.
    """
    names = [name for name in EFFECTS.names if name not in _NOT_IN_DIGEST]
    ordered = sorted(rows, key=lambda row: str(row["effect_id"]))
    canonical = [{name: _canonical(row[name]) for name in names} for row in ordered]
    text = json.dumps(canonical, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _canonical(value: Any) -> Any:
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def read_effects(record_root: str, key: str) -> list[dict[str, Any]]:
    """The effects of a run key from the record, sorted by effect id."""
    rows = read_record(record_root, "effects", ds.field("run_key") == key).to_pylist()
    return sorted(rows, key=lambda row: str(row["effect_id"]))
