"""What the figures were measured on; without it they mean nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import blake3
from contenders import file_system

from dockd.version import package_digest, version

QUIET_SHARE = 0.05
"""More than this of the machine in use by others, and the figures are called noisy."""


def describe(work: Path, busy: float) -> dict[str, Any]:
    """Machine, system and programs, and how much of the machine others were using before the start."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "file_system": file_system(work),
        "python": platform.python_version(),
        "dockd": version(),
        "dockd_package_sha256": package_digest(),
        "blake3": blake3.__version__,
        "cp": _first_line("cp", "--version"),
        "rclone": _first_line("rclone", "version"),
        "busy_share_before": busy,
        "load_before": os.getloadavg()[0],
        "quiet": busy <= QUIET_SHARE,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()[0]
