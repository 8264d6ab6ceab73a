"""The search of a learner: which sets of parameters may be chosen from inside a training fold."""

from __future__ import annotations

from collections.abc import Iterator

from conf.document import Place, describe
from conf.rules.reading import Parts
from estimators.catalog import CHOSEN_INSIDE, MOST_CANDIDATES, SHAPES_MATRIX
from estimators.errors import Fault


def search_faults(parts: Parts, place: Place, learner: str) -> Iterator[Fault]:
    """Faults of a list of candidates, at `place`; their values are the learner's to judge."""
    doc, given = parts.doc, parts.doc.at(*place)
    if not isinstance(given, list) or not 2 <= len(given) <= MOST_CANDIDATES:  # noqa: PLR2004
        size = f"a list of {len(given)}" if isinstance(given, list) else describe(given)
        allowed = f"a list of 2 to {MOST_CANDIDATES} mappings, such as [{{}}, {{max_depth: 6}}]"
        yield doc.fault(place, f"`search` of {learner} is {size}", allowed)
        return
    for index, one in enumerate(given):
        if not isinstance(one, dict):
            found = f"a candidate of {learner} is {describe(one)}"
            yield doc.fault((*place, index), found, "a mapping of parameters")
            continue
        for name in one:
            if name in (*CHOSEN_INSIDE, *SHAPES_MATRIX):
                found = f"`{name}` in the search of {learner}"
                yield doc.fault((*place, index, name), found, "beside `search`, for all candidates")
