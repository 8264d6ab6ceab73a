"""`causeway compare`: our estimates beside DoubleML's and EconML's, for whoever doubts them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev
from typing import Any

from conf.load import load_study
from conf.profile import Profile
from conf.windows import parse_span
from estimators.errors import UsageError
from jobs.ledger import Progress
from jobs.pages import wording
from jobs.peers.comparison import Compared, Comparison, Request
from jobs.peers.comparison import compare as beside
from jobs.peers.problem import Measured
from pipelines.output import Answer

SCHEMA = "causeway.compare/1"
AGREES = 1e-9
_UNITS = {"k": 1_000, "m": 1_000_000}


def compare(
    study: str,
    profile: Profile,
    progress: Progress,
    *,
    peers: str,
    window: str | None,
    sample: str,
    seeds: int,
) -> Answer:
    """Compare a recorded window with its peers; nothing is written."""
    loaded = load_study(study)
    span = parse_span(window, loaded.study.window) if window else None
    names = tuple(dict.fromkeys(each.strip() for each in peers.split(",") if each.strip()))
    found = beside(profile, loaded, Request(span, names, size_of(sample), seeds), progress)
    return Answer(as_object(loaded.study.study, found), text(loaded.study.study, found))


def size_of(text: str) -> int:
    """Read a number of units: ``200000``, ``200k``, ``1m``.

    Raises
    ------
    UsageError
        The text is no such number.
    """
    cleaned = text.strip().lower().replace("_", "").replace(",", "")
    times = _UNITS.get(cleaned[-1:], 1)
    digits = cleaned[:-1] if times > 1 else cleaned
    if not digits.isdigit() or int(digits) == 0:
        raise UsageError(
            f"{text!r} is no number of units", code="bad_sample", remedy="write 200000 or 200k"
        )
    return int(digits) * times


def as_object(study: str, found: Comparison) -> dict[str, Any]:
    """The object of the JSON contract."""
    return {
        "schema": SCHEMA,
        "study": study,
        "window": {"start": found.run.start, "end": found.run.end},
        "run_key": found.run.run_key,
        "units": found.units,
        "of": found.of,
        "effects": [_effect(each) for each in found.effects],
        "skipped": list(found.skipped),
    }


def _effect(each: Compared) -> dict[str, Any]:
    return {
        "effect_id": each.effect_id,
        "packages": [_package(each, name, one) for name, one in each.packages.items()],
        "no_counterpart": list(each.missing),
    }


def _package(each: Compared, name: str, one: Measured) -> dict[str, Any]:
    agreement = each.agreement(name)
    return {
        "package": name,
        "version": one.version,
        "theta": one.theta,
        "se": one.se,
        "agreement": agreement,
        "agrees": agreement <= AGREES,
        "thetas": list(one.thetas),
        "spread": _spread(one.thetas),
        "seconds": round(one.seconds, 3),
        "memory_mb": round(one.memory, 1),
    }


def _spread(thetas: Sequence[float]) -> float | None:
    return stdev(thetas) if len(thetas) > 1 else None


def text(study: str, found: Comparison) -> str:
    """The page that lets a sceptic switch."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from pipelines.tables import rendered

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("effect", "package"):
        table.add_column(column, no_wrap=True)
    for column in ("theta", "SE", "differs by", "own folds", "spread", "seconds", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in found.effects:
        for name, one in each.packages.items():
            table.add_row(*_line(each, name, one))
    part = "all" if found.units == found.of else "a sample of"
    head = f"{study}: {part} {found.units:,} units; the same features, folds and predictions\n"
    notes = [
        "`differs by`: largest difference of theta or SE on them, in our standard errors.",
        "`own folds`: mean of the package's own cross-fits with the same learners, `spread` their"
        " standard deviation; seconds and peak memory are of one such cross-fit.",
        "SE are of units, without clusters: the packages differ in how they weigh folds of those.",
    ]
    if found.skipped:
        notes.append(f"Without a counterpart: {', '.join(found.skipped)}.")
    notes += found.notes
    return head + rendered(table) + "\n".join(notes) + "\n"


def _line(each: Compared, name: str, one: Measured) -> list[str]:
    agreement, spread = each.agreement(name), _spread(one.thetas)
    ours = name == "causeway"
    mean = sum(one.thetas) / len(one.thetas) if one.thetas else None
    return [
        each.effect_id if ours else "",
        f"{name} {one.version}",
        wording.number(one.theta, 6),
        wording.number(one.se, 6),
        "" if ours else f"{agreement:.1e}",
        wording.number(mean, 4),
        wording.number(spread),
        f"{one.seconds:.2f}",
        f"{one.memory:,.0f} MB",
    ]
