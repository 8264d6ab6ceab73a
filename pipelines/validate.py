"""`causeway validate`: a study's faults, all of them, without an engine."""

from __future__ import annotations

from conf.load import load_study
from conf.plan import effect_specs
from pipelines.output import Answer

SCHEMA = "causeway.validate/1"


def validate(name_or_path: str) -> Answer:
    """Judge a study file.

    Raises
    ------
    StudyError
        The study is invalid; carries every fault.
    UsageError
        There is no such study.
    """
    loaded = load_study(name_or_path)
    study = loaded.study
    effects = [spec.effect_id for spec in effect_specs(study)]
    found = {
        "schema": SCHEMA,
        "study": study.study,
        "file": str(loaded.path),
        "valid": True,
        "effects": effects,
        "error": None,
    }
    lines = [f"{study.study}: valid, {len(effects)} effects", *(f"  {each}" for each in effects)]
    return Answer(found, "\n".join([*lines, ""]))
