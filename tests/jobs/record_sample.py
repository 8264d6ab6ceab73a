"""A realistic record of the study rain_delays, in real Delta tables, without any engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import yaml

from conf.load import LoadedStudy
from conf.profile import Profile
from conf.study import Study
from conf.windows import Span
from jobs.contracts import CHECKS, EFFECTS
from jobs.lake import Pin, append_once
from jobs.ledger import Stage
from jobs.pages.evidence import Evidence, gather
from jobs.resolve import Resolved

STUDY = """\
study: rain_delays
question: Does rain in the scheduled hour delay departures from New York?
sources:
  flights:
    table: "{lake}/flights"
    event_time: sched_dep
    known_at: "coalesce(actual_dep, sched_dep + INTERVAL 1 DAY)"
  weather: {table: "{lake}/weather", event_time: hour_start}
window: {every: 1 month, timezone: America/New_York}
units:
  sql: |
    SELECT f.flight_id, f.sched_dep, f.tailnum, f.flight_date, f.hour, f.carrier, f.origin,
           f.distance, w.temp, w.wind_speed, CAST(w.precip > 0 AS INT) AS rain, f.dep_delay,
           CAST(f.actual_dep IS NULL AS INT) AS cancelled
    FROM flights f JOIN weather w
      ON w.origin = f.origin AND w.hour_start = date_trunc('HOUR', f.sched_dep)
    WHERE f.sched_dep >= :window_start AND f.sched_dep < :window_end
  id: flight_id
  time: sched_dep
  cluster: flight_date
history:
  aircraft:
    from: flights
    by: tailnum
    lookback: 7 days
    columns: {legs_7d: count(*), late_7d: avg(dep_delay)}
treatments: {rain: binary}
outcomes:
  dep_delay: {kind: continuous, horizon: 1 day, missing: drop}
  cancelled: {kind: binary, horizon: 1 day}
covariates: [hour, carrier, origin, distance, temp, wind_speed, legs_7d, late_7d]
effects:
  - {method: plr}
  - {method: irm, estimand: ate, by: [origin]}
  - {method: irm, estimand: att}
publish:
  gates:
    "irm.*": {overlap.ess_share: ">= 0.5"}
    "*.dep_delay": {attrition.gap: "<= 0.02"}
"""

ZONE = ZoneInfo("America/New_York")
LABELS = ("2013-01", "2013-02", "2013-03")
TRUTH = {
    ("plr", "slope", "dep_delay"): (18.2, 2.2),
    ("plr", "slope", "cancelled"): (0.061, 0.011),
    ("irm", "ate", "dep_delay"): (21.7, 2.6),
    ("irm", "ate", "cancelled"): (0.072, 0.014),
    ("irm", "att", "dep_delay"): (18.4, 2.1),
    ("irm", "att", "cancelled"): (0.063, 0.012),
}
ORIGINS = {"EWR": 1.25, "JFK": 0.7, "LGA": 1.05}
COVARIATES = (
    "hour", "distance", "temp", "wind_speed", "legs_7d", "late_7d", "carrier=UA", "carrier=B6",
    "carrier=EV", "carrier=DL", "carrier=AA", "origin=EWR", "origin=JFK", "origin=LGA",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a test registers."""

    resolved: Resolved
    estimate: Stage
    profile: Profile

    @property
    def run_key(self) -> str:
        return self.estimate.key


def evidence(recorded: Recorded) -> Evidence:
    """What the pages of this run are drawn from."""
    return gather(recorded.resolved, recorded.run_key, recorded.profile.record_root)


def study(text: str = STUDY, **changes: Any) -> LoadedStudy:
    """The sample study, with top-level sections replaced."""
    tree = yaml.safe_load(text) | changes
    text = yaml.safe_dump(tree, sort_keys=False) if changes else text
    return LoadedStudy(Study.model_validate(tree), Path("rain_delays.yaml"), text)


def span(label: str) -> Span:
    """A month or a year of 2013 in the study's zone."""
    if label == "all":
        return Span(datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC), "all")
    if len(label) == 4:
        first, after = datetime(int(label), 1, 1), datetime(int(label) + 1, 1, 1)
    else:
        first = datetime.strptime(label, "%Y-%m")
        after = (first + timedelta(days=32)).replace(day=1)
    bounds = [each.replace(tzinfo=ZONE).astimezone(UTC) for each in (first, after)]
    return Span(bounds[0], bounds[1], label)


def key(*parts: str) -> str:
    """64 hex digits."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def profile(home: Path) -> Profile:
    """The local profile at `home`."""
    return Profile(name="local", home=home)


def record(
    home: Path,
    label: str = "2013-03",
    *,
    loaded: LoadedStudy | None = None,
    salt: str = "",
    shift: float = 0.0,
    numerics: str = "features=1,crossfit=1,estimate=1",
    recorded_at: datetime | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    overcontrolled: bool = False,
    checks: bool = True,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> Recorded:
    """Write effects and checks of one window, and say what a run would hand to `register`.

    Parameters
    ----------
    salt
        Enters the run key: another salt is another run of the same window.
    shift
        Added to every delay effect.
    changes
        Columns to overwrite, by effect id.
    overcontrolled
        Checks of the twin study: overlap and missingness fail.
    checks
        Whether there are any.
    rows
        Effects to write in place of the sample's.
    """
    loaded = loaded or study()
    where = span(label)
    run_key = key(loaded.study.study, label, salt)
    pins = {
        name: Pin(name, str(home / "lake" / name), key("table", name)[:32], version, where.end)
        for name, version in (("flights", 12), ("weather", 0))
    }
    common = {
        "run_key": run_key,
        "study": loaded.study.study,
        "window_start": where.start,
        "window_end": where.end,
    }
    when = recorded_at or datetime(2026, 1, 1, tzinfo=UTC)
    rows = [dict(row) for row in rows or effects(label, shift)]
    for row in rows:
        row.update(common, numerics=numerics, platform="linux-x86_64", recorded_at=when)
        row["sources"] = [(name, pin.version) for name, pin in pins.items()]
        row.update((changes or {}).get(row["effect_id"], {}))
    found = [common | row for row in _checks(label, overcontrolled)] if checks else []
    place = profile(home)
    append_once(place.record_root, "effects", run_key, pa.Table.from_pylist(rows, schema=EFFECTS))
    append_once(place.record_root, "checks", run_key, pa.Table.from_pylist(found, schema=CHECKS))
    resolved = Resolved(loaded=loaded, span=where, pins=pins, seconds=0.1)
    estimate = Stage(
        "estimate", "computed", run_key, "effects", 1, len(rows), 0.5,
        f"sha256:{key(run_key)}", {"effects": len(rows)},
    )  # fmt: skip
    return Recorded(resolved, estimate, place)


def again(recorded: Recorded, home: Path) -> Recorded:
    """The same run, seen from a home that was moved or copied."""
    return replace(recorded, profile=profile(home))


def with_key(recorded: Recorded, run_key: str) -> Recorded:
    """The same run under another key, of which the record knows nothing."""
    return replace(recorded, estimate=replace(recorded.estimate, key=run_key))


def at(day: int) -> datetime:
    """A day on which a run is recorded."""
    return datetime(2026, 1, day, tzinfo=UTC)


def effects(label: str, shift: float) -> list[dict[str, Any]]:
    """Rows of one window, without the columns that say which run they are of."""
    random = np.random.default_rng(int(key(label)[:8], 16))
    rows = []
    for (method, estimand, outcome), (theta, se) in TRUTH.items():
        drift = random.normal() * se + (shift if outcome == "dep_delay" else 0.0)
        rows.append(_effect(method, estimand, outcome, theta + drift, se, None, 27_000))
        if (method, estimand) == ("irm", "ate"):
            for origin, factor in ORIGINS.items():
                noise = random.normal() * se
                rows.append(
                    _effect(
                        method, estimand, outcome, theta * factor + noise, 1.6 * se, origin, 9_000
                    )
                )
    return rows


def _effect(  # noqa: PLR0917 (a row's own columns)
    method: str, estimand: str, outcome: str, theta: float, se: float, origin: str | None, n: int
) -> dict[str, Any]:
    whole = f"{method}.{estimand}.rain.{outcome}"
    return {
        "effect_id": f"{whole}@origin={origin}" if origin else whole,
        "method": method,
        "estimand": estimand,
        "treatment": "rain",
        "arm": None,
        "control": None,
        "outcome": outcome,
        "group_by": "origin" if origin else None,
        "group_value": origin,
        "n": n,
        "n_clusters": 31,
        "folds": 5,
        "reps": 1,
        "theta": theta,
        "se": se,
        "se_kind": "cluster:flight_date",
        "se_hc0": se / 5.5,
        "level": 0.95,
        "ci_low": theta - 2.04 * se,
        "ci_high": theta + 2.04 * se,
        "p_value": 1.2e-7,
        "p_adjusted": 3.6e-7,
        "band_low": theta - 2.4 * se,
        "band_high": theta + 2.4 * se,
        "naive": theta * 1.08,
        "clipped_share": 0.0123 if method == "irm" else None,
        "status": "ok",
        "error_code": None,
    }


def _checks(label: str, overcontrolled: bool) -> list[dict[str, Any]]:
    random = np.random.default_rng(int(key("checks", label)[:8], 16))
    rows = []
    for method, estimand, outcome in TRUTH:
        whole = f"{method}.{estimand}.rain.{outcome}"
        rows += _quality(method, whole)
        if outcome == "dep_delay":
            rows += _attrition(whole)
        if method == "irm":
            rows += _overlap(whole, estimand, overcontrolled)
            rows += _balance(whole, estimand, random)
    pressure = 0.57 if overcontrolled else 0.071
    gaps = [
        {"covariate": "pressure", "0": 0.07, "1": pressure},
        {"covariate": "late_7d", "0": 0.031, "1": 0.028},
        {"covariate": "wind_speed", "0": 0.001, "1": 0.004},
        {"covariate": "hour", "0": 0.0, "1": 0.0},
    ]
    found = {"treatment": "rain", "gaps": gaps}
    rows.append(_check(None, "missingness", "max_gap", pressure - 0.07, "<= 0.1", found))
    return rows


def _check(  # noqa: PLR0917 (likewise)
    effect: str | None,
    check: str,
    metric: str,
    value: float,
    condition: str | None,
    detail: dict[str, Any],
) -> dict[str, Any]:
    op, threshold = condition.split() if condition else (None, None)
    limit = float(threshold) if threshold else None
    passed = None
    if limit is not None:
        passed = value <= limit if op == "<=" else value >= limit
    return {
        "effect_id": effect,
        "check": check,
        "metric": metric,
        "value": value,
        "op": op,
        "threshold": limit,
        "passed": passed,
        "detail": json.dumps(detail),
    }


def _quality(method: str, whole: str) -> list[dict[str, Any]]:
    learned = {"l": 0.104, "m": 0.031} if method == "plr" else {"g0": 0.11, "g1": 0.09, "m": 0.031}
    outcome = min(value for name, value in learned.items() if name != "m")
    facts = {"r2": learned}
    return [
        _check(whole, "nuisance_quality", "outcome_r2", outcome, ">= 0", facts),
        _check(whole, "nuisance_quality", "treatment_r2", learned["m"], ">= 0", facts),
    ]


def _attrition(whole: str) -> list[dict[str, Any]]:
    facts = {"missing": {"0": 0.0198, "1": 0.0831}, "n": {"0": 25_100, "1": 1_900}}
    return [
        _check(whole, "attrition", "gap", 0.0633, "<= 0.05", facts),
        _check(whole, "attrition", "share", 0.0241, None, facts),
    ]


def _overlap(whole: str, estimand: str, overcontrolled: bool) -> list[dict[str, Any]]:
    bins = (np.arange(50) + 0.5) / 50
    low, high = (0.04, 0.35) if overcontrolled else (0.06, 0.09)
    hist = {}
    for arm, n, centre in (("0", 25_100, low), ("1", 1_900, high)):
        shape = bins ** (centre * 18) * (1 - bins) ** 18
        hist[arm] = [round(n * share) for share in shape / shape.sum()]
    ess = {"0": 0.98, "1": 0.25 if overcontrolled else 0.85}
    facts = {
        "hist": hist,
        "ess": ess,
        "n": {"0": 25_100, "1": 1_900},
        "clip": 0.01,
        "weighting": "att" if estimand == "att" else "ipw",
    }
    return [
        _check(whole, "overlap", "clipped_share", 0.0123, "<= 0.05", {"clip": 0.01}),
        _check(whole, "overlap", "ess_share", min(ess.values()), ">= 0.5", facts),
    ]


def _balance(whole: str, estimand: str, random: np.random.Generator) -> list[dict[str, Any]]:
    raw = random.normal(0, 0.14, len(COVARIATES))
    weighted = raw * random.uniform(-0.3, 0.4, len(COVARIATES)) * (estimand == "ate" or 0.6)
    entries = [
        {"covariate": name, "raw": float(before), "weighted": float(after)}
        for name, before, after in zip(COVARIATES, raw, weighted, strict=True)
    ]
    facts = {"smd": entries}
    return [
        _check(whole, "balance", "max_smd_raw", float(np.abs(raw).max()), None, facts),
        _check(whole, "balance", "max_smd", float(np.abs(weighted).max()), "<= 0.1", facts),
    ]
