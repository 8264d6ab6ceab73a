"""Windows that go through the stages together: order, engines, numbers in parallel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from estimators.errors import PlatformError, RetryableError
from pipelines import stagewise
from pipelines.stagewise import Engines, Turnstile, plain


@pytest.mark.parametrize("stage_by_stage", [True, False])
@pytest.mark.parametrize("parallel", [1, 2])
def test_no_window_enters_a_stage_before_all_have_left_the_one_before(
    stage_by_stage: bool, parallel: int
) -> None:
    seen: list[tuple[str, int]] = []
    inside = {"now": 0, "most": 0}

    async def way(turnstile: Turnstile, number: int) -> None:
        async with turnstile.passage() as passage:
            for name in ("a", "b", "c"):
                async with passage.at(name):
                    inside["now"] += 1
                    inside["most"] = max(inside["most"], inside["now"])
                    await asyncio.sleep(0.002 * (3 - number))
                    inside["now"] -= 1
                    seen.append((name, number))
                    if (name, number) == ("b", 1):
                        raise ValueError("this one goes no further")

    async def everything() -> list[Any]:
        turnstile = Turnstile(
            "abc", 3, parallel=parallel, stage_by_stage=stage_by_stage, passed=passed.append
        )
        ways = [way(turnstile, number) for number in range(3)]
        return await asyncio.gather(turnstile.conduct(after.append), *ways, return_exceptions=True)

    passed: list[str] = []
    after: list[str] = []
    results = asyncio.run(asyncio.wait_for(everything(), 20))
    assert [type(each) for each in results].count(ValueError) == 1
    assert after == ["a", "b", "c"]
    assert sorted(passed) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert inside["most"] == parallel
    names = [name for name, _ in seen]
    assert names.count("c") == 2
    if stage_by_stage:
        assert names == sorted(names)


def test_an_engine_starts_once_and_one_that_does_not_start_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    @contextmanager
    def up() -> Iterator[None]:
        events.append("start")
        yield
        events.append("stop")

    @contextmanager
    def broken() -> Iterator[None]:
        events.append("broken")
        raise PlatformError("no Java", code="spark_start")
        yield

    engines = Engines({"ray": up, "spark": broken})
    for _ in range(2):
        with pytest.raises(PlatformError):
            engines.need("spark")
    engines.need("ray")
    engines.need("ray")
    assert events == ["broken", "start"]
    tries: list[int] = []

    def lost() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise RetryableError("gone", code="ray_lost")
        return "done"

    monkeypatch.setattr(stagewise, "RETRY_SECONDS", (0.0, 0.0))
    found = asyncio.run(plain(engines.running("ray", lost, lambda: True), "crossfit")())
    engines.stop("ray")
    engines.stop("ray")
    assert found == "done"
    assert events == ["broken", "start", "stop", "start", "stop"]
