"""Which folders are cameras, and being told when that changes."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.tools import need_root, plant, wait_for
from e2e.kernel import Mounts

from dockd.stages.detect import FolderWatch, camera_folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "cameras"
    folder.mkdir()
    return folder


class Told:
    """What a watch told."""

    def __init__(self, root: Path) -> None:
        self.names: list[bytes | None] = []
        self.watch = FolderWatch(os.fsencode(root), self.names.append)

    def after(self, limit_s: float = 10.0, *wanted: bytes | None) -> set[bytes | None]:
        wait_for(lambda: set(wanted) <= set(self.names), f"{wanted} in {self.names}", limit_s)
        return set(self.names)


@pytest.fixture
def told(root: Path) -> Iterator[Told]:
    made = Told(root)
    yield made
    made.watch.stop()


# --- looking -----------------------------------------------------------------------------------------


def test_folders_are_cameras_and_nothing_else_is(root: Path, tmp_path: Path) -> None:
    for name in (b"CAM-1", b".hidden", b"latin\xe9", b"new\nline", b"x" * 255):
        os.mkdir(os.path.join(os.fsencode(root), name))
    plant(root / "file", b"")
    (root / "to folder").symlink_to(tmp_path)
    (root / "to camera").symlink_to("CAM-1")
    (root / "to nothing").symlink_to("nothing")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        found = camera_folders(os.fsencode(root))
    assert {os.path.basename(path) for path in found} == {b"CAM-1", b".hidden", b"latin\xe9", b"new\nline", b"x" * 255}
    there = os.stat(root / "CAM-1")
    assert found[os.fsencode(root / "CAM-1")] == (there.st_dev, there.st_ino)


def test_without_the_folder_there_is_no_camera(root: Path) -> None:
    assert camera_folders(os.fsencode(root / "nothing")) == {}
    assert camera_folders(os.fsencode(root)) == {}


def test_what_cannot_be_listed_says_nothing_about_cameras(root: Path) -> None:
    with pytest.raises(OSError, match="Not a directory"):
        camera_folders(os.fsencode(plant(root / "file", b"")))


def test_two_folders_that_are_one_have_one_identity(root: Path, tmp_path: Path) -> None:
    need_root("a mount")
    (root / "CAM-1").mkdir()
    mounts = Mounts(tmp_path)
    try:
        mounts.bind(root / "CAM-1", root / "CAM-2")
        found = camera_folders(os.fsencode(root))
        assert len(found) == 2
        assert len(set(found.values())) == 1
    finally:
        mounts.close()


# --- being told --------------------------------------------------------------------------------------


def test_cameras_that_come_and_go_are_told_of(root: Path, told: Told) -> None:
    told.watch.ensure()
    (root / "CAM-1").mkdir()
    told.after(10.0, b"CAM-1", None)
    told.names.clear()
    (root / "CAM-1").rmdir()
    told.after(10.0, b"CAM-1", None)
    assert set(told.names) <= {b"CAM-1", None}


def test_files_that_change_are_told_with_their_camera(root: Path, told: Told) -> None:
    (root / "CAM-1" / "DCIM").mkdir(parents=True)
    (root / "CAM-2").mkdir()
    told.watch.ensure()
    plant(root / "CAM-1" / "DCIM" / "one.MP4", b"x")
    assert told.after(10.0, b"CAM-1") <= {b"CAM-1", None}
    os.rename(root / "CAM-1" / "DCIM" / "one.MP4", root / "CAM-2" / "one.MP4")
    told.after(10.0, b"CAM-1", b"CAM-2")
    told.names.clear()
    (root / "CAM-2" / "one.MP4").unlink()
    assert told.after(10.0, b"CAM-2") <= {b"CAM-2", None}


@pytest.mark.parametrize("name", [b"latin\xe9", "監視".encode(), b"with blank", b"new\nline"])
def test_names_are_told_as_they_are(root: Path, told: Told, name: bytes) -> None:
    folder = os.path.join(os.fsencode(root), name)
    os.mkdir(folder)
    told.watch.ensure()
    with open(os.path.join(folder, b"\xff.MP4"), "wb") as file:
        file.write(b"x")
    assert told.after(10.0, name) <= {name, None}


def test_reading_wakes_nobody(root: Path, told: Told) -> None:
    path = plant(root / "CAM-1" / "one.MP4", b"x" * 10_000)
    told.watch.ensure()
    for _ in range(5):
        path.read_bytes()
        os.listdir(path.parent)
    (root / "CAM-2").mkdir()
    assert told.after(10.0, b"CAM-2") == {b"CAM-2", None}


def test_a_folder_that_was_replaced_is_watched_anew(root: Path, told: Told) -> None:
    told.watch.ensure()
    os.rename(root, root.with_name("away"))
    root.mkdir()
    told.watch.ensure()
    told.names.clear()
    (root / "CAM-1").mkdir()
    told.after(10.0, b"CAM-1", None)


def test_a_folder_that_is_not_there_is_watched_once_it_is(root: Path, told: Told) -> None:
    shutil.rmtree(root)
    told.watch.ensure()
    root.mkdir()
    told.watch.ensure()
    told.watch.ensure()
    (root / "CAM-1").mkdir()
    told.after(10.0, b"CAM-1", None)


def test_a_watch_that_was_stopped_tells_nothing(root: Path, told: Told) -> None:
    told.watch.ensure()
    told.watch.stop()
    told.watch.stop()
    (root / "CAM-1").mkdir()
    assert told.names == []
