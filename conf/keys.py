"""Keys: one a stage, of what the stage computes and nothing else.

A key is the SHA-256 of canonical JSON. The question, the schedule and publishing enter none; code
enters as an integer a stage and the versions of the numeric libraries.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from conf.gates import thresholds
from conf.plan import (
    cate_specs,
    correction_tables,
    effect_specs,
    feature_columns,
    gram_learner,
    learner_names,
    propensity_columns,
)
from conf.study import Study
from conf.windows import Span, duration
from estimators.catalog import CUSTOM, ENTRY_POINTS, PACKAGES, is_named
from estimators.effects import EffectSpec

NUMERICS: dict[str, int] = {"features": 1, "crossfit": 1, "estimate": 1}
"""Raised by one where a stage's numbers change for equal inputs; a golden digest guards it."""
GRAM_NUMERICS = 2
"""The same of studies on the Gram engine."""
LEARNER_NUMERICS: dict[str, int] = {"spline": 1, "xgboost": 1}
"""The same of studies that fit a learner: a penalty's choice, the scale of labels."""
UNCLUSTERED_NUMERICS = 1
"""The same of effects without clusters, in the run key: of few units they have t quantiles."""
DESIGN_NUMERICS = 1
"""The same of studies with a known propensity, whose tallies hold its test."""
WEIGHTED_NUMERICS = 1
"""The same of weighted studies on learners of rows."""
OWN_LAYOUT = "own"
"""Of a study on the Gram engine: knots and centres come from the very rows."""

_FEATURES_LIBRARIES = ("pyspark",)
_CROSSFIT_LIBRARIES = ("numpy", "scipy", "scikit-learn", "xgboost")
_DEVICE_LIBRARIES = ("jax", "jaxlib")
"""Of the Gram engine on a GPU: jaxlib compiles its kernels."""
_NUMERIC_LIBRARIES = (*_FEATURES_LIBRARIES, *_CROSSFIT_LIBRARIES)
_LABEL_LIBRARIES = ("numpy", "xgboost", "pyspark", "scikit-learn")
_PLATFORM_LIBRARIES = ("numpy", "xgboost", "scikit-learn")

_KERNELS = (
    ("amx_tile", "avx512amx"),
    ("avx512_bf16", "avx512bf16"),
    ("avx512f", "avx512"),
    ("avx2", "avx2"),
    ("avx", "avx"),
    ("sse2", "sse2"),
    ("sve", "sve"),
    ("asimd", "neon"),
)
"""CPU flags, the strongest first: linear algebra picks its kernels, so its rounding, by them."""


def digest(inputs: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of `inputs`, 64 hex digits."""
    text = json.dumps(
        inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def features_key(study: Study, span: Span, pins: Mapping[str, tuple[str, int]]) -> str:
    """Key of the feature rows.

    Parameters
    ----------
    study, span
        The study and its window.
    pins
        Delta table id and version of each source, by the source's name.
    """
    return digest(features_inputs(study, span, pins))


def features_inputs(
    study: Study, span: Span, pins: Mapping[str, tuple[str, int]]
) -> dict[str, Any]:
    """What enters `features_key`, by name: a plan shows which of them changed."""
    sources = {
        name: {
            "table_id": pins[name][0],
            "version": pins[name][1],
            "event_time": source.event_time,
            "known_at": source.known_at,
        }
        for name, source in study.sources.items()
    }
    return {
        "sql": study.units.sql.strip(),
        "units": study.units.model_dump(exclude={"sql"}),
        "history": {name: _history(study, name) for name in study.history},
        "columns": feature_columns(study),
        "treatments": {
            name: [each.kind, *each.arms] if each.arms else each.kind
            for name, each in study.treatments.items()
        },
        "outcomes": {
            name: [each.kind, duration(each.horizon).total_seconds(), each.missing]
            for name, each in study.outcomes.items()
        },
        "folds": study.folds.model_dump(),
        "window": _bounds(span),
        "sources": sources,
        "numerics": NUMERICS["features"],
        "libraries": _versions(_FEATURES_LIBRARIES),
    } | _instruments(study)


def _instruments(study: Study) -> dict[str, Any]:
    """What the contract of the rows checks beside treatments and outcomes; most have nothing."""
    kinds = {name: each.kind for name, each in study.instruments.items()}
    found: dict[str, Any] = {"instruments": kinds, "propensities": propensity_columns(study)}
    return {name: value for name, value in found.items() if value}


def _history(study: Study, name: str) -> dict[str, Any]:
    history = study.history[name]
    return history.model_dump() | {"lookback": duration(history.lookback).total_seconds()}


def crossfit_key(
    study: Study,
    features_digest: str,
    device: str,
    calibrations: Mapping[str, tuple[str, int]] | None = None,
    layout: str = OWN_LAYOUT,
) -> str:
    """Key of the cells, moments and tallies.

    Parameters
    ----------
    study
        The study, for its effects with their learners, its covariates in order and its folds.
    features_digest
        Digest of the feature rows: rows that did not change keep the key.
    device
        Kind of device (``cpu``, ``cuda``): the two round differently.
    calibrations
        Delta table id and version of each table that corrects a predicted outcome, by its name
        among the sources (``calibration:wealth``); nothing for a study without one.
    layout
        Of a study on the Gram engine: digest of the layout that was pinned before these rows.
    """
    return digest(crossfit_inputs(study, features_digest, device, calibrations, layout))


def crossfit_inputs(
    study: Study,
    features_digest: str,
    device: str,
    calibrations: Mapping[str, tuple[str, int]] | None = None,
    layout: str = OWN_LAYOUT,
) -> dict[str, Any]:
    """What enters `crossfit_key`, by name."""
    effects = sorted((_effect(spec) for spec in effect_specs(study)), key=_effect_order)
    engine: dict[str, Any] = {}
    libraries: tuple[str, ...] = _CROSSFIT_LIBRARIES
    if gram_learner(study) is not None:
        engine = {"gram": [GRAM_NUMERICS, layout]}
        libraries += _DEVICE_LIBRARIES if device != "cpu" else ()
    elif study.units.weight:
        engine = {"weighted": WEIGHTED_NUMERICS}
    if propensity_columns(study):
        engine |= {"design": DESIGN_NUMERICS}
    if numbered := sorted(LEARNER_NUMERICS.keys() & learner_names(study)):
        engine |= {"learners": {name: LEARNER_NUMERICS[name] for name in numbered}}
    shared = _corrections(study, calibrations or {}) | engine | _conditional(study)
    return shared | {
        "features": features_digest,
        "effects": [effect | {"by": sorted(effect["by"])} for effect in effects],
        "covariates": study.covariates,
        "folds": study.folds.model_dump(),  # the salt seeds the learners too
        "device": device,
        "numerics": NUMERICS["crossfit"],
        "libraries": _versions(libraries) | named_libraries(study),
    }


def _conditional(study: Study) -> dict[str, Any]:
    """Conditional effects: nothing in a study without them, so that its key stays."""
    found = [
        asdict(each) | {"interactive": _effect(each.interactive), "partial": _effect(each.partial)}
        for each in cate_specs(study)
    ]
    return {"cate": found} if found else {}


def named_libraries(study: Study) -> dict[str, str]:
    """Distributions that bring the study's learners named by path, and their versions.

    Those that enter every key anyway are left out.
    """
    named = filter(is_named, learner_names(study))
    found = {_distribution(name) for name in named} - {*_CROSSFIT_LIBRARIES}
    return _versions(tuple(sorted(found)))


def _distribution(learner: str) -> str:
    package, _, name = learner.partition(".")
    if package != CUSTOM:
        return PACKAGES[package]
    for each in entry_points(group=ENTRY_POINTS, name=name):
        if each.dist is not None:
            return each.dist.name
    return learner


def _effect(spec: EffectSpec) -> dict[str, Any]:
    """An effect's inputs that it has: what it has not of other models leaves its key alone."""
    return {name: value for name, value in asdict(spec).items() if value is not None}


def _corrections(study: Study, pins: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """What corrects predicted outcomes: nothing in a study without one."""
    tables = {
        name: each.model_dump(exclude={"table", "version"}) | {"pin": list(pins[name])}
        for name, each in correction_tables(study).items()
    }
    if not tables:
        return {}
    correct = {
        name: each.predicted.correct for name, each in study.outcomes.items() if each.predicted
    }
    return {"corrections": {"tables": tables, "correct": correct}}


def _effect_order(effect: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("method", "estimand", "treatment", "outcome", "correction", "arm")
    return tuple(effect.get(name) or "" for name in names)


def run_key(study: Study, span: Span, crossfit: str) -> str:
    """Key of the effects and checks: what the record, MLflow and the reviewer call a run."""
    return digest(run_inputs(study, span, crossfit))


def run_inputs(study: Study, span: Span, crossfit: str) -> dict[str, Any]:
    """What enters `run_key`, by name."""
    return {
        "study": study.study,
        "window": _bounds(span),
        "crossfit": crossfit,
        "cluster": study.units.cluster,  # its name stands in `se_kind`
        "inference": study.inference.model_dump(),
        "checks": thresholds(study),
        "numerics": NUMERICS["estimate"],
    } | ({} if study.units.cluster else {"unclustered": UNCLUSTERED_NUMERICS})


def study_key(study: Study, span: Span, table_ids: Mapping[str, str], device: str) -> str:
    """Key of the same study on the same window: all inputs of a run but the versions pinned.

    A version that the study itself names is an input; one that was the newest is a pin. Another
    table (another id) is another study.

    Parameters
    ----------
    table_ids
        Delta table id of each source, by the source's name.
    device
        Kind of device.
    """
    tables = correction_tables(study)
    named = {name: (table_ids[name], source.version or 0) for name, source in study.sources.items()}
    fixed = {name: (table_ids[name], each.version or 0) for name, each in tables.items()}
    every = study.sources | tables
    return digest(
        {
            "features": features_inputs(study, span, named),
            "crossfit": crossfit_inputs(study, "", device, fixed),
            "run": run_inputs(study, span, ""),
            "newest": [name for name, each in every.items() if each.version is None],
        }
    )


def numeric_libraries() -> dict[str, str]:
    """All libraries whose versions enter a key, and these versions."""
    return _versions(_NUMERIC_LIBRARIES)


def _bounds(span: Span) -> list[str]:
    return [span.start.isoformat(), span.end.isoformat()]


def numerics_label(study: Study | None = None) -> str:
    """The record's `numerics`: the integers of `NUMERICS` and the library versions.

    Parameters
    ----------
    study
        Its learners named by path add their libraries.
    """
    stages = ",".join(f"{stage}={number}" for stage, number in NUMERICS.items())
    own = named_libraries(study) if study is not None else {}
    more = "".join(f",{name}={number}" for name, number in own.items())
    return f"{stages};{_joined(_LABEL_LIBRARIES)}{more}"


@cache
def platform_label() -> str:
    """The record's `platform`: within one, equal keys give equal digests.

    Operating system, machine, CPU kernel family, and the libraries that carry their own kernels:
    ``linux-x86_64-avx512;numpy=2.4.6,...``.
    """
    machine = platform.machine() or "unknown"
    return f"{sys.platform}-{machine}-{_kernels()};{_joined(_PLATFORM_LIBRARIES)}"


def _kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    have = set(flags.partition(":")[2].split())
    return next((name for flag, name in _KERNELS if flag in have), "unknown")


def _joined(libraries: tuple[str, ...]) -> str:
    return ",".join(f"{name}={number}" for name, number in _versions(libraries).items())


def _versions(libraries: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, read without importing anything."""
    return {name: _version(name) for name in libraries}


@cache
def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"
