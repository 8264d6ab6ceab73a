"""Numbers that change must raise their stage's integer in `conf.keys.NUMERICS`.

A key names the integer and the libraries' versions, so a figure that moved without either would
be found under a key that promises the old one.
"""

from __future__ import annotations

import json

import pytest

from conf.keys import NUMERICS
from tests.estimators.golden import PATH, STAGES, figures, libraries, worlds

GOLDEN = json.loads(PATH.read_text())
REGENERATE = "`python -m tests.estimators.golden` and commit the difference"

# Another processor may round otherwise. Trees predict in float32 and take float32 labels, where
# one bit is 1e-7; a p-value of t turns an error of t into t times as much.
TOLERANCE = {"linear": 1e-9, "xgboost": 1e-6, "constant": 1e-9}


def test_the_file_is_of_these_numerics() -> None:
    current = {stage: NUMERICS[stage] for stage in STAGES}
    assert GOLDEN["numerics"] == current, f"NUMERICS moved on: {REGENERATE}"
    assert GOLDEN["libraries"] == libraries(), f"numeric libraries moved on: {REGENERATE}"


@pytest.mark.parametrize("name", worlds())
def test_figures_did_not_change(name: str) -> None:
    expected, found = GOLDEN["figures"][name], figures(*worlds()[name])
    assert found.keys() == expected.keys()
    moved = []
    for effect_id, row in expected.items():
        assert found[effect_id].keys() == row.keys()
        for figure, value in row.items():
            mine = found[effect_id][figure]
            # Bands and adjusted p-values count 10,000 draws: a draw on the edge may cross it.
            room = TOLERANCE[name]
            if figure in ("p_value", "p_adjusted", "band_high"):
                room = max(room, 1e-6)
            if mine != pytest.approx(value, rel=room, abs=1e-12):
                moved.append(f"{effect_id} {figure}: {value!r} -> {mine!r}")
    assert not moved, (
        "numbers changed and NUMERICS did not; if they were meant to, raise NUMERICS['crossfit'] "
        f"or ['estimate'] in conf/keys.py, {REGENERATE}:\n" + "\n".join(moved)
    )
