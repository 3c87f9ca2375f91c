"""`dockd run`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

from dockd import logs
from dockd.app import Daemon
from dockd.config import load_config


def run(config_path: Path) -> int:
    """Run the daemon until it is stopped; the exit code."""
    logs.set_up()
    daemon = Daemon(load_config(config_path), config_path)
    code = asyncio.run(daemon.run())
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        # A thread stuck in the kernel: everything durable is closed, nothing is owed to it.
        sys.stderr.flush()
        os._exit(code)
    return code
