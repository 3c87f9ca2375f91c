"""Tests with real USB in a virtual machine; where that cannot be had they are skipped, loudly, and fail in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.usb.station import Station

ROOT = Path(__file__).resolve().parents[3]
NEEDED = (
    "qemu-system-x86_64",
    "qemu-img",
    "mmdebstrap",
    "mkfs.vfat",
    "mkfs.exfat",
    "mke2fs",
    "mcopy",
    "sfdisk",
    "busybox",
)
MADE: Counter[str] = Counter()
"""Pulls and power cuts of this process; told at its end."""


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest, with the package made from what is checked out."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    lacking = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if os.geteuid() != 0:
        lacking.append("root's rights")
    if lacking:
        assert not os.environ.get("DOCKD_CI"), f"lacking: {', '.join(lacking)}"
        pytest.skip(f"NOT TESTED: USB, for this machine lacks {', '.join(lacking)}")
    (ROOT / "build").mkdir(exist_ok=True)
    made = subprocess.run(
        ["flock", ROOT / "build/usb.lock", sys.executable, ROOT / "tests/e2e/usb/build.py", ROOT / "build"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return ROOT / "build/usb"


@pytest.fixture
def make_station(build: Path) -> Iterator[Callable[..., Station]]:
    stations: list[Station] = []

    def make(**settings: Any) -> Station:
        # A short name, for a socket's path may not be long.
        folder = Path(tempfile.mkdtemp(prefix="usb-", dir="/var/tmp"))
        stations.append(Station(folder, build, **settings))
        return stations[-1]

    yield make
    for station in stations:
        station.close()


@pytest.fixture
def station(make_station: Callable[..., Station]) -> Station:
    """A dock with the wipe switched on, and dockd running."""
    made = make_station()
    made.start()
    return made


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    """Says a figure that the run is to show at its end."""
    return record_property


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures that tests have told; pulls and power cuts added up."""
    sums: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in getattr(report, "user_properties", ()):
                if name in ("pulls", "power_cuts"):
                    sums[name] += int(value)
                else:
                    terminalreporter.write_line(f"{name}: {value}")
    for name, count in sorted(sums.items()):
        terminalreporter.write_line(f"{name.replace('_', ' ')} made: {count}")
