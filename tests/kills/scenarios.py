"""The commands that are killed, the homes they start from, and where they are killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.jobs import prebuilt
from tests.kills.process import answer, command
from tests.kills.state import State, look
from tests.pipelines import small_study

_SUMS = ("moments", "tallies", "scores", "cells")
STAGES = (
    *(f"crossfit.{when}_{name}" for name in _SUMS for when in ("before", "after")),
    "crossfit.before_ledger",
    "estimate.before_checks", "estimate.before_effects", "estimate.after_effects",
    "estimate.before_ledger",
    "register.before_parent", "register.after_parent", "register.after_artifacts",
    "register.between_children", "register.before_finish", "register.after_finish",
    "register.before_version", "register.after_version", "register.before_ledger",
    "register.after_ledger",
)  # fmt: skip
STORE = ("register.before_store",)
GRAM = ("crossfit.after_gram_partials", "crossfit.after_gram_layouts")
PLAN = ("backfill.before_plan", "backfill.after_plan")
EFFECT = "irm.ate.coupon.spend"
GATES = 'publish: {gates: {"*": {drift.p_value: ">= 0.001", overlap.ess_share: ">= 0.3"}}}\n'
_PROFILE = """\
engines: sequential
spark: {master: "local[2]", memory: 1g}
ray: {address: local, num_cpus: 2, inline_below: %d, object_store_memory: 100000000}
retention: {days: 0, small_files: 2}
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command, and the kills it gets.

    Attributes
    ----------
    prepare
        Makes the home that each kill starts from, in a process of its own.
    points
        Fail points, each ``point`` or ``point#n``.
    times
        How many kills come at a random moment.
    """

    name: str
    prepare: Callable[[Path], None]
    arguments: Callable[[Path], tuple[str, ...]]
    points: tuple[str, ...]
    times: int

    @property
    def kills(self) -> tuple[str, ...]:
        """Names of its kills."""
        return (*self.points, *(f"time{number}" for number in range(self.times)))


@dataclass(frozen=True, slots=True)
class Base:
    """A home to copy, and what an undisturbed run of the command makes of it."""

    home: Path
    seconds: float
    digests: list[str]
    state: State


def make(scenario: Scenario, folder: Path) -> Base:
    """Prepare a scenario's home, and run its command once without a kill."""
    home = folder / scenario.name
    home.mkdir(parents=True)
    (folder / "profile.yaml").write_text(_PROFILE % 50_000)
    (folder / "ray.yaml").write_text(_PROFILE % 0)

    def prepare() -> dict[str, str]:
        scenario.prepare(home)
        return {}

    answer(prepare, folder / f"{scenario.name}-prepare.log")
    whole = folder / f"{scenario.name}-whole"
    shutil.copytree(home, whole)
    ran = command(whole, scenario.arguments(folder))
    assert ran.code == 0, ran.err
    state = answer(lambda: look(whole), folder / f"{scenario.name}-state.log")
    return Base(home, ran.seconds, digests(ran.object), state)


def digests(found: dict) -> list[str]:
    """The digests that a command's object names, in their order."""
    return [each["effects_digest"] for each in found.get("windows", ())]


def _study(folder: Path) -> Path:
    text = prebuilt.STUDY.replace("folds: {k: 3}", "folds: {k: 3}\nchecks: [overlap, balance]")
    return prebuilt.write_study(folder, text + GATES)


def _must(home: Path, *arguments: str) -> None:
    import os

    from pipelines.cli import execute

    os.environ["CAUSEWAY_HOME"] = str(home)
    code = execute(arguments)
    assert code == 0, arguments


def _featured(home: Path) -> None:
    """Two months in the lake, their features committed, nothing else."""
    prebuilt.write_lake(home, prebuilt.MONTHS[:2])
    prebuilt.prebuild(_study(home.parent), prebuilt.MONTHS[:2], prebuilt.place(home))


def _with_store(home: Path) -> None:
    """The same, and an MLflow store that is there already."""
    _featured(home)
    from jobs.pages import tracking

    with tracking.store(prebuilt.place(home)):
        pass


def _gram_featured(home: Path) -> None:
    """The same study with the learner that commits its partial sums."""
    _with_store(home)
    file = Path(_file(home.parent))
    text = file.read_text()
    for old, new in (
        ("{outcome: linear, treatment: linear}", "{outcome: gram, treatment: gram}"),
        ("  - {method: irm, estimand: ate}\n", ""),
        (', overlap.ess_share: ">= 0.3"', ""),
    ):
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def _recorded(home: Path) -> None:
    _with_store(home)
    _must(home, *_backfill(home.parent))


def _late_rows(home: Path) -> None:
    """A champion, then rows that come late to the second month."""
    _recorded(home)
    _must(home, *_promote(home.parent))
    prebuilt.write_month(home, prebuilt.MONTHS[1], units=80, shift=0.3)
    prebuilt.prebuild(_study(home.parent), prebuilt.MONTHS[:2], prebuilt.place(home))


def _refreshed(home: Path) -> None:
    """Tables of three commits each: all of them are compacted."""
    _late_rows(home)
    _must(home, *_refresh(home.parent))


def _orders(home: Path) -> None:
    """A lake alone: everything is left to the engines."""
    small_study.write_orders(home)
    text = small_study.STUDY.replace("effects:", "checks: [overlap, balance]\neffects:")
    small_study.write_study(home.parent, text + GATES)


def _file(folder: Path) -> str:
    return str(folder / "orders.yaml")


def _backfill(folder: Path) -> tuple[str, ...]:
    months = ("--from", prebuilt.MONTHS[0], "--to", prebuilt.MONTHS[1])
    return ("backfill", _file(folder), *months, "--json")


def _refresh(folder: Path) -> tuple[str, ...]:
    return (*_backfill(folder), "--refresh")


def _promote(folder: Path) -> tuple[str, ...]:
    words = ("--window", prebuilt.MONTHS[0], "--reason", "good", "--reviewer", "Ada")
    return ("review", _file(folder), "--promote", EFFECT, *words, "--json")


def _maintain(folder: Path) -> tuple[str, ...]:
    return ("maintain", "--json", "--profile", str(folder / "profile.yaml"))


def _with_spark(folder: Path) -> tuple[str, ...]:
    """Features by Spark, fits in the same process."""
    window = ("--from", small_study.WINDOW, "--to", small_study.WINDOW)
    profile = ("--profile", str(folder / "profile.yaml"))
    return ("backfill", str(folder / "coupons.yaml"), *window, *profile, "--json")


def _with_ray(folder: Path) -> tuple[str, ...]:
    """Spark, then Ray."""
    return tuple(each.replace("/profile.yaml", "/ray.yaml") for each in _with_spark(folder))


_TWICE = tuple(f"{point}#2" for point in STAGES)
TIERS = {
    "prebuilt": (
        Scenario("backfill", _with_store, _backfill, (*PLAN, *STAGES, *_TWICE), 45),
        Scenario("first", _featured, _backfill, STORE, 19),
        Scenario("gram", _gram_featured, _backfill, GRAM, 0),
        Scenario("refresh", _late_rows, _refresh, (*PLAN, *STAGES), 20),
        Scenario("review", _recorded, _promote, ("review.before_record", "review.after_record"), 5),
        Scenario(
            "maintain", _refreshed, _maintain,
            ("maintain.after_compact", "maintain.after_compact#3", "maintain.before_vacuum",
             "maintain.before_vacuum#4"), 9,
        ),
    ),
    "engines": (
        Scenario(
            "spark", _orders, _with_spark, ("features.before_ledger", "register.after_version"), 12,
        ),
        Scenario("ray", _orders, _with_ray, ("crossfit.after_cells", "estimate.after_effects"), 4),
    ),
}  # fmt: skip
"""180 kills on pre-built features, 20 with Spark and Ray."""
