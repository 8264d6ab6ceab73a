"""What a window of a backfill costs beyond its stages, and what a kill costs.

``python -m tests.bench.backfill_months --home DIR`` writes ``backfill_months.csv``: twelve months
of the demo in one backfill, killed once half the windows are recorded, then run again. DIR must be
empty or hold the demo's lake alone. Seconds beyond compute are the wall of both commands less the
seconds of their stages and the start of Spark, a window.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from conf.profile import load_profile
from jobs.demo_lake import write_demo_lake
from jobs.lake import exists, read_record, record_path
from tests.pipelines.command import COMMAND, clean_environment

MONTHS = 12
RESULTS = Path(__file__).with_name("backfill_months.csv")
BACKFILL = ("backfill", "rain_delays", "--from", "2013-01", "--to", "2013-12", "--json")


def start(home: Path) -> subprocess.Popen[str]:
    """Start the backfill, in a session of its own."""
    return subprocess.Popen(
        [str(COMMAND), *BACKFILL],
        env=clean_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def registered(home: Path) -> int:
    """Windows whose last stage is recorded."""
    root = load_profile("local").model_copy(update={"home": home}).record_root
    if not exists(record_path(root, "stages")):
        return 0
    return read_record(root, "stages")["stage"].to_pylist().count("register")


def kill_half_way(home: Path) -> float:
    """Run until half the windows are recorded, kill everything; returns the seconds."""
    began = time.perf_counter()
    process = start(home)
    while registered(home) < MONTHS // 2:
        if process.poll() is not None:
            raise RuntimeError("the backfill ended before it could be killed")
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return time.perf_counter() - began


def whole(home: Path) -> tuple[dict[str, Any], float]:
    """Run it to its end; its object and the seconds."""
    began = time.perf_counter()
    out, _ = start(home).communicate()
    return json.loads(out), time.perf_counter() - began


def stage_seconds(windows: list[dict[str, Any]], *names: str) -> float:
    """Seconds of stages that this command computed."""
    return sum(
        stage["seconds"]
        for window in windows
        for stage in window["stages"]
        if stage["status"] == "computed" and (not names or stage["name"] in names)
    )


def main() -> None:
    """Measure and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    home = parser.parse_args().home.resolve()
    write_demo_lake(load_profile("local").model_copy(update={"home": home}))
    rows: list[tuple[str, float, str, str]] = []
    until_kill = kill_half_way(home)
    before = registered(home)
    resumed, wall = whole(home)
    statuses = [window["status"] for window in resumed["windows"]]
    rows.append(("until the kill", until_kill, "s", f"{before} of {MONTHS} windows recorded"))
    rows.append(("after the kill", wall, "s", f"{statuses.count('computed')} computed"))
    again = max(0, before - statuses.count("already_recorded"))
    rows.append(("finished windows computed again", again, "", "0 is asked for"))
    for path in ("record", "features", "mlflow"):
        shutil.rmtree(home / path)
    fresh, wall = whole(home)
    windows = fresh["windows"]
    compute = stage_seconds(windows)
    register = stage_seconds(windows, "register")
    rows += [
        ("twelve windows at once", wall, "s", f"{fresh['error'] or 'no error'}"),
        ("compute of all stages", compute, "s", "a window: " + f"{compute / MONTHS:.2f}"),
        ("of it registering", register, "s", "a window: " + f"{register / MONTHS:.2f}"),
        ("beyond the stages, a window", (wall - compute) / MONTHS, "s", "engine start included"),
    ]
    load = os.getloadavg()[0]
    with RESULTS.open("w", newline="") as file:
        file.write(f"# python -m tests.bench.backfill_months; {platform.machine()}, ")
        file.write(f"{os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}\n")
        table = csv.writer(file)
        table.writerow(("figure", "value", "unit", "note"))
        table.writerows((name, f"{value:.4g}", unit, note) for name, value, unit, note in rows)
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
