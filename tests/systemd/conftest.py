"""Tests that boot a Debian with systemd; where that cannot be done they are skipped, loudly, and fail in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from systemd.machine import Machine
from systemd.station import ROOT, Station

NEEDED = ("systemd-nspawn", "mmdebstrap", "nsenter")


@pytest.fixture(scope="session")
def build() -> Path:
    """The bare Debian with the package of what is checked out."""
    lacking = [name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if os.geteuid() != 0:
        lacking.append("root's rights")
    if lacking:
        assert not os.environ.get("DOCKD_CI"), f"lacking: {', '.join(lacking)}"
        pytest.skip(f"NOT TESTED: systemd, for this machine lacks {', '.join(lacking)}")
    folder = ROOT / "build/systemd"
    made = [sys.executable, ROOT / "tests/systemd/tree.py", folder]
    done = subprocess.run(made, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def make_station(tmp_path: Path, build: Path) -> Iterator[Callable[..., Station]]:
    stations: list[Station] = []

    def make(**settings: Any) -> Station:
        stations.append(Station(tmp_path / f"station{len(stations)}", build, **settings))
        return stations[-1]

    yield make
    for station in stations:
        station.machine.kill()
        station.clear()


@pytest.fixture
def bare(tmp_path: Path, build: Path) -> Iterator[Machine]:
    """A machine on which the package was just installed, and nothing else was done."""
    machine = Machine(build / "tree", tmp_path / "console.log", binds={}, read_only={})
    yield machine.boot()
    machine.kill()


@pytest.fixture
def station(make_station: Callable[..., Station]) -> Station:
    """A dock with the wipe switched on, its store made, and its service started."""
    made = make_station()
    made.boot()
    made.init_store()
    made.start()
    return made
