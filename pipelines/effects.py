"""Current effects of a study over all its windows, from the record alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.dataset as ds

from conf.gates import CheckRow, Verdict, ungrouped, verdicts
from conf.load import LoadedStudy
from conf.names import listed, nearest
from conf.plan import grouping
from conf.profile import Profile
from conf.study import Study
from conf.windows import Span, span_of
from estimators.effects import group_by_name
from estimators.errors import UsageError, Where
from jobs.lake import field_in, read_record

if TYPE_CHECKING:
    from jobs.contrasts import Contrast
    from jobs.groups import Families

SCHEMA = "causeway.effects/1"
_CHECK_COLUMNS = (
    "run_key", "effect_id", "check", "metric", "value", "op", "threshold", "passed", "detail",
)  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the record.

    Attributes
    ----------
    by
        Show the groups of these columns (``origin``, ``origin*month``), not the whole windows.
    contrast
        Texts such as ``origin=JFK,origin=LGA``.
    effect
        Globs of ungrouped effect ids; empty for all.
    adjust
        ``romano-wolf`` or ``holm``.
    """

    span: Span | None = None
    by: tuple[str, ...] = ()
    contrast: tuple[str, ...] = ()
    effect: tuple[str, ...] = ()
    adjust: Literal["romano-wolf", "holm"] = "romano-wolf"


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of effects, and of contrasts.

    Attributes
    ----------
    outside
        Window, effect, grouping, units and how many of them are in no group: no value there.
    """

    rows: list[Row]
    contrasts: list[Row]
    outside: list[Row] = field(default_factory=list)


def ask(profile: Profile, loaded: LoadedStudy, question: Question) -> Found:
    """Answer from the record, without a refit.

    Effects with groups of their own declaration are shown as recorded; groups of any other column
    are computed from unit scores, each grouping of a run a family of its own.

    Raises
    ------
    UsageError
        A column, an effect, a group or a window that is not there.
    """
    every = current(profile, loaded)
    if question.effect and not any(_matches(question, row) for row in every):
        _unknown_effect(question, every)
    mine = [row for row in every if _matches(question, row)]
    span = question.span
    inside = [
        row
        for row in mine
        if span is None or (row["window_start"], row["window_end"]) == (span.start, span.end)
    ]
    if not question.by and not question.contrast:
        return Found(inside, [])
    return _computed(profile, loaded.study, question, mine, inside)


def _computed(
    profile: Profile, study: Study, question: Question, mine: list[Row], inside: list[Row]
) -> Found:
    from jobs import contrasts as figures
    from jobs.groups import Families

    families = Families.of(profile, study)
    asked = [figures.parse(text, question.by, mine, study.window) for text in question.contrast]
    within = [each for each in asked if isinstance(each, figures.Contrast)]
    windows = [each for each in asked if isinstance(each, figures.WindowContrast)]
    rows = [] if question.by else inside
    compared: list[Row] = []
    for run in _by_run(inside):
        for by in question.by:
            rows += _groups(families, run, by, question)
        for column in dict.fromkeys(each.first.by for each in within):
            these = [each for each in within if each.first.by == column]
            base = _sides(run, column, these, question)
            if base:
                compared += figures.contrast_rows(families, base, these, question.adjust)
    for each in within:
        _refuse_unknown_group(families, each, compared)
    if windows:
        whole = [row for row in mine if row["group_by"] is None]
        compared += figures.window_rows(profile.record_root, whole, windows, question.adjust)
    return Found(rows, compared, _outside(inside, rows) if question.by else [])


def _outside(whole: Sequence[Row], groups: Sequence[Row]) -> list[Row]:
    """Units whose grouping has no value, where there are any."""
    placed: dict[tuple[str, str, str], int] = {}
    for row in groups:
        place = (row["run_key"], ungrouped(row["effect_id"]), row["group_by"])
        placed[place] = placed.get(place, 0) + row["n"]
    have = {(row["run_key"], row["effect_id"]): row for row in whole if row["group_by"] is None}
    return [
        {"window": row["window"], "effect_id": effect_id, "group_by": by}
        | {"n": row["n"], "outside": row["n"] - n}
        for (run_key, effect_id, by), n in placed.items()
        for row in (have[run_key, effect_id],)
        if row["n"] > n
    ]


def _matches(question: Question, row: Row) -> bool:
    name = ungrouped(row["effect_id"])
    return not question.effect or any(fnmatchcase(name, glob) for glob in question.effect)


def _unknown_effect(question: Question, rows: Sequence[Row]) -> None:
    known = sorted({ungrouped(row["effect_id"]) for row in rows})
    close = nearest(question.effect[0], known)
    hint = f"; did you mean {close!r}?" if close else ""
    raise UsageError(
        f"no recorded effect is meant by {question.effect[0]!r}{hint}",
        code="unknown_effect",
        remedy=f"choose one of {listed(known)}, or a glob of them",
    )


def _by_run(rows: Sequence[Row]) -> list[list[Row]]:
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(row["run_key"], []).append(row)
    return list(runs.values())


def _groups(families: Families, run: list[Row], by: str, question: Question) -> list[Row]:
    """Groups of a run: as recorded where that is the family asked for, else computed."""
    from jobs.contrasts import group_rows

    name = group_by_name(grouping(by))
    recorded = [row for row in run if row["group_by"] == name]
    base = _declaring(run, name, question)
    declared = {ungrouped(row["effect_id"]) for row in recorded}
    alone = not question.effect and question.adjust == "romano-wolf"
    if alone and declared == {row["effect_id"] for row in base}:
        return recorded
    return group_rows(families, base, by, question.adjust) if base else []


def _declaring(run: list[Row], name: str | None, question: Question) -> list[Row]:
    """Effects that a grouping is shown of: those asked for, those that declare it, or all."""
    from jobs.contrasts import estimable

    base = estimable(run)
    declared = {ungrouped(row["effect_id"]) for row in run if row["group_by"] == name}
    if question.effect or name is None:
        return base
    return [row for row in base if row["effect_id"] in declared] or base


def _sides(
    run: list[Row], by: str | None, asked: Sequence[Contrast], question: Question
) -> list[Row]:
    """Effects of a run that contrasts over the same columns are about."""
    named = {side.effect for each in asked for side in (each.first, each.second)} - {None}
    base = _declaring(run, by, question)
    if any(each.first.effect is None for each in asked):
        named |= {row["effect_id"] for row in base}
    from jobs.contrasts import estimable

    found = [row for row in estimable(run) if row["effect_id"] in named]
    have = {row["effect_id"] for row in found}
    whole = all(
        side.effect in have | {None} for each in asked for side in (each.first, each.second)
    )
    return found if whole else []


def _refuse_unknown_group(families: Families, asked: Contrast, compared: Sequence[Row]) -> None:
    mine = [row for row in compared if row["contrast"] == asked.text]
    if asked.first.by is None or any(row["error_code"] != "no_group" for row in mine):
        return
    known = families.groups(asked.first.by)
    wrong = [side.value for side in (asked.first, asked.second) if side.value not in known]
    if not wrong:
        return
    close = nearest(str(wrong[0]), known)
    hint = f"; did you mean {close!r}?" if close else ""
    raise UsageError(
        f"no group {asked.first.by}={wrong[0]} is in the window{hint}",
        code="unknown_group",
        where=Where(column=asked.first.by),
        remedy=f"choose two of {listed(known)}",
    )


def current(profile: Profile, loaded: LoadedStudy, span: Span | None = None) -> list[Row]:
    """The latest row of every (window, effect), with its verdict, in order of window and effect.

    Each row has the record's columns, ``window`` (the label), ``verdict`` and ``checks_failed``.
    """
    study = loaded.study
    rows = _latest(_rows(profile, study.study, span))
    if not rows:
        return []
    judged = _judge(profile, study, rows)
    for row in rows:
        verdict = judged[row["run_key"], row["effect_id"]]
        row["sources"] = dict(row["sources"])
        row["window"] = span_of(row["window_start"], row["window_end"], study.window).label
        row["verdict"] = verdict.verdict
        row["checks_failed"] = list(verdict.failed)
    return rows


def _rows(profile: Profile, study: str, span: Span | None) -> list[Row]:
    where = ds.field("study") == study
    if span is not None:
        where &= (ds.field("window_start") == span.start) & (ds.field("window_end") == span.end)
    return list(read_record(profile.record_root, "effects", where).to_pylist())


def _latest(rows: Sequence[Row]) -> list[Row]:
    """Append-only: the row recorded last is the current one."""
    newest: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: (row["recorded_at"], row["run_key"])):
        newest[row["window_start"], row["window_end"], str(row["effect_id"])] = row
    longest_first = sorted(newest, key=lambda place: (place[0], -place[1].timestamp(), place[2]))
    return [newest[place] for place in longest_first]


def _judge(
    profile: Profile, study: Study, rows: Sequence[Row]
) -> Mapping[tuple[str, str], Verdict]:
    """Verdicts by run key and effect id, with today's gates: gates enter no key."""
    keys = sorted({row["run_key"] for row in rows})
    checks: dict[str, list[CheckRow]] = {key: [] for key in keys}
    where = field_in("run_key", keys)
    for row in read_record(profile.record_root, "checks", where, _CHECK_COLUMNS).to_pylist():
        checks[row.pop("run_key")].append(CheckRow(**row))
    judged = {}
    for key in keys:
        ids = [row["effect_id"] for row in rows if row["run_key"] == key]
        for effect_id, verdict in verdicts(study, ids, checks[key]).items():
            judged[key, effect_id] = verdict
    return judged


def as_object(study: str, found: Found) -> dict[str, Any]:
    """The object of the JSON contract.

    ``contrasts`` is there where any were asked for, ``outside`` where units are in no group.
    """
    hidden = ("window", "verdict")
    effects = [{name: row[name] for name in row if name not in hidden} for row in found.rows]
    shown = {"schema": SCHEMA, "study": study, "effects": effects}
    if found.contrasts:
        shown["contrasts"] = found.contrasts
    if found.outside:
        shown["outside"] = found.outside
    return shown
