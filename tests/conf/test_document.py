"""YAML as plain data with lines, and every way in which a file cannot be read."""

from __future__ import annotations

import pytest

from conf.document import MAX_BYTES, read_document


def _fault(text):
    _, faults = read_document(text, "s.yaml")
    assert len(faults) == 1, faults
    return faults[0]


def test_lines_of_keys_items_and_blocks():
    text = "a: 1\n\nb:\n  - x\n  - {c: y,\n     d: z}\nsql: |\n  SELECT\n"
    document, faults = read_document(text, "s.yaml")
    assert not faults
    assert document.data == {"a": 1, "b": ["x", {"c": "y", "d": "z"}], "sql": "SELECT\n"}
    lines = {("a",): 1, ("b", 0): 4, ("b", 1, "d"): 6, ("sql",): 7}
    assert {place: document.line(place) for place in lines} == lines
    assert document.blocks[("sql",)] == 8
    assert document.line(("b", 1, "no such key")) == 5


def test_dates_stay_text_and_exponents_are_numbers():
    document, _ = read_document("salt: 2013-01-01\nrate: 1e-3\nsmall: 1.5e-3\n", "s.yaml")
    assert document.data == {"salt": "2013-01-01", "rate": 0.001, "small": 0.0015}


def test_a_duplicate_key_is_a_fault_at_its_line_and_names_the_first():
    fault = _fault("a: 1\nb: 2\na: 3\n")
    assert (fault.where.line, fault.found) == (3, "the key `a` a second time")
    assert "line 1" in fault.allowed


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("", 1, "an empty file"),
        ("# only a comment\n", 1, "an empty file"),
        ("- a\n- b\n", 1, "a list"),
        ("just text\n", 1, "'just text'"),
        ("a: [1, 2\nb: 3\n", 2, "expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", 2, "cannot start any token"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: !!python/object:os.system {}\n", 2, "the tag !!python/object:os.system"),
        ("a: !local x\n", 1, "the tag !local"),
        ("a: 1\nb: !!int x\n", 2, "'x'"),
        ("a: 1\n2013: x\n", 2, "the key 2013"),
        ("a: 1\non: x\n", 2, "the key on"),
        ("a: 1\n? [b]\n: x\n", 2, "a list or a mapping as a key"),
        ("a: 1\nb: x\0\n", 2, "a control character"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("a: &a [*a]\n", 1, "too many or too deep"),
        ("a: " + "[" * 3000 + "]" * 3000, 1, "nested too deeply"),
        ("#" * (MAX_BYTES + 1), 1, f"a file of {MAX_BYTES + 1} bytes"),
    ],
)
def test_what_cannot_be_read_is_one_fault_with_its_line(text, line, found):
    fault = _fault(text)
    assert found in fault.found
    assert fault.where.line == line
    assert fault.allowed


def test_aliases_and_merges_work():
    document, faults = read_document("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}\nc: *x\n", "s.yaml")
    assert not faults
    assert document.data["b"] == {"k": 1, "l": 3}
    assert document.data["c"] == {"k": 1, "l": 2}


def test_aliases_cannot_multiply_without_end():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert "too many" in _fault(bomb).found
