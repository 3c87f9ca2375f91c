"""The kinds of camera that the contract suite is run on.

A new kind is a class with the methods of `CameraKind`, and its name in `CAMERA_KINDS`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from contract.devices import Card

from dockd.cameras.base import Camera
from dockd.cameras.folder import FolderCamera
from dockd.cameras.patterns import matcher
from dockd.durable import file_system_of
from dockd.paths import forbidden_places


class CameraKind(Protocol):
    """One camera of a kind, and what only a test may do to it."""

    root: Path
    """Where its files can be planted and looked at, as the camera's maker or user does."""

    def docked(
        self, patterns: Iterable[str] = ("**",), forbidden: Iterable[Path] = (), time_file: bytes | None = None
    ) -> Camera:
        """The camera, attached; ended by `close`."""

    def close(self) -> None:
        """End everything that `docked` gave."""


class FolderKind:
    """See `CameraKind`."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self.root = root
        self._docked: list[FolderCamera] = []

    def docked(
        self, patterns: Iterable[str] = ("**",), forbidden: Iterable[Path] = (), time_file: bytes | None = None
    ) -> Camera:
        camera = FolderCamera(os.fsencode(self.root), matcher(patterns), forbidden_places(*forbidden), time_file)
        self._docked.append(camera)
        camera.attach()
        return camera

    def close(self) -> None:
        for camera in self._docked:
            camera.close()


@contextmanager
def _on_disk(folder: Path) -> Iterator[CameraKind]:
    yield FolderKind(folder / "cameras" / "CAM-1")


@contextmanager
def _on_tmpfs(folder: Path) -> Iterator[CameraKind]:
    if not Path("/dev/shm").is_dir() or file_system_of("/dev/shm").kind != "tmpfs":
        pytest.skip("NOT TESTED: a camera on tmpfs, for /dev/shm is none")
    root = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="camera-"))
    try:
        yield FolderKind(root / "cameras" / "CAM-1")
    finally:
        shutil.rmtree(root)


class DeviceKind:
    """See `CameraKind`; opened for a wipe, so that everything can be done with it."""

    def __init__(self, folder: Path) -> None:
        self.card = Card(folder)
        self.root = self.card.root

    def docked(
        self, patterns: Iterable[str] = ("**",), forbidden: Iterable[Path] = (), time_file: bytes | None = None
    ) -> Camera:
        camera = self.card.camera(patterns, forbidden, time_file=time_file)
        camera.attach()
        camera.open_for_wipe()
        return camera

    def close(self) -> None:
        self.card.close()


@contextmanager
def _device(folder: Path) -> Iterator[CameraKind]:
    made = DeviceKind(folder / "device")
    try:
        yield made
    finally:
        made.close()


CAMERA_KINDS = {"folder": _on_disk, "folder-on-tmpfs": _on_tmpfs, "device": _device}
