"""Layouts: the frame of a table of partial Grams, pinned by a window's first run.

Knots, levels and centres come from the rows of that run. Later runs of the same window (new rows,
late ones, erased ones) take the pinned layout, so that blocks which did not change keep their sums.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.dataset as ds

from conf.keys import OWN_LAYOUT, digest
from conf.plan import effect_specs, gram_learner
from conf.study import Treatment
from estimators.gram.layout import Layout
from jobs.contracts import GRAM_LAYOUTS
from jobs.gram.blocks import Cut
from jobs.lake import append_once, read_record
from jobs.resolve import Resolved


@dataclass(frozen=True, slots=True)
class Pinned:
    """A window's layout.

    Attributes
    ----------
    features_digest
        Digest of the rows that it was pinned on.
    """

    layout: Layout
    cut: Cut
    features_digest: str

    def key_input(self, features_digest: str) -> str:
        """What enters the crossfit key: with the very rows it is theirs."""
        own = features_digest == self.features_digest
        return OWN_LAYOUT if own else f"{self.layout.digest}/{self.cut.slice_days}"


def pin_key(resolved: Resolved) -> str:
    """Key of a window's layout: all that the study says of it, and none of the data."""
    study, span = resolved.loaded.study, resolved.span
    effects = effect_specs(study)
    treated = {each.treatment for each in effects}  # a layout has these alone
    measured = {each.outcome for each in effects}
    return digest(
        {
            "study": study.study,
            "window": [span.start.isoformat(), span.end.isoformat()],
            "learner": dict(gram_learner(study) or {}),
            "covariates": study.covariates,
            "treatments": {name: _kind(study.treatments[name]) for name in treated},
            "outcomes": {name: study.outcomes[name].missing for name in measured},
            "folds": study.folds.k,
        }
    )


def _kind(treatment: Treatment) -> str | list[str]:
    """A treatment's kind, with the arms of one that has them."""
    return [treatment.kind, *treatment.arms] if treatment.arms else treatment.kind


def find(resolved: Resolved, root: str) -> Pinned | None:
    """The window's pinned layout; None before its first run."""
    rows = read_record(root, "gram_layouts", ds.field("pin") == pin_key(resolved)).to_pylist()
    if not rows:
        return None
    layout = Layout.from_data(json.loads(rows[0]["layout"]))
    cut = Cut(rows[0]["slice_days"], layout.depth)
    return Pinned(layout, cut, rows[0]["features_digest"])


def layout_input(resolved: Resolved, features_digest: str, root: str) -> str:
    """What a study's layout adds to its crossfit key."""
    found = find(resolved, root)
    return OWN_LAYOUT if found is None else found.key_input(features_digest)


def keep(resolved: Resolved, pinned: Pinned, root: str) -> Pinned:
    """Commit a layout under the window's key; where another run was first, its layout."""
    key, span = pin_key(resolved), resolved.span
    row = {
        "pin": key,
        "study": resolved.loaded.study.study,
        "window_start": span.start,
        "window_end": span.end,
        "layout_digest": pinned.layout.digest,
        "layout": json.dumps(pinned.layout.as_data(), sort_keys=True),
        "slice_days": pinned.cut.slice_days,
        "features_digest": pinned.features_digest,
        "recorded_at": datetime.now(UTC),
    }
    append_once(root, "gram_layouts", key, pa.Table.from_pylist([row], schema=GRAM_LAYOUTS))
    return find(resolved, root) or pinned


def lend(resolved: Resolved, root: str, other: str) -> None:
    """Copy the window's layout into another record: a run is computed there as it was here."""
    found = find(resolved, root) if gram_learner(resolved.loaded.study) else None
    if found is not None:
        keep(resolved, found, other)
