"""What a run or a backfill would do, before anything runs: keys, why they differ, and the cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from conf.changes import Change, changes
from conf.keys import (
    crossfit_inputs,
    features_inputs,
    features_key,
    run_inputs,
    run_key,
    study_key,
)
from conf.load import LoadedStudy, load_study, parse_study
from conf.profile import Profile
from conf.study import Study
from conf.windows import Span, every, parse_span, span_of, split
from estimators.errors import CausewayError, NotMatureError, StudyError, UsageError
from jobs import ledger
from jobs.crossfit_key import crossfit_key_of
from jobs.device import check_device
from jobs.resolve import Resolved, resolve
from jobs.windows import Costs, RecordedRun, Windows, costs, read_windows

SCHEMA = "causeway.plan/1"
Action = Literal["recorded", "skipped", "compute", "not_mature", "refused"]
_STAGES = ("features", "crossfit", "estimate", "register")
_MEANING = {
    "recorded": "recorded on these very versions",
    "skipped": "recorded; the sources have moved on (--refresh builds the rows again)",
    "compute": "to compute",
    "not_mature": "not mature",
    "refused": "cannot run",
}


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One window.

    Attributes
    ----------
    action
        What a backfill would do. (`run` also computes what a backfill skips.)
    stages
        Those that would be computed. After the features they are certain only once the rows are
        built: equal rows are computed no further.
    keys
        Stage to key, as far as they are known.
    current
        The window's latest recorded run.
    changes
        Inputs that differ from that run's.
    seconds, units
        From past runs; None where they do not tell.
    """

    span: Span
    action: Action
    stages: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    current: RecordedRun | None = None
    changes: tuple[Change, ...] = ()
    seconds: float | None = None
    units: int | None = None
    error: CausewayError | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All windows that were asked for."""

    study: str
    windows: tuple[PlannedRun, ...]

    @property
    def todo(self) -> list[PlannedRun]:
        """Windows that would be computed."""
        return [each for each in self.windows if each.action == "compute"]

    @property
    def seconds(self) -> float | None:
        """What they will take one after the other; None where the past does not tell of all."""
        known = [each.seconds for each in self.todo]
        return sum(each for each in known if each is not None) if None not in known else None


def plan(
    study: str, profile: Profile, *, window: str | None, first: str | None, last: str | None
) -> Plan:
    """Plan windows; opens tables' logs and the record, starts no engine.

    Parameters
    ----------
    window, first, last
        One window, or all from first to last; without any, the windows that are recorded.
    """
    loaded = load_study(study)
    check_device(loaded.study, profile)
    windows = read_windows(profile.record_root, loaded.study.study)
    spans = _spans(loaded.study, windows, window=window, first=first, last=last)
    past = costs(windows)
    return Plan(
        loaded.study.study,
        tuple(_plan(loaded, span, profile, windows, past) for span in spans),
    )


def _spans(
    study: Study, windows: Windows, *, window: str | None, first: str | None, last: str | None
) -> list[Span]:
    if window is not None and (first or last):
        raise UsageError("--window and --from/--to", remedy="give one window, or a first and last")
    if window is not None or every(study.window.every) is None:
        return [parse_span(window, study.window)]
    if first and last:
        return split(first, last, study.window)
    if first or last:
        raise UsageError("only one of --from and --to", remedy="give both")
    recorded = sorted({(run.start, run.end) for run in windows.runs})
    if not recorded:
        raise UsageError(
            f"nothing of {study.study} is recorded: there is no window to plan",
            remedy="give --from and --to, or --window",
        )
    return [span_of(*bounds, study.window) for bounds in recorded]


def _plan(
    loaded: LoadedStudy, span: Span, profile: Profile, windows: Windows, past: Costs
) -> PlannedRun:
    current = windows.current(span)
    try:
        resolved = resolve(loaded, span, profile)
    except StudyError:
        raise
    except CausewayError as error:
        action: Action = "not_mature" if isinstance(error, NotMatureError) else "refused"
        return PlannedRun(span, action, current=current, error=error)
    keys, missing = _stages(resolved, profile)
    same = study_key(loaded.study, span, resolved.table_ids, profile.device)
    if not missing:
        action = "recorded"
    elif windows.same_study(span, same):
        action = "skipped"
    else:
        action = "compute"
    return PlannedRun(
        span,
        action,
        missing,
        keys,
        current,
        tuple(_changes(resolved, profile, current)) if current else (),
        past.seconds(span, missing),
        past.units(span),
    )


def _stages(resolved: Resolved, profile: Profile) -> tuple[dict[str, str], tuple[str, ...]]:
    """Keys as far as they are known, and the stages that are not committed."""
    study, root = resolved.loaded.study, profile.record_root
    pins = {name: (pin.table_id, pin.version) for name, pin in resolved.pins.items()}
    keys = {"features": features_key(study, resolved.span, pins)}
    features = ledger.find(root, "features", keys["features"])
    if features is None:
        return keys, _STAGES
    keys["crossfit"] = crossfit_key_of(resolved, features, profile)
    keys["run"] = run_key(study, resolved.span, keys["crossfit"])
    places = {
        "crossfit": ledger.find(root, "crossfit", keys["crossfit"]),
        "estimate": ledger.find(root, "estimate", keys["run"]),
        "register": ledger.find(root, "register", keys["run"]),
    }
    return keys, tuple(name for name, found in places.items() if found is None)


def _changes(resolved: Resolved, profile: Profile, run: RecordedRun) -> Iterator[Change]:
    """What differs from a recorded run, stage by stage."""
    if not run.text:
        yield Change("features", "study", None, None, "the recorded run does not hold its study")
        return
    try:
        before = parse_study(run.text, Path(f"{run.study}.yaml"))
    except StudyError:
        yield Change("features", "study", None, None, "the recorded study is no longer valid")
        return
    study, span = resolved.loaded.study, resolved.span
    old = {name: (run.table_ids[name], version) for name, version in run.sources.items()}
    new = {name: (pin.table_id, pin.version) for name, pin in resolved.pins.items()}
    pairs = {
        "features": (features_inputs(before, span, old), features_inputs(study, span, new)),
        "crossfit": (
            crossfit_inputs(before, "", run.device, old),
            crossfit_inputs(study, "", profile.device, resolved.calibrations),
        ),
        "estimate": (run_inputs(before, span, ""), run_inputs(study, span, "")),
    }
    for stage, (recorded, now) in pairs.items():
        yield from changes(stage, _as_recorded(recorded, stage, run), now)


def _as_recorded(inputs: Mapping[str, Any], stage: str, run: RecordedRun) -> dict[str, Any]:
    """Inputs with the numerics and the libraries of the recorded run, not of this process."""
    numerics = run.numerics.get(stage, inputs["numerics"])
    found = {**inputs, "numerics": numerics}
    if "libraries" in inputs:
        found["libraries"] = {name: run.libraries.get(name) for name in inputs["libraries"]}
    return found


def as_object(found: Plan) -> dict[str, Any]:
    """The JSON object."""
    return {
        "schema": SCHEMA,
        "study": found.study,
        "to_compute": len(found.todo),
        "seconds": _rounded(found.seconds),
        "windows": [_window(each) for each in found.windows],
        "error": None,
    }


def _window(each: PlannedRun) -> dict[str, Any]:
    return {
        "window": {"label": each.span.label, "start": each.span.start, "end": each.span.end},
        "action": each.action,
        "stages": list(each.stages),
        "keys": dict(each.keys),
        "recorded": each.current.run_key if each.current else None,
        "changes": [
            {
                "stage": change.stage,
                "input": change.path,
                "before": change.before,
                "after": change.after,
                "words": change.words,
            }
            for change in each.changes
        ],
        "units": each.units,
        "seconds": _rounded(each.seconds),
        "error": each.error.as_dict() if each.error else None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def text(found: Plan) -> str:
    """A line a window, why it differs from the record, and the sum."""
    lines = []
    for each in found.windows:
        cost = f", about {each.seconds:.0f} s" if each.seconds and each.action == "compute" else ""
        units = f", {each.units:,} units" if each.units else ""
        lines.append(f"{each.span.label:<12} {_MEANING[each.action]}{units}{cost}")
        if each.stages and each.stages != _STAGES:
            lines.append(f"{'':<12}   stages: {', '.join(each.stages)}")
        lines += [f"{'':<12}   {words}" for words in _words(each.changes)]
        if each.error:
            lines.append(f"{'':<12}   {each.error.code}: {each.error.message.splitlines()[0]}")
    seconds = found.seconds
    todo = f"{found.study}: {len(found.todo)} of {len(found.windows)} windows to compute"
    if found.todo and seconds is not None:
        todo += f", about {seconds:.0f} s by past runs (starting Spark and Ray not counted)"
    elif found.todo:
        todo += "; past runs do not tell how long that takes"
    return "\n".join([*lines, todo, ""])


def _words(found: Sequence[Change]) -> list[str]:
    """Each change once: folds and covariates enter the keys of two stages."""
    covariates = any(each.path == "covariates" for each in found)
    return list(
        dict.fromkeys(each.words for each in found if not (covariates and each.path == "columns"))
    )
