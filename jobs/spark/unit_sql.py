"""The guard of a study's SQL: Spark's own plans decide what it may do, not a list of words.

The parsed plan is judged before anything is looked up (looking up a path already reads it), the
analysed plan before anything runs. Allowed is one query over the declared sources whose rows
depend on nothing but those: no commands, no files, no clocks, no chance, no foreign code, no sums
of doubles (their last digits depend on how rows are spread over machines).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from conf.names import listed, nearest
from conf.refused import CLOCKS, REFUSED, SPECIAL_TIMES
from estimators.errors import Fault, PlatformError, StudyError
from jobs.spark.plan_tree import SOURCE, Node, TooLargeError, nodes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Report = Callable[[str, str, "str | None"], Fault]
"""Makes a fault of what was found, what is allowed, and the nearest allowed name."""


def _kinds(text: str) -> frozenset[str]:
    return frozenset(text.split())


RELATIONS = _kinds(
    """Aggregate CTERelationDef CTERelationRef Distinct Except Expand Filter Generate GlobalLimit
    Intersect Join LateralJoin LocalLimit LocalRelation OneRowRelation Pivot Project ResolvedHint
    ResolvedInlineTable Sort SubqueryAlias Union UnresolvedHaving UnresolvedHint
    UnresolvedInlineTable UnresolvedRelation UnresolvedSubqueryColumnAliases UnresolvedWith
    Unpivot View Window WithCTE WithWindowDefinition"""
)
"""Kinds of relations that a query may be made of; commands, samples and files are not here."""

AGGREGATES = _kinds(
    """Average BitAndAgg BitOrAgg BitXorAgg BoolAnd BoolOr Count CountIf Max Min PivotFirst Sum
    TryAverage TrySum"""
)
"""Aggregates that have one value whatever the order of the rows."""
_SUMS = frozenset(["Average", "Sum", "TryAverage", "TrySum"])
_ORDERED = frozenset(["AnyValue", "First", "Last", "NthValue"])

_CLOCKS = _kinds(
    """CurrentBatchTimestamp CurrentDate CurrentTime CurrentTimestamp CurrentTimestampLike
    LocalTimestamp Now"""
)
_SESSION = _kinds(
    "CurrentCatalog CurrentDatabase CurrentTimeZone CurrentUser SessionUser SparkVersion"
)
_FOREIGN = re.compile(r"reflect|udf|userdefined|protobuf|avro|httprequest", re.IGNORECASE)
_TIMES = ("timestamp", "date")
_QUERY = "one SELECT over the declared sources"
_PURE = "expressions whose value depends on the sources alone"


def guarded(
    spark: SparkSession,
    sql: str,
    sources: Collection[str],
    report: Report,
    *,
    parameters: Mapping[str, datetime] | None = None,
    clocks: bool = False,
) -> DataFrame:
    """Analyse a query that was judged; nothing of it has run yet.

    Parameters
    ----------
    sources
        Names of the temporary views that it may read.
    report
        Makes the faults.
    parameters
        Values of ``:window_start`` and ``:window_end``.
    clocks
        Whether the query may read the clock (a watermark may).

    Raises
    ------
    StudyError
        All faults of the parsed plan; where there are none, all of the analysed plan.
    """
    if not hasattr(spark, "_jsparkSession"):
        raise PlatformError(
            "a study's SQL cannot be judged over Spark Connect: clients do not see plans",
            code="connect_unguarded",
            remedy="give `spark.master` of the profile the address of a master",
        )
    _refuse(_parsed_faults(spark, sql, sources, report, clocks=clocks))
    frame = _analysed(spark, sql, parameters or {}, report)
    tree = frame._jdf.queryExecution().analyzed()
    _refuse(_walk(spark, tree, report, lambda each: _impure(each, report, clocks=clocks)))
    return frame


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise StudyError(list(dict.fromkeys(faults)))


def _walk(
    spark: SparkSession, tree: Any, report: Report, judge: Callable[[Node], Iterator[Fault]]
) -> list[Fault]:
    gateway = spark.sparkContext._gateway
    try:
        return [fault for node in nodes(gateway, tree) for fault in judge(node)]
    except TooLargeError:
        return [report("a query of more than 20,000 parts", _QUERY, None)]


def _parsed_faults(
    spark: SparkSession, sql: str, sources: Collection[str], report: Report, *, clocks: bool
) -> list[Fault]:
    from pyspark.errors import ParseException

    parser = spark._jsparkSession.sessionState().sqlParser()
    try:
        tree = parser.parsePlan(sql)
    except ParseException as error:
        return [report(_sentence(error), "Spark SQL", None)]
    gateway: Any = spark.sparkContext._gateway
    named = _with_names(gateway, tree)
    known = {each.casefold() for each in sources} | named
    allowed = CLOCKS if clocks else frozenset()

    def judge(node: Node) -> Iterator[Fault]:
        if node.kind == "UnresolvedRelation":
            yield from _unknown_relation(node, known, sources, report)
        elif node.kind == "UnresolvedFunction":
            yield from _refused_function(node, allowed, report)
        elif node.kind == "ExpressionWithUnresolvedIdentifier":
            yield report("IDENTIFIER(...)", "names written out", None)
        elif node.kind == "Literal":
            yield from _clock_literal(node, report)
        elif node.is_plan:
            yield from _refused_relation(node, report)

    return _walk(spark, tree, report, judge)


def _with_names(gateway: Any, tree: Any) -> frozenset[str]:
    """Names that a WITH defines, in lower case."""
    aliases = (each for each in nodes(gateway, tree) if each.kind == "SubqueryAlias")
    inside = (each for each in aliases if each.above[-1:] == ("UnresolvedWith",))
    return frozenset(str(each.java.alias()).casefold() for each in inside)


def _unknown_relation(
    node: Node, known: Collection[str], sources: Collection[str], report: Report
) -> Iterator[Fault]:
    parts = [str(node.java.multipartIdentifier().apply(i)) for i in range(_size(node))]
    if len(parts) != 1 or parts[0].casefold() not in known:
        close = nearest(parts[-1], sources)
        yield report(f"the table {'.'.join(parts)}", f"the sources {listed(sources)}", close)


def _size(node: Node) -> int:
    return int(node.java.multipartIdentifier().size())


def _refused_function(node: Node, but: Collection[str], report: Report) -> Iterator[Fault]:
    """Functions that could run while the query is merely analysed, and those known by name."""
    parts = node.java.nameParts()
    name = str(parts.apply(parts.size() - 1)).casefold()
    if parts.size() > 1 and str(parts.apply(0)).casefold() not in ("system", "builtin"):
        yield report(f"the function {node.shown()}", "Spark's own functions", None)
    elif name in REFUSED and name not in but and not _over(node):
        yield report(f"{name}(): {REFUSED[name]}", _PURE, None)
    elif _FOREIGN.search(name):
        yield report(f"{name}(): it runs or reads what is not a source", _PURE, None)


def _over(node: Node) -> bool:
    return "WindowExpression" in node.above or "UnresolvedWindowExpression" in node.above


def _clock_literal(node: Node, report: Report) -> Iterator[Fault]:
    """``TIMESTAMP 'now'`` is a plain literal once it is parsed: ask for the text it came from."""
    if str(node.java.dataType().typeName()).startswith(_TIMES):
        origin = node.java.origin()
        text, start, stop = origin.sqlText(), origin.startIndex(), origin.stopIndex()
        if text.isDefined() and start.isDefined() and stop.isDefined():
            written = str(text.get())[int(start.get()) : int(stop.get()) + 1].casefold()
            if any(word in written for word in SPECIAL_TIMES):
                yield report(f"{written}: it reads the clock", "a literal date or time", None)


def _refused_relation(node: Node, report: Report) -> Iterator[Fault]:
    if node.kind not in RELATIONS:
        yield report(_in_words(node.kind), _QUERY, None)
    elif node.kind == "GlobalLimit" and not _sorted_below(node):
        yield report("LIMIT without ORDER BY, or a sample: any rows", "ORDER BY keys", None)


def _in_words(kind: str) -> str:
    """``InsertIntoStatement`` reads as ``INSERT INTO STATEMENT``."""
    return " ".join(re.findall(r"[A-Z][a-z]*|[A-Z]+", kind)).upper() or kind


def _sorted_below(node: Node) -> bool:
    below = node.java.child().child()  # a GlobalLimit holds a LocalLimit
    return str(below.getClass().getSimpleName()) == "Sort"


def _analysed(
    spark: SparkSession, sql: str, parameters: Mapping[str, datetime], report: Report
) -> DataFrame:
    from pyspark.errors import AnalysisException

    try:
        return spark.sql(sql, args=dict(parameters)) if parameters else spark.sql(sql)
    except AnalysisException as error:
        raise StudyError([report(_sentence(error), _QUERY, None)]) from error


def _sentence(error: Exception) -> str:
    """Spark's message without its class, plan and stack."""
    line = str(error).strip().splitlines()[0]
    return re.sub(r"\s*SQLSTATE:.*$", "", line)[:300]


def _impure(node: Node, report: Report, *, clocks: bool) -> Iterator[Fault]:
    """Faults of a node of the analysed plan: types and meanings are known here."""
    if node.is_plan:
        if node.kind not in RELATIONS or _is_catalog_view(node):
            yield report(_in_words(node.kind), _QUERY, None)
    elif node.kind == "AggregateExpression":
        yield from _order_dependent(node, report)
    elif node.kind in _CLOCKS and not clocks:
        yield report(f"{node.shown()}: it reads the clock", _PURE, None)
    elif node.kind in _SESSION:
        yield report(f"{node.shown()}: it depends on who runs the study", _PURE, None)
    elif _FOREIGN.search(node.kind):
        yield report(f"{node.shown()}: it runs code from outside SQL", _PURE, None)
    elif node.kind == "Cast" and _reads_clock(node) and not clocks:
        yield report(f"{node.shown()}: it reads the clock", "a literal date or time", None)
    elif node.kind not in _ORDERED | AGGREGATES and _random(node):
        yield report(f"{node.shown()}: it has another value each time", _PURE, None)


def _is_catalog_view(node: Node) -> bool:
    """A view of the catalogue: a WITH in another part of the query may carry the same name."""
    return node.kind == SOURCE and not node.java.isTempViewStoringAnalyzedPlan()


def _order_dependent(node: Node, report: Report) -> Iterator[Fault]:
    function = node.java.aggregateFunction()
    kind = str(function.getClass().getSimpleName())
    shown = Node(kind, is_plan=False, above=(), java=function).shown()
    if kind in _ORDERED and "WindowExpression" in node.above:
        return
    if kind not in AGGREGATES:
        allowed = "count, sum, avg, min, max, bool_and, bool_or"
        yield report(f"{shown}: its value depends on the order of the rows", allowed, None)
    elif kind in _SUMS and str(function.child().dataType().typeName()) in ("double", "float"):
        allowed = "sums of integers or decimals: CAST(x AS DECIMAL(38, 9))"
        yield report(f"{shown} of doubles: it depends on the order of the rows", allowed, None)


def _reads_clock(node: Node) -> bool:
    """A constant text that becomes a time: Spark reads ``now`` and ``today`` in it."""
    text = node.java.child()
    if not str(node.java.dataType().typeName()).startswith(_TIMES):
        return False
    if str(text.dataType().typeName()) != "string" or not text.foldable():
        return False
    if str(text.getClass().getSimpleName()) != "Literal":
        return True  # built from pieces, so that nobody sees the word
    return any(word in str(text.value()).casefold() for word in SPECIAL_TIMES)


def _random(node: Node) -> bool:
    """Whether the node itself, and none of its parts, is what makes it another each time."""
    if node.java.deterministic() or node.kind.endswith(("Subquery", "Exists", "ListQuery")):
        return False
    children = node.java.children()
    return all(children.apply(i).deterministic() for i in range(children.size()))
