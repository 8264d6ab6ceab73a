"""What differs between the inputs of two keys, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Change:
    """One input that differs.

    Attributes
    ----------
    stage
        The stage whose key it enters first.
    path
        Its place among the stage's inputs: ``sources.flights.version``.
    before, after
        The two values; None where there is none.
    words
        The same for a reader.
    """

    stage: str
    path: str
    before: Any
    after: Any
    words: str


def changes(stage: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Compare the inputs of one stage's key (`conf.keys.features_inputs` and its like)."""
    return [
        Change(stage, ".".join(path), old, new, _words(path, old, new))
        for path, old, new in _differences((), before, after)
    ]


_Difference = tuple[tuple[str, ...], Any, Any]


def _differences(path: tuple[str, ...], before: Any, after: Any) -> Iterator[_Difference]:
    if before == after or (_is_list(before) and _is_list(after) and [*before] == [*after]):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _differences((*path, str(name)), before.get(name), after.get(name))
    else:
        yield path, before, after


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _words(path: tuple[str, ...], before: Any, after: Any) -> str:
    special = _SPECIAL.get(path[0]) if len(path) == 1 else None
    if special is not None:
        return special(before, after)
    if path[0] == "sources" and path[-1] == "table_id":
        return f"source {path[1]}: another table"
    if path[0] == "sources" and path[-1] == "version":
        return f"source {path[1]}: version {before} -> {after}"
    name = f"library {path[-1]}" if path[0] == "libraries" else " ".join(path)
    if before is None or after is None:
        return f"{name} is {'new' if before is None else 'gone'}"
    return f"{name}: {_short(before)} -> {_short(after)}"


def _effect(effect: Mapping[str, Any]) -> str:
    return ".".join(str(effect[name]) for name in ("method", "estimand", "treatment", "outcome"))


def _listed(noun: str, before: Sequence[str], after: Sequence[str]) -> str:
    parts = [f"{noun} {name} is new" for name in after if name not in before]
    parts += [f"{noun} {name} is gone" for name in before if name not in after]
    if not parts:
        same = sorted(before) == sorted(after) and [*before] != [*after]
        parts = [f"the {noun}s are in another order" if same else f"settings of the {noun}s"]
    return ", ".join(parts)


def _lines(before: str, after: str) -> str:
    """The first lines that came and went."""
    difference = [
        line
        for line in unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    first = "; ".join(f"{line[0]} {line[1:].strip()[:_LONGEST]}" for line in difference[:2])
    more = f"; and {len(difference) - 2} lines more" if len(difference) > 2 else ""  # noqa: PLR2004
    return first + more if difference else "white space"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_SPECIAL: Mapping[str, Callable[[Any, Any], str]] = {
    "sql": lambda before, after: f"the unit SQL: {_lines(before, after)}",
    "columns": lambda before, after: _listed("column", before, after),
    "covariates": lambda before, after: _listed("covariate", before, after),
    "effects": lambda before, after: _listed(
        "effect", [_effect(each) for each in before], [_effect(each) for each in after]
    ),
    "numerics": lambda before, after: (
        f"Causeway computes this stage otherwise: numerics {before} -> {after}"
    ),
}
