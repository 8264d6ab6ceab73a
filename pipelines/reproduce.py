"""Whether a recorded number can be had again: the answer of `causeway reproduce`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from conf.keys import platform_label
from conf.profile import Profile
from estimators.errors import CausewayError, NotReproducibleError, Where
from jobs.ledger import Progress
from jobs.reproduce import Reproduction
from jobs.reproduce import reproduce as compute
from jobs.upkeep.erasure import explain
from pipelines.output import Answer

SCHEMA = "causeway.reproduce/1"


def reproduce(run_key: str, profile: Profile, progress: Progress) -> Answer:
    """Compute a run again and say whether every digest agrees, and if not which differs first."""
    found = compute(run_key, profile, progress)
    error = verdict(found)
    return Answer(as_object(found, error), text(found), error)


def verdict(found: Reproduction) -> CausewayError | None:
    """The error of a run that cannot be had again."""
    first = found.first_difference
    if first is None:
        return None
    stage = next(each for each in found.stages if each.name == first)
    return NotReproducibleError(
        f"{first} differs first: the record has {stage.recorded}, now it is {stage.found}",
        where=Where(table=first, window=found.span.label),
        remedy=_why(found),
    )


def _why(found: Reproduction) -> str:
    run = found.run
    if found.erasures:
        return explain(found.erasures)
    if run.platform != platform_label():
        return (
            f"another platform rounds otherwise: recorded on {run.platform}, this is "
            f"{platform_label()}"
        )
    if run.numerics_label != found.numerics:
        return f"other versions: recorded with {run.numerics_label}, this is {found.numerics}"
    return "platform and versions are those of the record: look at what changed in this stage"


def as_object(found: Reproduction, error: CausewayError | None) -> dict[str, Any]:
    """The JSON object."""
    run = found.run
    return {
        "schema": SCHEMA,
        "run_key": run.run_key,
        "study": run.study,
        "window": {"start": run.start, "end": run.end},
        "agrees": found.first_difference is None,
        "first_difference": found.first_difference,
        "started_from": found.started_from,
        "gone": found.gone.as_dict() if found.gone else None,
        "sources": dict(run.sources),
        "erasures": [asdict(each) for each in found.erasures],
        "stages": [
            {
                "name": each.name,
                "recorded": each.recorded,
                "found": each.found,
                "agrees": each.agrees,
                "seconds": round(each.seconds, 3),
            }
            for each in found.stages
        ],
        "recorded_on": {"platform": run.platform, "numerics": run.numerics_label},
        "computed_on": {"platform": platform_label(), "numerics": found.numerics},
        "error": error.as_dict() if error else None,
    }


def text(found: Reproduction) -> str:
    """The same in a few lines."""
    run = found.run
    pins = ", ".join(f"{name}@{version}" for name, version in run.sources.items())
    lines = [f"{run.study} {found.span.label}, run {run.run_key[:12]}, from {pins}"]
    if found.gone:
        where = found.gone.where
        lines += [
            f"  started from the recorded features: {where.table}@{where.version} is gone"
            f" ({found.gone.message})"
        ]
    if found.erasures:
        lines += [f"  {explain(found.erasures)}"]
    for each in found.stages:
        word = "agrees" if each.agrees else "DIFFERS"
        lines += [f"  {each.name:<9} {word}  {each.found[:24]}  {each.seconds:.1f} s"]
    end = "reproduced" if found.first_difference is None else "not reproduced"
    return "\n".join([*lines, end, ""])
