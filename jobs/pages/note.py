"""Notes in MLflow: the run's, its estimates' and the experiment's. Each begins with the verdict.

MLflow shows about a hundred pixels before "Show more": a headline and two lines. A note over 8,000
characters would be cut without a word, so it is made shorter here.
"""

from __future__ import annotations

from collections.abc import Mapping

from conf.plan import asserted_covariates, history_columns, joint_treatments
from jobs.pages import wording
from jobs.pages.evidence import Evidence, RecordedWindow
from jobs.pages.reasons import Finding, counts, findings, line, why
from jobs.pages.views import (
    ESTIMANDS,
    REVIEW,
    TIMELINE,
    artifact_link,
    compare_link,
    run_link,
    view_link,
)
from jobs.pages.wording import Row

TARGET = 3_000
"""Characters that a note should not exceed."""
LIMIT = 7_500
"""Characters that a note never exceeds: MLflow cuts at 8,000."""
_ROWS = 8
_WHY = 5
_NAMED = 2
_NAMES = 30


def run_note(
    evidence: Evidence,
    experiment: str,
    run: str,
    data: Mapping[str, int],
    *,
    previous_run: str | None = None,
) -> str:
    """The note of a window: verdict, links, picture, table, checks in words, data and command.

    Parameters
    ----------
    data
        Source table to version.
    previous_run
        The MLflow run of the window before, to compare with.
    """
    rows = _ROWS
    while True:
        parts = [
            headline(evidence),
            _links(evidence, experiment, run, previous_run),
            f"![effects](get-artifact?path=forest.png&run_uuid={run})",
            _table(evidence, rows),
            _checks(evidence),
            _story(evidence, data),
        ]
        text = "\n\n".join(part for part in parts if part)
        if len(text) <= TARGET or rows == 1:
            return text[:LIMIT]
        rows -= 1


def headline(evidence: Evidence) -> str:
    """One sentence with the verdict, in bold."""
    return f"**{evidence.verdict.upper()}: {summary(evidence)}.**"


def summary(evidence: Evidence) -> str:
    """The effect, its change, and what its checks say, without the verdict."""
    passed, judged = counts(evidence)
    parts = [sentence(evidence.main)]
    if evidence.previous is not None:
        moved = change(evidence.main, evidence.previous)
        if moved:
            parts.append(f"{moved} vs {evidence.previous.label}")
    if judged:
        parts.append(f"{passed} of {judged} checks pass")
    worst = [each for each in findings(evidence) if each.status != "pass"]
    verbs = {"fail": "fails", "warn": "warns"}
    parts += [f"{each.name} {verbs[each.status]}" for each in worst[:_NAMED]]
    if len(worst) > _NAMED:
        parts.append(f"{len(worst) - _NAMED} more below")
    return "; ".join(parts)


def sentence(row: Row) -> str:
    """The effect in a sentence: ``rain changes dep_delay by 18.3 (95 % CI 13.8 to 22.8)``."""
    what = f"{wording.treatment(row)} on {row['outcome']}"
    if not wording.estimable(row):
        return f"the effect of {what} is {wording.interval(row)}"
    places = wording.decimals(row["se"])
    theta, low, high = (row[name] for name in ("theta", "ci_low", "ci_high"))
    if wording.is_mean(row):
        text = f"with {wording.treatment(row)} the mean of {row['outcome']} is {theta:,.{places}f}"
        return f"{text} ({wording.level(row)} CI {low:,.{places}f} to {high:,.{places}f})"
    verb = "raises" if theta > 0 else "lowers"
    shown = theta if verb == "raises" else -theta
    bounds = (low, high) if verb == "raises" else (-high, -low)
    text = (
        f"{wording.treatment(row)} {verb} {row['outcome']} by {shown:,.{places}f}"
        f" ({wording.level(row)} CI {bounds[0]:,.{places}f} to {bounds[1]:,.{places}f},"
        f" {wording.model(row)})"
    )
    return text if low > 0 or high < 0 else f"no clear effect: {text}"


def change(row: Row, previous: RecordedWindow) -> str:
    """The change of an effect since a window, ``+0.30``; empty where there is none to compare."""
    before = previous.effects.get(row["effect_id"])
    if before is None or not wording.estimable(before) or not wording.estimable(row):
        return ""
    return wording.signed(row["theta"] - before["theta"], wording.decimals(row["se"]))


def _links(evidence: Evidence, experiment: str, run: str, previous_run: str | None) -> str:
    links = [f"[Report]({artifact_link(experiment, run, 'report.html')})"]
    if previous_run is not None and evidence.previous is not None:
        address = compare_link(experiment, [previous_run, run])
        links.append(f"[vs {evidence.previous.label}]({address})")
    links.append(f"[All windows]({view_link(experiment, REVIEW)})")
    links.append(f"[Timeline]({view_link(experiment, TIMELINE)})")
    links.append(f"[Figures]({artifact_link(experiment, run, 'figures')})")
    return " · ".join(links)


def _table(evidence: Evidence, limit: int) -> str:
    before = evidence.previous
    level = wording.level(evidence.main)
    heads = ["Effect", f"Estimate ({level} CI)", "Naive"]
    if before is not None:
        heads += [before.label, "Change"]
    heads.append("Verdict")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    rows = [evidence.row(each) for each in evidence.headline]
    for place, row in enumerate(rows[:limit]):
        cells = [wording.name(row), wording.interval(row), wording.number(row["naive"])]
        if place == 0:
            cells[0] = f"**{cells[0]}**"
        if before is not None:
            old = before.effects.get(row["effect_id"])
            cells += [wording.interval(old) if old else "", change(row, before)]
        cells.append(evidence.verdicts[row["effect_id"]].verdict)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    left = len(evidence.effects) - len(rows[:limit])
    if left:
        lines.append(f"\nThe other {left} effects, groups among them: `tables/effects.csv`")
    return "\n".join(lines)


def _checks(evidence: Evidence) -> str:
    found = findings(evidence)
    parts = [" · ".join(line(each) for each in found)] if found else ["No checks were asked for."]
    bad = [each for each in found if each.status != "pass"]
    if bad:
        parts.append(f"Why {evidence.verdict}:\n" + "\n".join(_reasons(evidence, bad)))
    return "\n\n".join(parts)


def _reasons(evidence: Evidence, bad: list[Finding]) -> list[str]:
    lines = [f"- {why(evidence, each)}." for each in bad[:_WHY]]
    if len(bad) > _WHY:
        lines.append(f"- {len(bad) - _WHY} more: `checks.json`")
    return lines


def _story(evidence: Evidence, data: Mapping[str, int]) -> str:
    study = evidence.study
    main = evidence.main
    tables = ", ".join(f"{name} v{version}" for name, version in sorted(data.items()))
    size = f"{main['n']:,} units"
    if main["n_clusters"] is not None:
        size += f" in {main['n_clusters']:,} clusters ({study.units.cluster})"
    made = sorted(history_columns(study))
    asserted = asserted_covariates(study)
    more = f" and {len(asserted) - _NAMES} more" if len(asserted) > _NAMES else ""
    guarded = f" Guarded by time: {', '.join(made)}." if made else ""
    together = joint_treatments(study)
    joint = f"One joint fit (PLR): {', '.join(together)}, each with the others held."
    return "\n\n".join(
        [
            *([joint] if together else []),
            f"Data: {tables} · {size} · run key {evidence.run_key[:12]}",
            "Asserted to be before treatment (nothing can check it): "
            f"{', '.join(asserted[:_NAMES])}{more}.{guarded}",
            f"Again: `causeway run {study.study} --window {evidence.label}`",
        ]
    )


def estimate_note(evidence: Evidence, row: Row, experiment: str, parent: str) -> str:
    """The note of one effect's run: its sentence, and where the evidence is."""
    verdict = evidence.verdicts[row["effect_id"]]
    failed = f" Failed: {', '.join(verdict.failed)}." if verdict.failed else ""
    return (
        f"**{verdict.verdict.upper()}: {sentence(row)}.**\n\n"
        f"The {wording.estimand(row)}, naive difference {wording.number(row['naive'])}.{failed}\n\n"
        f"[The window's run, with figures and checks]({run_link(experiment, parent)})"
    )


def experiment_note(evidence: Evidence, experiment: str, promoted: str = "none yet") -> str:
    """The experiment's note; line 1: question, current effect, promoted window, three links."""
    latest = max(evidence.windows, key=lambda each: (each.end, each.end - each.start))
    row = latest.effects.get(evidence.main["effect_id"])
    current = f"{latest.label}: {wording.interval(row)}" if row else latest.label
    question = evidence.study.question or f"Study {evidence.study.study}"
    links = " · ".join(
        f"[{name}]({view_link(experiment, name)})" for name in (REVIEW, TIMELINE, ESTIMANDS)
    )
    return (
        f"**{question}** {current} · promoted: {promoted} · {links}\n\n"
        f"{wording.name(evidence.main)}. {_count(len(evidence.windows), 'window')} recorded."
        " The record of truth is in the Delta tables; what is here can be written anew from them."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
