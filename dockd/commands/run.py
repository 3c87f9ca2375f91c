"""`dockd run`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import structlog

from dockd import logs
from dockd.app import Daemon
from dockd.config import load_config
from dockd.errors import EXIT_IO, DockdError

log = structlog.get_logger()


def run(config_path: Path, *, print_messages: bool = False) -> int:
    """Run the daemon until it is stopped; the exit code."""
    logs.set_up()
    daemon = Daemon(load_config(config_path), config_path, print_messages=print_messages)
    try:
        code = asyncio.run(daemon.run())
    except DockdError:
        raise
    except Exception as error:
        # Not 1, which says that something was checked and found wrong.
        log.exception("dockd_failed", error=str(error), hint="Nothing is lost; start it again, and report this.")
        code = EXIT_IO
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        # A thread stuck in the kernel: everything durable is closed, nothing is owed to it.
        sys.stderr.flush()
        os._exit(code)
    return code
