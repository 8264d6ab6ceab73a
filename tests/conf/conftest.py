"""A small valid study, and the faults of an edited one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conf.load import parse_study
from estimators.errors import Fault, StudyError

SMALL = """\
study: shops
question: Does a coupon raise spending?
sources:
  visits:
    table: "{lake}/visits"
    event_time: at
    known_at: "coalesce(left_at, at + INTERVAL 1 DAY)"
  shops: {table: "{lake}/shops"}
window: {every: 1 month, timezone: Europe/Paris}
units:
  sql: |
    WITH open_shops AS (SELECT * FROM shops WHERE open)
    SELECT v.visit_id, v.at, v.day, v.customer, v.age,
           s.region, s.size,
           CAST(v.coupon IS NOT NULL AS INT) AS coupon,
           v.spend
    FROM visits v JOIN open_shops s ON s.shop_id = v.shop_id
    WHERE v.at >= :window_start AND v.at < :window_end
  id: visit_id
  time: at
  cluster: day
history:
  customer:
    from: visits
    by: customer
    lookback: 30 days
    columns:
      visits_30d: count(*)
      spend_30d: avg(spend)
treatments: {coupon: binary}
outcomes:
  spend: {kind: continuous, horizon: 1 day, missing: drop}
covariates:
  - age
  - region
  - visits_30d
  - spend_30d
folds: {k: 4}
nuisances:
  outcome: {learner: xgboost, max_depth: 3}
  treatment: linear
effects:
  - method: plr
  - method: irm
    estimand: ate
    by: [region, region*size]
checks: [overlap, {balance: {max_smd: "<= 0.2"}}, attrition]
publish:
  gates:
    "irm.*": {overlap.ess_share: ">= 0.5"}
    "*.spend": {attrition.gap: "<= 0.02"}
schedule: {cron: "0 3 2 * *", timezone: Europe/Paris}
"""


@pytest.fixture
def small() -> str:
    return SMALL


@pytest.fixture
def edit() -> Callable[..., str]:
    """The small study with texts replaced; each must be there."""

    def edited(*changes: tuple[str, str], text: str = SMALL) -> str:
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        return text

    return edited


@pytest.fixture
def faults() -> Callable[[str], tuple[Fault, ...]]:
    """The faults of a study's text; fails where it has none."""

    def found(text: str) -> tuple[Fault, ...]:
        with pytest.raises(StudyError) as caught:
            parse_study(text, Path("shops.yaml"))
        assert caught.value.exit_code == 3
        return caught.value.faults

    return found
