"""Fills the README's marked blocks from committed results: `python infra/readme.py [--check]`."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def demo() -> str:
    """What `make demo` printed."""
    return f"```\n{(ROOT / 'infra/docs/demo.txt').read_text().rstrip()}\n```"


def study() -> str:
    """The demo's study, whole."""
    return f"```yaml\n{(ROOT / 'conf/studies/rain_delays.yaml').read_text().rstrip()}\n```"


def coverage() -> str:
    """The committed coverage grid: a line a cell and method."""
    shown = {
        "cell": "cell",
        "method": "effect",
        "repetitions": "repetitions",
        "bias_over_sd": "bias / sd",
        "se_over_sd": "mean SE / sd",
        "coverage": "95 % coverage",
        "coverage_mc_se": "its MC error",
    }
    with (ROOT / "tests/coverage/results/grid_summary.csv").open(newline="") as file:
        rows = [[row[name] for name in shown] for row in csv.DictReader(file)]
    lines = [list(shown.values()), ["---"] * len(shown), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


BLOCKS: dict[str, Callable[[], str]] = {"demo": demo, "study": study, "coverage": coverage}


def filled(text: str) -> str:
    """The README with every block filled."""
    for name, content in BLOCKS.items():
        pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL)
        opened, closed = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        new = f"{opened}{content()}\n{closed}"
        text = pattern.sub(lambda _found, new=new: new, text)
    return text


def main() -> int:
    """Write the README, or with --check say whether it is up to date."""
    path = ROOT / "README.md"
    before = path.read_text()
    after = filled(before)
    if "--check" in sys.argv[1:]:
        if before != after:
            print("README.md is not what the results say: run python infra/readme.py")
        return int(before != after)
    path.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
