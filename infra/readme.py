"""Fills the documents' marked blocks from committed results: `infra/readme.py [--check]`."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from estimators.catalog import CHECKS, LEARNERS, METHODS

NORMAL_975 = 1.959963984540054
ROOT = Path(__file__).resolve().parent.parent


def demo() -> str:
    """What `make demo` printed."""
    return f"```\n{(ROOT / 'infra/docs/demo.txt').read_text().rstrip()}\n```"


def study() -> str:
    """The demo's study, whole."""
    return f"```yaml\n{(ROOT / 'conf/studies/rain_delays.yaml').read_text().rstrip()}\n```"


def coverage() -> str:
    """The committed coverage grids: a line a cell and method."""
    shown = {
        "cell": "cell",
        "method": "effect",
        "repetitions": "repetitions",
        "bias_over_sd": "bias / sd",
        "se_over_sd": "mean SE / sd",
        "coverage": "95 % coverage",
        "coverage_mc_se": "its MC error",
    }
    rows = []
    for name in ("grid", "models", "joint", "iivm"):
        path = ROOT / f"tests/coverage/results/{name}_summary.csv"
        with path.open(newline="") as file:
            rows += [tuple(row[column] for column in shown) for row in csv.DictReader(file)]
    lines = [tuple(shown.values()), ("---",) * len(shown), *dict.fromkeys(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gram_coverage() -> str:
    """The grid with Gram nuisances: a line a cell, from the worst of its effects to the best."""
    lines = ["| cell | repetitions | largest bias / sd | mean SE / sd | 95 % coverage | outside |"]
    lines.append("|---|---|---|---|---|---|")
    cells: dict[str, list[dict[str, str]]] = {}
    with (ROOT / "tests/coverage/results/gram_summary.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            cells.setdefault(row["cell"], []).append(row)
    for name, rows in cells.items():
        bias = max((row["bias_over_sd"] for row in rows), key=lambda each: abs(float(each)))
        ranges = [
            f"{min(row[column] for row in rows)} to {max(row[column] for row in rows)}"
            for column in ("se_over_sd", "coverage")
        ]
        outside = ", ".join(row["method"] for row in rows if row["passed"] == "False") or "none"
        fields = (name, rows[0]["repetitions"], bias, *ranges, outside)
        lines.append(f"| {' | '.join(fields)} |")
    return "\n".join(lines)


def iivm_parts() -> str:
    """Why IIVM's standard error is too large where arms are small."""
    lines = ["| fitted, else the truth | mean SE / sd | its MC error | 95 % coverage |"]
    lines.append("|---|---|---|---|")
    with (ROOT / "tests/coverage/results/iivm_parts.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["n"] == "500":
                fields = (row["fitted"], row["se_over_sd"], row["mc_se"], row["coverage"])
                lines.append(f"| {' | '.join(fields)} |")
    return "\n".join(lines)


def apo_parts() -> str:
    """Why APO's standard errors are too large where columns are many."""
    with (ROOT / "tests/coverage/results/apo_parts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fitted = list(dict.fromkeys(row["fitted"] for row in rows))
    lines = [f"| mean SE / sd with these fitted | {' | '.join(fitted)} | its MC error |"]
    lines.append(f"|---|{'---|' * len(fitted)}---|")
    for name in dict.fromkeys((row["cell"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["cell"], row["method"]) == name]
        ratios = " | ".join(row["se_over_sd"] for row in mine)
        lines.append(f"| {name[0]}, `{name[1]}` | {ratios} | {mine[0]['mc_se']} |")
    return "\n".join(lines)


def pehe() -> str:
    """Root PEHE of the meta-learners on ACIC 2016 no. 1: all units, and those with overlap."""
    with (ROOT / "tests/bench/acic_pehe.csv").open(newline="") as file:
        table = {
            row["figure"].removeprefix("root_pehe_"): f"{float(row['value']):.2f}"
            for row in csv.DictReader(line for line in file if not line.startswith("#"))
        }
    learners = ("s", "t", "x", "r", "dr")
    lines = [
        f"| root PEHE: all units / those with overlap | {' | '.join(map(str.upper, learners))} |",
        f"|---|{'---|' * len(learners)}",
    ]
    for package, title in (("causeway", "ours"), ("econml", "EconML's")):
        names = [f"{each}_{package}" for each in learners]
        cells = [f"{table[name]} / {table[f'{name}_overlap']}" for name in names]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def methods() -> str:
    """The effect models of the catalogue."""
    lines = ["| method | estimands | treatment | model | source |", "|---|---|---|---|---|"]
    for name, each in METHODS.items():
        cells = [f"`{name}`", ", ".join(each.estimands), ", ".join(each.treatments), each.title]
        lines.append(f"| {' | '.join(cells)} | {each.source} |")
    return "\n".join(lines)


def learners() -> str:
    """The learners of the catalogue."""
    lines = ["| learner | what | parameters |", "|---|---|---|"]
    for name, each in LEARNERS.items():
        lines.append(f"| `{name}` | {each.title} | {', '.join(each.parameters) or 'none'} |")
    return "\n".join(lines)


def checks() -> str:
    """The checks of the catalogue, with what passes unless a study says otherwise."""
    lines = ["| check | asks | passes where |", "|---|---|---|"]
    for name, each in CHECKS.items():
        bounds = [f"{metric} {of.threshold}" for metric, of in each.metrics.items() if of.threshold]
        lines.append(f"| `{name}` | {each.title} | {', '.join(bounds)} |")
    return "\n".join(lines)


def corrections() -> str:
    """The published simulation of predicted outcomes: 50 effects from one map, with a net."""
    titles = {"naive": "as it is", "lcc": "LCC", "tweedie": "Tweedie", "ppi": "PPI, 100 labels"}
    with (ROOT / "tests/coverage/debias/results/paper.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["map"] == "published"]
    lines = [
        "| predictor | estimate | slope on the truth | mean absolute error |",
        "|---|---|---|---|",
    ]
    for predictor in ("net", "ridge"):
        chosen = [row for row in rows if row["predictor"] == predictor]
        truth = np.array([float(row["tau"]) for row in chosen])
        for method, title in titles.items():
            estimate = np.array([float(row[method]) for row in chosen])
            slope, error = np.polyfit(truth, estimate, 1)[0], np.abs(estimate - truth).mean()
            lines.append(f"| {predictor} | {title} | {slope:.3f} | {error:.3f} |")
    return "\n".join(lines)


def corrected_coverage() -> str:
    """Coverage of corrected effects over 1,000 repetitions, a line a world."""
    worlds = {
        "straight": "label shift holds",
        "straight_half": "half the effect",
        "straight_small": "few calibration rows",
        "mixture": "a mixture of two maps, no arms among the labels",
        "net": "the net of the simulation: skewed errors",
        "reversed": "label shift does not hold",
    }
    lines = [
        "| world | as it is | LCC | Tweedie | the gate lets LCC pass |",
        "|---|---|---|---|---|",
    ]
    folder = ROOT / "tests/coverage/debias/results"
    for world, title in worlds.items():
        tau = json.loads((folder / f"coverage_{world}.json").read_text())["config"]["tau"]
        with (folder / f"coverage_{world}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        covered = []
        for method in ("naive", "lcc", "tweedie"):
            theta, se = (np.array([float(row[f"{method}_{part}"]) for row in rows]) for part in
                         ("theta", "se"))  # fmt: skip
            covered.append(f"{np.mean(np.abs(theta - tau) <= NORMAL_975 * se):.3f}")
        found = [row["lcc_found"] for row in rows]
        passed = f"{np.mean([each == 'fine' for each in found]):.3f}" if any(found) else "untested"
        lines.append(f"| {title} | {' | '.join(covered)} | {passed} |")
    return "\n".join(lines)


FIGURES = (
    # what it is, what to reach, file, figure
    ("One effect, XGBoost, 100 rounds: wall over the bare fits", "<= 1.10",
     "tree_one_effect", "wall_over_floor"),
    ("the same, processor seconds", "", "tree_one_effect", "cpu_over_floor"),
    ("the same, wall over EconML's", "<= 0.50", "tree_one_effect", "wall_over_econml"),
    ("the same, wall over DoubleML's", "<= 0.65", "tree_one_effect", "wall_over_doubleml"),
    ("the same, processor seconds over EconML's", "", "tree_one_effect", "cpu_over_econml"),
    ("the same, peak memory over EconML's", "<= 0.70", "tree_one_effect", "peak_over_econml"),
    ("the same at 2 rounds, peak memory over EconML's", "<= 0.70",
     "tree_memory", "peak_over_econml"),
    ("the same, beyond the arrays that both begin with", "<= 0.50",
     "tree_memory", "peak_over_arrays_over_econml"),
    ("One effect, XGBoost, on Ray: speed of two workers over one", ">= 1.7",
     "workers", "speedup_of_two_workers"),
    ("the same, of two bare processes: what the machine gives", "",
     "workers", "speedup_of_the_machine"),
    ("5 x 20 effects, XGBoost: speed over EconML in a loop", ">= 12",
     "tree_many_effects", "speedup_over_looped_econml_wall"),
    ("5 x 20 effects, splines: speed over EconML in a loop", ">= 500",
     "gram_many_effects", "speedup_over_looped_econml_cpu"),
    ("the same, peak memory in MiB", "< 2048", "gram_memory", "peak_memory"),
    ("the same, seconds a row over those of the first million", "1",
     "gram_memory", "engine_cpu_over_linear"),
    ("the same in the pipeline, from features in Delta to effects: peak memory in MiB", "< 2048",
     "gram_pipeline_memory", "peak_memory_with_estimate"),
    ("the same, crossfit's peak over that of the first million", "1",
     "gram_pipeline_memory", "peak_memory_over_first"),
    ("the same, seconds a row over those of the first million", "1",
     "gram_pipeline_memory", "crossfit_cpu_over_linear"),
    ("One effect, XGBoost: processor seconds over dml-rs's (Rust)", "",
     "dml_rs", "trees_cpu_over_dml_rs"),
    ("the same, peak memory over dml-rs's", "< 1", "dml_rs", "trees_peak_over_dml_rs"),
    ("5 x 20 effects, splines: speed over dml-rs in a loop", "> 1",
     "dml_rs", "splines_speedup_cpu"),
    ("the same, peak memory over dml-rs's", "< 1", "dml_rs", "splines_peak_over_dml_rs"),
)  # fmt: skip


def benchmarks() -> str:
    """The committed benchmarks of the fits: the largest run of each figure, or its median."""
    lines = [
        "| figure | to reach | measured | rows | load | `tests/bench/` |",
        "|---|---|---|---|---|---|",
    ]
    for title, reach, name, figure in FIGURES:
        with (ROOT / f"tests/bench/{name}.csv").open(newline="") as file:
            table = csv.DictReader(line for line in file if not line.startswith("#"))
            found = [row for row in table if row["figure"] == figure]
        size = max(int(row["rows"]) for row in found)
        largest = [row for row in found if int(row["rows"]) == size]
        value, load = (median(float(row[part]) for row in largest) for part in ("value", "load"))
        shown = f"{float(f'{value:.3g}'):,g}"
        lines.append(f"| {title} | {reach} | {shown} | {size:,} | {load:.1f} | `{name}.csv` |")
    return "\n".join(lines)


DOCUMENTS = ("README.md", "infra/docs/predicted-outcomes.md")
BLOCKS: dict[str, Callable[[], str]] = {
    "demo": demo,
    "study": study,
    "methods": methods,
    "learners": learners,
    "checks": checks,
    "coverage": coverage,
    "gram-coverage": gram_coverage,
    "iivm-parts": iivm_parts,
    "apo-parts": apo_parts,
    "pehe": pehe,
    "benchmarks": benchmarks,
    "corrections": corrections,
    "corrected-coverage": corrected_coverage,
}


def filled(text: str) -> str:
    """A document with every block filled."""
    for name, content in BLOCKS.items():
        opened, closed = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if opened in text:
            pattern = re.compile(rf"{opened}.*?{closed}", re.DOTALL)
            new = f"{opened}{content()}\n{closed}"
            text = pattern.sub(lambda _found, new=new: new, text)
    return text


def main() -> int:
    """Write the documents, or with --check say whether they are up to date."""
    stale = 0
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text()
        after = filled(before)
        if "--check" not in sys.argv[1:]:
            path.write_text(after)
        elif before != after:
            print(f"{name} is not what the results say: run python infra/readme.py")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
