"""The windows of a backfill on their way through the stages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from conf.keys import features_key
from conf.load import LoadedStudy
from conf.plan import gram_learner
from conf.profile import Profile
from jobs import crossfit, estimate, features, ledger, register, resolve
from jobs.crossfit_key import crossfit_key_of
from jobs.engines import ray_cluster, spark_session
from jobs.failures import record_failure
from jobs.ledger import Progress, Stage
from jobs.memory import give_back
from jobs.pins import PlannedWindow
from jobs.resolve import Resolved
from pipelines.backfill_report import Report
from pipelines.execution import Execution, findings
from pipelines.faults import translate
from pipelines.in_thread import in_thread
from pipelines.locks import only_one
from pipelines.stagewise import Engines, Passage, StageMaker, Turnstile

ROUND = 100
"""Windows that go stage by stage together: engines start once a round."""
_STAGES = ("resolve", "features", "crossfit", "estimate", "register")

Body = Callable[[], Awaitable[Execution]]
Wrap = Callable[[PlannedWindow, Body], Awaitable[Execution]]
"""Runs a window's body, or a sub-flow around it."""


async def compute_all(
    report: Report,
    loaded: LoadedStudy,
    place: Profile,
    todo: Sequence[PlannedWindow],
    *,
    stage: StageMaker,
    wrap: Wrap,
) -> None:
    """Compute windows, stage by stage where the profile's engines are `sequential`.

    Every window ends in an execution of the report, whatever happens to it.
    """
    crew = _Crew(report, loaded, place, stage, len(todo))
    try:
        for start in range(0, len(todo), ROUND):
            await crew.round(todo[start : start + ROUND], wrap)
    finally:
        crew.stop()


class _Crew:
    """What the windows of one backfill share."""

    def __init__(
        self, report: Report, loaded: LoadedStudy, place: Profile, stage: StageMaker, total: int
    ) -> None:
        self.report, self.loaded, self.place, self.stage = report, loaded, place, stage
        self.total = total
        self.engines = Engines(
            {
                "spark": lambda: spark_session(place, "backfill"),
                "ray": lambda: ray_cluster(place),
            }
        )
        in_spark = place.grams == "spark" and gram_learner(loaded.study) is not None
        self.engine_of = {"features": "spark", "crossfit": "spark" if in_spark else "ray"}
        self._done: Counter[str] = Counter()

    async def round(self, todo: Sequence[PlannedWindow], wrap: Wrap) -> None:
        """Take some windows through all stages."""
        sequential = self.place.engines == "sequential"
        turnstile = Turnstile(
            _STAGES,
            len(todo),
            parallel=self.report.request.parallel,
            stage_by_stage=sequential,
            passed=self._passed,
        )
        after = self._stop_after if sequential else _nothing
        ways = [wrap(each, partial(self._way, turnstile, each)) for each in todo]
        tasks = [asyncio.ensure_future(each) for each in (turnstile.conduct(after), *ways)]
        try:
            await asyncio.gather(*tasks)
        finally:  # a window never raises; where its sub-flow does, the others cannot go on
            for task in tasks:
                task.cancel()

    def stop(self) -> None:
        """Stop the engines that are up."""
        for name in set(self.engine_of.values()):
            self.engines.stop(name)

    def _stop_after(self, stage: str) -> None:
        """Stop the engine whose last stage it was."""
        last = {engine: each for each, engine in self.engine_of.items()}
        for engine, each in last.items():
            if each == stage:
                self.engines.stop(engine)

    def _passed(self, stage: str) -> None:
        self._done[stage] += 1
        self.report.progress(stage, self._done[stage], self.total)

    async def _way(self, turnstile: Turnstile, planned: PlannedWindow) -> Execution:
        execution = Execution(self.loaded.study.study, planned.span)
        self.report.executions.append(execution)
        try:
            async with turnstile.passage() as passage:
                await _Way(self, passage, planned, execution).go()
        except Exception as raised:
            execution.fail(translate(raised, self.place.home))
            if execution.status == "failed":
                await self._remember(planned, execution)
        await in_thread(give_back)
        return execution

    async def _remember(self, planned: PlannedWindow, execution: Execution) -> None:
        """Let `--retry-failed` find the window. On a full disk even that cannot be written."""
        root, report = self.place.record_root, self.report
        assert report.name is not None and execution.error is not None  # noqa: S101, PT018
        facts = (root, report.name, report.study, planned, execution.error)
        try:
            await in_thread(record_failure, *facts)
        except Exception as raised:
            report.forgotten.append(f"{planned.span.label} ({translate(raised).code})")

    def told(self, label: str) -> Progress:
        """Progress of one window's stage, as a note beside the count of windows."""

        def tell(stage: str, done: int, total: int, note: str = "") -> None:
            count = f" {done}/{total}" if total else ""
            self.report.progress(stage, self._done[stage], self.total, f"{label}:{count} {note}")

        return tell


def _nothing(_stage: str) -> None:
    """Engines stay up from stage to stage."""


@dataclass(slots=True)
class _Way:
    """One window."""

    crew: _Crew
    passage: Passage
    planned: PlannedWindow
    execution: Execution

    async def go(self) -> None:
        """Go through all stages."""
        crew, execution, place = self.crew, self.execution, self.crew.place
        loaded, span, versions = crew.loaded, self.planned.span, self.planned.versions
        resolved: Resolved = await self._do(
            "resolve", resolve.resolve, loaded, span, place, versions
        )
        execution.resolved(resolved)
        tell = crew.told(span.label)
        build = crew.engines.running("spark", features.build, lambda: not _built(resolved, place))
        built: Stage = await self._do("features", build, resolved, place, tell)
        execution.committed(built)
        fit = crew.engines.running(
            crew.engine_of["crossfit"], crossfit.run, lambda: _needs_workers(resolved, built, place)
        )
        fitted: Stage = await self._do("crossfit", fit, resolved, built, place, tell)
        execution.committed(fitted)
        found: Stage = await self._do("estimate", estimate.run, resolved, fitted, place, tell)
        execution.committed(found)
        execution.registered(await self._do("register", register.run, resolved, found, place, tell))
        execution.finish(findings(place, loaded.study, found.key), strict=False)
        if found.status == "reused":  # a refresh whose rows had not changed
            execution.status = "already_recorded"

    async def _do(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        lock = f"{self.execution.study}.{self.planned.span.label}"
        note = f"another process computes {self.planned.span.label}"
        async with self.passage.at(name):
            waiting = partial(self.crew.report.progress, "waiting", 0, 0, note)
            async with only_one(self.crew.place.home, lock, waiting):
                return await self.crew.stage(function, name)(*args)


def _built(resolved: Resolved, place: Profile) -> bool:
    pins = {name: (pin.table_id, pin.version) for name, pin in resolved.pins.items()}
    key = features_key(resolved.loaded.study, resolved.span, pins)
    return ledger.find(place.record_root, "features", key) is not None


def _needs_workers(resolved: Resolved, built: Stage, place: Profile) -> bool:
    study = resolved.loaded.study
    key = crossfit_key_of(resolved, built, place)
    if ledger.find(place.record_root, "crossfit", key) is not None:
        return False
    return built.rows * study.folds.repetitions >= place.ray.inline_below
