"""A recorded study beside its peers. Nothing is written to the record."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from conf.load import LoadedStudy
from conf.names import listed
from conf.plan import effect_specs
from conf.profile import Profile
from conf.windows import Span
from estimators.crossfit import Plan, fit, place, plan, tasks
from estimators.effects import EffectSpec, arm_column
from estimators.errors import PlatformError, UsageError, Where
from estimators.units import Units
from jobs.ledger import Progress, silent
from jobs.peers.packages import OFFERS
from jobs.peers.problem import Measured, Problem
from jobs.peers.process import measured
from jobs.unit_table import UnitTable, read_units
from jobs.windows import RecordedRun, read_windows

PEERS = tuple(name for name in OFFERS if name != "causeway")


@dataclass(frozen=True, slots=True)
class Request:
    """What to compare.

    Attributes
    ----------
    span
        The window; None is the last recorded.
    sample
        Units at most: those of the smallest hashes.
    seeds
        How often each package cross-fits on folds of its own.
    """

    span: Span | None
    peers: tuple[str, ...]
    sample: int = 200_000
    seeds: int = 3


@dataclass(frozen=True, slots=True)
class Compared:
    """An effect beside its peers.

    Attributes
    ----------
    packages
        Results by package, ours (``causeway``) first.
    missing
        Packages that have no counterpart of the effect.
    """

    effect_id: str
    packages: dict[str, Measured]
    missing: tuple[str, ...]

    def agreement(self, package: str) -> float:
        """Largest difference of theta and of the standard error, in our standard errors."""
        ours, theirs = self.packages["causeway"], self.packages[package]
        return max(abs(ours.theta - theirs.theta), abs(ours.se - theirs.se)) / ours.se


@dataclass(frozen=True, slots=True)
class Comparison:
    """A window's effects beside their peers.

    Attributes
    ----------
    skipped
        Effects that no peer has.
    notes
        Why, and what stands in for an effect that a peer has not by name.
    """

    run: RecordedRun
    units: int
    of: int
    effects: tuple[Compared, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...] = ()


def compare(
    profile: Profile, loaded: LoadedStudy, request: Request, progress: Progress = silent
) -> Comparison:
    """Estimate the recorded features once, and give the predictions to every peer.

    Raises
    ------
    UsageError
        An unknown peer, a window that is not recorded, sampling weights, or no effect with a
        counterpart.
    PlatformError
        A peer is not installed.
    """
    peers = request.peers
    _refuse_missing(peers)
    run, table, specs = _read(profile, loaded, request.span)
    units, of = _sampled(table, request.sample), table.units.n
    if not np.all(units.weight == 1.0):
        raise UsageError(
            "the study has sampling weights, which DoubleML does not take",
            code="weights",
            remedy="compare a copy of the study without `units.weight`",
        )
    known = [each for each in specs if any(_offers(each, peer) for peer in peers)]
    work = plan(units, tuple(known))
    if not work.effects:
        raise UsageError(
            f"no effect of the study has a counterpart in {listed(peers)}",
            code="no_counterpart",
            remedy=f"DoubleML has {listed(OFFERS['doubleml'])}",
        )
    problems = _problems(units, work, loaded.study.folds.salt, request.seeds, progress)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for done, (spec, problem) in enumerate(zip(work.effects, problems, strict=True)):
            progress("compare", done, len(problems), spec.effect_id)
            asked = [each for each in peers if _offers(spec, each)]
            packages = {
                name: measured(name, problem, Path(folder)) for name in ("causeway", *asked)
            }
            absent = tuple(each for each in peers if each not in asked)
            found.append(Compared(spec.effect_id, packages, absent))
    skipped = tuple(each.effect_id for each in specs if each not in work.effects)
    return Comparison(run, units.n, of, tuple(found), skipped, tuple(_notes(specs, peers)))


def _notes(specs: Sequence[EffectSpec], peers: Sequence[str]) -> Iterator[str]:
    estimands = {each.estimand for each in specs if each.method == "irm"}
    if "atu" in estimands and "doubleml" in peers:
        yield "DoubleML's ATU is minus its effect on the treated with the arms swapped."
    if "ato" in estimands:
        yield "No package has an effect weighted by overlap (ATO)."
    if any(each.joint for each in specs):
        yield (
            "PLR of several treatments is one joint fit. EconML's LinearDML has it (our tests agree"
            " with it; it is not compared here); DoubleML's has the others among the covariates of"
            " each, which is another estimator."
        )


def _refuse_missing(peers: Sequence[str]) -> None:
    unknown = [each for each in peers if each not in PEERS]
    if unknown or not peers:
        raise UsageError(
            f"no peer {listed(unknown)}", code="unknown_peer", remedy=f"choose of {listed(PEERS)}"
        )
    absent = [each for each in peers if find_spec(each) is None]
    if absent:
        raise PlatformError(
            f"{listed(absent)} is not installed",
            code="no_peer",
            remedy="install the extra `peers`: pip install 'causeway[peers]'",
        )


def _read(
    profile: Profile, loaded: LoadedStudy, span: Span | None
) -> tuple[RecordedRun, UnitTable, tuple[EffectSpec, ...]]:
    study = loaded.study
    windows = read_windows(profile.record_root, study.study)
    run = windows.current(span) if span else (windows.runs[-1] if windows.runs else None)
    lineage = windows.lineage(run, profile.record_root) if run else ()
    features = next((each for each in lineage if each.name == "features"), None)
    if run is None or features is None:
        raise UsageError(
            "the window is not recorded",
            code="not_recorded",
            where=Where(window=span.label if span else None),
            remedy="`causeway run` it first: the comparison takes its features and folds",
        )
    specs = effect_specs(study)
    return run, read_units(features, specs, study.covariates, profile), specs


def _offers(spec: EffectSpec, package: str) -> bool:
    plain = spec.correction is None and spec.propensity is None and spec.joint is None
    return plain and f"{spec.method}.{spec.estimand}" in OFFERS[package]


def _sampled(table: UnitTable, size: int) -> Units:
    """The units of the smallest hashes, in their order, on their own folds."""
    units = table.units
    if units.n <= size:
        return units
    place = [xxhash.xxh64_intdigest(each.encode(), 7) for each in table.unit_id.to_pylist()]
    return _taken(units, np.sort(np.argsort(np.array(place, dtype=np.uint64))[:size]))


def _taken(units: Units, rows: NDArray[np.intp]) -> Units:
    cut = [None if each is None else each[rows] for each in (units.place, units.unit)]
    return replace(
        units,
        design=replace(units.design, values=units.design.values[rows]),
        treatments={name: values[rows] for name, values in units.treatments.items()},
        outcomes={name: values[rows] for name, values in units.outcomes.items()},
        weight=units.weight[rows],
        fold=units.fold[rows],
        place=cut[0],
        unit=cut[1],
        propensities={name: values[rows] for name, values in units.propensities.items()},
    ).for_fitting()


def _problems(units: Units, work: Plan, salt: str, seeds: int, progress: Progress) -> list[Problem]:
    """Our predictions of the first repetition, as every package gets them."""
    threads = os.cpu_count() or 1
    todo = [each for each in tasks(units, work) if each.rep == 0]
    results = []
    for done, task in enumerate(todo):
        progress("compare", done, len(todo), "nuisances")
        results.append((task, fit(units, task, salt, threads=1)))
    predictions = place(units, results)
    problems = []
    for spec in work.effects:
        rows = units.rows(work.rows[spec.column])
        targets = work.targets[spec.effect_id]
        control = arm_column(spec.treatment, spec.control) if spec.control else None
        other = spec.instrument or control
        problems.append(
            Problem(
                spec.effect_id, spec.method, spec.estimand, spec.clip,
                units.outcomes[spec.column][rows], units.treatments[spec.exposure][rows],
                units.design.values[rows], units.design.categories,
                units.fold[rows, 0].astype(np.int64),
                {name: predictions[target][rows] for name, target in targets.items()},
                {
                    "outcome": spec.outcome_kind, "treatment": spec.assigned_kind,
                    "exposure": spec.exposure_kind,
                },
                {"outcome": spec.outcome_learner, "treatment": spec.treatment_learner},
                threads, seeds, None if other is None else units.treatments[other][rows],
            )
        )  # fmt: skip
    return problems
