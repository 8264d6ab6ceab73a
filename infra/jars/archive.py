"""Write the class archive of the Java virtual machine: `python infra/jars/archive.py FILE`.

Run by `fetch.py`. A small session writes and reads a Delta table, so that the classes which every
run needs are in the archive; it halves the start of Spark.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from conf.profile import Profile, Spark
from jobs import engines

UNIT_SQL = """
    SELECT f.id, f.at, date_trunc('HOUR', f.at) AS hour, CAST(f.x > 1 AS INT) AS d, f.x, f.name
    FROM rows f LEFT JOIN rows g ON g.id = f.id AND g.at < f.at
    WHERE f.at >= :window_start AND f.at < :window_end
"""
HISTORY_SQL = """
    SELECT u.id, size(h.rows) AS n,
           aggregate(transform(filter(h.rows, r -> r.x > 0), r -> r.x), 0D, (a, x) -> a + x) AS s,
           xxhash64(concat('|', u.name)) AS hash
    FROM rows u
    LEFT JOIN (SELECT name, sort_array(collect_list(struct(at, x))) AS rows FROM rows GROUP BY name)
      h ON h.name = u.name
"""


def exercise(session: object, folder: str) -> None:
    """Load the classes of the features stage: write, time travel, join, aggregate, replace."""
    from datetime import UTC, datetime
    from typing import Any

    spark: Any = session
    moment = datetime(2013, 1, 1, tzinfo=UTC)
    rows = [(number, moment, float(number), str(number % 3)) for number in range(10)]
    frame = spark.createDataFrame(rows, "id bigint, at timestamp, x double, name string")
    path = f"{folder}/table"
    for step in range(2):
        write = frame.write.format("delta").mode("append")
        write.option("txnAppId", "archive").option("txnVersion", step).save(path)
    spark.read.format("delta").option("versionAsOf", 0).load(path).createTempView("rows")
    bounds = {"window_start": moment, "window_end": datetime(2014, 1, 1, tzinfo=UTC)}
    units = spark.sql(UNIT_SQL, args=bounds).persist()
    units.count()
    spark.sql(HISTORY_SQL).join(units, "id").toArrow()
    one = units.where("name = '1'").write.format("delta").partitionBy("name").mode("overwrite")
    one.option("replaceWhere", "name = '1'").save(f"{folder}/parts")


def main() -> None:
    """Dump the archive to the file that is named on the command line."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="causeway-archive-") as folder:
        profile = Profile(name="archive", home=Path(folder), spark=Spark(memory="1g"))
        session = engines._start(profile, "archive", dump=target)
        exercise(session, folder)
        engines._stop(session, connect=False)


if __name__ == "__main__":
    main()
