"""A predicted outcome with every engine: Spark's features, the record, MLflow's run."""

from __future__ import annotations

import pytest

from jobs import crossfit, estimate, features, register
from jobs.lake import read
from jobs.pages.tracking import store
from tests.jobs.map_world import place, study, write

pytestmark = pytest.mark.engines


def test_from_the_lake_to_the_registry(tmp_path):
    found, profile = write(tmp_path, study("lcc")), place(tmp_path)
    built = features.build(found, profile)
    rows = read(f"{profile.home}/{built.table}")
    assert "wealth_hat" in rows.column_names
    assert "wealth" not in rows.column_names
    done = estimate.run(found, crossfit.run(found, built, profile), profile)
    effects = {
        row["effect_id"]: row for row in estimate.read_effects(profile.record_root, done.key)
    }
    naive, lcc = effects["irm.ate.treated.wealth"], effects["irm+lcc.ate.treated.wealth"]
    assert lcc["theta"] > 1.5 * naive["theta"]
    written = register.run(found, done, profile)
    with store(profile) as client:
        shown = {each.path for each in client.list_artifacts(written.run_id, "figures")}
        inputs = client.get_run(written.run_id).inputs.dataset_inputs
    assert {f"figures/{name}.png" for name in ("calibration", "density", "gate")} <= shown
    assert "calibration" in {each.dataset.name for each in inputs}
