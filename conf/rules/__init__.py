"""Rules that tie the parts of a study together. Each yields the faults that it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from conf.rules.cate import cate_faults
from conf.rules.checks import check_faults, gate_faults
from conf.rules.columns import column_faults, leak_faults, name_faults
from conf.rules.effects import effect_faults
from conf.rules.engines import engine_faults
from conf.rules.learners import learner_faults
from conf.rules.predicted import predicted_faults
from conf.rules.reading import Parts
from conf.rules.sources import history_faults, source_faults, sql_faults, table_faults
from conf.rules.time import time_faults
from conf.rules.treatments import treatment_faults
from estimators.errors import Fault

Rule = Callable[[Parts], Iterable[Fault]]

RULES: tuple[Rule, ...] = (
    source_faults,
    table_faults,
    sql_faults,
    history_faults,
    time_faults,
    name_faults,
    column_faults,
    leak_faults,
    treatment_faults,
    learner_faults,
    engine_faults,
    effect_faults,
    predicted_faults,
    cate_faults,
    check_faults,
    gate_faults,
)
"""All rules: a new one is a function and a line here."""
