"""The reviewer's decision: promote or reject, with a name and a reason, once and for the record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from conf.names import listed, nearest
from conf.profile import Profile
from conf.study import Study
from estimators.errors import ContractError, GateError, RetryableError, UsageError, Where
from jobs.contracts import REVIEWS
from jobs.failpoints import reach
from jobs.lake import append_once
from jobs.registry import standing
from jobs.registry.standing import CANDIDATE, Decision, Judged, Meant, Register, Standing

PROMOTED, REJECTED = "promoted", "rejected"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a reviewer says of an effect.

    Attributes
    ----------
    meant
        The run that it is about; by default the candidate.
    """

    effect_id: str
    decision: str
    reason: str
    reviewer: str
    meant: Meant = CANDIDATE


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, and whether this call wrote it (or it was there already)."""

    decision: Decision
    wrote: bool


def decide(profile: Profile, study: Study, ruling: Ruling) -> Decided:
    """Write a decision into ``reviews``. The same decision a second time adds nothing.

    Raises
    ------
    UsageError
        No name, no reason, no such effect, or nothing to decide on.
    GateError
        The run to promote has failed a gate: a failed gate never moves the champion.
    RetryableError
        Another reviewer decided on the same effect meanwhile (``review_conflict``).
    """
    _check(ruling)
    root = profile.record_root
    known = standing.read_register(root, study)
    _check_effect(known, ruling)
    now = known.standing(ruling.effect_id, ruling.meant)
    before = now.promotion
    already = _already(now, ruling)
    if already is not None:
        return Decided(already, wrote=False)
    target = _to_promote(now, ruling) if ruling.decision == PROMOTED else _to_reject(now, ruling)
    decision = Decision(
        target.run_key,
        ruling.effect_id,
        ruling.decision,
        ruling.reason.strip(),
        ruling.reviewer.strip(),
        before.run_key if before else None,
        _moment(now.decisions),
    )
    return _write(root, study, now, decision)


def _check(ruling: Ruling) -> None:
    for name, text in (("--reviewer", ruling.reviewer), ("--reason", ruling.reason)):
        if not text.strip():
            raise UsageError(
                f"a decision needs {name}",
                code="no_reason",
                remedy=f"say {name} '...': it stands in the record beside the decision",
            )


def _check_effect(known: Register, ruling: Ruling) -> None:
    ids = standing.effect_ids(known.study, known)
    if ruling.effect_id not in ids:
        close = nearest(ruling.effect_id, ids)
        hint = f"; did you mean {close!r}?" if close else ""
        raise UsageError(
            f"no effect {ruling.effect_id!r} in {known.study.study}{hint}",
            code="no_effect",
            remedy=f"choose one of {listed(ids)}",
        )


def _already(now: Standing, ruling: Ruling) -> Decision | None:
    """The decision that is there: the last one, in the same words, on the run that is meant.

    Where no run is named, nothing may have been recorded since that is open for decision.
    """
    last = now.decisions[-1] if now.decisions else None
    if last is None:
        return None
    said = (ruling.decision, ruling.reason.strip(), ruling.reviewer.strip())
    if said != (last.decision, last.reason, last.reviewer):
        return None
    found = [each for each in (now.candidate, *now.refused) if each]
    if ruling.meant.named:
        return last if last.run_key in [each.run_key for each in found] else None
    if ruling.decision == PROMOTED and now.candidate is not None:
        return None
    old = all(each.row["recorded_at"] <= last.recorded_at for each in found)
    return last if old else None


def _to_promote(now: Standing, ruling: Ruling) -> Judged:
    where = Where(window=str(ruling.meant) or None)
    if now.candidate is not None:
        if now.promotion is not None and now.promotion.run_key == now.candidate.run_key:
            raise UsageError(
                f"{ruling.effect_id} of {now.candidate.span.label} is the champion already",
                code="already_champion",
                where=where,
                remedy="`causeway review STUDY` shows who promoted it, and why",
            )
        return now.candidate
    if now.refused:
        first = now.refused[0]
        if not first.verdict.gates_failed:
            raise ContractError(
                f"{ruling.effect_id} has no estimate in {first.span.label}"
                f" ({first.row['error_code']})",
                code="not_estimable",
                where=Where(window=first.span.label),
                remedy="promote another window with --window",
            )
        raise GateError(
            f"{ruling.effect_id} of {first.span.label} failed"
            f" {', '.join(first.verdict.gates_failed)}; a failed gate never moves the champion",
            where=Where(window=first.span.label),
            remedy=_ways_out(first),
        )
    raise UsageError(
        f"nothing to promote of {ruling.effect_id}",
        code="no_candidate",
        where=where,
        remedy="`causeway review STUDY` shows what stands for decision; --window names a window",
    )


def _ways_out(judged: Judged) -> str:
    if any(name.startswith("drift.") for name in judged.verdict.gates_failed):
        return (
            "if the world has changed and the old estimate no longer holds, --reject the"
            " champion's --window with that reason first: without a champion nothing drifts"
        )
    return "promote another window with --window, or change `publish.gates` of the study"


def _to_reject(now: Standing, ruling: Ruling) -> Judged:
    """The run meant: of the window, else the candidate, else the newest that its gates refused."""
    found = [each for each in (now.candidate, *now.refused) if each is not None]
    if found:
        return found[0]
    raise UsageError(
        f"nothing to reject of {ruling.effect_id}",
        code="no_candidate",
        where=Where(window=str(ruling.meant) or None),
        remedy="name the --window of the run, the champion's for instance",
    )


def _moment(decisions: tuple[Decision, ...]) -> datetime:
    """Now, and after the last decision whatever the clock says: decisions have an order."""
    now = datetime.now(UTC)
    if not decisions:
        return now
    return max(now, decisions[-1].recorded_at + timedelta(microseconds=1))


def _write(root: str, study: Study, now: Standing, decision: Decision) -> Decided:
    """Append under the decision's number: of two reviewers at once one is second."""
    row = {name: getattr(decision, name) for name in REVIEWS.names}
    key = f"review:{study.study}:{decision.effect_id}:{len(now.decisions)}"
    reach("review.before_record")
    if append_once(root, "reviews", key, pa.Table.from_pylist([row], schema=REVIEWS)):
        reach("review.after_record")
        return Decided(decision, wrote=True)
    raise RetryableError(
        f"somebody else decided on {decision.effect_id} at the same time",
        code="review_conflict",
        where=Where(table="reviews"),
        remedy="look at `causeway review` again, then decide",
    )
