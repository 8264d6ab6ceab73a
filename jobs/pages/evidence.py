"""What a reviewer is shown, from the Delta record alone: one run among its study's windows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from conf.gates import CheckRow, Verdict, verdicts
from conf.plan import effect_specs
from conf.study import Study
from conf.windows import every, span_of, zone
from estimators.errors import ContractError, Where
from jobs.lake import read_record
from jobs.pages.wording import Row
from jobs.resolve import Resolved

_HISTORY = (
    "run_key", "window_start", "window_end", "effect_id", "method", "estimand", "treatment", "arm",
    "control", "outcome", "group_by", "group_value", "theta", "se", "ci_low", "ci_high", "naive",
    "level", "status", "error_code", "numerics", "recorded_at",
)  # fmt: skip
_WILD = 5.0
"""Widths above so many lower quartiles do not set a figure's scale."""
_EPOCH = date(1970, 1, 1)
_SEVERITY = ("holds", "doubtful", "rejected")


@dataclass(frozen=True, slots=True)
class RecordedWindow:
    """A window of the study and its current run.

    Attributes
    ----------
    effects
        Ungrouped effects by id.
    """

    start: datetime
    end: datetime
    label: str
    run_key: str
    numerics: str
    effects: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run as the record holds it.

    Attributes
    ----------
    effects
        The run's rows, whole effects in the study's order, each followed by its groups.
    headline
        Ids of the whole effects that get a run of their own in MLflow, at most
        ``publish.headline``; the first one speaks for the study.
    verdicts
        By effect id; groups take their whole effect's checks.
    verdict
        The worst verdict of the whole effects.
    step
        Number of the window on the study's own calendar; equal windows have equal steps forever.
    windows
        Windows of the study that are recorded, by start, each with its current run.
    previous
        The last window of the same length before this one.
    ranges
        By outcome (arms' means apart, `wording.scale`): smallest and largest interval bound of
        whole effects over all windows (but for wildly wide ones), with the naive differences and
        zero; then the same with the groups.
    """

    study: Study
    text: str
    label: str
    start: datetime
    end: datetime
    run_key: str
    step: int
    effects: tuple[Row, ...]
    headline: tuple[str, ...]
    checks: tuple[CheckRow, ...]
    verdicts: Mapping[str, Verdict]
    verdict: str
    windows: tuple[RecordedWindow, ...]
    previous: RecordedWindow | None
    ranges: Mapping[str, tuple[float, float, float, float]]

    @property
    def main(self) -> Row:
        """The headline effect: the first in the study."""
        return self.row(self.headline[0])

    @property
    def current(self) -> str:
        """Run key that counts for this window: the last recorded."""
        same = (each for each in self.windows if (each.start, each.end) == (self.start, self.end))
        return next(same).run_key

    def row(self, effect_id: str) -> Row:
        """The run's row of an effect."""
        return next(row for row in self.effects if row["effect_id"] == effect_id)

    def whole(self) -> tuple[Row, ...]:
        """Effects without a group, in the study's order."""
        return tuple(row for row in self.effects if row["group_by"] is None)


def gather(resolved: Resolved, run_key: str, record_root: str) -> Evidence:
    """Read what the record holds of a run and of its study's other windows.

    Raises
    ------
    ContractError
        The record has no effects under this key (``not_recorded``).
    """
    study, span = resolved.loaded.study, resolved.span
    rows = read_record(record_root, "effects", ds.field("run_key") == run_key).to_pylist()
    if not rows:
        raise ContractError(
            f"the record holds no effects of run {run_key[:12]}",
            code="not_recorded",
            where=Where(table="effects", window=span.label),
            remedy=f"run `causeway run {study.study} --window {span.label}`",
        )
    effects = _ordered([dict(row, sources=dict(row["sources"])) for row in rows], study)
    checks = _checks(record_root, run_key, [row["effect_id"] for row in effects])
    judged = verdicts(study, [row["effect_id"] for row in effects], checks)
    whole = [row["effect_id"] for row in effects if row["group_by"] is None]
    history = read_record(
        record_root, "effects", ds.field("study") == study.study, columns=_HISTORY
    )
    current = _current(history)
    windows = _windows(current, study)
    return Evidence(
        study=study,
        text=resolved.loaded.text,
        label=span.label,
        start=span.start,
        end=span.end,
        run_key=run_key,
        step=step(span.start, study),
        effects=effects,
        headline=tuple(whole[: study.publish.headline]),
        checks=checks,
        verdicts=judged,
        verdict=worst(judged[each].verdict for each in whole),
        windows=windows,
        previous=_previous(windows, span.label, span.start),
        ranges=_ranges(current),
    )


def worst(found: Iterable[str]) -> str:
    """The worst of some verdicts; ``holds`` of none."""
    return max(found, key=_SEVERITY.index, default=_SEVERITY[0])


def detail(check: CheckRow) -> dict[str, Any]:
    """A check's detail as an object."""
    found = json.loads(check.detail) if check.detail else {}
    return found if isinstance(found, dict) else {}


def _ordered(rows: Sequence[dict[str, Any]], study: Study) -> tuple[Row, ...]:
    """The study's order; what it does not name (arms of a treatment) after it, by id."""
    order = {spec.effect_id: place for place, spec in enumerate(effect_specs(study))}

    def place(row: dict[str, Any]) -> tuple[int, str, str, str]:
        whole = row["effect_id"].partition("@")[0]
        known = order.get(whole, order.get(_without_arm(row), len(order)))
        return known, whole, row["group_by"] or "", row["group_value"] or ""

    return tuple(sorted(rows, key=place))


def _without_arm(row: Row) -> str:
    return ".".join(str(row[key]) for key in ("method", "estimand", "treatment", "outcome"))


def _checks(record_root: str, run_key: str, order: Sequence[str]) -> tuple[CheckRow, ...]:
    """Checks in the order of their effects; those of the whole study come first."""
    place = {effect_id: number for number, effect_id in enumerate(order)}
    names = ("effect_id", "check", "metric", "value", "op", "threshold", "passed", "detail")
    rows = read_record(
        record_root, "checks", ds.field("run_key") == run_key, columns=names
    ).to_pylist()
    rows.sort(key=lambda row: (place.get(row["effect_id"], -1), row["check"], row["metric"]))
    return tuple(CheckRow(**row) for row in rows)


def _current(history: pa.Table) -> pa.Table:
    """Rows of the run that counts in each window: the one recorded last."""
    latest: dict[tuple[datetime, datetime], tuple[datetime, str]] = {}
    keys = history.group_by(["window_start", "window_end", "run_key"]).aggregate(
        [("recorded_at", "max")]
    )
    for row in keys.to_pylist():
        window = (row["window_start"], row["window_end"])
        found = (row["recorded_at_max"], row["run_key"])
        latest[window] = max(latest.get(window, found), found)
    return history.filter(
        pc.is_in(history["run_key"], pa.array([key for _, key in latest.values()], pa.string()))
    )


def _windows(current: pa.Table, study: Study) -> tuple[RecordedWindow, ...]:
    whole = current.filter(pc.is_null(current["group_by"])).to_pylist()
    grouped: dict[tuple[datetime, datetime], list[Row]] = {}
    for row in whole:
        grouped.setdefault((row["window_start"], row["window_end"]), []).append(row)
    return tuple(
        RecordedWindow(
            start,
            end,
            span_of(start, end, study.window).label,
            rows[0]["run_key"],
            rows[0]["numerics"],
            {row["effect_id"]: row for row in rows},
        )
        for (start, end), rows in sorted(grouped.items())
    )


def _previous(
    windows: Sequence[RecordedWindow], label: str, start: datetime
) -> RecordedWindow | None:
    """The last window before `start` whose label has the same shape (a month after a month)."""
    shape = re.sub(r"\d", "9", label)
    before = [
        each for each in windows if each.end <= start and re.sub(r"\d", "9", each.label) == shape
    ]
    return max(before, key=lambda each: each.end, default=None)


def _ranges(current: pa.Table) -> dict[str, tuple[float, float, float, float]]:
    ok = current.filter(pc.equal(current["status"], "ok"))
    ranges: dict[str, tuple[float, float, float, float]] = {}
    level = pc.equal(ok["estimand"], "mean")
    for ending, chosen in (("", ok.filter(pc.invert(level))), (":mean", ok.filter(level))):
        for outcome in pc.unique(chosen["outcome"]).to_pylist():
            rows = chosen.filter(pc.equal(chosen["outcome"], outcome))
            whole = _tame(rows.filter(pc.is_null(rows["group_by"])))
            ranges[f"{outcome}{ending}"] = (*_bounds(whole), *_bounds(rows))
    return ranges


def _tame(rows: pa.Table) -> pa.Table:
    """Without intervals so wide that the others would be dots beside them.

    The yardstick is the lower quartile of all widths, so that a few bad windows among many, or
    one of two, do not set the scale.
    """
    width = pc.subtract(rows["ci_high"], rows["ci_low"])
    known = width.filter(pc.is_finite(width))
    if not len(known):
        return rows
    quartile = pc.quantile(known, q=0.25, interpolation="lower")[0].as_py()
    return rows.filter(pc.less_equal(width, _WILD * quartile))


def _bounds(rows: pa.Table) -> tuple[float, float]:
    low = high = 0.0
    for column in ("ci_low", "ci_high", "naive"):
        values = rows[column].combine_chunks()
        values = values.filter(pc.is_finite(values))
        if len(values):
            found = pc.min_max(values).as_py()
            low, high = min(low, found["min"]), max(high, found["max"])
    return low, high


def step(start: datetime, study: Study) -> int:
    """Number of the period of the study's calendar (``every``) that holds `start`, from 1970 on."""
    length = every(study.window.every)
    if length is None:
        return 0
    local = start.astimezone(zone(study.window.timezone))
    months = (local.year - _EPOCH.year) * 12 + local.month - 1
    days = local.toordinal() - _EPOCH.toordinal()
    periods = {"year": months // 12, "month": months, "week": days // 7, "day": days}
    return periods[length.unit] // length.count
