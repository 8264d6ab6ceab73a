"""Stages off the event loop, and one execution of a window at a time."""

from __future__ import annotations

import asyncio
import fcntl
import threading
import time
from contextvars import ContextVar
from pathlib import Path

import pytest

from pipelines.in_thread import in_thread
from pipelines.locks import only_one

PLACE: ContextVar[str] = ContextVar("place", default="nowhere")


def test_a_stage_runs_in_a_daemon_thread_with_the_callers_context() -> None:
    def look(more: int, *, name: str) -> tuple[bool, bool, str]:
        thread = threading.current_thread()
        return thread is not threading.main_thread(), thread.daemon, f"{PLACE.get()}{more}{name}"

    async def main() -> tuple[bool, bool, str]:
        PLACE.set("here")
        return await in_thread(look, 1, name="x")

    assert asyncio.run(main()) == (True, True, "here1x")


def test_stage_after_stage_runs_in_one_thread_and_two_at_once_in_two() -> None:
    """What a library keeps for each thread does not grow with the stages."""

    async def main() -> tuple[set[int], set[int]]:
        one_by_one = {await in_thread(threading.get_ident) for _ in range(50)}
        meeting = threading.Barrier(2, timeout=20)

        def meet() -> int:
            meeting.wait()
            return threading.get_ident()

        return one_by_one, set(await asyncio.gather(in_thread(meet), in_thread(meet)))

    one_by_one, together = asyncio.run(main())
    assert len(one_by_one) == 1
    assert len(together) == 2


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_its_error_is_the_awaiters(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def main() -> None:
        await in_thread(fail)

    with pytest.raises(type(error)) as raised:
        asyncio.run(main())
    assert raised.value is error


def test_the_loop_goes_on_and_cancelling_does_not_wait_for_the_thread() -> None:
    release = threading.Event()
    ticks = 0

    async def main() -> None:
        nonlocal ticks
        stage = asyncio.create_task(in_thread(release.wait, 20))
        for _ in range(5):
            await asyncio.sleep(0.01)
            ticks += 1
        stage.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stage

    began = time.monotonic()
    asyncio.run(main())
    waited = time.monotonic() - began
    release.set()
    assert ticks == 5
    assert waited < 10, "the end of the loop waited for the stage"


def test_a_second_execution_waits_for_the_first(tmp_path: Path) -> None:
    order = []

    async def one(name: str, hold: float) -> None:
        async with only_one(tmp_path, "s.2013", lambda: order.append(f"{name} waits")):
            order.append(f"{name} in")
            await asyncio.sleep(hold)
            order.append(f"{name} out")

    async def main() -> None:
        first = asyncio.create_task(one("first", 0.5))
        await asyncio.sleep(0.1)
        await asyncio.gather(first, one("second", 0))

    asyncio.run(main())
    assert order == ["first in", "second waits", "first out", "second in", "second out"]


def test_other_windows_do_not_wait_and_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            only_one(tmp_path, "s.2013", lambda: pytest.fail("waited")),
            only_one(tmp_path, "s.2014", lambda: pytest.fail("waited")),
        ):
            pass

    asyncio.run(main())
    with (tmp_path / "locks" / "s.2013.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where it is still held
