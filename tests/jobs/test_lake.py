"""One commit per key, whatever races or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable

from estimators.errors import ContractError, SourceError
from jobs import merging
from jobs.contracts import REVIEWS
from jobs.failpoints import VARIABLE
from jobs.lake import append_once, committed_version, open_table, read_record, record_path

ROW = {
    "run_key": "r",
    "effect_id": "e",
    "decision": "promoted",
    "reason": "",
    "reviewer": "x",
    "previous": None,
    "recorded_at": datetime(2024, 1, 1, tzinfo=UTC),
}
PROGRAM = """
import sys
from tests.jobs.test_lake import reviews
from jobs import merging
from jobs.lake import append_once
merging.MANY = int(sys.argv[1])
root, who, keys = sys.argv[2], sys.argv[3], sys.argv[4:]
sys.stdin.readline()  # all processes start at once
for key in keys:
    print(key, append_once(root, "reviews", key, reviews(f"{key} by {who}", 50)), flush=True)
"""


def reviews(reason: str, count: int = 1) -> pa.Table:
    return pa.Table.from_pylist([ROW | {"reason": reason}] * count, schema=REVIEWS)


def start(
    root: Path, who: int, keys: list[str], *, many: int = 100, **environment: str
) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(many), str(root), str(who), *keys],
        stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=os.environ | environment,
    )  # fmt: skip


def files(root: Path) -> int:
    return len(open_table(record_path(str(root), "reviews")).file_uris())


def reasons(root: Path) -> list[str]:
    found: list[str] = read_record(str(root), "reviews")["reason"].to_pylist()
    return found


def test_a_key_is_written_once(tmp_path: Path) -> None:
    assert append_once(str(tmp_path), "reviews", "k", reviews("first"))
    assert not append_once(str(tmp_path), "reviews", "k", reviews("second"))
    assert append_once(str(tmp_path), "reviews", "other", reviews("third"))
    assert sorted(reasons(tmp_path)) == ["first", "third"]
    path = record_path(str(tmp_path), "reviews")
    assert committed_version(path, "k") == 1
    assert committed_version(path, "nobody") is None


def test_small_files_are_merged_where_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "MANY", 4)
    keys = [f"k{number:02d}" for number in range(12)]
    for key in keys:
        assert append_once(str(tmp_path), "reviews", key, reviews(key))
        assert files(tmp_path) <= 5
    assert sorted(reasons(tmp_path)) == keys
    one = read_record(str(tmp_path), "reviews", ds.field("reason") == "k03")
    assert one["reason"].to_pylist() == ["k03"]
    assert not append_once(str(tmp_path), "reviews", "k00", reviews("again"))
    assert len(list((tmp_path / "reviews").glob("*.parquet"))) > 12, "kept for who reads them"


def test_only_one_merges_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MANY", 1)
    append_once(str(tmp_path), "reviews", "k0", reviews("k0"))
    with merging.alone(record_path(str(tmp_path), "reviews")) as free:
        assert free
        append_once(str(tmp_path), "reviews", "k1", reviews("k1"))
        assert files(tmp_path) == 2
    append_once(str(tmp_path), "reviews", "k2", reviews("k2"))
    assert files(tmp_path) == 1
    assert sorted(reasons(tmp_path)) == ["k0", "k1", "k2"]


def test_a_kill_after_files_were_merged_loses_nothing(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(9)]
    victim = start(tmp_path, 0, keys, many=4, **{VARIABLE: "lake.after_merge"})
    victim.communicate("go\n", timeout=60)
    assert victim.returncode == -signal.SIGKILL
    assert files(tmp_path) == 1
    start(tmp_path, 0, keys, many=4).communicate("go\n", timeout=60)
    assert sorted(set(reasons(tmp_path))) == [f"{key} by 0" for key in keys]
    assert len(reasons(tmp_path)) == 50 * len(keys)


@pytest.mark.parametrize("many", [1, 100])
def test_processes_that_race_for_the_same_keys_write_each_once(tmp_path: Path, many: int) -> None:
    """They race for the creation of the table too, and for merging its files."""
    keys = [f"k{number}" for number in range(6)]
    racers = [start(tmp_path, who, keys[who:] + keys[:who], many=many) for who in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    shown = [racer.communicate(timeout=120) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4, shown
    won = [line for out, _ in shown for line in out.splitlines() if line.endswith("True")]
    assert sorted(line.split()[0] for line in won) == keys
    counts = {reason: reasons(tmp_path).count(reason) for reason in set(reasons(tmp_path))}
    assert len(counts) == len(keys)
    assert set(counts.values()) == {50}


def test_a_kill_leaves_all_of_a_commit_or_nothing(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(400)]
    victim = start(tmp_path, 0, keys)
    assert victim.stdin is not None
    assert victim.stdout is not None
    victim.stdin.write("go\n")
    victim.stdin.flush()
    acknowledged = [victim.stdout.readline().split()[0] for _ in range(5)]
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate(timeout=60)
    counts = {reason: reasons(tmp_path).count(reason) for reason in set(reasons(tmp_path))}
    assert set(counts.values()) == {50}
    assert {f"{key} by 0" for key in acknowledged} <= set(counts)
    for key in acknowledged:
        assert not append_once(str(tmp_path), "reviews", key, reviews("again"))
    assert append_once(str(tmp_path), "reviews", "after", reviews("after"))


def test_rows_that_break_the_contract_are_refused_and_nothing_is_made(tmp_path: Path) -> None:
    without = reviews("x").drop_columns(["reviewer"])
    with pytest.raises(ContractError, match="do not fit"):
        append_once(str(tmp_path), "reviews", "k", without)
    holed = pa.Table.from_pylist([ROW | {"run_key": None}])
    with pytest.raises(ContractError, match="null values to non-nullable"):
        append_once(str(tmp_path), "reviews", "k", holed)
    assert not (tmp_path / "reviews").exists()


def test_an_empty_record_has_the_contracts_columns(tmp_path: Path) -> None:
    assert read_record(str(tmp_path), "reviews").schema == REVIEWS
    with pytest.raises(SourceError, match="no readable Delta table"):
        open_table(str(tmp_path / "nothing"))


def test_the_record_keeps_its_history(tmp_path: Path) -> None:
    append_once(str(tmp_path), "reviews", "k", reviews("x"))
    table = DeltaTable(record_path(str(tmp_path), "reviews"))
    assert table.metadata().configuration["delta.deletedFileRetentionDuration"] == (
        "interval 3650 days"
    )


@pytest.mark.parametrize("left", [0, 200])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, left: int) -> None:
    append_once(str(tmp_path), "reviews", "k", reviews("k", 3))
    (file,) = Path(record_path(str(tmp_path), "reviews")).glob("*.parquet")
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(SourceError, match="cannot be read") as caught:
        read_record(str(tmp_path), "reviews")
    assert (caught.value.code, caught.value.where.table) == ("unreadable_file", "reviews")
    assert caught.value.remedy
