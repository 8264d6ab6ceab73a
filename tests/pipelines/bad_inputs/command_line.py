"""Files that are no studies, and command lines that ask for what cannot be."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from tests.pipelines.bad_inputs.world import BACKFILL, PLAN, RECORDED, RUN, VALIDATE, World, bad

file = partial(bad, "studies", by=(VALIDATE, RUN))
table = partial(bad, "studies", by=(RUN,))
usage = partial(bad, "usage")
ATE = "irm.ate.coupon.spend"


@file("study of bytes", "invalid_study", "orders.yaml", "not UTF-8")
def _(world: World) -> None:
    world.study.write_bytes(bytes(range(256)) * 10)


@file("study in UTF-16", "invalid_study", "orders.yaml", "not UTF-8")
def _(world: World) -> None:
    world.study.write_text(world.study.read_text(), encoding="utf-16")


@file("study of a gigabyte", "invalid_study", "orders.yaml", "262144 bytes")
def _(world: World) -> None:
    os.truncate(world.study, 2**30)


@file("study of many aliases", "invalid_study", "orders.yaml", "aliases counted")
def _(world: World) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    world.study.write_text("\n".join(rows))


@file("study nested without end", "invalid_study", "orders.yaml", "deep")
def _(world: World) -> None:
    world.study.write_text("study: " + "[" * 9_000 + "]" * 9_000)


@file("study that builds an object", "invalid_study", "orders.yaml", "python/object")
def _(world: World) -> None:
    world.study.write_text("study: !!python/object/apply:os.system ['true']\n")


@file("study a folder", "no_study", "orders.yaml")
def _(world: World) -> None:
    world.study.unlink()
    world.study.mkdir()


@file("study a pipe", "no_study", "orders.yaml")
def _(world: World) -> None:
    world.study.unlink()
    os.mkfifo(world.study)


@file("study a device", "no_study", "orders.yaml")
def _(world: World) -> None:
    world.study.unlink()
    world.study.symlink_to("/dev/zero")


@file("study a link to itself", "no_study", "orders.yaml")
def _(world: World) -> None:
    world.study.unlink()
    world.study.symlink_to(world.study)


@file("study not there", "no_study", "nowhere.yaml",
      by=(("validate", "nowhere.yaml"), ("run", "nowhere.yaml")))  # fmt: skip
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@file("study of a long name", "no_study", by=(("validate", "x" * 5000), ("run", "x/" * 5000)))
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@file("study of a user who is not there", "no_study", "~nobody-here",
      by=(("validate", "~nobody-here/x.yaml"),))  # fmt: skip
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@file("window of ages", "invalid_study", "orders.yaml:5", "999999999")
def _(world: World) -> None:
    world.edit(("every: 1 month", "every: 999999999 months"))


@file("horizon of ages", "invalid_study", "orders.yaml", "99999999999")
def _(world: World) -> None:
    world.edit(("{spend: continuous}", "{spend: {kind: continuous, horizon: 99999999999 days}}"))


@file("folds without end", "invalid_study", "orders.yaml", "folds.k")
def _(world: World) -> None:
    world.edit(("{k: 3}", "{k: 1e400}"))


@table("table of a NUL", "invalid_study", "orders.yaml:4")
def _(world: World) -> None:
    world.edit(("{lake}/orders", "{lake}/or\\0ders"))


@table("table of a long name", "source_gone", "orders.yaml")
def _(world: World) -> None:
    world.edit(("{lake}/orders", "{lake}/" + "x" * 5000))


@table("table a link to itself", "source_gone", "orders.yaml")
def _(world: World) -> None:
    (world.home / "lake" / "loop").symlink_to(world.home / "lake" / "loop")
    world.edit(("{lake}/orders", "{lake}/loop"))


@table("table of a user who is not there", "source_gone", "orders.yaml", "~nobody-here")
def _(world: World) -> None:
    world.edit(("{lake}/orders", "~nobody-here/orders"))


@table("table above the lake", "invalid_study", "orders.yaml", "below")
def _(world: World) -> None:
    world.profile("allowed_roots: []\n")
    world.edit(("{lake}/orders", "{lake}/../../etc"))


@usage("window at the end of time", "window", "9999-12", by=((*RUN[:3], "9999-12"),))
def _(world: World) -> None:
    """Its end is in no calendar."""


@usage("window before time", "window", "0000-01", by=((*RUN[:3], "0000-01"),))
def _(world: World) -> None:
    """There is no such year."""


@usage("window of words", "window", "DROP", by=((*RUN[:3], "2024-01'; DROP TABLE effects"),))
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@usage("backfill without its bounds", "usage", "first", by=(BACKFILL[:2],))
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@usage("plan of half the bounds", "usage", "--from", by=((*PLAN[:2], "--from", "2024-01"),))
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@usage("contrast of a group that is not there", "unknown_group", "nowhere",
       by=(("effects", "{study}", "--contrast", "age=nowhere,age=near"),))  # fmt: skip
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@usage("group by what makes thousands", "too_many_groups", "age",
       by=(("effects", "{study}", "--by", "age"),))  # fmt: skip
def _(world: World) -> None:
    world.monkeypatch.setattr("jobs.groups.MOST", 100)


@usage("group of features that were erased", "no_features", "features",
       by=(("effects", "{study}", "--by", "age"),))  # fmt: skip
def _(world: World) -> None:
    DeltaTable(str(world.home / "record" / "stages")).delete("stage = 'features'")


@usage("peers that have no such effect", "no_counterpart", "econml",
       by=(("compare", "{study}", "--with", "econml"),))  # fmt: skip
def _(world: World) -> None:
    world.edit(("{method: plr}", "{method: irm, estimand: atu}"),
               ("\n  - {method: irm, estimand: ate}", ""))  # fmt: skip


PROMOTE = ("review", "{study}", "--promote", ATE, "--reviewer", "Ada", "--reason", "{reason}")


@usage("the champion once more", "already_champion", ATE, by=((*PROMOTE, "--window", RECORDED),))
def _(world: World) -> None:
    words = {"study": world.study, "reason": "all checks pass"}
    first = world.here(*(each.format(**words) for each in PROMOTE))
    assert first.code == 0, first.err
    world.words["reason"] = "on second thoughts"


@usage("a decision without a reason", "no_reason", "--reason", by=(PROMOTE,))
def _(world: World) -> None:
    world.words["reason"] = " "


INIT = ("init", "--table", "{home}/lake/orders", "--treatment", "coupon", "--outcome")


@usage("a draft over a file", "file_exists", "orders.yaml", by=((*INIT, "spend", "--output",
       "{study}"),))  # fmt: skip
def _(world: World) -> None:
    """The file is there."""


@usage("a draft where nothing can be", "bad_output", "nowhere",
       by=((*INIT, "spend", "--output", "nowhere/x.yaml"),))  # fmt: skip
def _(world: World) -> None:
    """The folder is not."""


@usage("a draft of one column", "usage", "coupon", "orders", by=((*INIT, "coupon"),))
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@usage("a draft of nothing but numbers", "no_id", "orders", by=((*INIT, "spend"),))
def _(world: World) -> None:
    world.rewrite(lambda rows: pa.table({name: rows[name] for name in ("coupon", "spend", "age")}))


@usage("a table with deletion vectors as labels", "unreadable", "calibration:spend",
       by=(BACKFILL,))  # fmt: skip
def _(world: World) -> None:
    from tests.pipelines.bad_inputs.data import labelled

    labels = labelled(world, hat=list(np.linspace(0, 1, 40)))
    (log,) = (labels / "_delta_log").glob("*.json")
    features = '{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],'
    features += '"writerFeatures":["deletionVectors"]}'
    lines = log.read_text().splitlines()
    kept = [line for line in lines if not line.startswith('{"protocol"')]
    log.write_text("\n".join(['{"protocol":' + features + "}", *kept]) + "\n")
    world.prebuild()
