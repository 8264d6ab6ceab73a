"""`review`: candidate beside champion, and the reviewer's decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conf.load import LoadedStudy
from conf.profile import Profile
from conf.windows import parse_span
from estimators.errors import UsageError
from jobs.pages import wording
from jobs.registry.standing import (
    CANDIDATE,
    Decision,
    Judged,
    Meant,
    Standing,
    effect_ids,
    read_register,
)

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "causeway.review/1"
_COLOURS = {"holds": "green", "doubtful": "yellow", "rejected": "red"}


@dataclass(frozen=True, slots=True)
class Request:
    """What a reviewer asked for.

    Attributes
    ----------
    promote, reject
        Effect ids; at most one of the two is given.
    window, run
        The run that is meant, where it is not the candidate.
    """

    promote: Sequence[str] = ()
    reject: Sequence[str] = ()
    window: str | None = None
    run: str | None = None
    reason: str = ""
    reviewer: str = ""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The standings of a study, after the decisions of this call.

    Attributes
    ----------
    decided
        Decisions, and whether this call wrote each.
    """

    study: str
    standings: tuple[Standing, ...]
    decided: tuple[tuple[Decision, bool], ...]


def review(place: Profile, loaded: LoadedStudy, request: Request) -> Reviewed:
    """Decide where asked to, then show where every effect stands.

    The decision is in the record before MLflow hears of it: where that fails, the same command
    again, or the next run, brings MLflow up to date.

    Raises
    ------
    UsageError, GateError, RetryableError
        As for `jobs.registry.review.decide`.
    """
    from jobs.registry.review import PROMOTED, REJECTED, Ruling, decide

    meant = _meant(loaded, request)
    if request.promote and request.reject:
        raise UsageError("--promote and --reject in one command", remedy="decide in two commands")
    decided = []
    for word, effects in ((PROMOTED, request.promote), (REJECTED, request.reject)):
        for effect_id in effects:
            ruling = Ruling(effect_id, word, request.reason, request.reviewer, meant)
            done = decide(place, loaded.study, ruling)
            decided.append((done.decision, done.wrote))
            _tell(place, loaded, effect_id)
    known = read_register(place.record_root, loaded.study)
    shown = CANDIDATE if decided else meant
    ids = effect_ids(loaded.study, known)
    standings = tuple(known.standing(each, shown) for each in ids if each in known.rows)
    return Reviewed(loaded.study.study, standings, tuple(decided))


def _tell(place: Profile, loaded: LoadedStudy, effect_id: str) -> None:
    from jobs.registry.champion import sync

    sync(place, loaded, effect_id)


def _meant(loaded: LoadedStudy, request: Request) -> Meant:
    if request.window and request.run:
        raise UsageError("--window and --run both name a run", remedy="give one of them")
    if request.run is not None and len(request.run) < 8:  # noqa: PLR2004
        raise UsageError("a run key of less than 8 digits", remedy="give at least 8 of its digits")
    span = parse_span(request.window, loaded.study.window) if request.window else None
    return Meant(span, request.run or "")


def as_object(reviewed: Reviewed) -> dict[str, Any]:
    """The object of the JSON contract."""
    return {
        "schema": SCHEMA,
        "study": reviewed.study,
        "effects": [_standing(each) for each in reviewed.standings],
        "decided": [_decision(each) | {"wrote": wrote} for each, wrote in reviewed.decided],
        "error": None,
    }


def _standing(standing: Standing) -> dict[str, Any]:
    promotion = standing.promotion
    return {
        "effect_id": standing.effect_id,
        "champion": _judged(standing.champion),
        "promoted": _decision(promotion) if promotion else None,
        "candidate": _judged(standing.candidate),
        "refused": [_judged(each) for each in standing.refused],
        "decisions": [_decision(each) for each in standing.decisions],
    }


def _decision(decision: Decision) -> dict[str, Any]:
    names = ("run_key", "effect_id", "decision", "reason", "reviewer", "previous", "recorded_at")
    return {name: getattr(decision, name) for name in names}


def _judged(judged: Judged | None) -> dict[str, Any] | None:
    if judged is None:
        return None
    row, against = judged.row, judged.against
    names = ("n", "n_clusters", "theta", "se", "ci_low", "ci_high", "status", "error_code")
    drift = None
    if against is not None:
        drift = {"champion": against.then, "reason": against.reason or None}
        found = against.drift
        for name in ("difference", "se", "z", "p_value", "correlation", "shared"):
            drift[name] = getattr(found, name) if found else None
    return {
        "run_key": judged.run_key,
        "window": judged.span.label,
        "window_start": judged.span.start,
        "window_end": judged.span.end,
        **{name: row[name] for name in names},
        "sources": dict(row["sources"]),
        "verdict": judged.verdict.verdict,
        "checks_failed": list(judged.verdict.failed),
        "gates_failed": list(judged.verdict.gates_failed),
        "promotable": judged.passes,
        "drift": drift,
    }


def text(reviewed: Reviewed) -> str:
    """Candidate beside champion, a block an effect, and what to do next."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from pipelines.tables import rendered

    if not reviewed.standings:
        return f"{reviewed.study}: nothing is recorded yet\n"
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("effect", "", "window"):
        table.add_column(name)
    table.add_column("estimate [CI]", justify="right")
    for name in ("drift from the champion", "verdict", "failed", "data"):
        table.add_column(name)
    for standing in reviewed.standings:
        _rows(table, standing)
    said = [_said(decision, wrote) for decision, wrote in reviewed.decided]
    return "\n".join([*said, rendered(table), _next(reviewed)])


def _rows(table: Table, standing: Standing) -> None:
    lines: list[tuple[str, Judged]] = []
    if standing.champion is not None:
        lines.append(("champion", standing.champion))
    if standing.candidate is not None:
        lines.append(("candidate", standing.candidate))
    lines += [("refused", each) for each in standing.refused[:3]]
    for place, (name, judged) in enumerate(lines):
        verdict = judged.verdict.verdict
        failed = dict.fromkeys((*judged.verdict.gates_failed, *judged.verdict.failed))
        table.add_row(
            standing.effect_id if place == 0 else "",
            name,
            judged.span.label,
            wording.interval(judged.row).replace("[", "\\["),
            _drift(judged),
            f"[{_COLOURS[verdict]}]{verdict}[/]",
            ", ".join(failed),
            _data(judged.row["sources"]),
        )


def _drift(judged: Judged) -> str:
    from jobs.registry.champion import drift_text

    return drift_text(judged).replace(" vs the champion", "")


def _data(sources: Mapping[str, int]) -> str:
    return ", ".join(f"{name} v{version}" for name, version in sources.items())


def _said(decision: Decision, wrote: bool) -> str:
    already = "" if wrote else " (already in the record)"
    return (
        f"{decision.decision} {decision.effect_id}, run {decision.run_key[:12]}, by"
        f" {decision.reviewer}: {decision.reason}{already}"
    )


def _next(reviewed: Reviewed) -> str:
    open_ones = [each.effect_id for each in reviewed.standings if each.candidate is not None]
    if not open_ones:
        return "nothing stands for decision\n"
    return (
        f"to decide: causeway review {reviewed.study} --promote {open_ones[0]}"
        " --reviewer NAME --reason '...'   (or --reject)\n"
    )
