"""`dockd run`."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import structlog

from dockd import logs
from dockd.app import Daemon
from dockd.config import load_config
from dockd.errors import EXIT_IO, DockdError
from dockd.report.journald import JournalSink, stderr_is_journal
from dockd.runtime.workers import within

log = structlog.get_logger()

LEFTOVERS_S: Final = 0.5
"""For how long tasks and threads that are left at the end are waited for; each."""


def run(config_path: Path, *, print_messages: bool = False) -> int:
    """Run the daemon until it is stopped; the exit code."""
    # Killed by the watchdog, it says where every thread was.
    with contextlib.suppress(OSError, ValueError):
        faulthandler.enable()
    logs.set_up(JournalSink() if stderr_is_journal() else None)
    daemon = Daemon(load_config(config_path), config_path, print_messages=print_messages)
    try:
        code = _run_to_its_end(daemon.run())
    except DockdError as error:
        if not _threads_left():
            raise
        print(error.told(), file=sys.stderr)
        code = error.exit_code
    except Exception as error:
        # Not 1, which says that something was checked and found wrong.
        log.exception("dockd_failed", error=str(error), hint="Nothing is lost; start it again, and report this.")
        code = EXIT_IO
    if _threads_left():
        # Stuck in the kernel: everything durable is closed, nothing is owed to them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run_to_its_end(main: Coroutine[Any, Any, int]) -> int:
    """Like asyncio.run, which waits for the threads of the loop's executor: for ever, if one of them hangs."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LEFTOVERS_S))
        loop.run_until_complete(within(LEFTOVERS_S, loop.shutdown_asyncgens()))
        asyncio.set_event_loop(None)
        loop.close()


def _threads_left() -> bool:
    """Whether threads are left that do not end; Python itself would wait for some of them."""
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    deadline_s = time.monotonic() + LEFTOVERS_S
    for thread in others:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    return any(thread.is_alive() for thread in others)
