"""Many windows through the stages: who may enter when, and which engines are up meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import Any

from estimators.errors import CausewayError, RetryableError
from pipelines.in_thread import in_thread

RETRY_SECONDS = (2.0, 10.0)
"""Waits before a stage is tried again, where that can help."""

StageMaker = Callable[[Callable[..., Any], str], Callable[..., Any]]
"""Makes a stage's function awaitable: a Prefect task, or `plain`."""
Engine = Callable[[], AbstractContextManager[Any]]


def plain(function: Callable[..., Any], _name: str) -> Callable[..., Any]:
    """Run a stage in a thread, with two more tries where they can help: what a task does."""

    async def run(*args: Any, **options: Any) -> Any:
        for seconds in RETRY_SECONDS:
            try:
                return await in_thread(function, *args, **options)
            except CausewayError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(seconds)
        return await in_thread(function, *args, **options)

    return run


class Engines:
    """Engines that windows share: started by the first that needs one, stopped by the conductor.

    What does not start fails every window that needs it, and is tried once.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._open: dict[str, ExitStack] = {}
        self._failed: dict[str, CausewayError] = {}
        self._lock = threading.Lock()

    def need(self, name: str) -> None:
        """Start an engine unless it is up; blocks, for a stage's thread.

        Raises
        ------
        PlatformError
            It does not start, now or when it was needed before.
        """
        with self._lock:
            if name in self._failed:
                raise self._failed[name]
            if name in self._open:
                return
            stack = ExitStack()
            try:
                stack.enter_context(self._engines[name]())
            except CausewayError as error:
                self._failed[name] = error
                raise
            self._open[name] = stack

    def stop(self, name: str) -> None:
        """Stop an engine, if it is up."""
        with self._lock:
            stack = self._open.pop(name, None)
            if stack is not None:
                stack.close()

    def running(
        self, name: str, function: Callable[..., Any], needed: Callable[[], bool]
    ) -> Callable[..., Any]:
        """Make a stage's function start the engine first, where it is needed.

        An engine that lost the work is stopped, so that the next try starts a fresh one.
        """

        def run(*args: Any, **options: Any) -> Any:
            if needed():
                self.need(name)
            try:
                return function(*args, **options)
            except RetryableError as error:
                if error.code == f"{name}_lost":
                    self.stop(name)
                raise

        return run


class Turnstile:
    """Lets windows into the stages.

    Stage by stage, no window enters a stage before all have left the one before: engines that do
    not fit into memory together then run one after the other. Otherwise every window goes its own
    way. In both cases at most `parallel` are in a stage at a time.

    Parameters
    ----------
    stages
        Names, in order.
    windows
        How many will pass.
    passed
        Called with a stage's name whenever a window has left it, or will never enter it.
    """

    def __init__(
        self,
        stages: Sequence[str],
        windows: int,
        *,
        parallel: int,
        stage_by_stage: bool,
        passed: Callable[[str], None],
    ) -> None:
        self._inside = dict.fromkeys(stages, windows)
        self._opened = {name: asyncio.Event() for name in stages}
        self._emptied = {name: asyncio.Event() for name in stages}
        self._limit = asyncio.Semaphore(parallel)
        self._stage_by_stage = stage_by_stage
        self._passed = passed

    async def conduct(self, after: Callable[[str], None]) -> None:
        """Open the stages, in order, until every window has left the last one.

        Parameters
        ----------
        after
            Called in a thread with the name of each stage that all have left.
        """
        if not self._stage_by_stage:
            for opened in self._opened.values():
                opened.set()
        for name, opened in self._opened.items():
            opened.set()
            await self._emptied[name].wait()
            await in_thread(after, name)

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[Passage]:
        """One window's way; however it ends, the others do not wait for it."""
        passage = Passage(self, [*self._inside])
        try:
            yield passage
        finally:
            for name in [*passage.ahead]:
                self.leave(name)

    def leave(self, name: str) -> None:
        """Count one window less that has to pass a stage."""
        self._inside[name] -= 1
        self._passed(name)
        if not self._inside[name]:
            self._emptied[name].set()

    @asynccontextmanager
    async def enter(self, name: str) -> AsyncIterator[None]:
        """Wait until the stage is open and there is room."""
        await self._opened[name].wait()
        async with self._limit:
            yield


class Passage:
    """One window on its way.

    Attributes
    ----------
    ahead
        Stages that it has not left.
    """

    def __init__(self, turnstile: Turnstile, ahead: list[str]) -> None:
        self._turnstile = turnstile
        self.ahead = ahead

    @asynccontextmanager
    async def at(self, name: str) -> AsyncIterator[None]:
        """Be in a stage."""
        async with self._turnstile.enter(name):
            yield
        self.ahead.remove(name)
        self._turnstile.leave(name)
