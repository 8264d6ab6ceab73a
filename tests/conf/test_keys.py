"""Keys: each holds what its stage computes, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from conf import keys
from conf.keys import crossfit_key, features_key, numerics_label, platform_label, run_key
from conf.load import parse_study
from conf.windows import parse_span

PINS = {"visits": ("id-of-visits", 3), "shops": ("id-of-shops", 0)}
STAGES = ("features", "crossfit", "run")


def _keys(text, *, pins=PINS, window="2013-03", rows="digest", device="cpu", crossfit=None):
    """The three keys; the two later ones for equal inputs from the stage before."""
    study = parse_study(text, Path("shops.yaml"))
    span = parse_span(window, study.window)
    fitted = crossfit_key(study, rows, device)
    return {
        "features": features_key(study, span, pins),
        "crossfit": fitted,
        "run": run_key(study, span, crossfit or fitted),
    }


def _changed(one, other):
    return {stage for stage in STAGES if one[stage] != other[stage]}


def test_keys_are_64_hex_digits(small):
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in _keys(small).values())


NO_KEY = {
    "question": ("Does a coupon raise spending?", "Another question"),
    "gates": ('">= 0.5"', '">= 0.9"'),
    "headline": ("publish:\n", "publish:\n  headline: 3\n"),
    "schedule": ('cron: "0 3 2 * *"', 'cron: "0 4 5 * *"'),
    "watermark": ("    event_time: at\n", '    event_time: at\n    watermark: "max(at)"\n'),
    "path of a table": ("{lake}/shops", "/elsewhere/shops"),
    "a default spelled out": ("{k: 4}", '{k: 4, repetitions: 1, salt: ""}'),
    "a learner's default spelled out": ("max_depth: 3}", "max_depth: 3, learning_rate: 0.05}"),
    "an int for a float": ("max_depth: 3}", "max_depth: 3, subsample: 1}"),
    "the same duration": ("30 days", "720 hours"),
    "the same threshold": ('"<= 0.2"', '"<=0.20"'),
    "a check's default threshold": ("[overlap,", '[{overlap: {ess_share: ">= 0.5"}},'),
    "the order of effects": (
        "  - method: plr\n  - method: irm\n    estimand: ate\n    by: [region, region*size]\n",
        "  - {method: irm, by: [region*size, region]}\n  - {method: plr}\n",
    ),
    "the length of windows": ("every: 1 month", "every: 3 months"),
}

ENTERS = {
    "the SQL": ("s.region, s.size,", "s.region,  s.size,", {"features"}),
    "the id": ("id: visit_id", "id: customer", {"features"}),
    "the cluster": ("cluster: day", "cluster: customer", {"features", "run"}),
    "lookback": ("30 days", "31 days", {"features"}),
    "an aggregate": ("avg(spend)", "max(spend)", {"features"}),
    "event_time": ("event_time: at", "event_time: later", {"features"}),
    "known_at": ("INTERVAL 1 DAY", "INTERVAL 2 DAY", {"features"}),
    "horizon": ("horizon: 1 day", "horizon: 2 days", {"features"}),
    "missing": ("missing: drop", "missing: error", {"features", "crossfit", "run"}),
    "a covariate": ("  - age\n", "", {"features", "crossfit", "run"}),
    "the order of covariates": (
        "  - age\n  - region\n", "  - region\n  - age\n", {"features", "crossfit", "run"},
    ),
    "a group": ("[region, region*size]", "[region]", {"features", "crossfit", "run"}),
    "a group of known columns": ("region*size]", "region*size, size]", {"crossfit", "run"}),
    "folds": ("{k: 4}", "{k: 5}", {"features", "crossfit", "run"}),
    "salt": ("{k: 4}", "{k: 4, salt: x}", {"features", "crossfit", "run"}),
    "a learner": ("max_depth: 3", "max_depth: 4", {"crossfit", "run"}),
    "an estimand": ("estimand: ate", "estimand: att", {"crossfit", "run"}),
    "clip": ("estimand: ate", "clip: 0.02", {"crossfit", "run"}),
    "level": ("checks:", "inference: {level: 0.9}\nchecks:", {"run"}),
    "a threshold": ('"<= 0.2"', '"<= 0.3"', {"run"}),
    "a check": (", attrition]", ", attrition, missingness]", {"run"}),
    "the name": ("study: shops", "study: stores", {"run"}),
    "the zone": ("{every: 1 month, timezone: Europe/Paris}", "{every: 1 month}",
                 {"features", "run"}),
}  # fmt: skip


@pytest.mark.parametrize("change", NO_KEY.values(), ids=NO_KEY.keys())
def test_what_enters_no_key(change, small, edit):
    text = edit(change)
    if "attrition" in str(change):  # the gate that needs it
        text = text.replace('    "*.spend": {attrition.gap: "<= 0.02"}\n', "")
    assert _changed(_keys(small), _keys(text)) == set()


@pytest.mark.parametrize("change", ENTERS.values(), ids=ENTERS.keys())
def test_what_enters_which_key(change, small, edit):
    old, new, stages = change
    text = edit((old, new))
    if "missing: error" in text:  # then there is no attrition for the gate to judge
        text = text.replace('    "*.spend": {attrition.gap: "<= 0.02"}\n', "")
    assert _changed(_keys(small), _keys(text)) == stages


def test_window_pins_rows_and_device(small):
    keys_now = _keys(small)
    assert _changed(keys_now, _keys(small, window="2013-04")) == {"features", "run"}
    newer = PINS | {"visits": ("id-of-visits", 4)}
    assert _changed(keys_now, _keys(small, pins=newer)) == {"features"}
    another = PINS | {"visits": ("another id", 3)}
    assert _changed(keys_now, _keys(small, pins=another)) == {"features"}
    assert _changed(keys_now, _keys(small, rows="other rows")) == {"crossfit", "run"}
    assert _changed(keys_now, _keys(small, device="cuda")) == {"crossfit", "run"}


OWN_NUMERICS = {
    "WEIGHTED_NUMERICS": ("  id: visit_id\n", "  id: visit_id\n  weight: size\n"),
    "DESIGN_NUMERICS": ("coupon: binary", "coupon: {kind: binary, propensity: size}"),
}


@pytest.mark.parametrize("name", OWN_NUMERICS)
def test_numerics_of_some_studies_leave_the_others_keys(name, small, edit, monkeypatch):
    mine = edit(OWN_NUMERICS[name])
    before = _keys(mine), _keys(small)
    monkeypatch.setattr(keys, name, getattr(keys, name) + 1)
    assert _changed(before[0], _keys(mine)) == {"crossfit", "run"}
    assert _changed(before[1], _keys(small)) == set()


@pytest.mark.parametrize(("name", "other"), [("xgboost", "spline"), ("spline", "linear")])
def test_numerics_of_a_learner_leave_other_learners_keys(name, other, small, edit, monkeypatch):
    texts = [edit(("{learner: xgboost, max_depth: 3}", each)) for each in (name, other)]
    before = [_keys(each) for each in texts]
    monkeypatch.setitem(keys.LEARNER_NUMERICS, name, keys.LEARNER_NUMERICS[name] + 1)
    assert _changed(before[0], _keys(texts[0])) == {"crossfit", "run"}
    assert _changed(before[1], _keys(texts[1])) == set()


def test_two_ways_to_write_one_window_are_one_key(small):
    assert _keys(small, window="2013") == _keys(small, window="2013-01..2013-12")


@pytest.mark.parametrize(
    ("stage", "changed"),
    [("features", {"features"}), ("crossfit", {"crossfit", "run"}), ("estimate", {"run"})],
)
def test_numerics_enter_the_key_of_their_stage(stage, changed, small, monkeypatch):
    before = _keys(small)
    monkeypatch.setitem(keys.NUMERICS, stage, keys.NUMERICS[stage] + 1)
    assert _changed(before, _keys(small)) == changed


@pytest.mark.parametrize(
    ("library", "changed"),
    [
        ("pyspark", {"features"}),
        ("numpy", {"crossfit", "run"}),
        ("xgboost", {"crossfit", "run"}),
        ("scikit-learn", {"crossfit", "run"}),
        ("scipy", {"crossfit", "run"}),
        ("mlflow", set()),
    ],
)
def test_libraries_enter_the_key_of_the_stage_that_computes_with_them(
    library, changed, small, monkeypatch
):
    before, real = _keys(small), keys._version
    monkeypatch.setattr(keys, "_version", lambda name: "99" if name == library else real(name))
    assert _changed(before, _keys(small)) == changed


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_keys_do_not_depend_on_how_the_yaml_is_written(data, small):
    plain = yaml.safe_load(small)
    sections = data.draw(st.permutations(list(plain)))
    dumped = yaml.safe_dump(
        {name: plain[name] for name in sections},
        sort_keys=data.draw(st.booleans()),
        default_flow_style=data.draw(st.sampled_from([True, False, None])),
        width=data.draw(st.integers(60, 200)),
        indent=data.draw(st.integers(2, 8)),
    )
    assume(yaml.safe_load(dumped) == plain)  # PyYAML breaks some long quoted texts at small widths
    comments = data.draw(st.lists(st.text("abc #:-", max_size=20), max_size=3))
    head = "".join(f"# {comment}\n" for comment in comments)
    keys_now = _keys(small)
    written = _keys(head + dumped)
    # Sorting a mapping's keys reorders nothing that counts: one treatment, one outcome.
    assert _changed(keys_now, written) == set()


def test_labels():
    assert re.fullmatch(
        r"features=\d+,crossfit=\d+,estimate=\d+;numpy=[\d.]+,xgboost=[\d.]+,pyspark=[\d.]+,"
        r"scikit-learn=[\d.]+",
        numerics_label(),
    )
    assert re.fullmatch(
        r"[a-z]+-\w+-\w+;numpy=[\d.]+,xgboost=[\d.]+,scikit-learn=[\d.]+", platform_label()
    )


@pytest.mark.parametrize(
    ("cpuinfo", "family"),
    [
        ("processor : 0\nflags\t\t: fpu sse2 avx avx2 avx512f avx512_bf16\n", "avx512bf16"),
        ("flags : sse2 avx avx2 avx512f\n", "avx512"),
        ("flags : sse2 avx avx2\n", "avx2"),
        ("flags : sse2 avx\n", "avx"),
        ("Features\t: fp asimd\n", "neon"),
        ("Features\t: fp asimd sve\n", "sve"),
        ("nothing of use\n", "unknown"),
    ],
)
def test_the_kernel_family_is_the_strongest_that_the_cpu_has(cpuinfo, family, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    assert keys._kernels(path) == family
