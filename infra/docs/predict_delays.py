"""An upstream team's work on the demo's lake: predicted departure delays, and a few true ones.

``python infra/docs/predict_delays.py`` reads `flights` and writes beside it

- ``flights_hat``: the predicted departure delay of every flight of April to June 2013, from the
  arrivals boards alone (mean arrival delay of flights of the same hour, by airport of departure
  and by destination), by a model trained on January and February;
- ``delay_labels``: a random fifth of these flights with their true delay and the rain;
- ``delay_training``: ids of the flights that the model was trained on.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from xgboost import XGBRegressor

from conf.profile import load_profile

BOARDS = ["from_airport", "to_airport", "distance"]
TRAINED_ON = (1, 2)
SEED = 2013


def main() -> None:
    """Train, predict, label."""
    lake = load_profile().lake_root
    flights = boards(DeltaTable(f"{lake}/flights").to_pyarrow_table().to_pandas())
    flights = flights.sort_values("flight_id").reset_index(drop=True)
    known = flights["dep_delay"].notna()
    training = flights[known & flights["month"].isin(TRAINED_ON)]
    model = XGBRegressor(n_estimators=100, max_depth=4, learning_rate=0.1, n_jobs=1)
    model.fit(training[BOARDS], training["dep_delay"])
    spring = flights[flights["month"].between(4, 6)].copy()
    spring["dep_delay_hat"] = model.predict(spring[BOARDS]).astype(np.float64)
    write(lake, "flights_hat", spring[["flight_id", "dep_delay_hat"]])
    write(lake, "delay_training", training[["flight_id"]])
    rain = DeltaTable(f"{lake}/weather").to_pyarrow_table().to_pandas()
    rain = rain[["origin", "hour_start", "precip"]]
    seen = spring[spring["dep_delay"].notna()].merge(rain, on=["origin", "hour_start"])
    labels = seen.sample(frac=0.2, random_state=SEED).sort_values("flight_id")
    labels["rain"] = (labels["precip"] > 0).astype(np.int64)
    labels["flight_date"] = pd.to_datetime(labels[["year", "month", "day"]]).dt.date
    columns = ["flight_id", "flight_date", "rain", "dep_delay", "dep_delay_hat"]
    write(lake, "delay_labels", labels[columns])


def boards(flights: pd.DataFrame) -> pd.DataFrame:
    """Mean arrival delays of the scheduled hour, by airport of departure and by destination."""
    flights["hour_start"] = flights["sched_dep"].dt.floor("h")
    for name, place in (("from_airport", "origin"), ("to_airport", "dest")):
        means = flights.groupby([place, "hour_start"])["arr_delay"].mean().rename(name)
        flights = flights.join(means, on=[place, "hour_start"])
    return flights


def write(lake: str, name: str, rows: pd.DataFrame) -> None:
    """Commit a table: one version a call."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    write_deltalake(f"{lake}/{name}", table, mode="overwrite")
    print(f"{name}: {len(table):,} rows")


if __name__ == "__main__":
    main()
