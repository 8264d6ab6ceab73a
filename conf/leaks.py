"""Leaks that the unit SQL shows: covariates that are a treatment or an outcome in other words."""

from __future__ import annotations

from sqlglot import exp


def reveals(covariate: exp.Expr, target: exp.Expr, target_name: str, *, outcome: bool) -> bool:
    """Whether a covariate is a treatment or an outcome in other words.

    True where the covariate's expression holds the target's whole expression or its name, or is
    the one column that the target is computed from. Of an outcome's one column every function
    counts; of a treatment's only the column itself (the hour of a date is no policy that began
    on a date).
    """
    mine, its = list(covariate.find_all(exp.Column)), list(target.find_all(exp.Column))
    if any(not column.table and column.name.lower() == target_name.lower() for column in mine):
        return True
    if its and any(node == target for node in covariate.walk()):
        return True
    if not its or not all(_same(column, its[0]) for column in its):
        return False
    if isinstance(target, exp.Column):
        return any(_same(column, target) for column in mine)
    alone = bool(mine) and all(_same(column, its[0]) for column in mine)
    return alone and (outcome or isinstance(_uncast(covariate), exp.Column))


def _uncast(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Cast | exp.Paren):
        node = node.this
    return node


def _same(one: exp.Column, other: exp.Column) -> bool:
    tables = {column.table.lower() for column in (one, other) if column.table}
    return one.name.lower() == other.name.lower() and len(tables) < 2  # noqa: PLR2004
