"""The journal's one writer thread, with group commit.

Callers hand in functions over a `Transaction`. The thread takes all that wait, runs each in a savepoint of
its own, and commits them together: one fsync for many. A function that raises is rolled back alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import structlog

from dockd.errors import DockdError, JournalBusyError, JournalDamagedError, TransientError
from dockd.events import Head
from dockd.journal.database import open_for_writing, translate
from dockd.journal.transaction import Transaction
from dockd.runtime.clock import Clock

T = TypeVar("T")
log = structlog.get_logger()
Work = Callable[[Transaction], T]

GROUP_LIMIT = 256
"""At most so many calls share one commit, so that none waits for long."""


class Journal:
    """The open journal of a dock; one per process, and one process per journal."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock, dock: str) -> None:
        self._connection = connection
        self._transaction = Transaction(connection, clock, dock)
        self._transaction.load_head()
        self._calls: queue.SimpleQueue[tuple[Future[Any], Work[Any]] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._listeners: list[Callable[[Head], None]] = []
        self.fatal: DockdError | None = None
        self.on_fatal: Callable[[DockdError], None] | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, *, clock: Clock, dock: str) -> Journal:
        """Open or make the journal at `path` for the dock `agency/site/name`.

        Raises JournalDamagedError or JournalTooNewError.
        """
        return cls(open_for_writing(path), clock, dock)

    @property
    def head(self) -> Head:
        """The last committed record of the present chain, or one that is about to be."""
        return self._transaction.head

    def listen(self, listener: Callable[[Head], None]) -> None:
        """Call `listener` in the writer thread after each commit that added records."""
        self._listeners.append(listener)

    def submit(self, work: Work[T]) -> Future[T]:
        """Hand in work; the future ends once it is committed and durable, or was rolled back."""
        future: Future[T] = Future()
        with self._closing:
            if self.fatal is not None:
                future.set_exception(self.fatal)
            elif self._closed:
                future.set_exception(JournalBusyError("the journal is closed"))
            else:
                self._calls.put((future, work))
        return future

    async def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction and wait until it is durable."""
        # Shielded: a cancelled caller must not turn a commit that happens anyway into one that is unknown.
        return await asyncio.shield(asyncio.wrap_future(self.submit(work)))

    def run_in_thread(self, work: Work[T]) -> T:
        """The same from a worker thread."""
        return self.submit(work).result()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Commit what was handed in and close; False if the writer is stuck in the kernel."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._calls.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            group = [call]
            ended = False
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP_LIMIT:
                    following = self._calls.get_nowait()
                    if following is None:
                        ended = True
                        break
                    group.append(following)
            self._commit(group)
            if ended:
                break
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _commit(self, calls: list[tuple[Future[Any], Work[Any]]]) -> None:
        group = [call for call in calls if call[0].set_running_or_notify_cancel()]
        results: list[tuple[Future[Any], Any, BaseException | None]] = []
        start = self._transaction.save_point()
        try:
            if self.fatal is not None:
                raise self.fatal
            self._connection.execute("BEGIN IMMEDIATE")
            for future, work in group:
                results.append((future, *self._one(work)))
            self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - whatever it was, callers are told
            self._transaction.roll_back_to(start)
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            failure = translate(error) if isinstance(error, sqlite3.Error) else error
            if not isinstance(failure, TransientError):
                self._give_up(failure)
            for future, _ in group:
                future.set_exception(failure)
            return
        if self._transaction.head != start[1]:
            self._tell(self._transaction.head)
        for future, result, problem in results:
            if problem is not None:
                future.set_exception(problem)
            else:
                future.set_result(result)

    def _tell(self, head: Head) -> None:
        for listener in self._listeners:
            try:
                listener(head)
            except Exception as error:
                # What listens must not stop what is recorded.
                log.exception("journal_listener_failed", error=str(error))

    def _one(self, work: Work[T]) -> tuple[T | None, BaseException | None]:
        """Run one piece of work in a savepoint; a database error ends the whole group instead."""
        point = self._transaction.save_point()
        self._connection.execute("SAVEPOINT work")
        try:
            result = work(self._transaction)
        except sqlite3.IntegrityError as error:
            self._roll_back_one(point)
            return None, error
        except sqlite3.Error:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            self._roll_back_one(point)
            return None, error
        self._connection.execute("RELEASE work")
        return result, None

    def _roll_back_one(self, point: tuple[int | None, Head]) -> None:
        self._connection.execute("ROLLBACK TO work")
        self._connection.execute("RELEASE work")
        self._transaction.roll_back_to(point)

    def _give_up(self, error: BaseException) -> None:
        """A journal that cannot be written to ends the daemon: nothing may happen that is not recorded."""
        if self.fatal is None:
            self.fatal = (
                error if isinstance(error, DockdError) else JournalDamagedError(f"the journal failed: {error!r}")
            )
            if self.on_fatal is not None:
                self.on_fatal(self.fatal)
