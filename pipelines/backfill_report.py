"""A backfill and how it ended: the object of the contract, and the same for a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from conf.windows import ALL
from estimators.errors import BackfillError, CausewayError, NotMatureError
from jobs.ledger import Progress, silent
from jobs.pages import wording
from jobs.pins import PinMode
from pipelines.execution import Execution

SCHEMA = "causeway.backfill/1"
STATUSES = ("computed", "already_recorded", "not_mature", "failed")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes
    ----------
    first, last
        Periods such as ``2013-01``, both included; None where the study has no time, or where
        `retry_failed` takes the windows of the last backfill that failed.
    pin
        ``now``: the newest versions, the same for all windows; ``as-of-window``: for each window
        those that were the newest when it matured.
    refresh
        Compute windows that the record holds on the pins of this backfill too.
    parallel
        Windows in a stage at a time.
    """

    study: str
    first: str | None = None
    last: str | None = None
    pin: PinMode = "now"
    refresh: bool = False
    retry_failed: bool = False
    parallel: int = 1
    profile: str | None = None


@dataclass(slots=True)
class Report:
    """A backfill under way, and how it ended.

    Attributes
    ----------
    forgotten
        Windows that failed and could not be written down as such, each with the reason.
    """

    request: Request
    study: str
    name: str | None = None
    executions: list[Execution] = field(default_factory=list)
    progress: Progress = silent
    error: CausewayError | None = None
    forgotten: list[str] = field(default_factory=list)

    @property
    def ended(self) -> list[Execution]:
        """Windows of which is known how they ended, by time."""
        known = [each for each in self.executions if each.found or each.error]
        return sorted(known, key=lambda each: (each.span or ALL).start)

    @property
    def summary(self) -> dict[str, int]:
        """Windows by status."""
        counts = Counter[str](each.status for each in self.ended)
        return {status: counts[status] for status in STATUSES}

    def as_dict(self) -> dict[str, Any]:
        """The object of the JSON contract."""
        return {
            "schema": SCHEMA,
            "study": self.study,
            "backfill": self.name,
            "pin": self.request.pin,
            "refresh": self.request.refresh,
            "summary": self.summary,
            "windows": [each.as_dict() for each in self.ended],
            "error": self.error.as_dict() if self.error else None,
        }

    def judge(self) -> None:
        """Say what the windows' errors make of the whole."""
        if self.error is not None:
            return
        failed = [each for each in self.ended if each.status == "failed"]
        early = [each for each in self.ended if each.status == "not_mature"]
        total = len(self.ended)
        if failed:
            self.error = BackfillError(
                f"{len(failed)} of {total} windows failed: {_listed(failed)}",
                remedy=self._way_on(),
            )
        elif early:
            self.error = NotMatureError(
                f"{len(early)} of {total} windows are not mature: {_listed(early)}",
                remedy="run the same command later: it computes what is missing",
            )

    def _way_on(self) -> str:
        if self.forgotten:
            return (
                f"could not be written down: {', '.join(self.forgotten)}; run the same command "
                "again: it computes what is missing"
            )
        return (
            f"`causeway backfill {self.request.study} --retry-failed` computes them again on the "
            "same versions; the others are recorded"
        )


OPEN: ContextVar[Report | None] = ContextVar("backfill", default=None)
"""The report that the flow fills in, where its caller is in the same process."""


def _listed(executions: Sequence[Execution]) -> str:
    return ", ".join(
        f"{each.span.label if each.span else ''} ({each.error.code if each.error else ''})"
        for each in executions
    )


def summary_table(report: Report) -> list[dict[str, Any]]:
    """One row a window, with the headline effect of each."""
    return [_row(each) for each in report.ended]


def _row(execution: Execution) -> dict[str, Any]:
    found = execution.found
    main = found.effects[0] if found and found.effects else None
    return {
        "window": execution.span.label if execution.span else "",
        "status": execution.status.replace("_", " "),
        "verdict": found.verdict if found else "",
        "effect": wording.name(main) if main else "",
        "estimate": wording.interval(main) if main else "",
        "failed checks": found.counts["failed"] if found else None,
        "error": f"{execution.error.code}: {execution.error.message}" if execution.error else "",
        "run key": (execution.run_key or "")[:12],
    }


def text(report: Report) -> str:
    """A line a window, then the counts."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from pipelines.output import error_block
    from pipelines.tables import rendered

    rows = summary_table(report)
    counts = ", ".join(f"{count} {name}" for name, count in report.summary.items() if count)
    end = f"{report.study}: {counts.replace('_', ' ') or 'nothing to do'}\n"
    if not rows:
        return end
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        short = row | {"error": row["error"].partition(":")[0]}
        cells = ("" if cell is None else str(cell) for cell in short.values())
        table.add_row(*(cell.replace("[", "\\[") for cell in cells))
    failed = (each.error for each in report.ended if each.status == "failed" and each.error)
    return "".join([rendered(table), *(error_block(each) for each in failed), end])
