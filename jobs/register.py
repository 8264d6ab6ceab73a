"""Stage `register`: MLflow is written from the Delta record, once a run key, and mended if lost.

The record is the outbox. A parent run carries its run key as a tag from its first moment and is
RUNNING until everything under it is written; a crash leaves such a run behind, and the next
registration deletes it with its children and writes it anew. A FINISHED parent is never touched,
but for the tag that says that a later run of its window superseded it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from conf.profile import Profile
from jobs.failpoints import reach
from jobs.ledger import Progress, Stage, commit, find, silent
from jobs.pages import artifacts, note, report, runs, tracking, views
from jobs.pages.evidence import Evidence, gather
from jobs.pages.runs import NOTE, PARENT, Data, RunContent
from jobs.registry import champion
from jobs.resolve import Resolved
from jobs.scratch import scratch

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 1000
_TABLE = "mlflow"
_STEPS = 4


@dataclass(frozen=True, slots=True)
class Registered:
    """The stage, and where its parent run is in MLflow."""

    stage: Stage
    experiment_id: str
    run_id: str


def run(
    resolved: Resolved, estimate: Stage, profile: Profile, progress: Progress = silent
) -> Registered:
    """Register a recorded run in MLflow. The same run key a second time adds nothing.

    Parameters
    ----------
    resolved
        The study, its window and pins.
    estimate
        The committed stage ``estimate``; its key is the run key.

    Raises
    ------
    ContractError
        The record has no effects under the key.
    PlatformError
        The MLflow store cannot be opened.
    """
    started = time.perf_counter()
    committed = find(profile.record_root, "register", estimate.key)
    if committed is not None:
        known = _known(committed, profile)
        if known is not None:
            progress("register", _STEPS, _STEPS, "already registered")
            return known
    evidence = gather(resolved, estimate.key, profile.record_root)
    with tracking.store(profile) as client:
        writer = _Writer(client, profile, evidence, resolved, estimate, progress)
        experiment, parent = writer.write()
        reach("register.before_ledger")
        stage = _commit(writer, experiment, parent, time.perf_counter() - started)
    reach("register.after_ledger")
    return Registered(stage, experiment, parent)


def _known(committed: Stage, profile: Profile) -> Registered | None:
    """The registration that the ledger tells of, where a local store still has it finished."""
    detail = committed.detail or {}
    experiment, run_id = str(detail.get("experiment_id")), str(detail.get("run_id"))
    if not tracking.is_finished(profile, run_id):
        return None
    return Registered(committed, experiment, run_id)


def _commit(writer: _Writer, experiment: str, parent: str, seconds: float) -> Stage:
    """Put the registration into the ledger. One that MLflow had lost is there already."""
    evidence, main = writer.evidence, writer.evidence.main
    stage = Stage(
        "register",
        "computed" if writer.wrote else "reused",
        evidence.run_key,
        _TABLE,
        0,
        1 + len(evidence.headline),
        seconds,
        detail={"experiment_id": experiment, "run_id": parent},
    )
    committed = commit(
        writer.profile.record_root,
        stage,
        study=evidence.study.study,
        window=(evidence.start, evidence.end),
        sources=writer.resolved.sources,
        numerics=main["numerics"],
        platform=main["platform"],
    )
    return committed if writer.wrote else stage


@dataclass(slots=True)
class _Writer:
    """One registration under the store's lock."""

    client: MlflowClient
    profile: Profile
    evidence: Evidence
    resolved: Resolved
    estimate: Stage
    progress: Progress
    wrote: bool = False

    def write(self) -> tuple[str, str]:
        """Experiment and parent run, written unless a finished parent has the run key."""
        experiment = self._experiment()
        parent = self._clean(experiment)
        data = runs.datasets(self.evidence, self.resolved.every)
        content = runs.window_run(self.evidence, data, self.estimate.digest)
        if parent is None:
            self.wrote = True
            parent = self._parent(experiment, content, data)
            self.client.set_terminated(parent, "FINISHED")
            reach("register.after_finish")
        self._supersede(experiment)
        root = self.profile.record_root
        promoted = champion.publish(self.client, root, self.evidence, parent)
        self._publish(experiment, content, promoted)
        self.progress("register", _STEPS, _STEPS, "registered")
        return experiment, parent

    def _experiment(self) -> str:
        """The study's experiment; artifacts lie under the home where no server keeps them."""
        name = self.evidence.study.study
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage != "active":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        root = tracking.artifact_root(self.profile)
        location = None if tracking.is_server(self.profile) else f"{root.as_uri()}/{name}"
        return str(self.client.create_experiment(name, artifact_location=location))

    def _clean(self, experiment: str) -> str | None:
        """The finished parent of this run key; whatever else carries the key is deleted."""
        found = list(_search(self.client, experiment, f"tags.run_key = '{self.evidence.run_key}'"))
        finished = [
            each.info.run_id
            for each in sorted(found, key=lambda each: each.info.start_time)
            if each.data.tags.get("kind") == runs.WINDOW and each.info.status == "FINISHED"
        ]
        parent = finished[0] if finished else None
        for each in found:
            if parent is None or parent not in (each.info.run_id, each.data.tags.get(PARENT)):
                self.client.delete_run(each.info.run_id)
                _remove(each.info.artifact_uri, tracking.artifact_root(self.profile))
        return parent

    def _parent(self, experiment: str, content: RunContent, data: tuple[Data, ...]) -> str:
        reach("register.before_parent")
        now = int(time.time() * 1000)
        parent = self._start(experiment, content, now)
        reach("register.after_parent")
        self._log(parent, content, data)
        self.progress("register", 1, _STEPS, "figures")
        self._artifacts(parent)
        reach("register.after_artifacts")
        self.progress("register", 2, _STEPS, "estimates")
        for place, effect_id in enumerate(reversed(self.evidence.headline)):
            self._child(experiment, parent, effect_id, data, now + 1 + place)
            reach("register.between_children")
        self._note(parent, experiment, data)
        self.progress("register", 3, _STEPS, "note")
        reach("register.before_finish")
        return parent

    def _child(
        self, experiment: str, parent: str, effect_id: str, data: tuple[Data, ...], start: int
    ) -> None:
        """One effect's run. The headline starts last, and so is listed first."""
        row = self.evidence.row(effect_id)
        content = runs.estimate_run(self.evidence, row)
        text = note.estimate_note(self.evidence, row, experiment, parent)
        run_id = self._start(experiment, content, start, {PARENT: parent, NOTE: text})
        self._log(run_id, content, data)
        self.client.set_terminated(run_id, "FINISHED")

    def _start(
        self,
        experiment: str,
        content: RunContent,
        start: int,
        more: Mapping[str, str] | None = None,
    ) -> str:
        tags = dict(content.tags) | dict(more or {})
        made = self.client.create_run(experiment, start, tags, content.name)
        return str(made.info.run_id)

    def _log(self, run_id: str, content: RunContent, data: tuple[Data, ...]) -> None:
        """Metrics at the window's step and start, in one batch; parameters; the pinned sources."""
        from mlflow.entities import Metric, Param  # heavy; here MLflow is loaded

        at = max(0, int(self.evidence.start.timestamp() * 1000))
        metrics = [
            Metric(name, value, at, self.evidence.step) for name, value in content.metrics.items()
        ]
        params = [Param(name, text) for name, text in content.params.items()]
        self.client.log_batch(run_id, metrics, params)
        self.client.log_inputs(run_id, datasets=_inputs(data))

    def _artifacts(self, run_id: str) -> None:
        from jobs.pages import figures  # matplotlib takes a second to load

        evidence = self.evidence
        drawn = figures.draw(evidence)
        found = artifacts.files(evidence, self.resolved.every, self.estimate.digest) | drawn
        found["report.html"] = report.report(evidence, self.resolved.every, drawn)
        with scratch(self.profile.home, "register") as folder:
            for path, content in found.items():
                file = Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            self.client.log_artifacts(run_id, str(folder))

    def _note(self, parent: str, experiment: str, data: tuple[Data, ...]) -> None:
        previous = self.evidence.previous
        before = self._window_run(experiment, previous.run_key) if previous else None
        versions = {each.name: each.version for each in data}
        text = note.run_note(self.evidence, experiment, parent, versions, previous_run=before)
        self.client.set_tag(parent, NOTE, text)

    def _window_run(self, experiment: str, run_key: str) -> str | None:
        wanted = f"tags.run_key = '{run_key}' AND tags.kind = '{runs.WINDOW}'"
        return next(
            (str(each.info.run_id) for each in _search(self.client, experiment, wanted)), None
        )

    def _supersede(self, experiment: str) -> None:
        """Of all runs of this window only those of the current run key are not superseded."""
        current = self.evidence.current
        start, end = self.evidence.start.isoformat(), self.evidence.end.isoformat()
        wanted = f"tags.window_start = '{start}' AND tags.window_end = '{end}'"
        for each in _search(self.client, experiment, wanted):
            is_old = str(each.data.tags["run_key"] != current).lower()
            if each.data.tags.get("superseded") != is_old:
                self.client.set_tag(each.info.run_id, "superseded", is_old)

    def _publish(self, experiment: str, content: RunContent, promoted: str) -> None:
        """The experiment's note and saved views, where they are not so already."""
        wanted = views.tags(content.metrics) | {
            NOTE: note.experiment_note(self.evidence, experiment, promoted),
            "mlflow.experimentKind": "custom_model_development",
        }
        present = self.client.get_experiment(experiment).tags
        for name, text in wanted.items():
            if present.get(name) != text:
                self.client.set_experiment_tag(experiment, name, text)


def _search(client: MlflowClient, experiment: str, wanted: str) -> Iterable[Run]:
    """All active runs of an experiment that match, page by page."""
    token = None
    while True:
        page = client.search_runs([experiment], wanted, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _inputs(data: Sequence[Data]) -> list[Any]:
    """Datasets by hand: MLflow's own class drops version 0, and its reader starts Spark."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(each.name, each.digest, "delta_table", each.source),
            [InputTag("mlflow.data.context", "source")],
        )
        for each in data
    ]


def _remove(uri: str, root: Path) -> None:
    """Delete a run's folder under our own artifact root; nothing anywhere else."""
    folder = Path(unquote(urlparse(uri).path)).parent
    if urlparse(uri).scheme in ("", "file") and root in folder.parents:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
