"""The whole daemon as a process: from docking until everything is confirmed, or wiped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from measure import Cost, Watched, between
from sources import Site, drop_from_cache, link_tree

POLL_S = 0.02
START_LIMIT_S = 60.0
RUN_LIMIT_S = 1800.0
SETTLE = "200ms"
"""How long a file has to be still; a camera's are, but a folder cannot say so. It is part of the figure."""

CONFIG = """\
[dock]
agency = "bench"
site = "bench"
name = "bench"
state_dir = {state}
[spool]
min_free = "16MiB"
[store]
kind = "filesystem"
path = {store}
accept = ["same-disk"]
[wipe]
mode = {mode}
[folder_cameras]
path = {cameras}
settle = {settle}
rescan = "1s"
"""


class DaemonFailed(Exception):  # noqa: N818 - it names what happened
    """The daemon ended, or did not finish in time, or left something unaccounted for."""


class Dock:
    """One daemon with folders of its own below the site's target."""

    def __init__(self, site: Site, *, wipe: bool, program: Sequence[str]) -> None:
        self._program = program
        root = site.target
        self.cameras, self.waiting = root / "cameras", root / "waiting"
        self.state, self.store = root / "state", root / "store"
        self.config = root / "config.toml"
        for folder in (self.cameras, self.waiting, self.state):
            folder.mkdir()
        # Hard links: emptying these cameras leaves the sources as they are, for the next run.
        link_tree(site.sources, self.waiting, list(site.sha256))
        for name in site.camera_names:
            if wipe:
                (self.waiting / name / ".dockd-camera").touch()
        places = {"state": self.state, "store": self.store, "cameras": self.cameras}
        words = {"mode": "on" if wipe else "off", "settle": SETTLE}
        texts = {key: json.dumps(str(value)) for key, value in (places | words).items()}
        self.config.write_text(CONFIG.format(**texts), encoding="utf-8")
        self._told: dict[str, Any] = {}
        self._told_at_ns = 0

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, *self._program, *arguments, "--config", str(self.config)]

    def status(self) -> dict[str, Any]:
        """What the daemon last said of itself: the file that `dockd status --json` prints."""
        file = self.state / "status.json"
        try:
            written_ns = file.stat().st_mtime_ns
            if written_ns != self._told_at_ns:
                self._told, self._told_at_ns = json.loads(file.read_bytes()), written_ns
        except FileNotFoundError:
            return {}
        return self._told

    def last_event_s(self, name: str) -> float:
        """When the last custody record of a kind was written, as seconds of the wall clock."""
        done = subprocess.run(self.command("custody", "export"), check=True, capture_output=True, text=True)
        records = (json.loads(line) for line in done.stdout.split("\n") if line)
        times = [datetime.fromisoformat(record["time"]) for record in records if record["event"] == name]
        return max(times).timestamp()


def _await(watched: Watched, condition: Callable[[], bool], limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if watched.ended() or time.monotonic() > deadline_s:
            raise DaemonFailed(f"the daemon ended, or took longer than {limit_s:.0f} s:\n{watched.output()[-3000:]}")
        time.sleep(POLL_S)


def run(site: Site, *, wipe: bool, program: Sequence[str] = ("-m", "dockd")) -> Cost:
    """Dock all cameras at once; what it cost until the status says that all is confirmed, or wiped."""
    dock = Dock(site, wipe=wipe, program=program)
    subprocess.run(dock.command("store", "init"), check=True, capture_output=True)
    wanted, count = ("wiped" if wipe else "in_store"), len(site.sha256)
    watched = Watched(dock.command("run"), os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        _await(watched, lambda: bool(dock.status().get("daemon", {}).get("running")), START_LIMIT_S)
        if site.cache == "cold":
            for path in site.source_files():
                drop_from_cache(path)
        docked_s = time.time()
        before = watched.read()
        for name in site.camera_names:
            os.rename(dock.waiting / name, dock.cameras / name)
        _await(watched, lambda: dock.status()["counts"][wanted] >= count, RUN_LIMIT_S)
        after = watched.read()
        counts = dock.status()["counts"]
        watched.signal(signal.SIGTERM)
        watched.wait()
    except BaseException:
        watched.kill()
        raise
    if counts["unaccounted"] or counts["recordings"] != count:
        raise DaemonFailed(f"counts do not add up: {counts}")
    if wipe:
        _see_emptied(dock.cameras)
    last_s = dock.last_event_s("recording_wiped" if wipe else "recording_confirmed")
    # The status lags by up to half a second; the records tell the moment itself.
    return between(before, after, watched.peak_rss_bytes, last_recorded_s=last_s - docked_s)


def _see_emptied(cameras: Path) -> None:
    left = [path.name for path in cameras.rglob("*") if path.is_file() and path.name != ".dockd-camera"]
    if left:
        raise DaemonFailed(f"called wiped, but still on the cameras: {left[:5]}")
