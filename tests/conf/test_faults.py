"""One study a kind of fault: what was found, what is allowed, the nearest name, the line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from conf.load import parse_study
from conf.plan import effect_specs
from estimators.errors import StudyError


class Bad(NamedTuple):
    """An edit of the small study and the one fault that it must give."""

    edit: list[str]
    found: str
    allowed: str
    at: str
    nearest: str | None = None
    alone: bool = True  # false where the mistake rightly has a consequence that is told too


KINDS = {
    entry.pop("kind"): Bad(**entry)
    for entry in yaml.safe_load(Path(__file__).with_name("bad_studies.yaml").read_text())
}
ALONE = [kind for kind, bad in KINDS.items() if bad.alone]


@pytest.mark.parametrize("bad", KINDS.values(), ids=KINDS.keys())
def test_each_kind_of_fault_says_what_where_and_what_is_nearest(bad, edit, faults):
    text = edit(bad.edit)
    listed = faults(text)
    mine = [fault for fault in listed if bad.found in fault.found]
    assert mine, [str(fault) for fault in listed]
    assert bad.allowed in mine[0].allowed
    assert mine[0].nearest == bad.nearest
    assert mine[0].where.file == "shops.yaml"
    assert mine[0].where.line == text[: text.index(bad.at)].count("\n") + 1 + bad.at.startswith(
        "\n"
    )


@pytest.mark.parametrize("name", ALONE)
def test_a_single_mistake_is_a_single_fault(name, edit, faults):
    bad = KINDS[name]
    listed = faults(edit(bad.edit))
    assert len(listed) == 1, [str(fault) for fault in listed]


def test_all_faults_of_a_file_are_listed_at_once_in_order_of_lines(edit, faults):
    names = [
        "unknown key", "placeholder", "zone", "table", "rand", "id column", "history source",
        "lookback", "aggregate", "kind", "option", "out of range", "parameter type", "learner",
        "method", "check", "metric", "gate condition", "cron range",
    ]  # fmt: skip
    text = edit(*(KINDS[name].edit for name in names))
    listed = faults(text)
    for name in names:
        assert any(KINDS[name].found in fault.found for fault in listed), name
    lines = [fault.where.line for fault in listed]
    assert lines == sorted(lines)


def test_the_message_carries_every_fault_and_so_does_the_json(edit):
    text = edit(("study: shops", "study: Shops"), ("- age", "- aeg"))
    with pytest.raises(StudyError) as caught:
        parse_study(text, Path("shops.yaml"))
    said = str(caught.value)
    assert "2 faults" in said
    assert "shops.yaml:1: " in said
    assert "did you mean 'age'?" in said
    assert [fault["nearest"] for fault in caught.value.as_dict()["faults"]] == [None, "age"]


def test_irm_refuses_a_continuous_treatment(edit, faults):
    head = edit(("{coupon: binary}", "{age: continuous}"), ("  - age\n", "")).partition("checks:")[
        0
    ]
    (fault,) = faults(head)
    assert "irm with the continuous treatment 'age'" in fault.found
    assert "binary treatments" in fault.allowed


def test_plr_of_one_of_several_treatments_says_how_to_ask_for_it(edit, faults):
    text = edit(("{coupon: binary}", "{coupon: binary, size: continuous}"),
                ("    estimand: ate", "    treatment: coupon"), ("region*size", "day"))  # fmt: skip
    joint = parse_study(text, Path("x"))
    plr = [each for each in effect_specs(joint) if each.method == "plr"]
    assert {(each.treatment, each.joint) for each in plr} == {
        (name, ("coupon", "size")) for name in ("coupon", "size")
    }
    one = edit(("method: plr", "method: plr\n    treatment: coupon"), text=text)
    (fault,) = faults(one)
    assert "plr of one of 2 treatments" in fault.found
    assert "marginal: true" in fault.allowed
    alone = edit(("method: plr", "method: plr\n    marginal: true"), text=text)
    plr = [each for each in effect_specs(parse_study(alone, Path("x"))) if each.method == "plr"]
    assert {each.joint for each in plr} == {None}


def test_a_study_without_windows_needs_no_time(edit):
    text = edit(
        ("window: {every: 1 month, timezone: Europe/Paris}\n", ""),
        ("    WHERE v.at >= :window_start AND v.at < :window_end\n", ""),
        ("  time: at\n", ""),
        ("history:\n  customer:\n    from: visits\n    by: customer\n    lookback: 30 days\n"
         "    columns:\n      visits_30d: count(*)\n      spend_30d: avg(spend)\n", ""),
        ("  - visits_30d\n  - spend_30d\n", ""),
        ("    event_time: at\n", ""),
    )  # fmt: skip
    assert parse_study(text, Path("x")).window.every == "all"


def test_history_needs_a_unit_time_even_without_windows(edit, faults):
    text = edit(
        ("window: {every: 1 month, timezone: Europe/Paris}\n", ""),
        ("    WHERE v.at >= :window_start AND v.at < :window_end\n", ""),
        ("  time: at\n", ""),
    )
    (fault,) = faults(text)
    assert fault.found == "history without `units.time`"


def test_columns_may_bear_the_reserved_name_that_they_provide(edit):
    changes = [
        ("v.visit_id,", "v.visit_id AS unit_id,"),
        ("id: visit_id", "id: unit_id"),
        ("v.day,", "v.day AS cluster_id,"),
        ("cluster: day", "cluster: cluster_id"),
    ]
    assert parse_study(edit(*changes), Path("x")).units.id == "unit_id"


def test_a_gate_may_mean_groups_by_their_grouping(edit, faults):
    grouped = '"irm.*@region=*": {overlap.ess_share: ">= 0.5"}'
    gate = '"irm.*": {overlap.ess_share: ">= 0.5"}'
    parse_study(edit((gate, grouped)), Path("x"))
    (fault,) = faults(edit((gate, grouped.replace("region", "day"))))
    assert "matches no effect" in fault.found


def test_the_hour_of_a_date_is_no_leak_of_a_policy_that_began_on_a_date(edit):
    text = edit(
        ("CAST(v.coupon IS NOT NULL AS INT)", "CAST(v.at > '2020-01-01' AS INT)"),
        ("v.age,", "hour(v.at) AS age,"),
    )
    parse_study(text, Path("x"))
