"""A lane: one blocking call at a time, outside the event loop, with its end announced inside it.

`ThreadLane` owns a thread, so that a drive waiting for its sync holds up nobody else. `OffloadLane`
goes through `Env`, so that a simulation owns the order of things.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeVar

from storaged.base.env import Env

T = TypeVar("T")


class Lane(Protocol):
    """Runs blocking functions one after the other."""

    async def run(self, function: Callable[[], T]) -> T:
        """Run outside the event loop. Cancelled: the function still runs to its end."""
        ...

    def close(self) -> None:
        """End the lane after what is under way. Idempotent."""
        ...


class ThreadLane:
    """A lane on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                result = function()
            except BaseException as error:  # the executor bridge: it belongs to the waiting side
                loop.call_soon_threadsafe(_fail, future, error)
            else:
                loop.call_soon_threadsafe(_finish, future, result)

        self._calls.put(call)
        return await future

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def close(self) -> None:
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join()


class OffloadLane:
    """A lane through `Env.offload`."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._turn = asyncio.Lock()

    async def run(self, function: Callable[[], T]) -> T:
        async with self._turn:
            return await self._env.offload(function)

    def close(self) -> None:
        """Nothing is owned."""


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
