"""The report of a run: one HTML file that needs nothing beside it.

MLflow shows it in a sandbox without an origin: scripts and data URIs work there, `#anchor` links,
external addresses and storage do not (so the contents scroll by script).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePosixPath

from conf.gates import CheckRow
from conf.plan import asserted_covariates, history_columns, joint_treatments
from jobs.lake import Pin
from jobs.pages import wording
from jobs.pages.evidence import Evidence
from jobs.pages.note import change, summary
from jobs.pages.reasons import counts, findings, line, why
from jobs.pages.wording import Row

_GROUPS_SHOWN = 200
_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --quiet: #5b6470; --line: #d9dee4; --pale: #f5f7f9 }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.25rem 4rem; color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; background: #fff }
h1 { font-size: 1.35rem; line-height: 1.3; margin: .5rem 0 }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line) }
nav { position: sticky; top: 0; background: #fff; padding: .4rem 0; z-index: 1;
  border-bottom: 1px solid var(--line) }
nav button { font: inherit; border: 0; background: none; color: #0b5cad; cursor: pointer;
  padding: .2rem .5rem .2rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .88rem }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
th.number { text-align: right }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
tr.whole td:first-child { font-weight: 600 }
img { max-width: 100%; height: auto; display: block; margin: .6rem 0 1.4rem }
pre { background: var(--pale); padding: .8rem; overflow-x: auto; font-size: .82rem }
.verdict { display: inline-block; padding: .1rem .6rem; border-radius: .3rem; font-weight: 600 }
.holds { background: #d7efe0 } .doubtful { background: #fdebc8 } .rejected { background: #f8d7d5 }
.quiet { color: var(--quiet) }
@media print { nav { display: none } }
"""
_SCRIPT = """
for (const button of document.querySelectorAll('nav button'))
  button.onclick = () => document.getElementById(button.value).scrollIntoView({block: 'start'});
"""


def report(evidence: Evidence, pins: Mapping[str, Pin], figures: Mapping[str, bytes]) -> bytes:
    """Write the report.

    Parameters
    ----------
    pins
        Source, calibration or training table to the version that was read.
    figures
        Path among the artifacts to a PNG; other files are left out.
    """
    sections = {
        "Effects": _effects(evidence),
        "Figures": _figures(figures),
        "Checks": _checks(evidence),
        "Windows": _windows(evidence),
        "Data": _data(evidence, pins),
        "Study": f"<pre>{escape(evidence.text)}</pre>",
    }
    contents = "".join(f'<button value="{name}">{name}</button>' for name in sections)
    body = "".join(f'<h2 id="{name}">{name}</h2>{text}' for name, text in sections.items())
    title = f"{evidence.study.study} {evidence.label}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{_head(evidence)}<nav>{contents}</nav>{body}"
        f"<script>{_SCRIPT}</script></body></html>\n"
    ).encode()


def _head(evidence: Evidence) -> str:
    passed, judged = counts(evidence)
    return (
        f'<p class="quiet">{escape(evidence.study.study)} · {escape(evidence.label)}</p>'
        f"<h1>{escape(evidence.study.question or evidence.study.study)}</h1>"
        f'<p><span class="verdict {evidence.verdict}">{evidence.verdict}</span>'
        f" {passed} of {judged} checks pass</p><p>{escape(summary(evidence))}.</p>"
    )


def _effects(evidence: Evidence) -> str:
    level = wording.level(evidence.main)
    previous = evidence.previous
    heads = ["Effect", f"Estimate [{level} CI]", "Band", "SE", "SE, units apart", "Naive", "n"]
    heads += [f"Change since {previous.label}"] if previous else []
    heads += ["Verdict"]
    shown = evidence.effects[:_GROUPS_SHOWN]
    rows = [_effect(evidence, row) for row in shown]
    kinds = ["whole" if row["group_by"] is None else "" for row in shown]
    left = len(evidence.effects) - len(shown)
    more = f'<p class="quiet">{left} more: tables/effects.csv</p>' if left else ""
    return _table(heads, rows, kinds, words={0, len(heads) - 1}) + more


def _effect(evidence: Evidence, row: Row) -> list[str]:
    numbers = (wording.number(row[name]) for name in ("se", "se_hc0", "naive"))
    cells = [wording.name(row), wording.interval(row), _band(row), *numbers, f"{row['n']:,}"]
    if evidence.previous:
        cells.append(change(row, evidence.previous))
    return [*cells, evidence.verdicts[row["effect_id"]].verdict]


def _band(row: Row) -> str:
    """The simultaneous interval over the effect's family."""
    low, high = row["band_low"], row["band_high"]
    if not wording.finite(low) or not wording.finite(high):
        return ""
    places = wording.decimals(row["se"])
    return f"[{low:,.{places}f}, {high:,.{places}f}]"


def _checks(evidence: Evidence) -> str:
    found = findings(evidence)
    reasons = "".join(
        f"<li>{escape(line(each).replace('**', ''))}: {escape(why(evidence, each))}.</li>"
        for each in found
        if each.status != "pass"
    )
    said = f"<ul>{reasons}</ul>" if reasons else "<p>Every judged check passes.</p>"
    heads = ["Check", "Effect", "Value", "Bound", "Result"]
    return said + _table(heads, [_check(each) for each in evidence.checks], words={0, 1, 4})


def _check(row: CheckRow) -> list[str]:
    bound = f"{row.op} {wording.number(row.threshold)}" if row.op else ""
    result = {True: "pass", False: "fails", None: "for information"}[row.passed]
    title = f"{row.check}.{row.metric}: {wording.metric_title(row.check, row.metric)}"
    return [title, row.effect_id or "the study", wording.number(row.value), bound, result]


def _figures(figures: Mapping[str, bytes]) -> str:
    parts = []
    for path, content in figures.items():
        if path.endswith(".png"):
            data = base64.b64encode(content).decode()
            name = escape(PurePosixPath(path).stem.replace("_", " "))
            parts.append(f'<img alt="{name}" src="data:image/png;base64,{data}">')
    return "".join(parts)


def _windows(evidence: Evidence) -> str:
    main = evidence.main["effect_id"]
    rows = []
    for window in evidence.windows:
        row = window.effects.get(main)
        rows.append([window.label, wording.interval(row) if row else "", window.run_key[:12]])
    return f"<p>{escape(wording.name(evidence.main))}, each recorded window.</p>" + _table(
        ["Window", "Estimate", "Run key"], rows, words={0, 2}
    )


def _data(evidence: Evidence, pins: Mapping[str, Pin]) -> str:
    study, main = evidence.study, evidence.main
    together = joint_treatments(study)
    facts = [
        ("Units", f"{main['n']:,} in the headline effect"),
        ("Clusters", f"{main['n_clusters']:,} ({study.units.cluster})" if main["n_clusters"] else
         "none: units are taken as independent"),
        ("Asserted to be before treatment (nothing can check it)",
         ", ".join(asserted_covariates(study)) or "none"),
        *((("One joint fit (PLR)", f"{', '.join(together)}, each with the others held"),)
          if together else ()),
        ("Guarded by time", ", ".join(sorted(history_columns(study))) or "none"),
        *((f"Table {name}", f"version {pin.version}, {pin.table_id}") for name, pin in
          sorted(pins.items())),
        ("Run key", evidence.run_key),
        ("Numerics", main["numerics"]),
        ("Platform", main["platform"]),
        ("Again", f"causeway run {study.study} --window {evidence.label}"),
        ("Compute it anew and compare", f"causeway reproduce {evidence.run_key}"),
    ]  # fmt: skip
    return _table(["", ""], [list(each) for each in facts], words={0, 1})


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    kinds: Sequence[str] = (),
    *,
    words: set[int],
) -> str:
    """A table; columns that are not of words stand to the right."""
    head = "".join(
        f"<th>{escape(each)}</th>" if i in words else f'<th class="number">{escape(each)}</th>'
        for i, each in enumerate(heads)
    )
    lines = []
    for place, row in enumerate(rows):
        kind = f' class="{kinds[place]}"' if kinds and kinds[place] else ""
        cells = "".join(
            f"<td>{escape(cell)}</td>" if i in words else f'<td class="number">{escape(cell)}</td>'
            for i, cell in enumerate(row)
        )
        lines.append(f"<tr{kind}>{cells}</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="scroll">{table}</div>'
