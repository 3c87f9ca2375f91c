"""The demo's folder: sample cameras, their digests as they were made, and the dock's configuration."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import blake3

from dockd.durable import DEVICE_KINDS, file_system_of, reads_past_cache
from dockd.errors import UsageError
from dockd.paths import StatePaths

MIB: Final = 1024 * 1024
ROOT_TOPIC: Final = "dockd/v1/calgary/district-4/dock-07"
ROOM_FACTOR: Final = 4
"""Camera, spool, store, and air to breathe."""

SHARES: Final[dict[str, dict[str, float]]] = {
    "CAM1": {
        "DCIM/100PATRL/CLIP0001.MP4": 0.22,
        "DCIM/100PATRL/CLIP0002.MP4": 0.05,
        "DCIM/100PATRL/STILL003.JPG": 0.004,
    },
    "CAM2": {"DCIM/100TRAFC/CLIP0001.MP4": 0.36, "DCIM/100TRAFC/CLIP0002.MP4": 0.08},
    "CAM3": {
        "DCIM/100BIKES/CLIP0001.MP4": 0.16,
        "DCIM/100BIKES/CLIP0002.MP4": 0.09,
        "DCIM/100BIKES/CLIP0003.MP4": 0.03,
        "DCIM/100BIKES/NOTES004.TXT": 0.00001,
    },
}
"""What lies on each camera, as a share of all bytes: a patrol, a traffic and a bike officer's shift."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One recording, with the digests of what was put on the camera."""

    camera: str
    path: str
    size_bytes: int
    blake3: str
    sha256: str


@dataclass(slots=True)
class World:
    """The folder of one demo."""

    root: Path
    samples: list[Sample] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """The dock's configuration."""
        return self.root / "config.toml"

    @property
    def cameras(self) -> Path:
        """What is docked."""
        return self.root / "cameras"

    @property
    def shelf(self) -> Path:
        """Cameras that are not docked."""
        return self.root / "shelf"

    @property
    def state(self) -> Path:
        """The dock's own folder."""
        return self.root / "state"

    @property
    def paths(self) -> StatePaths:
        """What lies in the dock's own folder."""
        return StatePaths(self.state)

    @property
    def store(self) -> Path:
        """The evidence store."""
        return self.root / "store"

    @property
    def log(self) -> Path:
        """What the daemon logs."""
        return self.root / "daemon.log"

    def dock(self, camera: str) -> None:
        """Put a camera into the dock."""
        os.rename(self.shelf / camera, self.cameras / camera)

    def pull(self, camera: str) -> None:
        """Take a camera out of the dock."""
        os.rename(self.cameras / camera, self.shelf / camera)

    def spooled_bytes(self) -> int:
        """How much of the spool is on the disk by now."""
        total = 0
        for path in self.paths.spool.glob("*"):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            total += min(found.st_size, found.st_blocks * 512)
        return total


def choose_root(wanted: Path | None) -> Path:
    """The folder for a demo: the wanted one if it is new or empty, else a fresh one on a disk.

    Raises UsageError.
    """
    if wanted is not None:
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            raise UsageError(f"{wanted} is there already and is not empty", "Nothing was changed. Name a new folder.")
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted.resolve()
    places = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]  # noqa: S108 - a fresh folder is made there
    good = (place for place in places if place.is_dir() and os.access(place, os.W_OK) and can_be_wiped(place))
    return Path(tempfile.mkdtemp(prefix="dockd-demo-", dir=next(good, places[0]))).resolve()


def can_be_wiped(place: Path) -> bool:
    """Whether reads there get past this host's memory: where they do not, dockd deletes nothing."""
    return reads_past_cache(file_system_of(place), DEVICE_KINDS)


def fitting_bytes(root: Path, wanted_bytes: int) -> int:
    """How much footage to make: what is wanted, or what fits in; raises UsageError if that is next to nothing."""
    room = shutil.disk_usage(root).free // ROOM_FACTOR
    if room < 16 * MIB:
        raise UsageError(f"{root} has too little room", "Nothing was changed. Name another folder with --dir.")
    return min(wanted_bytes, room)


def make_cameras(world: World, total_bytes: int, made: Callable[[int], None]) -> None:
    """Fill the cameras with random bytes, and keep their digests; `made` is told of each piece."""
    for folder in (world.cameras, world.shelf):
        folder.mkdir()
    for camera, files in SHARES.items():
        for name, share in files.items():
            path = world.shelf / camera / name
            path.parent.mkdir(parents=True, exist_ok=True)
            world.samples.append(_make(path, camera, name, max(1000, int(total_bytes * share)), made))
        (world.shelf / camera / ".dockd-camera").touch()


def _make(path: Path, camera: str, name: str, size_bytes: int, made: Callable[[int], None]) -> Sample:
    one, two = blake3.blake3(), hashlib.sha256()
    left = size_bytes
    with path.open("wb") as file:
        while left:
            piece = os.urandom(min(left, 4 * MIB))
            one.update(piece)
            two.update(piece)
            file.write(piece)
            left -= len(piece)
            made(len(piece))
    return Sample(camera, name, size_bytes, one.hexdigest(), two.hexdigest())


def accepted(world: World) -> list[str]:
    """The weaknesses of a store in this folder, which a demo accepts and a station would not."""
    weak = ["same-disk"]
    if not reads_past_cache(file_system_of(world.root)):
        weak.append("cached-readback")
    return weak


def write_config(world: World, port: int | None) -> None:
    """Write config.toml; `port`: where the broker listens, if there is one."""
    weak = ", ".join(f'"{name}"' for name in accepted(world))
    broker = "" if port is None else f'\n[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n'
    text = f"""\
[dock]
agency = "calgary"
site = "district-4"
name = "dock-07"
state_dir = "{world.state}"

[spool]
min_free = "16MiB"

[store]
path = "{world.store}"
accept = [{weak}]   # a station has its store on another disk

[wipe]
mode = "on"

[folder_cameras]
path = "{world.cameras}"
settle = "500ms"
rescan = "2s"
{broker}"""
    world.config.write_text(text, encoding="utf-8")
