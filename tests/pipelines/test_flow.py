"""The flow on a real Prefect: which errors are tried again, and the states it ends in."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from estimators.errors import ContractError, NotMatureError, RetryableError

pytestmark = [
    pytest.mark.engines,
    # Prefect's clients leave their sockets to the collector when `asyncio.run` ends their loop.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture
def attempts(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    assert prefect_server
    from pipelines import estimate

    monkeypatch.setattr(estimate, "RETRY_SECONDS", [0, 0])
    yield []
    gc.collect()  # those sockets, while the warning is filtered


def run_stage(raised: list[Exception], attempts: list[str]) -> str:
    """A flow of one stage that raises these, one an attempt, and then works."""
    from prefect import flow

    from pipelines.estimate import stage

    def work(name: str) -> str:
        attempts.append(name)
        if len(attempts) <= len(raised):
            raise raised[len(attempts) - 1]
        return f"{name} done"

    @flow(name="one-stage")
    async def one() -> str:
        result: str = await stage(work, "work")("it")
        return result

    return asyncio.run(one())


def test_what_may_work_next_time_is_tried_again(attempts: list[str]) -> None:
    lost = RetryableError("a worker was lost", remedy="run again")
    assert run_stage([lost, lost], attempts) == "it done"
    assert len(attempts) == 3


def test_and_given_up_after_three_tries(attempts: list[str]) -> None:
    lost = [RetryableError(f"lost {number}") for number in range(3)]
    with pytest.raises(RetryableError, match="lost 2"):
        run_stage(list(lost), attempts)
    assert len(attempts) == 3


@pytest.mark.parametrize(
    "error",
    [ContractError("two rows", code="duplicate_ids"), NotMatureError("March"), ValueError("no")],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_help_is_not_tried_again(attempts: list[str], error: Exception) -> None:
    with pytest.raises(type(error)):
        run_stage([error], attempts)
    assert len(attempts) == 1


def ended(study: str, window: str | None) -> Any:
    from pipelines.estimate import estimate_study

    async def go() -> Any:
        return await estimate_study(study, window, return_state=True)

    return asyncio.run(go())


def test_a_failure_is_a_failed_state_with_the_run_object(
    attempts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert attempts == []
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path / "home"))
    state = ended("rain_delays", "2013")  # its tables are not in this home
    assert state.is_failed()
    assert "flights" in state.message
    found = asyncio.run(state.aresult(raise_on_failure=False))
    assert found["error"]["type"] == "SourceError"
    assert found["status"] == "failed"


def test_a_flow_that_was_asked_nonsense_says_so(attempts: list[str]) -> None:
    assert attempts == []
    state = ended("rain_delays", "March")
    assert state.is_failed()
    assert "'March' is no window" in state.message
