"""What every camera must do when it is listed and read, whatever kind it is; see `dockd/cameras/base.py`."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from contract.cameras import CameraKind, FolderKind
from contract.tools import SIZES, Steps, calls_in, content, digests_of, in_child, need_root, plant, stop, tracer
from e2e.kernel import Mounts

from dockd.cameras.base import Camera
from dockd.direct_io import Buffer
from dockd.errors import NotDisjointError, RecordingUnreadableError, SourceChangedError, StoppedError

PATH = b"DCIM/one.MP4"

NAMES = [
    b"plain.MP4",
    b"DCIM/100MEDIA/clip.mp4",
    b".leading.dot",
    b"..two dots",
    b"...",
    b"-rf",
    b" ",
    b"new\nline",
    b"tab\tand\rreturn",
    b"\x01\x1b[31mred\x7f",
    b"back\\slash",
    b"quote'\"$(x)`y`",
    b"*?[a]{b}",
    b"%2F%00",
    "Überwachung 監視 😀.mp4".encode(),
    b"latin\xe9.mp4",
    b"\xff\xfe\x80",
    b"x" * 255,
    b"\xff" * 255,
    b"d" * 255 + b"/" + b"f" * 255,
    b".dockd-camera.mp4",
    b"DCIM/.dockd-camera",
]


def read(camera: Camera, path: bytes, *, direct: bool = True) -> bytes:
    with camera.open(path, lease=True) as opened:
        return b"".join(bytes(chunk) for chunk in opened.reader(Buffer(), direct=direct).chunks())


def make(root: Path, path: bytes, data: bytes) -> None:
    """Plant a file whose path may be longer than the system takes in one call."""
    *folders, name = path.split(b"/")
    here = os.open(root, os.O_RDONLY)
    for folder in folders:
        if folder not in map(os.fsencode, os.listdir(here)):
            os.mkdir(folder, dir_fd=here)
        below = os.open(folder, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
        file.write(data)
    os.close(here)


# --- listing and reading -----------------------------------------------------------------------------


def test_an_empty_camera_is_empty(camera_kind: CameraKind) -> None:
    listing = camera_kind.docked().list(Steps())
    assert (dict(listing.files), dict(listing.left_alone), listing.complete) == ({}, {}, True)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_a_file_can_have_is_listed_and_read(camera_kind: CameraKind, name: bytes) -> None:
    make(camera_kind.root, name, name * 3)
    camera = camera_kind.docked()
    listing = camera.list(Steps())
    assert list(listing.files) == [name]
    assert listing.complete
    assert listing.left_alone == {}
    assert read(camera, name) == name * 3
    camera.delete(name, listing.files[name])
    camera.settle_deletions([name])
    assert camera.is_gone(name)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("direct", [True, False])
def test_a_file_is_read_whole(camera_kind: CameraKind, size: int, direct: bool) -> None:
    data = content(size)
    planted = plant(camera_kind.root / "one.MP4", data)
    camera = camera_kind.docked()
    seen = camera.list(Steps()).files[b"one.MP4"]
    there = os.stat(planted)
    assert (seen.size_bytes, seen.mtime_ns) == (size, there.st_mtime_ns)
    with camera.open(b"one.MP4", lease=True) as opened:
        assert opened.seen == opened.look() == seen
        assert b"".join(bytes(chunk) for chunk in opened.reader(Buffer(), direct=direct).chunks()) == data


def test_paths_longer_than_the_system_takes_at_once(camera_kind: CameraKind) -> None:
    path = b"/".join([b"d" * 250] * 20) + b"/one.MP4"
    assert len(path) > 4096
    try:
        make(camera_kind.root, path, b"deep")
        camera = camera_kind.docked()
        listing = camera.list(Steps())
        assert list(listing.files) == [path]
        assert listing.complete
        assert read(camera, path) == b"deep"
        camera.delete(path, listing.files[path])
        camera.settle_deletions([path])
        assert camera.is_gone(path)
    finally:
        subprocess.run(["rm", "-rf", camera_kind.root / ("d" * 250)], check=True)


def test_what_lies_too_deep_is_said_to_be_missing_from_the_listing(camera_kind: CameraKind) -> None:
    try:
        make(camera_kind.root, b"d/" * 140 + b"one.MP4", b"too deep")
        make(camera_kind.root, b"d/" * 100 + b"two.MP4", b"deep")
        listing = camera_kind.docked().list(Steps())
        assert list(listing.files) == [b"d/" * 100 + b"two.MP4"]
        assert not listing.complete
        assert listing.problems
        assert listing.left_alone == {"too-deep": 1}
    finally:
        subprocess.run(["rm", "-rf", camera_kind.root / "d"], check=True)


def test_hard_links_are_recordings_of_their_own(camera_kind: CameraKind) -> None:
    os.link(plant(camera_kind.root / "one.MP4", b"twice"), camera_kind.root / "two.MP4")
    camera = camera_kind.docked()
    files = camera.list(Steps()).files
    assert files.keys() == {b"one.MP4", b"two.MP4"}
    camera.delete(b"one.MP4", files[b"one.MP4"])
    assert read(camera, b"two.MP4") == b"twice"
    assert camera.is_gone(b"one.MP4")
    assert not camera.is_gone(b"two.MP4")


def test_only_what_the_patterns_name_is_a_recording(camera_kind: CameraKind) -> None:
    for name in ("DCIM/a.MP4", "DCIM/sub/b.MP4", "LOG/c.TXT", "d.MP4", "sub/d.MP4", "DCIMX/e.MP4"):
        plant(camera_kind.root / name, b"x")
    listing = camera_kind.docked(["DCIM/**", "*.MP4"]).list(Steps())
    assert listing.files.keys() == {b"DCIM/a.MP4", b"DCIM/sub/b.MP4", b"d.MP4"}
    assert listing.left_alone == {"not-a-recording": 3}


def test_a_listing_can_be_stopped(camera_kind: CameraKind) -> None:
    for number in range(20):
        plant(camera_kind.root / f"{number}.MP4", b"x")
    with pytest.raises(StoppedError):
        camera_kind.docked().list(Steps(5, stop))


def test_reading_does_not_change_the_time_of_access(camera_kind: CameraKind) -> None:
    planted = plant(camera_kind.root / "one.MP4", b"x" * 5000)
    os.utime(planted, ns=(10**18, 2 * 10**18))
    camera = camera_kind.docked()
    camera.list(Steps())
    for direct in (True, False):
        read(camera, b"one.MP4", direct=direct)
    assert os.stat(planted).st_atime_ns == 10**18
    planted.read_bytes()
    if os.stat(planted).st_atime_ns == 10**18:
        pytest.skip("NOT TESTED: this file system does not keep times of access")


# --- what is no regular file -------------------------------------------------------------------------


def plant_oddities(root: Path, outside: Path) -> dict[str, int]:
    """Everything that a folder can hold besides files and folders; how many of what."""
    plant(root / "good.MP4", b"good")
    (root / "to file").symlink_to(plant(outside / "secret.MP4", b"not the camera's"))
    (root / "to folder").symlink_to(outside)
    (root / "to inside").symlink_to("good.MP4")
    (root / "to nothing").symlink_to("nothing")
    (root / "to itself").symlink_to("to itself")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "pipe.MP4")
    here = os.getcwd()
    os.chdir(root)
    try:
        socket.socket(socket.AF_UNIX).bind("socket.MP4")
    finally:
        os.chdir(here)
    odd = {"symlink": 6, "fifo": 1, "socket": 1}
    if os.geteuid() == 0:
        os.mknod(root / "null.MP4", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(root / "disk.MP4", stat.S_IFBLK | 0o600, os.makedev(7, 200))
        odd["device"] = 2
    return odd


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_file_is_counted_and_neither_followed_nor_opened(tmp_path: Path) -> None:
    kind = FolderKind(tmp_path / "cameras" / "CAM-1")
    odd = plant_oddities(kind.root, tmp_path / "outside")
    log = tmp_path / "calls"
    told = in_child("look", tracer=tracer(log, "open,openat,openat2,creat"), folder=str(kind.root))
    assert told["left_alone"] == odd
    assert told["files"] == {"good.MP4": digests_of(b"good").blake3}
    opened = {path for call in calls_in(log) for path in call.paths if not call.text.startswith("AT_FDCWD</usr")}
    names = {entry.name for entry in os.scandir(kind.root)} - {"good.MP4"}
    assert "good.MP4" in opened
    assert not opened & names
    assert not any("secret" in path or path.endswith("/outside") for path in opened)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_file_is_never_given_for_one(camera_kind: CameraKind, tmp_path: Path) -> None:
    plant_oddities(camera_kind.root, tmp_path / "outside")
    (camera_kind.root / "folder.MP4").mkdir()
    camera = camera_kind.docked()
    for entry in os.scandir(camera_kind.root):
        if entry.name == "good.MP4":
            continue
        with pytest.raises((SourceChangedError, RecordingUnreadableError)):
            read(camera, os.fsencode(entry.name))
    with pytest.raises(SourceChangedError):
        read(camera, b"to folder/secret.MP4")
    with pytest.raises(SourceChangedError):
        read(camera, b"up/CAM-1/good.MP4")


def test_what_is_not_there_is_a_change(camera_kind: CameraKind) -> None:
    plant(camera_kind.root / "file", b"x")
    camera = camera_kind.docked()
    for path in (b"nothing", b"nothing/nothing", b"file/nothing"):
        with pytest.raises(SourceChangedError):
            read(camera, path)


# --- other file systems ------------------------------------------------------------------------------


def test_another_file_system_is_not_entered(folder_kind: CameraKind, mounts: Mounts) -> None:
    plant(folder_kind.root / "DCIM" / "one.MP4", b"x")
    camera = folder_kind.docked()
    mounts.memory(folder_kind.root / "DCIM" / "mounted")
    seen_elsewhere = plant(folder_kind.root / "DCIM" / "mounted" / "foreign.MP4", b"y")
    listing = camera.list(Steps())
    assert listing.files.keys() == {PATH}
    assert listing.left_alone == {"other-file-system": 1}
    with pytest.raises(SourceChangedError):
        read(camera, b"DCIM/mounted/foreign.MP4")
    with pytest.raises(SourceChangedError):
        camera.delete(b"DCIM/mounted/foreign.MP4", listing.files[PATH])
    assert seen_elsewhere.exists()


def test_a_file_that_is_mounted_there_is_left_alone(folder_kind: CameraKind, tmp_path: Path, mounts: Mounts) -> None:
    mounts.memory(tmp_path / "elsewhere")
    foreign = plant(tmp_path / "elsewhere" / "foreign.MP4", b"y")
    plant(folder_kind.root / "one.MP4", b"x")
    camera = folder_kind.docked()
    subprocess.run(["mount", "--bind", foreign, folder_kind.root / "one.MP4"], check=True)
    try:
        listing = camera.list(Steps())
        assert listing.files == {}
        assert listing.left_alone == {"other-file-system": 1}
        with pytest.raises(SourceChangedError):
            read(camera, b"one.MP4")
    finally:
        subprocess.run(["umount", folder_kind.root / "one.MP4"], check=True)


def test_a_folder_of_the_same_disk_mounted_there_is_not_entered(
    folder_kind: CameraKind, tmp_path: Path, mounts: Mounts
) -> None:
    """It may be a part of the store, whose objects would be deleted as footage that is stored already."""
    need_root("a mount")
    part = folder_kind.root.parent.parent / "store" / "calgary"
    plant(part / "evidence.mp4", b"of another camera")
    camera = folder_kind.docked()
    mounts.bind(part, folder_kind.root / "bound")
    listing = camera.list(Steps())
    assert listing.files == {}
    assert sum(listing.left_alone.values()) == 1


# --- spool and store ---------------------------------------------------------------------------------


def test_a_camera_that_is_the_store_is_refused(camera_kind: CameraKind) -> None:
    with pytest.raises(NotDisjointError):
        camera_kind.docked(forbidden=[camera_kind.root])


@pytest.mark.parametrize("below", ["store", "deep/er/store"])
def test_a_camera_that_holds_the_store_is_refused(camera_kind: CameraKind, below: str) -> None:
    (camera_kind.root / below).mkdir(parents=True)
    with pytest.raises(NotDisjointError):
        camera_kind.docked(forbidden=[camera_kind.root / below]).list(Steps())


def test_a_camera_that_gets_to_hold_the_store_is_refused(folder_kind: CameraKind) -> None:
    store = folder_kind.root.parent / "store"
    store.mkdir()
    camera = folder_kind.docked(forbidden=[store])
    assert camera.list(Steps()).files == {}
    os.rename(store, folder_kind.root / "store")
    with pytest.raises(NotDisjointError):
        camera.list(Steps())


def test_a_store_mounted_into_a_camera_is_refused(folder_kind: CameraKind, tmp_path: Path, mounts: Mounts) -> None:
    store = tmp_path / "store"
    store.mkdir()
    mounts.bind(store, folder_kind.root / "bound")
    camera = folder_kind.docked(forbidden=[store])
    with pytest.raises(NotDisjointError):
        camera.list(Steps())


@pytest.mark.parametrize("part", ["", "calgary", "calgary/recordings"])
def test_a_part_of_the_store_mounted_as_a_camera_is_refused(tmp_path: Path, mounts: Mounts, part: str) -> None:
    store = tmp_path / "store"
    (store / "calgary" / "recordings").mkdir(parents=True)
    kind = FolderKind(tmp_path / "cameras" / "CAM-1")
    mounts.bind(store / part, kind.root)
    with pytest.raises(NotDisjointError):
        kind.docked(forbidden=[store])
    kind.close()


def test_a_camera_beside_the_store_is_welcome(tmp_path: Path) -> None:
    for name in ("store", "storeX"):
        (tmp_path / name).mkdir()
    kind = FolderKind(tmp_path / "stor")
    plant(kind.root / "one.MP4", b"x")
    assert kind.docked(forbidden=[tmp_path / "store", tmp_path / "storeX"]).list(Steps()).files.keys() == {b"one.MP4"}
    kind.close()


def test_a_link_to_the_store_is_left_alone(camera_kind: CameraKind, tmp_path: Path) -> None:
    store = tmp_path / "store"
    plant(store / "evidence.mp4", b"x")
    (camera_kind.root / "store").symlink_to(store)
    listing = camera_kind.docked(forbidden=[store]).list(Steps())
    assert listing.files == {}
    assert listing.left_alone == {"symlink": 1}


# --- what cannot be read -----------------------------------------------------------------------------


def test_a_folder_that_cannot_be_read_makes_the_listing_incomplete(tmp_path_factory: pytest.TempPathFactory) -> None:
    need_root("taking another user's rights")
    root = Path(f"/tmp/camera-of-nobody-{os.getpid()}") / "CAM-1"
    try:
        plant(root / "DCIM" / "one.MP4", b"x")
        plant(root / "closed" / "two.MP4", b"y")
        plant(root / "locked.MP4", b"z").chmod(0)
        (root / "closed").chmod(0)
        told = in_child("list_as_nobody", folder=str(root))
    finally:
        shutil.rmtree(root.parent)
    assert told["files"] == ["DCIM/one.MP4", "locked.MP4"]
    assert not told["complete"]
    assert len(told["problems"]) == 1
    assert told["unreadable"] == ["RecordingUnreadableError"]
