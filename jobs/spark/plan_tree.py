"""Spark's query plans as trees in Python: every node of a plan, wherever it is held.

A plan hides parts in tuples (the queries of a WITH) and in expressions (subqueries), which
`children` does not show; here every field of every node is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from py4j.java_gateway import JavaObject, is_instance_of

_CATALYST = "org.apache.spark.sql.catalyst"
_TREE = f"{_CATALYST}.trees.TreeNode"
_PLAN = f"{_CATALYST}.plans.logical.LogicalPlan"
_REPLACEABLE = f"{_CATALYST}.expressions.RuntimeReplaceable"
_TUPLES = ("scala.Tuple", "scala.util.Left", "scala.util.Right")
_MOST_NODES = 20_000
SOURCE = "View"
"""Class of the node that stands for a declared source: what lies below it is not the study's."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a plan.

    Attributes
    ----------
    kind
        Simple name of its class, such as ``Filter`` or ``Rand``.
    is_plan
        Whether it is a relation; otherwise an expression.
    above
        Kinds of the nodes that hold it, the nearest last.
    java
        The node itself.
    """

    kind: str
    is_plan: bool
    above: tuple[str, ...]
    java: Any

    def shown(self) -> str:
        """The node as SQL where it is an expression, in one short line."""
        try:
            text = self.kind if self.is_plan else self.java.sql()
        except Exception:  # unresolved expressions have no SQL
            text = self.java.toString()
        line = " ".join(str(text).split())
        return line if len(line) <= 80 else f"{line[:77]}..."  # noqa: PLR2004


class TooLargeError(Exception):
    """The plan has more nodes than anybody writes by hand."""


def nodes(gateway: Any, plan: Any) -> Iterator[Node]:
    """Walk a plan from its root; declared sources are not entered.

    Raises
    ------
    TooLargeError
        More than 20,000 nodes.
    """
    open_: list[tuple[Any, tuple[str, ...]]] = [(plan, ())]
    seen = 0
    while open_:
        value, above = open_.pop()
        if not isinstance(value, JavaObject):
            continue
        seen += 1
        if seen > _MOST_NODES:
            raise TooLargeError
        if is_instance_of(gateway, value, _TREE):
            kind = str(value.getClass().getSimpleName()).removesuffix("$")
            yield Node(kind, is_instance_of(gateway, value, _PLAN), above, value)
            if kind != SOURCE:
                parts = _each(value.productIterator()) + _replacement(gateway, value)
                open_ += [(part, (*above, kind)) for part in parts]
            continue
        open_ += [(part, above) for part in _parts(value)]


def _replacement(gateway: Any, value: Any) -> list[Any]:
    """What a function stands for (``to_date(x)`` is a cast): no field of the node holds it."""
    if is_instance_of(gateway, value, _REPLACEABLE) and value.resolved():
        return [value.replacement()]
    return []


def _parts(value: Any) -> list[Any]:
    """What a collection, an option or a tuple holds; anything else holds no nodes."""
    name = str(value.getClass().getName())
    if name.startswith("scala.collection."):
        return _each(value.iterator())
    if name.startswith("scala.Some"):
        return [value.get()]
    if name.startswith(_TUPLES):
        return _each(value.productIterator())
    return []


def _each(iterator: Any) -> list[Any]:
    found = []
    while iterator.hasNext():
        found.append(iterator.next())
    return found
