"""What differs between the inputs of two keys, in words."""

from __future__ import annotations

import pytest

from conf.changes import changes

BEFORE = {
    "sql": "SELECT a\nFROM t\nWHERE a > 0",
    "sources": {"t": {"table_id": "x", "version": 3, "known_at": None}},
    "covariates": ["age", "city"],
    "folds": {"k": 5, "salt": ""},
    "history": {"past": {"lookback": 10.0}},
    "libraries": {"numpy": "2.4"},
    "numerics": 1,
}


@pytest.mark.parametrize(
    ("changed", "path", "words"),
    [
        ({"sql": "SELECT a, b\nFROM t\nWHERE a > 0"}, "sql",
         "the unit SQL: - SELECT a; + SELECT a, b"),
        ({"sql": "SELECT a\nFROM t"}, "sql", "the unit SQL: - WHERE a > 0"),
        ({"sources": {"t": {"table_id": "x", "version": 4, "known_at": None}}},
         "sources.t.version", "source t: version 3 -> 4"),
        ({"sources": {"t": {"table_id": "y", "version": 3, "known_at": None}}},
         "sources.t.table_id", "source t: another table"),
        ({"sources": {"t": {"table_id": "x", "version": 3, "known_at": "b"}}},
         "sources.t.known_at", "sources t known_at is new"),
        ({"covariates": ["age"]}, "covariates", "covariate city is gone"),
        ({"covariates": ["city", "age"]}, "covariates", "the covariates are in another order"),
        ({"folds": {"k": 4, "salt": ""}}, "folds.k", "folds k: 5 -> 4"),
        ({"history": {}}, "history.past", "history past is gone"),
        ({"libraries": {"numpy": "2.5"}}, "libraries.numpy", "library numpy: 2.4 -> 2.5"),
        ({"numerics": 2}, "numerics",
         "Causeway computes this stage otherwise: numerics 1 -> 2"),
    ],
)  # fmt: skip
def test_each_change_has_its_words(changed: dict[str, object], path: str, words: str) -> None:
    (found,) = changes("features", BEFORE, BEFORE | changed)
    assert (found.stage, found.path, found.words) == ("features", path, words)


def test_equal_inputs_and_tuples_for_lists_are_no_change() -> None:
    assert changes("features", BEFORE, BEFORE | {"covariates": ("age", "city")}) == []


def test_a_long_sql_is_cut_and_a_value_too() -> None:
    (found,) = changes("features", BEFORE, BEFORE | {"sql": "\n".join("abcdef")})
    assert "lines more" in found.words
    long = {"folds": {"k": "x" * 500, "salt": ""}}
    (cut,) = changes("features", BEFORE, BEFORE | long)
    assert len(cut.words) < 120
    assert cut.after == "x" * 500, "whole in the object"
