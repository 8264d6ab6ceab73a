"""A recorded run made again from the pinned data, in a scratch home that is deleted afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from conf.keys import numerics_label
from conf.load import LoadedStudy, parse_study
from conf.profile import Profile
from conf.windows import Span, span_of
from estimators.errors import ContractError, SourceError, UsageError, Where
from jobs import crossfit, estimate, features
from jobs.engines import spark_session
from jobs.gram.layouts import lend
from jobs.lake import Pin
from jobs.ledger import Progress, Stage, silent
from jobs.resolve import Resolved, pin_corrections, resolve
from jobs.scratch import scratch
from jobs.upkeep.erasure import Erasure, explain, find
from jobs.windows import RecordedRun, read_run, read_windows


@dataclass(frozen=True, slots=True)
class Compared:
    """A stage's digest in the record, and as computed again."""

    name: str
    recorded: str
    found: str
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether the two are equal."""
        return self.recorded == self.found


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A run computed again.

    Attributes
    ----------
    started_from
        ``sources``, at their recorded versions; ``features`` where a version is gone.
    gone
        What can no longer be read, and why; None where all sources can.
    stages
        In order, from the first that was computed.
    numerics
        The label of the numerics that computed it now.
    erasures
        Erasures, on request, that took rows from what the run was made of.
    """

    run: RecordedRun
    span: Span
    started_from: Literal["sources", "features"]
    gone: SourceError | None
    stages: tuple[Compared, ...]
    numerics: str
    erasures: tuple[Erasure, ...] = ()

    @property
    def first_difference(self) -> str | None:
        """The first stage whose digest is another; None where all agree."""
        return next((each.name for each in self.stages if not each.agrees), None)


def reproduce(run_key: str, profile: Profile, progress: Progress = silent) -> Reproduction:
    """Compute a recorded run again and compare every stage; the record stays as it is.

    Parameters
    ----------
    run_key
        64 hex digits.

    Raises
    ------
    UsageError
        No such run.
    ContractError
        The record does not hold what the run was made of (``not_recorded``).
    SourceError
        Neither the sources nor the features can be read any more.
    """
    run = read_run(profile.record_root, run_key)
    if run is None:
        raise UsageError(
            f"no run {run_key}",
            code="no_run",
            remedy="`causeway effects STUDY --json` shows run keys",
        )
    loaded, recorded = _loaded(run), _lineage(run, profile)
    span = span_of(run.start, run.end, loaded.study.window)
    again = _pinned(run, loaded, span, profile)
    erased = erasures(run, recorded, profile)
    with _scratch(profile, run) as place, _explained(erased):
        built, gone = _features(run, again, profile, place, progress)
        if built is None:
            _lend(profile, place)
        lend(again, profile.record_root, place.record_root)
        fitted = crossfit.run(again, built or recorded["features"], place, progress)
        found = estimate.run(again, fitted, place, progress)
    done = [each for each in (built, fitted, found) if each]
    stages = [_compare(recorded[each.name], each) for each in done]
    origin: Literal["sources", "features"] = "features" if gone else "sources"
    return Reproduction(
        run, span, origin, gone, tuple(stages), numerics_label(loaded.study), erased
    )


def erasures(
    run: RecordedRun, recorded: Mapping[str, Stage], profile: Profile
) -> tuple[Erasure, ...]:
    """Erasures that took rows from the sources, the features or the sums of a run."""
    keys = [recorded[name].key for name in ("features", "crossfit")]
    pins = {
        run.table_ids[name]: version
        for name, version in run.sources.items()
        if name in run.table_ids
    }
    return tuple(find(profile.record_root, keys, pins))


@contextmanager
def _explained(erased: tuple[Erasure, ...]) -> Iterator[None]:
    """Say of data that are gone that they were erased."""
    try:
        yield
    except SourceError as gone:
        if not erased:
            raise
        raise SourceError(
            f"{gone.message}: {explain(erased)}",
            code=gone.code,
            where=gone.where,
            remedy="the recorded effects stay; they cannot be computed again",
        ) from gone


def _compare(recorded: Stage, found: Stage) -> Compared:
    return Compared(found.name, recorded.digest, found.digest, found.seconds)


def _loaded(run: RecordedRun) -> LoadedStudy:
    """The study as it was when the run was recorded."""
    if not run.text:
        raise _not_recorded(run, "the study's text")
    path = Path(f"{run.study}.yaml")
    return LoadedStudy(parse_study(run.text, path), path, run.text)


def _lineage(run: RecordedRun, profile: Profile) -> Mapping[str, Stage]:
    windows = read_windows(profile.record_root, run.study)
    stages = {stage.name: stage for stage in windows.lineage(run, profile.record_root)}
    for name in ("features", "crossfit"):
        if name not in stages:
            raise _not_recorded(run, f"its stage {name}")
    return {str(name): stage for name, stage in stages.items()}


def _not_recorded(run: RecordedRun, what: str) -> ContractError:
    return ContractError(
        f"the record does not hold {what}",
        code="not_recorded",
        where=Where(table="stages"),
        remedy=f"the run {run.run_key[:12]} is older than this; `causeway run --recompute` with "
        "the study's file compares it",
    )


@contextmanager
def _scratch(profile: Profile, run: RecordedRun) -> Iterator[Profile]:
    """A home of its own that shares nothing with the real one but the lake."""
    roots = [root.replace("{home}", str(profile.home)) for root in profile.allowed_roots]
    with scratch(profile.home, "reproduce") as home:
        given = {
            "home": home,
            "lake": profile.lake_root,
            "allowed_roots": roots,
            "device": run.device,
        }
        yield profile.model_copy(update=given)


def _lend(profile: Profile, place: Profile) -> None:
    """Let the scratch home read the recorded features; nothing is written to them."""
    Path(place.features_root).symlink_to(profile.features_root, target_is_directory=True)


def _features(
    run: RecordedRun, again: Resolved, profile: Profile, place: Profile, progress: Progress
) -> tuple[Stage | None, SourceError | None]:
    """Build the rows from the sources at their recorded versions; None where one is gone."""
    try:
        resolved = resolve(again.loaded, again.span, profile, run.sources)
        _same_tables(run, resolved)
        # The session of the real home, for its logs outlive the scratch.
        with spark_session(profile, "reproduce"):
            return features.build(resolved, place, progress), None
    except SourceError as gone:
        progress("features", 0, 0, f"starting from the recorded features: {gone.message}")
        return None, gone


def _same_tables(run: RecordedRun, resolved: Resolved) -> None:
    for name, table_id in resolved.table_ids.items():
        if run.table_ids.get(name, table_id) != table_id:
            raise SourceError(
                "the table was made anew since the run: its versions are those of another",
                code="version_gone",
                where=Where(table=name, version=run.sources.get(name)),
                remedy="restore the table that was there",
            )


def _pinned(run: RecordedRun, loaded: LoadedStudy, span: Span, profile: Profile) -> Resolved:
    """The study at its recorded pins; of these, what follows the features opens calibrations."""
    pins = {
        name: Pin(name, "", run.table_ids.get(name, ""), version, run.recorded_at)
        for name, version in run.sources.items()
        if name in loaded.study.sources
    }
    return Resolved(loaded, span, pins, 0.0, pin_corrections(loaded, profile, run.sources))
