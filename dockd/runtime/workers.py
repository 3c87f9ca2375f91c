"""Threads in which bytes move, and the small object through which the loop watches and stops them.

A cancelled await does not stop a thread. So each loop over bytes calls `Control.advance`, which raises as
soon as it was told to stop, and a worker is joined; one that is stuck in the kernel is left behind.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from dockd.errors import DockdError, StoppedError

T = TypeVar("T")


class Control:
    """A thread's progress, to be read by the loop, and the loop's word to stop, to be read by the thread."""

    def __init__(self) -> None:
        self.phase = "idle"
        self.subject = ""
        self.done_bytes = 0
        self.total_bytes = 0
        self.busy = False
        self.moved_bytes = 0
        self.last_s = time.monotonic()
        self._reason: DockdError | None = None

    def begin(self, phase: str, subject: str = "", total_bytes: int = 0) -> None:
        """Say what the thread turns to now."""
        self.check()
        self.phase, self.subject = phase, subject
        self.done_bytes, self.total_bytes = 0, total_bytes
        self.last_s = time.monotonic()

    def started(self) -> None:
        """The thread took up a call."""
        self.last_s = time.monotonic()
        self.busy = True

    def advance(self, size_bytes: int = 0) -> None:
        """Say that `size_bytes` more were done; raises the reason to stop, if there is one."""
        self.done_bytes += size_bytes
        self.moved_bytes += size_bytes
        self.last_s = time.monotonic()
        self.check()

    def check(self) -> None:
        """Raise the reason to stop, if there is one."""
        if self._reason is not None:
            raise self._reason

    def stop(self, reason: DockdError | None = None) -> None:
        """Ask the thread to stop at its next step; the first reason given counts."""
        if self._reason is None:
            self._reason = reason if reason is not None else StoppedError("the daemon is stopping")

    @property
    def stopping(self) -> bool:
        """Whether the thread was asked to stop."""
        return self._reason is not None

    @property
    def reason(self) -> DockdError | None:
        """Why the thread was asked to stop, if it was."""
        return self._reason

    def still_s(self) -> float:
        """Seconds without progress while busy; 0 when idle."""
        return time.monotonic() - self.last_s if self.busy else 0.0


async def within(limit_s: float, *works: Coroutine[Any, Any, object]) -> list[BaseException]:
    """Do all of `works` at the same time, and leave behind what takes longer than `limit_s`; what they raised."""
    done, late = await asyncio.wait([asyncio.ensure_future(work) for work in works], timeout=limit_s)
    for task in late:
        # Not awaited: what hangs in a thread may hang in its own cleaning up as well.
        task.cancel()
    return [error for task in done if not task.cancelled() and (error := task.exception()) is not None]


class Worker:
    """One thread that runs one call after the other."""

    def __init__(self, name: str, control: Control | None = None) -> None:
        self.name = name
        self.control = control if control is not None else Control()
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        # A daemon thread: one stuck in the kernel must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            self.control.started()
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - the caller gets it
                future.set_exception(error)
            else:
                future.set_result(result)
            finally:
                self.control.busy = False
                self.control.phase = "idle"

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` in the thread and give its result; calls are taken in order."""
        future: Future[T] = Future()
        self._calls.put((future, function))
        return await asyncio.wrap_future(future)

    def give_back(self, function: Callable[[], object]) -> None:
        """Run `function` behind all other calls; nobody waits for it, nor hears how it went."""
        self._calls.put((Future(), function))

    @property
    def ended(self) -> bool:
        """Whether the thread has ended, and nothing of it can come back."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Take no more calls; the thread ends after the one that runs."""
        self._calls.put(None)

    async def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False when it is stuck and was left behind."""
        deadline_s = time.monotonic() + timeout_s
        while self._thread.is_alive() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - no event can tell
            await asyncio.sleep(0.01)
        return not self._thread.is_alive()
