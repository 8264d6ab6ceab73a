"""A first study from a table: guessed from its schema, valid, and commented to teach."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlglot.dialects.spark import Spark

from conf.names import FEATURES_RESERVED, is_identifier, listed, nearest
from conf.profile import load_profile
from estimators.errors import ContractError, UsageError, Where
from jobs.lake import open_table

_INTEGERS = {"byte", "short", "integer", "long"}
_REALS = {"float", "double"}
_TIMES = {"timestamp", "timestamp_ntz"}
_WIDTH = 92
_YAML_WORDS = {"yes", "no", "on", "off", "true", "false", "null"}
_SQL_WORDS = {word for keyword in Spark().tokenizer_class.KEYWORDS for word in keyword.split()}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its name there, its type, and its name in the study."""

    source: str
    type: str
    nullable: bool
    name: str

    @property
    def is_number(self) -> bool:
        """Whether it holds integers, floats or decimals."""
        return self.type in _INTEGERS | _REALS or self.type.startswith("decimal")

    @property
    def is_usable(self) -> bool:
        """Whether it can be a covariate, a treatment or an outcome."""
        return self.is_number or self.type in ("boolean", "string")

    @property
    def sql(self) -> str:
        """Its entry in the unit SQL."""
        source, alias = sql_name(self.source), sql_name(self.name)
        if self.type == "boolean":
            return f"CAST({source} AS INT) AS {alias}"
        if self.type.startswith("decimal"):
            return f"CAST({source} AS DOUBLE) AS {alias}"
        return source if self.source == self.name else f"{source} AS {alias}"


def sql_name(name: str) -> str:
    """A column's name in Spark's SQL: in backticks where it is a keyword or no plain name."""
    plain = is_identifier(name) and name.upper() not in _SQL_WORDS
    return name if plain else "`" + name.replace("`", "``") + "`"


def draft_study(
    table_path: str,
    treatment: str,
    outcome: str,
    name: str | None = None,
    *,
    unit_id: str | None = None,
    time: str | None = None,
    cluster: str | None = None,
) -> str:
    """Write a valid study of one table's columns.

    Parameters
    ----------
    table_path
        Path of a Delta table.
    treatment, outcome
        Columns of it.
    name
        The study's name; omitted: from the table's and the two columns' names.
    unit_id, time, cluster
        Columns of it: the unit's id and time, guessed where omitted, and the cluster, which
        cannot be guessed.

    Returns
    -------
    str
        YAML text in which every guess has a comment.

    Raises
    ------
    SourceError
        There is no Delta table.
    UsageError
        The table has no such column (``no_column``), or both are one.
    ContractError
        A column's type cannot serve, or nothing can be the id or a covariate.
    """
    table = Path(table_path).name
    columns = _columns(table_path)
    where = Where(table=table)
    treated, measured = (_find(columns, each, where) for each in (treatment, outcome))
    if treated is measured:
        raise UsageError(
            f"{treatment!r} is treatment and outcome",
            where=where,
            remedy="name two columns of the table",
        )
    _require_number(treated, "treatment", where)
    _require_number(measured, "outcome", where)
    rest = [column for column in columns if column not in (treated, measured)]
    unit = _find(rest, unit_id, where) if unit_id else _unit_id(rest, where)
    moment = _time(rest, time, where)
    group = _find(rest, cluster, where) if cluster else None
    named = (unit, moment, group)
    covariates = [c for c in rest if c.is_usable and not _looks_like_id(c) and c not in named]
    if not covariates:
        raise ContractError(
            "no column is left for a covariate",
            code="no_covariates",
            where=where,
            remedy="a study needs columns that were known before the treatment",
        )
    left = [c for c in rest if c not in (*covariates, *named)]
    slug = _slug(name or f"{table}_{treatment}_{outcome}")
    draft = _Draft(table_path, slug, unit, moment, group)
    return "\n".join(draft.lines(treated, measured, covariates, left)) + "\n"


def _columns(table_path: str) -> list[Column]:
    """The table's columns with names that a study can use; structs, maps and arrays left out."""
    fields = open_table(table_path).schema().fields
    taken: set[str] = set()
    columns = []
    for each in fields:
        kind = getattr(each.type, "type", "")
        kind = kind if isinstance(kind, str) else ""
        name = re.sub(r"\W", "_", each.name, flags=re.ASCII)
        name = f"_{name}" if name[:1].isdigit() else name
        # `unit_id` may keep its name: as the id it is what the features table means by it.
        while name.lower() in taken or (name != "unit_id" and name.lower() in FEATURES_RESERVED):
            name += "_"
        taken.add(name.lower())
        if kind not in ("", "struct", "array", "map", "binary"):
            columns.append(Column(each.name, kind, bool(each.nullable), name))
    return columns


def _find(columns: Sequence[Column], name: str, where: Where) -> Column:
    found = next((column for column in columns if column.source == name), None)
    if found is not None:
        return found
    names = [column.source for column in columns]
    close = nearest(name, names)
    hint = f"; did you mean {close!r}?" if close else ""
    raise UsageError(
        f"the table has no column {name!r} of a simple type{hint}",
        code="no_column",
        where=Where(table=where.table, column=name),
        remedy=f"choose one of {listed(names)}",
    )


def _require_number(column: Column, role: str, where: Where) -> None:
    if column.is_number or column.type == "boolean":
        return
    raise ContractError(
        f"the {role} is a {column.type}; expected a number or a boolean",
        code="wrong_type",
        where=Where(table=where.table, column=column.source),
        remedy=f"choose another column, or compute the {role} in the unit SQL by CAST(... AS INT)",
    )


def _looks_like_id(column: Column) -> bool:
    return column.source.lower() == "id" or column.source.lower().endswith("_id")


def _unit_id(columns: Sequence[Column], where: Where) -> Column:
    """The id: named so and never NULL, else the first named so."""
    named = [
        c for c in columns if _looks_like_id(c) and (c.type == "string" or c.type in _INTEGERS)
    ]
    found = next((c for c in named if not c.nullable), named[0] if named else None)
    if found is not None:
        return found
    names = listed(column.source for column in columns)
    raise ContractError(
        f"no column looks like the id of a unit (`id` or `..._id`); columns: {names}",
        code="no_id",
        where=where,
        remedy="name it by --id",
    )


def _time(columns: Sequence[Column], name: str | None, where: Where) -> Column | None:
    """The time that was named, else a timestamp, those never NULL first: it is always known."""
    if name is not None:
        found = _find(columns, name, where)
        if found.type not in _TIMES:
            raise ContractError(
                f"the time is a {found.type}; expected a timestamp",
                code="wrong_type",
                where=Where(table=where.table, column=name),
                remedy="choose another column, or compute the time in the unit SQL",
            )
        return found
    times = [column for column in columns if column.type in _TIMES]
    return min(times, key=lambda column: column.nullable, default=None)


def _slug(text: str) -> str:
    slug = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")
    return (slug if slug[:1].isalpha() else f"study_{slug}")[:63]


@dataclass(frozen=True, slots=True)
class _Draft:
    table_path: str
    name: str
    unit: Column
    time: Column | None
    cluster: Column | None

    def lines(
        self,
        treated: Column,
        measured: Column,
        covariates: Sequence[Column],
        left: Sequence[Column],
    ) -> Iterator[str]:
        binary = treated.type == "boolean" or treated.type in _INTEGERS
        yield "# A first draft, guessed from the table's schema: read each comment before a run."
        yield f"study: {self.name}"
        yield f"question: Does {treated.name} change {measured.name}?"
        first = [column for column in (self.unit, self.time, self.cluster) if column]
        yield from self._units([*first, treated, measured, *covariates])
        yield from _variables(treated, measured, binary=binary)
        yield from _covariates(covariates, left)
        yield "folds: {k: 5, repetitions: 1}"
        yield "nuisances:"
        yield "  outcome: xgboost"
        yield "  treatment: xgboost"
        yield from _effects(binary=binary)

    def _units(self, columns: Sequence[Column]) -> Iterator[str]:
        yield "sources:"
        yield f"  source: {{table: {_quoted(_in_lake(self.table_path))}}}"
        if self.time:
            yield "window: {every: 1 month, timezone: UTC}   # bounds of a month in which zone?"
        else:
            yield "window: {every: all}       # no timestamp column was found"
        yield "units:"
        yield "  sql: |"
        yield from (f"    {line}" for line in _select(columns))
        yield "    FROM source"
        if self.time:
            bound = sql_name(self.time.source)
            yield f"    WHERE {bound} >= :window_start AND {bound} < :window_end"
        yield f"  id: {_plain(self.unit.name)}    # exactly one row a unit? duplicates stop the run"
        if self.time:
            zone = "; without a zone, so taken as UTC" if self.time.type == "timestamp_ntz" else ""
            yield f"  time: {_plain(self.time.name)}    # when the treatment was decided?{zone}"
        if self.cluster:
            yield f"  cluster: {_plain(self.cluster.name)}    # its units share shocks"
        else:
            yield "  # cluster: a column whose units share shocks (a day, a shop)"


def _select(columns: Sequence[Column]) -> Iterator[str]:
    """The SELECT in lines; broken between columns only, since a name may hold spaces."""
    line = "SELECT"
    for column in columns:
        entry = f" {column.sql}" + ("," if column is not columns[-1] else "")
        if len(line) + len(entry) > _WIDTH:
            yield line
            line = "      "
        line += entry
    yield line


def _plain(name: str) -> str:
    """A name in YAML: quoted where YAML would read a boolean or nothing."""
    return f'"{name}"' if name.lower() in _YAML_WORDS else name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _in_lake(table_path: str) -> str:
    """The path by `{lake}` where the table lies in it, so that the study can move."""
    lake = load_profile().lake_root.rstrip("/")
    path = str(Path(table_path).resolve()) if "://" not in table_path else table_path
    return "{lake}" + path.removeprefix(lake) if path.startswith(f"{lake}/") else path


def _variables(treated: Column, measured: Column, *, binary: bool) -> Iterator[str]:
    kind = "binary" if binary else "continuous"
    yield f"treatments: {{{_plain(treated.name)}: {kind}}}"
    if binary and treated.type != "boolean":
        yield "  # taken as 0 or 1; for a dose write continuous, and leave only plr below"
    measure = "binary" if measured.type == "boolean" else "continuous"
    yield "outcomes:"
    yield f"  {_plain(measured.name)}: {{kind: {measure}, missing: error}}"
    yield "  # missing: drop leaves out rows without it; then see whether both arms lose as many"
    yield "  # horizon: 1 day   how long after the unit's time it is known"


def _covariates(covariates: Sequence[Column], left: Sequence[Column]) -> Iterator[str]:
    yield "covariates:    # a consequence of the treatment among these biases the effect"
    for column in covariates:
        kind = f"{column.type}, one category a value" if column.type == "string" else column.type
        yield f"  - {_plain(column.name)}    # {kind}; is this known before treatment?"
    if left:
        names = ", ".join(column.source for column in left)
        yield f"  # left out, ids and times: {_on_one_line(names)}"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _effects(*, binary: bool) -> Iterator[str]:
    yield "effects:"
    yield "  - {method: plr}    # one slope for all units"
    if binary:
        yield "  - {method: irm, estimand: ate}    # the effect if all were treated against none"
        yield "  - {method: irm, estimand: att}    # the effect on those who were treated"
        yield "checks: [overlap, balance, attrition, missingness, nuisance_quality]"
    else:
        yield "checks: [nuisance_quality]    # the others compare two arms"
