"""Blocking stages off the event loop, in threads that never hold up the end of the process."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Told = Callable[[], None]
_Jobs = SimpleQueue[Callable[[], _Told]]

_IDLE: list[_Jobs] = []
"""Threads that wait. They are used again: what libraries keep for each thread (open fonts,
connections, teams of OpenMP) would otherwise grow with every stage of a long backfill."""


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `work` in a daemon thread, with this task's context.

    `asyncio.to_thread` would join its thread on the way out: Ctrl-C would wait for the stage.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # T may be None itself

    def run() -> _Told:
        result, error = None, None
        try:
            result = context.run(work, *args, **kwargs)
        except BaseException as raised:  # the awaiting task gets it, whatever it is
            error = raised

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        return tell

    _hand_over(run)
    return await outcome


def _hand_over(job: Callable[[], _Told]) -> None:
    try:
        jobs = _IDLE.pop()
    except IndexError:
        jobs = SimpleQueue()
        threading.Thread(target=_work, args=(jobs,), name="stage", daemon=True).start()
    jobs.put(job)


def _work(jobs: _Jobs) -> None:
    """Do one job after the other. Idle first, then tell: the next stage finds this thread."""
    while True:
        tell = jobs.get()()
        _IDLE.append(jobs)
        tell()
        del tell  # it holds the result until the next job
