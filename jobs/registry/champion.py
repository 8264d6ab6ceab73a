"""Effects in MLflow's model registry: a version a window, ``candidate`` and ``champion``.

Aliases, tags and descriptions follow from the Delta record (`jobs.registry.standing`): they are
written anew at every registration and decision, and a crash between record and registry is mended
by the next of either. Promotion is a reviewer's decision in the record, never a click here.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.load import LoadedStudy
from conf.profile import Profile
from conf.study import Study
from jobs.failpoints import reach
from jobs.pages import note, runs, tracking, wording
from jobs.pages.evidence import Evidence, gather
from jobs.pages.wording import Row
from jobs.registry.model_files import files
from jobs.registry.standing import Judged, Register, Standing, read_register
from jobs.resolve import Resolved

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CANDIDATE = "champion", "candidate"
_FOLDER = "models"
_REVIEWED = ("reviewed_by", "reason", "previous")
_LONG = 4_000
_WARNING = (
    'Do not press "Promote model": it copies a version and records neither who nor why.'
    " To decide: `causeway review {study}`."
)


def model_name(study: str, effect_id: str) -> str:
    """Name of an effect's registered model; MLflow refuses slashes and colons in it."""
    return f"{study}.{effect_id}".replace("/", "_").replace(":", "_")


@dataclass(slots=True)
class _Shelf:
    """A study's models in one registry."""

    client: MlflowClient
    study: Study
    known: Register

    def models(self) -> dict[str, Any]:
        """Registered models of the study by name."""
        found: dict[str, Any] = {}
        token = None
        wanted = f"name LIKE '{self.study.study}.%'"
        while True:
            page = self.client.search_registered_models(wanted, max_results=200, page_token=token)
            found |= {each.name: each for each in page}
            token = page.token
            if not token:
                return found

    def version(self, name: str, run_key: str) -> ModelVersion | None:
        """The version of a run."""
        wanted = f"name = '{name}' AND tags.run_key = '{run_key}'"
        found = list(self.client.search_model_versions(wanted, max_results=10))
        return min(found, key=lambda each: int(each.version), default=None)


def publish(client: MlflowClient, record_root: str, evidence: Evidence, run: str) -> str:
    """Register a version of each headline effect that has an estimate, and settle the aliases.

    Parameters
    ----------
    run
        The window's parent run: the models' files lie among its artifacts.

    Returns
    -------
    str
        The promoted window of the headline effect, ``none yet`` without one.
    """
    known = read_register(record_root, evidence.study)
    shelf = _Shelf(client, evidence.study, known)
    models = shelf.models()
    for effect_id in evidence.headline:
        row = evidence.row(effect_id)
        standing = known.standing(effect_id)
        name = model_name(evidence.study.study, effect_id)
        if wording.estimable(row):
            _ensure(shelf, evidence, standing, row, run, known_names=models)
        if name in models or wording.estimable(row):
            _settle(shelf, standing, models.get(name))
    return _promoted(known, evidence.headline[0])


def sync(profile: Profile, loaded: LoadedStudy, effect_id: str) -> None:
    """Bring an effect's aliases, tags and description up to the record after a decision."""
    known = read_register(profile.record_root, loaded.study)
    with tracking.store(profile) as client:
        shelf = _Shelf(client, loaded.study, known)
        model = shelf.models().get(model_name(loaded.study.study, effect_id))
        if model is not None:
            _settle(shelf, known.standing(effect_id), model)
        experiment = client.get_experiment_by_name(loaded.study.study)
        rows = [row for rows in known.rows.values() for row in rows]
        if experiment is not None and rows:
            newest = max(rows, key=lambda row: (row["window_end"], row["recorded_at"]))
            resolved = Resolved(loaded, known.span(newest), {}, 0.0)
            evidence = gather(resolved, newest["run_key"], profile.record_root)
            _tell(client, evidence, known, experiment.experiment_id)


def _ensure(
    shelf: _Shelf,
    evidence: Evidence,
    standing: Standing,
    row: Row,
    run: str,
    *,
    known_names: Mapping[str, Any],
) -> None:
    """The version of this run: its files first, then its row in the registry, in one step."""
    from mlflow.exceptions import MlflowException

    name = model_name(shelf.study.study, row["effect_id"])
    if name in known_names and shelf.version(name, evidence.run_key) is not None:
        return
    champion = standing.champion.row if standing.champion else None
    judged = shelf.known.judged(row, champion)
    folder = f"{_FOLDER}/{row['effect_id']}"
    with tempfile.TemporaryDirectory(prefix="causeway-") as place:
        for path, content in _files(evidence, judged).items():
            Path(place, path).write_bytes(content)
        shelf.client.log_artifacts(run, place, folder)
    reach("register.before_version")
    if name not in known_names:
        with suppress(MlflowException):  # it is there: made before a crash, or for another window
            shelf.client.create_registered_model(name)
    shelf.client.create_model_version(
        name,
        source=f"{shelf.client.get_run(run).info.artifact_uri}/{folder}",
        run_id=run,
        tags=_tags(evidence, judged),
        description=_version_text(judged, standing),
        await_creation_for=0,
    )
    reach("register.after_version")


def _files(evidence: Evidence, judged: Judged) -> dict[str, bytes]:
    whole = judged.row["effect_id"]
    rows = [row for row in evidence.effects if str(row["effect_id"]).partition("@")[0] == whole]
    rows.sort(key=lambda row: row["group_by"] is not None)
    facts = {
        "study": evidence.study.study,
        "question": evidence.study.question,
        "window": evidence.label,
        "window_start": evidence.start,
        "window_end": evidence.end,
        "run_key": evidence.run_key,
        "sources": judged.row["sources"],
    }
    return files(rows, judged.verdict, facts, platform.python_version())


def _tags(evidence: Evidence, judged: Judged) -> dict[str, str]:
    tags = {
        "study": evidence.study.study,
        "effect_id": str(judged.row["effect_id"]),
        "window": evidence.label,
        "run_key": evidence.run_key,
        "verdict": judged.verdict.verdict,
        "effect": wording.interval(judged.row),
        "checks_failed": ", ".join(judged.verdict.failed),
        "gates_failed": ", ".join(judged.verdict.gates_failed),
        "drift": drift_text(judged),
        "data": ", ".join(f"{name} v{each}" for name, each in judged.row["sources"].items()),
    }
    return {name: wording.shorten(text, _LONG) for name, text in tags.items() if text}


def drift_text(judged: Judged) -> str:
    """The change since the champion in words; empty where there is no other champion."""
    if judged.against is None:
        return ""
    found = judged.against.drift
    if found is None:
        return f"no test ({judged.against.reason})"
    places = wording.decimals(found.se)
    return (
        f"{wording.signed(found.difference, places)} vs the champion"
        f" (z {found.z:.2f}, p {wording.number(found.p_value, 2)})"
    )


def _settle(shelf: _Shelf, standing: Standing, model: Any) -> None:
    """Aliases where the record says; the reviewer's words on the champion; the description."""
    name = model_name(shelf.study.study, standing.effect_id)
    present = dict(model.aliases) if model is not None else {}
    for alias, wanted in ((CHAMPION, standing.champion), (CANDIDATE, standing.candidate)):
        version = shelf.version(name, wanted.run_key) if wanted is not None else None
        number = str(version.version) if version is not None else None
        if str(present.get(alias, "")) == (number or ""):
            continue
        if number is None:
            shelf.client.delete_registered_model_alias(name, alias)
        else:
            shelf.client.set_registered_model_alias(name, alias, number)
    _words(shelf, name, standing)
    text = _model_text(shelf.study, standing)
    if model is None or model.description != text:
        shelf.client.update_registered_model(name, description=text)


def _words(shelf: _Shelf, name: str, standing: Standing) -> None:
    """Who decided on a version, and why: its last decision."""
    for decision in {each.run_key: each for each in standing.decisions}.values():
        version = shelf.version(name, decision.run_key)
        if version is None:
            continue
        words = (decision.reviewer, decision.reason, decision.previous or "none")
        tags = dict(zip(_REVIEWED, words, strict=True)) | {"decision": decision.decision}
        for tag, text in tags.items():
            short = wording.shorten(text, _LONG)
            if version.tags.get(tag) != short:
                shelf.client.set_model_version_tag(name, str(version.version), tag, short)


def _version_text(judged: Judged, standing: Standing) -> str:
    """The verdict first: the table of versions shows about 25 characters."""
    failed = ", ".join(dict.fromkeys((*judged.verdict.gates_failed, *judged.verdict.failed)))
    lines = [
        f"{judged.verdict.verdict.upper()}: {wording.interval(judged.row)}, {judged.span.label}.",
        f"Failed: {failed}." if failed else "All checks pass.",
    ]
    moved = drift_text(judged)
    return " ".join([*lines, f"{moved}."] if moved else lines)


def _model_text(study: Study, standing: Standing) -> str:
    """The model's page: the verdict, what is promoted by whom, what stands for decision."""
    champion, candidate = standing.champion, standing.candidate
    shown = champion or candidate or (standing.refused[0] if standing.refused else None)
    lines = []
    if shown is not None:
        sentence = note.sentence(shown.row)
        lines.append(f"**{shown.verdict.verdict.upper()}: {sentence}, {shown.span.label}.**")
    promotion = standing.promotion
    if promotion is not None and champion is not None:
        lines.append(
            f"Champion: {champion.span.label}, promoted by {promotion.reviewer}:"
            f" {wording.shorten(promotion.reason, 500)}"
        )
    else:
        lines.append("No champion: nobody has promoted a window yet, or it was rejected since.")
    if candidate is not None:
        moved = drift_text(candidate)
        lines.append(
            f"Candidate: {candidate.span.label}, {wording.interval(candidate.row)}"
            + (f", {moved}" if moved else "")
        )
    lines += [
        f"Refused by its gates: {each.span.label} ({', '.join(each.verdict.gates_failed)})"
        for each in standing.refused[:3]
    ]
    lines.append(_WARNING.format(study=study.study))
    return "\n\n".join(lines)


def _promoted(known: Register, effect_id: str) -> str:
    champion = known.standing(effect_id).champion
    return champion.span.label if champion is not None else "none yet"


def _tell(client: MlflowClient, evidence: Evidence, known: Register, experiment: str) -> None:
    """The experiment's note names the promoted window."""
    label = _promoted(known, evidence.headline[0])
    text = note.experiment_note(evidence, experiment, label)
    if client.get_experiment(experiment).tags.get(runs.NOTE) != text:
        client.set_experiment_tag(experiment, runs.NOTE, text)
