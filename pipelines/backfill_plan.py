"""What a backfill has to do: its windows with their pins, less those that the record holds."""

from __future__ import annotations

from dataclasses import replace

from conf.keys import study_key
from conf.load import LoadedStudy, load_study
from conf.profile import Profile
from conf.study import Study
from conf.windows import ALL, Span, every, split
from estimators.errors import CausewayError, UsageError
from jobs.device import check_device
from jobs.failures import that_failed
from jobs.pins import (
    Histories,
    PlannedWindow,
    last_backfill,
    read_histories,
    record_backfill,
)
from jobs.windows import RecordedRun, Windows, read_windows
from pipelines.backfill_report import Report, Request
from pipelines.execution import Execution, findings


def prepare(report: Report, place: Profile) -> tuple[LoadedStudy, list[PlannedWindow]]:
    """Plan the windows, note those that are recorded, and write down the others.

    Returns
    -------
    tuple
        The study, and the windows to compute.
    """
    loaded = load_study(report.request.study)
    study = loaded.study
    report.study = study.study
    check_device(study, place)
    windows = read_windows(place.record_root, study.study)
    histories = read_histories(loaded, place)
    if report.request.retry_failed:
        planned = _left_over(report, study, windows, histories, place)
    else:
        planned = _pinned(report, study, histories, place)
    request, todo = report.request, []
    for each in planned:
        known = None if request.refresh else windows.same_study(each.span, each.study_key)
        if known is None:
            todo.append(each)
        elif windows.stage("register", known.run_key) is None:  # a crash came in between
            todo.append(PlannedWindow(each.span, each.study_key, known.sources))
        else:
            report.executions.append(_recorded(each.span, known, windows, loaded, place))
    if todo:
        pin, refresh = request.pin, request.refresh
        plan = record_backfill(place.record_root, study.study, todo, pin=pin, refresh=refresh)
        report.name = plan.name
    return loaded, todo


def _spans(request: Request, study: Study) -> list[Span]:
    if every(study.window.every) is None:
        return [ALL]
    if request.first is None or request.last is None:
        raise UsageError(
            "a backfill needs its first and its last window",
            remedy="give --from and --to, such as --from 2013-01 --to 2013-12",
        )
    return split(request.first, request.last, study.window)


def _pinned(
    report: Report, study: Study, histories: Histories, place: Profile
) -> list[PlannedWindow]:
    """Windows with their pins; one that cannot be pinned has failed."""
    planned = []
    for span in _spans(report.request, study):
        key = study_key(study, span, histories.table_ids, place.device)
        try:
            now = report.request.pin == "now"
            versions = histories.now if now else histories.as_of(span)
        except CausewayError as error:
            execution = Execution(study.study, span)
            execution.fail(error)
            report.executions.append(execution)
            continue
        planned.append(PlannedWindow(span, key, versions))
    return planned


def _left_over(
    report: Report, study: Study, windows: Windows, histories: Histories, place: Profile
) -> list[PlannedWindow]:
    """Windows of the last backfill that failed and are not recorded since, on its pins.

    Windows that it never reached are not among them: the same command again takes those.

    The study as it is now is computed: what made a window fail may have been mended in its file.
    """
    if report.request.first or report.request.last:
        raise UsageError(
            "--retry-failed takes the windows of the last backfill",
            remedy="leave out --from and --to",
        )
    last = last_backfill(place.record_root, study)
    if last is None:
        raise UsageError(
            f"no backfill of {study.study} is recorded",
            remedy="give --from and --to",
        )

    report.request = replace(report.request, pin=last.pin, refresh=last.refresh)

    def is_done(planned: PlannedWindow) -> bool:
        if last.refresh:
            return windows.covers(planned.span, planned.study_key, planned.versions)
        return windows.same_study(planned.span, planned.study_key) is not None

    return [
        PlannedWindow(
            each.span,
            study_key(study, each.span, histories.table_ids, place.device),
            each.versions,
        )
        for each in that_failed(place.record_root, study.study, last.windows)
        if not is_done(each)
    ]


def _recorded(
    span: Span, run: RecordedRun, windows: Windows, loaded: LoadedStudy, place: Profile
) -> Execution:
    """The execution of a window that the record holds."""
    execution = Execution(loaded.study.study, span)
    for stage in windows.lineage(run, place.record_root):
        execution.committed(stage)
        if stage.name == "register":
            detail = stage.detail or {}
            execution.mlflow = {name: str(detail[name]) for name in ("experiment_id", "run_id")}
    execution.finish(findings(place, loaded.study, run.run_key), strict=False)
    execution.status = "already_recorded"
    return execution
