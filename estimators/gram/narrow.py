"""A layout without some treatments and outcomes, and its sums cut out of the whole layout's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from estimators.gram.blas import pack, unpack
from estimators.gram.layout import Layout
from estimators.gram.partials import Sums


def narrow(layout: Layout, treatments: Collection[str], outcomes: Collection[str]) -> Layout:
    """The layout with these treatments and outcomes only, in its own order."""
    named = (*layout.treatments, *layout.outcomes)
    kept = {*treatments, *outcomes}
    return replace(
        layout,
        treatments=tuple(name for name in layout.treatments if name in treatments),
        outcomes=tuple(name for name in layout.outcomes if name in outcomes),
        centre=tuple(c for name, c in zip(named, layout.centre, strict=True) if name in kept),
        own_rows=tuple(name for name in layout.own_rows if name in outcomes),
    )


def narrow_sums(layout: Layout, narrowed: Layout, sums: Sums) -> Sums:
    """Sums of the whole layout's rows as the narrowed layout has them."""
    if narrowed == layout:
        return sums
    p, r = layout.p, layout.with_treatments
    treated = [p + layout.treatments.index(name) for name in narrowed.treatments]
    before = [*range(p), *treated]
    kept = [*before, *(r + layout.outcomes.index(name) for name in narrowed.outcomes)]
    own = [layout.own_rows.index(name) for name in narrowed.own_rows]
    size = len(before)
    missing = np.zeros((len(own), size * (size + 1) // 2))
    for row, j in zip(missing, own, strict=True):
        row[:] = pack(unpack(sums.missing[j], r)[np.ix_(before, before)])
    return Sums(
        sums.n,
        pack(unpack(sums.gram, layout.q)[np.ix_(kept, kept)]),
        missing,
        sums.n_missing[own],
        sums.strays,
    )
