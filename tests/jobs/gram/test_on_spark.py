"""Tasks in Spark's Python workers: their own errors, and workers that are lost."""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from estimators.errors import ContractError, PlatformError, RetryableError, Where
from jobs.gram import on_spark
from jobs.gram.workers import workers
from tests.jobs.gram import clinic

pytestmark = pytest.mark.engines


def add(shared: int, task: int) -> int:
    return shared + task


def refuse(shared: str, task: int) -> None:
    raise ContractError(f"{shared} {task}", code="not_finite", where=Where(column="age"))


def die_once(flag: str, task: int) -> int:
    if task == 2 and not os.path.exists(flag):
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def die(_shared: None, _task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def crew(tmp_path: Path, spark: Any) -> Any:
    with workers(clinic.place(tmp_path, inline=False, grams="spark"), 1) as found:
        yield found


def test_results_come_in_order(crew: Any) -> None:
    assert list(crew.each(add, 100, range(9), 0)) == list(range(100, 109))
    assert list(crew.each(add, 100, [], 0)) == []


def test_a_task_raises_its_own_error(crew: Any) -> None:
    with pytest.raises(ContractError) as caught:
        list(crew.each(refuse, "row", [7], 0))
    assert str(caught.value) == "column age: row 7"
    assert caught.value.code == "not_finite"
    assert caught.value.where.column == "age"


def test_a_lost_worker_changes_nothing(crew: Any, tmp_path: Path) -> None:
    flag = tmp_path / "died"
    assert list(crew.each(die_once, str(flag), range(4), 0)) == [0, 1, 2, 3]
    assert flag.exists()


@pytest.mark.slow
def test_a_worker_that_is_always_lost_is_said(crew: Any) -> None:
    with pytest.raises(RetryableError, match="lost 4 times") as caught:
        list(crew.each(die, None, [0], 0))
    assert caught.value.code == "spark_lost"
    assert list(crew.each(add, 1, [1], 0)) == [2]


def test_executors_without_causeway_are_said(
    crew: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def compute(task):\n    return task\n"
    (tmp_path / "installed_here_alone.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    elsewhere = importlib.import_module("installed_here_alone")
    monkeypatch.setattr(on_spark, "_computing", lambda _given: elsewhere.compute)
    with pytest.raises(PlatformError, match="No module named 'installed_here_alone'") as caught:
        list(crew.each(add, 1, [1], 0))
    assert caught.value.code == "spark_workers"
