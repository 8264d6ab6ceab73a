"""A preview for a reader: what the units look like, and on which of them that was seen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from conf.load import load_study
from conf.profile import Profile
from conf.windows import every, parse_span
from jobs import preview as looks
from jobs.ledger import Progress
from jobs.preview import Preview, TreatmentSeen
from jobs.resolve import resolve
from pipelines.output import Answer

SCHEMA = "causeway.preview/1"


def preview(study: str, window: str | None, profile: Profile, progress: Progress) -> Answer:
    """Look at a window of a study: the one asked for, or the last that the sources fill."""
    loaded = load_study(study)
    if window is None and every(loaded.study.window.every) is not None:
        span = looks.newest_window(loaded, profile)
    else:
        span = parse_span(window, loaded.study.window)
    found = looks.preview(resolve(loaded, span, profile), profile, progress)
    return Answer(as_object(found), text(found))


def sampled(found: Preview) -> str:
    """What the figures were seen on."""
    if found.complete:
        return "all units of the window"
    return (
        f"{found.units:,} units, those that Spark came upon first: not drawn at random, so shares"
        " are rough"
    )


def as_object(found: Preview) -> dict[str, Any]:
    """The JSON object."""
    return {
        "schema": SCHEMA,
        "study": found.study,
        "window": {"label": found.span.label, "start": found.span.start, "end": found.span.end},
        "sources": found.sources,
        "units": found.units,
        "complete": found.complete,
        "sampled": sampled(found),
        "clusters": found.clusters,
        "columns": [asdict(each) for each in found.columns],
        "treatments": [asdict(each) for each in found.treatments],
        "seconds": round(found.seconds, 3),
        "error": None,
    }


def text(found: Preview) -> str:
    """Tables for a reader."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from pipelines.tables import rendered

    pins = ", ".join(f"{name}@{version}" for name, version in found.sources.items())
    clusters = f", {found.clusters:,} clusters" if found.clusters is not None else ""
    head = f"{found.study} {found.span.label}: {found.units:,} units{clusters}, from {pins}\n"
    head += f"seen on {sampled(found)}\n"
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("column", "role", "type"):
        table.add_column(name)
    for name in ("NULL", "share", "distinct"):
        table.add_column(name, justify="right")
    for each in found.columns:
        share = f"{100 * each.nulls / found.units:.1f} %"
        table.add_row(
            each.name, each.role, each.type, f"{each.nulls:,}", share, f"{each.distinct:,}"
        )
    refused = [
        f"{each.name}: {each.not_finite:,} NaN or infinite, which a run refuses;"
        f" nanvl({each.name}, NULL) in the unit SQL makes a NaN a NULL\n"
        for each in found.columns
        if each.not_finite
    ]
    treatments = [_treatment(each) for each in found.treatments]
    return "".join([head, rendered(table), *refused, *treatments])


def _treatment(each: TreatmentSeen) -> str:
    lines = [f"\n{each.name}"]
    if each.quantiles:
        lines.append(
            f"  minimum, quartiles, maximum: {', '.join(map('{:g}'.format, each.quantiles))}"
        )
    for arm in each.arms:
        means = ", ".join(
            f"{name} {'unknown' if mean is None else format(mean, '.4g')}"
            for name, mean in arm.outcomes.items()
        )
        lines.append(f"  arm {arm.value}: {arm.units:,} units; means: {means}")
    if each.ess_share:
        shares = ", ".join(f"arm {arm} {share:.2f}" for arm, share in each.ess_share.items())
        lines.append(f"  crude overlap: effective share {shares}; clipped {each.clipped_share:.3f}")
    elif each.arms and {arm.value for arm in each.arms} <= {"0", "1"}:
        lines.append("  no overlap to look at: one arm, or values other than 0 and 1")
    return "\n".join([*lines, ""])
