"""Where each effect of a study stands: champion, candidate, and what its gates refused.

All of it follows from the Delta record: the current runs, their checks, the drift from the
champion and the reviewers' decisions. MLflow's aliases are written from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from conf.gates import CheckRow, Verdict, verdicts
from conf.plan import effect_specs
from conf.study import Study
from conf.windows import Span, span_of, split
from jobs.lake import field_in, read_record
from jobs.pages import wording
from jobs.pages.wording import Row
from jobs.registry.comparison import Comparison, Sums, compare

_EFFECTS = (
    "run_key", "window_start", "window_end", "effect_id", "method", "estimand", "treatment", "arm",
    "control", "outcome", "group_by", "group_value", "n", "n_clusters", "theta", "se", "ci_low",
    "ci_high", "level", "status", "error_code", "sources", "recorded_at",
)  # fmt: skip
_CHECKS = (
    "run_key", "effect_id", "check", "metric", "value", "op", "threshold", "passed", "detail",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Meant:
    """The run that a reviewer means: the candidate, a window's current run, or a run by its key.

    Attributes
    ----------
    run_key
        The beginning of a run key is enough.
    """

    window: Span | None = None
    run_key: str = ""

    @property
    def named(self) -> bool:
        """Whether a run is named, rather than the candidate."""
        return self.window is not None or bool(self.run_key)

    def __str__(self) -> str:
        return self.window.label if self.window else self.run_key


CANDIDATE = Meant()


@dataclass(frozen=True, slots=True)
class Decision:
    """A row of ``reviews``."""

    run_key: str
    effect_id: str
    decision: str
    reason: str
    reviewer: str
    previous: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Judged:
    """A run of one effect, judged today.

    Attributes
    ----------
    row
        Its row of ``effects``.
    verdict
        With the gates on drift, where there is a champion to drift from.
    against
        The comparison with the champion; None where there is none, or where it is the champion.
    """

    span: Span
    row: Row
    verdict: Verdict
    against: Comparison | None

    @property
    def run_key(self) -> str:
        """The run."""
        return str(self.row["run_key"])

    @property
    def passes(self) -> bool:
        """Whether it may be promoted: an estimate whose gates all pass."""
        return wording.estimable(self.row) and not self.verdict.gates_failed


@dataclass(frozen=True, slots=True)
class Standing:
    """One effect of a study.

    Attributes
    ----------
    champion
        The run that was promoted last and not rejected since.
    candidate
        The newest run that passes its gates and may follow the champion.
    refused
        Newer runs than the candidate that no reviewer rejected, whose gates failed.
    decisions
        All decisions on the effect, in their order.
    """

    effect_id: str
    champion: Judged | None
    candidate: Judged | None
    refused: tuple[Judged, ...]
    decisions: tuple[Decision, ...]

    @property
    def promotion(self) -> Decision | None:
        """The decision that made the champion."""
        return champion_of(self.decisions)


def champion_of(decisions: Sequence[Decision]) -> Decision | None:
    """The promotion that holds: the last one, unless its run was rejected since."""
    holds = None
    for each in decisions:
        if each.decision == "promoted":
            holds = each
        elif holds is not None and each.run_key == holds.run_key:
            holds = None
    return holds


@dataclass(slots=True)
class Register:
    """The record of a study, read once: what standings follow from."""

    record_root: str
    study: Study
    rows: Mapping[str, list[Row]]
    decisions: Mapping[str, list[Decision]]
    sums: Sums
    _checks: dict[str, list[CheckRow]]

    def standing(self, effect_id: str, meant: Meant = CANDIDATE) -> Standing:
        """The standing of an effect; with `meant`, as if no other run were open for decision."""
        decisions = tuple(self.decisions.get(effect_id, ()))
        promotion = champion_of(decisions)
        then = self.row(promotion.run_key, effect_id) if promotion else None
        champion = None if then is None else self.judged(then, None)
        refused: list[Judged] = []
        for row in self._contenders(effect_id, then, meant):
            judged = self.judged(row, then)
            if judged.passes:
                return Standing(effect_id, champion, judged, tuple(refused), decisions)
            refused.append(judged)
        return Standing(effect_id, champion, None, tuple(refused), decisions)

    def row(self, run_key: str, effect_id: str) -> Row | None:
        """The row of a run that need not be its window's current one."""
        where = (ds.field("run_key") == run_key) & (ds.field("effect_id") == effect_id)
        found = read_record(self.record_root, "effects", where, _EFFECTS).to_pylist()
        return dict(found[0], sources=dict(found[0]["sources"])) if found else None

    def judged(self, row: Row, champion: Row | None) -> Judged:
        """Judge a run of an effect, against a champion where there is another."""
        run_key, effect_id = str(row["run_key"]), str(row["effect_id"])
        against = None
        if champion is not None and champion["run_key"] != run_key:
            against = compare(self.sums, row, champion)
        checks = [*self._checks_of(run_key), *drift_rows(effect_id, against)]
        verdict = verdicts(self.study, [effect_id], checks)[effect_id]
        return Judged(self.span(row), row, verdict, against)

    def span(self, row: Row) -> Span:
        """The window of a row."""
        return span_of(row["window_start"], row["window_end"], self.study.window)

    def _contenders(self, effect_id: str, champion: Row | None, meant: Meant) -> list[Row]:
        """Runs that might follow the champion, the newest window first.

        Windows of the study's own calendar go before others (a year in a study of months): they
        count only where there are no regular ones, or where they are asked for.
        """
        rows, decisions = self.rows.get(effect_id, []), self.decisions.get(effect_id, ())
        if meant.run_key:
            known = {str(row["run_key"]) for row in rows} | {each.run_key for each in decisions}
            keys = [key for key in sorted(known) if key.startswith(meant.run_key)]
            return [row for key in keys if (row := self.row(key, effect_id)) is not None]
        if meant.window is not None:
            wanted = (meant.window.start, meant.window.end)
            return [row for row in rows if (row["window_start"], row["window_end"]) == wanted]
        last = {each.run_key: each.decision for each in decisions}
        open_rows = [row for row in rows if last.get(str(row["run_key"])) != "rejected"]
        if champion is not None:
            after = _place(champion)
            open_rows = [
                row
                for row in open_rows
                if _place(row) >= after and row["run_key"] != champion["run_key"]
            ]
        regular = [row for row in open_rows if self._regular(self.span(row))]
        return sorted(regular or open_rows, key=_place, reverse=True)

    def _regular(self, span: Span) -> bool:
        first, _, last = span.label.partition("..")
        return first == "all" or split(first, last or first, self.study.window) == [span]

    def _checks_of(self, run_key: str) -> list[CheckRow]:
        if run_key not in self._checks:
            where = field_in("run_key", [run_key])
            rows = read_record(self.record_root, "checks", where, _CHECKS[1:]).to_pylist()
            self._checks[run_key] = [CheckRow(**row) for row in rows]
        return self._checks[run_key]


def _place(row: Row) -> tuple[datetime, datetime]:
    return row["window_end"], row["window_start"]


def drift_rows(effect_id: str, against: Comparison | None) -> list[CheckRow]:
    """The rows of the check ``drift``: none without a champion, empty figures without a test."""
    if against is None:
        return []
    found = against.drift
    values = (
        {"p_value": found.p_value, "z": abs(found.z)} if found else {"p_value": None, "z": None}
    )
    return [
        CheckRow(effect_id, "drift", metric, value, None, None, None, "{}")
        for metric, value in values.items()
    ]


def read_register(record_root: str, study: Study) -> Register:
    """Read the current runs of a study's whole effects, and the decisions on them."""
    where = (ds.field("study") == study.study) & ds.field("group_by").is_null()
    table = read_record(record_root, "effects", where, _EFFECTS)
    keys = set(pc.unique(table["run_key"]).to_pylist())
    newest: dict[tuple[Any, ...], Row] = {}
    for row in sorted(table.to_pylist(), key=lambda row: (row["recorded_at"], row["run_key"])):
        row["sources"] = dict(row["sources"])
        newest[row["window_start"], row["window_end"], row["effect_id"]] = row
    rows: dict[str, list[Row]] = {}
    for row in newest.values():
        rows.setdefault(str(row["effect_id"]), []).append(row)
    return Register(
        record_root, study, rows, _decisions(record_root, keys), Sums.of(record_root), {}
    )


def _decisions(record_root: str, run_keys: set[str]) -> dict[str, list[Decision]]:
    """Decisions on a study's runs by effect, in their order."""
    found: dict[str, list[Decision]] = {}
    for row in read_record(record_root, "reviews", field_in("run_key", run_keys)).to_pylist():
        found.setdefault(row["effect_id"], []).append(Decision(**row))
    for decisions in found.values():
        decisions.sort(key=lambda each: each.recorded_at)
    return found


def effect_ids(study: Study, known: Register) -> list[str]:
    """Whole effects in the study's order, then recorded ones that it no longer has."""
    named = [spec.effect_id for spec in effect_specs(study)]
    return [*named, *sorted(set(known.rows) - set(named))]
