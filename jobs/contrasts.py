"""What is asked of a record after the fact: groups of any column, and contrasts. No refit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from threadpoolctl import threadpool_limits

from conf.names import listed, nearest
from conf.plan import grouping
from conf.windows import Span, parse_span
from estimators.contrasts import between, contrasts
from estimators.effects import group_by_name, grouped_id
from estimators.errors import UsageError, Where
from estimators.inference import Adjust, Estimate, conclude
from jobs.groups import Families
from jobs.pages import wording
from jobs.registry.comparison import Sums, influences

Row = dict[str, Any]
_FIGURES = tuple(each.name for each in fields(Estimate) if each.name != "effect_id")
_EMPTY = ("naive", "clipped_share")
_RULE = "--contrast A,B: two groups (origin=JFK,origin=LGA), two effects, or two windows"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a contrast.

    Attributes
    ----------
    effect
        Ungrouped effect id; None for every effect that is shown.
    by, value
        The group; None for the whole window.
    """

    effect: str | None
    by: str | None
    value: str | None

    def of(self, effect_id: str) -> str:
        """The side's id, for a contrast of every effect within `effect_id`."""
        own = self.effect or effect_id
        return own if self.by is None else grouped_id(own, self.by, str(self.value))


@dataclass(frozen=True, slots=True)
class Contrast:
    """The first side less the second, as it was asked for."""

    text: str
    first: Side
    second: Side


@dataclass(frozen=True, slots=True)
class WindowContrast:
    """Every effect of the first window less the same of the second."""

    text: str
    first: Span
    second: Span


def group_rows(families: Families, rows: Sequence[Row], by: str, adjust: Adjust) -> list[Row]:
    """Rows of ``effects`` for every group of a column, for effects of one run.

    Parameters
    ----------
    rows
        The run's ungrouped, estimable rows: each stands for an effect.
    by
        Columns as in a study's ``by:``.
    """
    base = {str(row["effect_id"]): row for row in rows}
    name = group_by_name(grouping(by))
    with threadpool_limits(limits=1):
        family = families.family(_run_key(rows), by, list(base))
        found = conclude(
            family.ids, family.solved, family.clusters, rows[0]["level"], adjust=adjust
        )
    return [_group_row(base, each, name) for each in found]


def _group_row(base: Mapping[str, Row], each: Estimate, name: str) -> Row:
    effect_id, _, group = each.effect_id.partition("@")
    row = base[effect_id] | dict.fromkeys(_EMPTY) | _figures(each)
    row |= {"group_by": name, "group_value": group.removeprefix(f"{name}=")}
    return row | {"effect_id": each.effect_id}


def _figures(each: Estimate) -> Row:
    status = "failed" if each.error_code else "ok"
    return {name: getattr(each, name) for name in _FIGURES} | {"status": status}


def _run_key(rows: Iterable[Row]) -> str:
    (key,) = {str(row["run_key"]) for row in rows}
    return key


def parse(
    text: str, by: Sequence[str], rows: Sequence[Row], window: Any
) -> Contrast | WindowContrast:
    """Read a contrast as a user writes it.

    Parameters
    ----------
    by
        Groupings that are shown: where there is just one, sides may be its values alone.
    rows
        Rows of the record: the effects and windows that sides may name.
    window
        The study's `window` section.

    Raises
    ------
    UsageError
        Not two sides, two that are alike, or two of different kinds.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:  # noqa: PLR2004  two sides
        raise _bad(text, "a contrast has two sides, and they differ")
    effects = sorted({str(row["effect_id"]) for row in rows if row["group_by"] is None})
    labels = sorted({str(row["window"]) for row in rows})
    sides = [_side(part, by, effects) for part in parts]
    first, second = sides
    if first is None and second is None:
        spans = [_span(part, window, effects, labels) for part in parts]
        return WindowContrast(text, spans[0], spans[1])
    if first is None or second is None:
        raise _bad(text, "one side is a group or an effect, the other is not")
    if (first.effect is None) != (second.effect is None) or first.by != second.by:
        raise _bad(text, "both sides need the same columns, and an effect or none")
    return Contrast(text, first, second)


def _side(part: str, by: Sequence[str], effects: Sequence[str]) -> Side | None:
    effect, at, group = part.partition("@")
    if at:
        name, _, value = group.partition("=")
        return Side(_known(effect, effects), name, value)
    if part in effects:
        return Side(part, None, None)
    name, equals, value = part.partition("=")
    if equals:
        return Side(None, group_by_name(grouping(name)), value)
    return Side(None, group_by_name(grouping(by[0])), part) if len(by) == 1 else None


def _known(effect: str, effects: Sequence[str]) -> str:
    if effect in effects:
        return effect
    close = nearest(effect, effects)
    hint = f"; did you mean {close!r}?" if close else ""
    raise UsageError(
        f"no effect {effect!r} is recorded{hint}",
        code="unknown_effect",
        remedy=f"choose one of {listed(effects)}",
    )


def _span(part: str, window: Any, effects: Sequence[str], labels: Sequence[str]) -> Span:
    try:
        span = parse_span(part, window)
    except UsageError as error:
        close = nearest(part, [*effects, *labels])
        hint = f"; did you mean {close!r}?" if close else ""
        raise UsageError(
            f"{part!r} is no group, effect or window{hint}",
            code="bad_contrast",
            remedy=f"write {_RULE}; with one --by, its values alone",
        ) from error
    if span.label not in labels:
        raise UsageError(
            f"window {span.label} is not recorded",
            code="not_recorded",
            where=Where(window=span.label),
            remedy=f"choose two of {listed(labels)}, or run it",
        )
    return span


def _bad(text: str, why: str) -> UsageError:
    return UsageError(f"{text!r}: {why}", code="bad_contrast", remedy=f"write {_RULE}")


def contrast_rows(
    families: Families, rows: Sequence[Row], asked: Sequence[Contrast], adjust: Adjust
) -> list[Row]:
    """Contrasts of one run over the same columns; they are a family.

    A contrast whose groups the run does not hold has status ``failed`` and code ``no_group``.

    Parameters
    ----------
    rows
        The run's ungrouped, estimable rows: each stands for an effect.
    """
    base = {str(row["effect_id"]): row for row in rows}
    sides = [
        (each, each.first.of(effect_id), each.second.of(effect_id))
        for each in asked
        for effect_id in ([*base] if each.first.effect is None else [each.first.effect])
    ]
    with threadpool_limits(limits=1):
        family = families.family(_run_key(rows), asked[0].first.by, list(base))
        place = {name: i for i, name in enumerate(family.ids)}
        there = [each for each in sides if each[1] in place and each[2] in place]
        pairs = [(place[first], place[second]) for _, first, second in there]
        level = rows[0]["level"]
        found = contrasts(family, pairs, level, adjust) if pairs else []
    estimated = {(first, second): one for (_, first, second), one in zip(there, found, strict=True)}
    return [
        _contrast_row(
            each.text, (rows[0], first), (rows[0], second), estimated.get((first, second))
        )
        for each, first, second in sides
    ]


def _contrast_row(
    text: str, first: tuple[Row, str], second: tuple[Row, str], each: Estimate | None
) -> Row:
    code = "no_group" if each is None else each.error_code
    row = first[0]
    figures = dict.fromkeys(_FIGURES) if each is None else _figures(each)
    del figures["n"]
    return (
        {
            "contrast": text,
            "study": row["study"],
            "first": _reference(*first),
            "second": _reference(*second),
            "se_kind": row["se_kind"],
            "level": row["level"],
        }
        | figures
        | {"status": "failed" if code else "ok", "error_code": code}
    )


def _reference(row: Row, effect_id: str) -> Row:
    kept = ("run_key", "window_start", "window_end", "window")
    return {"effect_id": effect_id} | {name: row[name] for name in kept}


def window_rows(
    record_root: str, rows: Sequence[Row], asked: Sequence[WindowContrast], adjust: Adjust
) -> list[Row]:
    """Contrasts of windows, for every ungrouped effect that both hold; all are one family.

    Parameters
    ----------
    rows
        Ungrouped rows of all windows.
    """
    sums = Sums.of(record_root)
    found: list[tuple[str, Row, Row, Any]] = []
    for each in asked:
        now, then = (
            {str(row["effect_id"]): row for row in rows if row["window"] == span.label}
            for span in (each.first, each.second)
        )
        found += [
            (each.text, now[name], then[name], influences(sums, now[name], then[name]))
            for name in now
            if name in then
        ]
    good = [each for each in found if not isinstance(each[3], str)]
    ids = [f"{text}: {now['effect_id']}" for text, now, _, _ in good]
    with threadpool_limits(limits=1):
        pairs = [each[3] for each in good]
        estimated = iter(between(ids, pairs, rows[0]["level"], adjust) if good else [])
    return [
        _window_row(text, now, then, pair if isinstance(pair, str) else next(estimated))
        for text, now, then, pair in found
    ]


def _window_row(text: str, now: Row, then: Row, each: Estimate | str) -> Row:
    sides = [(row, str(row["effect_id"])) for row in (now, then)]
    if isinstance(each, str):
        return _contrast_row(text, sides[0], sides[1], None) | {"error_code": each}
    return _contrast_row(text, sides[0], sides[1], each) | {"se_hc0": None}


def estimable(rows: Iterable[Row]) -> list[Row]:
    """Ungrouped rows that have an estimate: what groups and contrasts can be had of."""
    return [row for row in rows if row["group_by"] is None and wording.estimable(row)]
