"""`maintain`: upkeep that never breaks a pin, erasure, migration, and alerts that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from conf.profile import Profile
from estimators.errors import UsageError

if TYPE_CHECKING:
    from jobs.ledger import Progress
    from jobs.upkeep.erasure import Erased
    from jobs.upkeep.migration import Migrated
    from jobs.upkeep.retention import Kept
    from pipelines.alerting import Told

SCHEMA = "causeway.maintain/1"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes
    ----------
    studies
        Studies whose gates, drift and schedules are looked at, and told.
    erase
        A table, with `where`; or a study, with `units` or `clusters`.
    """

    studies: Sequence[str] = ()
    dry_run: bool = False
    compact_lake: bool = False
    migrate: bool = False
    erase: str | None = None
    where: str | None = None
    units: Sequence[str] = ()
    clusters: Sequence[str] = ()
    reason: str = ""
    requested_by: str = ""


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done."""

    dry_run: bool
    tables: Sequence[Kept] = ()
    erased: Sequence[Erased] = ()
    migrated: Sequence[Migrated] = ()
    told: Sequence[Told] = ()


def maintain(place: Profile, request: Request, progress: Progress) -> Maintained:
    """Do one of: erase rows, migrate the record, or the upkeep of every table.

    Raises
    ------
    UsageError
        Options that do not go together.
    """
    _check(request)
    if request.erase is not None:
        return Maintained(False, erased=_erase(place, request.erase, request))
    if request.migrate:
        from jobs.upkeep.migration import migrate

        return Maintained(False, migrated=migrate(place.record_root))
    from jobs.upkeep import retention

    tables = retention.maintain(
        place, dry_run=request.dry_run, compact_lake=request.compact_lake, progress=progress
    )
    return Maintained(request.dry_run, tables, told=_tell(place, request))


def _check(request: Request) -> None:
    picked = [bool(request.where), bool(request.units), bool(request.clusters)]
    if request.erase is None and any(picked):
        raise UsageError("rows to erase, but not of what", remedy="add --erase TABLE or STUDY")
    if request.erase is not None and sum(picked) != 1:
        raise UsageError(
            "--erase needs one of --where, --unit and --cluster",
            remedy="--erase flights --where \"tailnum = 'N14228'\", or --erase STUDY --unit ID",
        )
    if request.erase is not None and (request.dry_run or request.migrate or request.studies):
        raise UsageError("--erase goes alone", remedy="erase first, then maintain")


def _erase(place: Profile, target: str, request: Request) -> list[Erased]:
    from jobs.upkeep.erasure import Order, erase_ids, erase_rows

    order = Order(request.reason, request.requested_by)
    if request.where:
        return erase_rows(place, target, request.where, order)
    column, ids = ("unit_id", request.units) if request.units else ("cluster_id", request.clusters)
    return erase_ids(place, target, column, list(ids), order)


def _tell(place: Profile, request: Request) -> list[Told]:
    if request.dry_run:
        return []
    from conf.load import load_study
    from pipelines.alerting import tell

    return [tell(place, load_study(each).study) for each in request.studies]


def as_object(done: Maintained) -> dict[str, Any]:
    """The JSON object."""
    return {
        "schema": SCHEMA,
        "dry_run": done.dry_run,
        "tables": [asdict(each) for each in done.tables],
        "erased": [asdict(each) for each in done.erased],
        "migrated": [asdict(each) for each in done.migrated],
        "alerts": [
            {
                "study": each.study,
                "told": [alert.as_dict() for alert in each.alerts],
                "waiting": each.waiting,
                "problem": each.problem or None,
            }
            for each in done.told
        ],
        "error": None,
    }


def text(done: Maintained) -> str:
    """A line a table."""
    lines = [_kept(each, done.dry_run) for each in done.tables]
    lines += [
        f"{each.table}: {each.rows} rows erased, {each.files} files deleted"
        + (f"; versions {_numbers(each.versions)} are gone" if each.versions else "")
        for each in done.erased
    ]
    lines += [f"{each.table}: schema {each.before} -> {each.after}" for each in done.migrated]
    for told in done.told:
        lines += [f"{each.study} {each.window}: {each.message}" for each in told.alerts]
        if told.problem:
            lines.append(f"{told.study}: {told.waiting} alerts wait: {told.problem}")
    return "\n".join(lines or ["nothing to do"]) + "\n"


def _kept(kept: Kept, dry_run: bool) -> str:
    parts = []
    if kept.removed:
        parts.append(f"{kept.removed} files {'would be ' if dry_run else ''}removed")
    if kept.files_after != kept.files_before:
        parts.append(f"{kept.files_before} -> {kept.files_after} files")
    if kept.pinned:
        parts.append(f"{len(kept.pinned)} versions pinned")
    if kept.gone:
        parts.append(f"pinned and gone: {_numbers(kept.gone)}")
    if kept.at_risk:
        parts.append(f"refused by Spark: {_numbers(kept.at_risk)}")
    if kept.note:
        parts.append(kept.note)
    return f"{kept.table}: {', '.join(parts) or 'nothing to do'}"


def _numbers(versions: Sequence[int]) -> str:
    return ", ".join(str(each) for each in versions)
