"""What a flow shows in Prefect: a table of the effects and a verdict in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from jobs.pages import wording
from pipelines.execution import Execution, Findings


async def publish(execution: Execution) -> None:
    """Write both artifacts under keys of the study, so that Prefect shows their history."""
    key = execution.study.replace("_", "-").lower()
    label = execution.span.label if execution.span else ""
    if execution.found is not None:
        await acreate_table_artifact(
            key=f"effects-{key}",
            table=effects_table(execution.found),
            description=f"Effects of {execution.study}, {label}",
        )
    await acreate_markdown_artifact(
        key=f"verdict-{key}",
        markdown=verdict_markdown(execution),
        description=f"Verdict on {execution.study}, {label}",
    )


def effects_table(found: Findings) -> list[dict[str, Any]]:
    """One row an effect, ready to read."""
    return [_row(row, found) for row in found.effects]


def _row(row: Mapping[str, Any], found: Findings) -> dict[str, Any]:
    verdict = found.verdicts[str(row["effect_id"])]
    return {
        "effect": wording.name(row),
        f"estimate ({wording.level(row)})": wording.interval(row),
        "naive": wording.number(row["naive"]),
        "n": row["n"],
        "verdict": verdict.verdict,
        "failed checks": ", ".join(verdict.failed),
    }


def verdict_markdown(execution: Execution) -> str:
    """The verdict, why, and where to look next."""
    label = execution.span.label if execution.span else ""
    lines = [f"# {execution.study} {label}: {_word(execution)}", "", execution.message, ""]
    if execution.found is not None:
        lines += _reasons(execution.found)
    if execution.error is not None:
        lines += ["```", str(execution.error), "```", ""]
    if execution.run_key:
        lines += [f"Run key `{execution.run_key}`, effects digest `{execution.digest}`.", ""]
    if execution.mlflow:
        lines += [f"MLflow run `{execution.mlflow['run_id']}`: `causeway ui` opens it.", ""]
    return "\n".join(lines)


def _word(execution: Execution) -> str:
    return execution.found.verdict if execution.found else execution.status.replace("_", " ")


def _reasons(found: Findings) -> list[str]:
    counts = found.counts
    lines = [f"Checks: {counts['passed']} passed, {counts['failed']} failed.", ""]
    failed = [row for row in found.checks if row.passed is False]
    for row in failed:
        title = wording.metric_title(row.check, row.metric)
        about = row.effect_id or "all effects"
        value = wording.number(row.value)
        lines.append(f"- **{title}** {value}, wanted {row.op} {row.threshold}: {about}")
    lines += ["", *(f"- gate failed: `{gate}`" for gate in found.gates)]
    return [*lines, ""]
