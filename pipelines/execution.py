"""One execution of a study: what its stages committed, as the run object of the contract."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from conf.gates import CheckRow, Verdict, gates_failed, verdicts
from conf.profile import Profile
from conf.study import Study
from conf.windows import Span
from estimators.errors import CausewayError, GateError, NotMatureError

if TYPE_CHECKING:
    from jobs.ledger import Stage
    from jobs.register import Registered
    from jobs.resolve import Resolved

SCHEMA = "causeway.run/1"
STAGES = ("resolve", "features", "crossfit", "estimate", "register")
Status = Literal["computed", "already_recorded", "not_mature", "failed"]
_CHECK_COLUMNS = ("effect_id", "check", "metric", "value", "op", "threshold", "passed", "detail")


@dataclass(frozen=True, slots=True)
class Findings:
    """What the record says of a run.

    Attributes
    ----------
    effects
        The run's rows of ``effects``, by effect id.
    verdicts
        By effect id.
    """

    effects: list[dict[str, Any]]
    checks: list[CheckRow]
    verdicts: dict[str, Verdict]

    @property
    def counts(self) -> dict[str, int]:
        """Checks passed, failed and for information."""
        passed = [row.passed for row in self.checks]
        return {
            "passed": passed.count(True),
            "failed": passed.count(False),
            "info": passed.count(None),
        }

    @property
    def gates(self) -> list[str]:
        """Gates that failed, ``effect_id:check.metric``."""
        return gates_failed(self.verdicts)

    @property
    def verdict(self) -> str:
        """The worst verdict of the run."""
        found = {each.verdict for each in self.verdicts.values()}
        return next((name for name in ("rejected", "doubtful") if name in found), "holds")


def findings(profile: Profile, study: Study, run_key: str) -> Findings:
    """Read a run's effects and checks from the record, and judge them."""
    from jobs.lake import field_in, read_record

    root, where = profile.record_root, field_in("run_key", [run_key])
    effects = read_record(root, "effects", where).to_pylist()
    effects.sort(key=lambda row: str(row["effect_id"]))
    rows = read_record(root, "checks", where, _CHECK_COLUMNS).to_pylist()
    checks = [CheckRow(**row) for row in rows]
    ids = [str(row["effect_id"]) for row in effects]
    return Findings(effects, checks, verdicts(study, ids, checks))


@dataclass(slots=True)
class Execution:
    """An execution under way. It only collects; stages know nothing of it.

    Attributes
    ----------
    study
        Name of the study, or what the user typed until it is loaded.
    """

    study: str
    span: Span | None = None
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    run_key: str | None = None
    digest: str | None = None
    mlflow: dict[str, str] | None = None
    found: Findings | None = None
    status: Status = "failed"
    error: CausewayError | None = None

    def resolved(self, resolved: Resolved) -> None:
        """Note the first stage, which commits nothing."""
        self.span = resolved.span
        self.stages["resolve"] = _not_run("resolve") | {
            "status": "computed",
            "seconds": round(resolved.seconds, 3),
        }

    def committed(self, stage: Stage) -> None:
        """Note a committed stage."""
        self.stages[stage.name] = stage.as_dict()
        if stage.name == "estimate":
            self.run_key, self.digest = stage.key, stage.digest

    def registered(self, registered: Registered) -> None:
        """Note the run in MLflow."""
        self.committed(registered.stage)
        self.mlflow = {"experiment_id": registered.experiment_id, "run_id": registered.run_id}

    def finish(self, found: Findings, *, strict: bool) -> None:
        """Say how it ended; under `strict` a failed gate is an error."""
        self.found = found
        reused = {name for name, each in self.stages.items() if each["status"] == "reused"}
        self.status = "already_recorded" if reused >= set(STAGES[1:]) else "computed"
        if strict and found.gates:
            self.error = GateError(
                f"{len(found.gates)} gates failed: {', '.join(found.gates)}",
                remedy="the record is complete; look at the checks before anybody uses the effects",
            )

    def fail(self, error: CausewayError) -> None:
        """Say why it ended."""
        self.error = error
        self.status = "not_mature" if isinstance(error, NotMatureError) else "failed"

    @property
    def message(self) -> str:
        """One line on how it ended."""
        if self.found is not None:
            checks = self.found.counts
            text = f"{self.status}: {len(self.found.effects)} effects, {self.found.verdict}"
            text += f"; {checks['failed']} of {checks['failed'] + checks['passed']} checks fail"
            return f"{text}; {len(self.found.gates)} gates failed" if self.found.gates else text
        return f"{self.status}: {self.error.message if self.error else ''}"

    def as_dict(self) -> dict[str, Any]:
        """The run object."""
        window = {"start": self.span.start, "end": self.span.end} if self.span else None
        found = self.found
        return {
            "schema": SCHEMA,
            "study": self.study,
            "window": window,
            "run_key": self.run_key,
            "status": self.status,
            "stages": [self.stages.get(name) or _not_run(name) for name in STAGES],
            "effects": len(found.effects) if found else 0,
            "checks": found.counts if found else {"passed": 0, "failed": 0, "info": 0},
            "gates": {
                "passed": not found.gates if found else None,
                "failed": found.gates if found else [],
            },
            "effects_digest": self.digest,
            "mlflow": self.mlflow,
            "error": self.error.as_dict() if self.error else None,
        }


OPEN: ContextVar[Execution | None] = ContextVar("execution", default=None)
"""The execution that the flow fills in, where its caller is in the same process."""


def _not_run(name: str) -> dict[str, Any]:
    missing = dict.fromkeys(("key", "table", "version", "rows"))
    return {"name": name, "status": "not_run", **missing, "seconds": 0.0}
