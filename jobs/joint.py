"""Joint blocks of the record, solved: rows of ``cells`` and ``moments`` as other effects have them.

In ``cells`` a block of J effects has rows of its own, whose `a` is a J x J matrix, row by row. In
``moments`` its elements stand for themselves: an effect's own is the diagonal, ``first * second``
the product of two treatments. Rows merge in any grouping first; what is solved is the merged sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from estimators.joint import Solution, element_ids, solve_block

Doubles = NDArray[np.float64]
Group = tuple[Any, ...]
"""Repetition, grouping and group."""
Place = tuple[Group, tuple[str, ...]]
"""A group and the effects of a block."""
_PLACE = ("rep", "group_by", "group_value")
_ORDER = ("rep", "group_value", "fold", "cell")
_PRODUCTS = ("effect_i", "effect_j", "aa", "ab", "ba", "bb")


def solved(cells: pa.Table, moments: pa.Table | None = None) -> tuple[pa.Table, pa.Table]:
    """Cells and moments with one psi_a and one psi_b an effect: see `estimators.joint`.

    Each repetition and group is solved by itself. Tables without a joint block pass as they are.

    Parameters
    ----------
    cells
        Columns ``rep, effects, a, b`` and, where groups are told apart, ``group_by, group_value``.
    moments
        All of ``moments``; None where only cells are asked for (the second result is then empty).
    """
    nothing = pa.table({}) if moments is None else moments
    wide = pc.greater(pc.list_value_length(cells["a"]), pc.list_value_length(cells["effects"]))
    if not pc.any(wide).as_py():
        return cells, nothing
    blocks = cells.filter(wide)
    named = pc.binary_join(blocks["effects"], "\n").combine_chunks()
    parts: list[pa.Table] = [cells.filter(pc.invert(wide))]
    found: dict[Place, Solution] = {}
    for name in sorted(pc.unique(named).to_pylist()):
        rows, solutions = _solve(blocks.filter(pc.equal(named, name)))
        parts.append(rows)
        found |= {(place, tuple(name.split("\n"))): each for place, each in solutions.items()}
    return pa.concat_tables(parts), nothing if moments is None else _moments(moments, found)


def _solve(rows: pa.Table) -> tuple[pa.Table, dict[Group, Solution]]:
    """The rows of one block, and its solution in each repetition and group.

    They are sorted first, so that equal sums give equal bytes.
    """
    order = [(name, "ascending") for name in _ORDER if name in rows.column_names]
    rows = rows.sort_by(order).combine_chunks()
    size = len(rows["effects"][0])
    b = rows["b"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    a = rows["a"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    a = a.reshape(-1, size, size)
    index: dict[Group, list[int]] = {}
    for row, place in enumerate(_places(rows)):
        index.setdefault(place, []).append(row)
    own_a, own_b, found = np.zeros_like(b), np.zeros_like(b), {}
    for place, mine in index.items():
        solution = solve_block(a[mine].sum(axis=0), b[mine].sum(axis=0))
        own_a[mine] = solution.a(a[mine])
        own_b[mine] = solution.b(a[mine], b[mine])
        found[place] = solution
    for name, values in (("a", own_a), ("b", own_b)):
        at = rows.column_names.index(name)
        lists = pa.ListArray.from_arrays(
            pa.array(np.arange(len(values) + 1, dtype=np.int32) * size), pa.array(values.ravel())
        )
        rows = rows.set_column(at, rows.schema.field(at), lists)
    return rows, found


def _places(rows: pa.Table) -> list[Group]:
    """Repetition and group of each row."""
    columns = (
        rows[name].to_pylist() if name in rows.column_names else [None] * len(rows)
        for name in _PLACE
    )
    return list(zip(*columns, strict=True))


def _moments(moments: pa.Table, solutions: Mapping[Place, Solution]) -> pa.Table:
    """Moments of effects from those of elements, group by group."""
    blocks: dict[Group, dict[tuple[str, ...], Solution]] = {}
    for (group, effects), solution in solutions.items():
        blocks.setdefault(group, {})[effects] = solution
    rows: dict[tuple[Group, str], list[dict[str, Any]]] = {}
    places = _places(moments)
    inside = np.array([place in blocks for place in places], dtype=np.bool_)
    for place, row in zip(places, moments.to_pylist(), strict=True):
        if place in blocks:
            rows.setdefault((place, row["level"]), []).append(row)
    mapped = [row for (group, _), mine in rows.items() for row in _mapped(mine, blocks[group])]
    kept = moments.filter(pa.array(~inside))
    return pa.concat_tables([kept, pa.Table.from_pylist(mapped, schema=moments.schema)])


def _mapped(
    rows: Sequence[Mapping[str, Any]], blocks: Mapping[tuple[str, ...], Solution]
) -> Iterator[dict[str, Any]]:
    """One group's rows at one level: products of the sums that the maps make of the elements'."""
    names = list(dict.fromkeys(row[side] for row in rows for side in ("effect_i", "effect_j")))
    index = {name: i for i, name in enumerate(names)}
    aa, ab, bb = (np.zeros((len(names), len(names))) for _ in range(3))
    for row in rows:
        i, j = index[row["effect_i"]], index[row["effect_j"]]
        aa[i, j] = aa[j, i] = row["aa"]
        bb[i, j] = bb[j, i] = row["bb"]
        ab[i, j], ab[j, i] = row["ab"], row["ba"]
    effects, (one, two, three) = _maps(names, blocks)
    own_aa = one @ aa @ one.T
    own_ab = one @ (aa @ two.T + ab @ three.T)
    cross = two @ ab @ three.T
    own_bb = two @ aa @ two.T + cross + cross.T + three @ bb @ three.T
    same = {name: rows[0][name] for name in rows[0] if name not in _PRODUCTS}
    for i, first in enumerate(effects):
        for j in range(i, len(effects)):
            values = own_aa[i, j], own_ab[i, j], own_ab[j, i], own_bb[i, j]
            named = (first, effects[j], *(float(each) for each in values))
            yield same | dict(zip(_PRODUCTS, named, strict=True))


def _maps(
    names: Sequence[str], blocks: Mapping[tuple[str, ...], Solution]
) -> tuple[list[str], tuple[Doubles, Doubles, Doubles]]:
    """Effects among `names` and the maps from elements to them; other effects are themselves."""
    index = {name: i for i, name in enumerate(names)}
    crossed = {each for effects in blocks for each in element_ids(effects)[len(effects) :]}
    effects = [name for name in names if name not in crossed]
    one, two, three = (np.zeros((len(effects), len(names))) for _ in range(3))
    at = {name: i for i, name in enumerate(effects)}
    for name, i in at.items():
        one[i, index[name]] = three[i, index[name]] = 1.0
    for ids, solution in blocks.items():
        inside = np.ix_([at[name] for name in ids], [index[name] for name in element_ids(ids)])
        for whole, part in zip((one, two, three), solution.maps(), strict=True):
            whole[inside] = part
    return effects, (one, two, three)
