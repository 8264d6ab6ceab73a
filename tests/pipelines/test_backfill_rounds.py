"""A backfill of more windows than a round holds: Spark starts once a round, figures stay."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import prebuilt
from tests.pipelines.command import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.engines]

PROGRAM = """
    import json, os, sys
    from contextlib import contextmanager
    from jobs import engines
    from pipelines import windows
    from pipelines.backfill import backfill
    from pipelines.backfill_report import Request

    study, profile, size, *asked = sys.argv[1:]
    windows.ROUND, started = int(size), []

    @contextmanager
    def counted(place, name, real=windows.spark_session):
        assert engines._running(connect=False) is None, "the round before left its Spark"
        with real(place, name) as session:
            started.append(session.sparkContext.applicationId)
            yield session

    windows.spark_session = counted
    found, errors = {}, []
    for each in asked:
        first, _, last = each.partition("..")
        report = backfill(Request(study, first, last or first, profile=profile), lambda *_: None)
        errors += [str(one.error) for one in (report, *report.ended) if one.error]
        found |= {one.span.label: [one.run_key, one.digest] for one in report.ended}
    print(json.dumps({"started": started, "found": found, "errors": errors}))
    sys.stdout.flush()
    os._exit(0)
"""
"""Backfills in a process of their own, where no Spark runs yet; Spark's starts are counted."""


def ran(home: Path, size: int, *asked: str) -> dict[str, Any]:
    """What a process found that backfilled each of these, `size` windows a round."""
    profile = home.parent / "small.yaml"
    profile.write_text('spark: {master: "local[2]", memory: 1g}\n')
    study = prebuilt.write_study(home.parent)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(study), str(profile), str(size),
         *asked],
        cwd=Path(__file__).parents[2], env=clean_environment(home),
        capture_output=True, text=True, check=False, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == []
    return dict(found)


@pytest.mark.timeout(1800)  # Spark starts five times
def test_rounds_of_spark_equal_single_runs_digest_for_digest(tmp_path: Path) -> None:
    rounds, single = tmp_path / "a" / "home", tmp_path / "b" / "home"
    prebuilt.write_lake(rounds)
    single.mkdir(parents=True)
    (single / "lake").symlink_to(rounds / "lake")  # the same tables, so the same keys
    together = ran(rounds, 2, f"{prebuilt.MONTHS[0]}..{prebuilt.MONTHS[-1]}")
    assert len(set(together["started"])) == 2, "a round of two windows, then a round of one"
    alone = ran(single, 100, *reversed(prebuilt.MONTHS))
    assert len(set(alone["started"])) == len(prebuilt.MONTHS)
    assert set(together["found"]) == set(prebuilt.MONTHS)
    assert together["found"] == alone["found"]
