"""What every camera must do about writers, about deleting, and when it is no longer there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from contract.cameras import CameraKind, FolderKind
from contract.test_camera_contract import PATH, read
from contract.tools import Steps, calls_in, in_child, is_open, plant, tracer, wait_for, writer
from e2e.kernel import Mounts

from dockd.cameras.base import Camera
from dockd.direct_io import Buffer
from dockd.errors import CameraGoneError, DockdError, NotSettledError, SourceChangedError

DATA = b"footage" * 1000


@pytest.fixture
def camera_kind(folder_kind: CameraKind) -> CameraKind:
    """What happens to folders; of devices see test_device_wipe.py, and the tests with real USB."""
    return folder_kind


@pytest.fixture
def planted(camera_kind: CameraKind) -> Path:
    return plant(camera_kind.root / "DCIM" / "one.MP4", DATA)


@pytest.fixture
def camera(camera_kind: CameraKind, planted: Path) -> Camera:
    return camera_kind.docked()


# --- writers -----------------------------------------------------------------------------------------


def test_a_file_that_somebody_writes_is_not_settled(camera: Camera, planted: Path) -> None:
    with writer(planted) as process:
        assert is_open(process)
        with pytest.raises(NotSettledError), camera.open(PATH, lease=True):
            pass
        with camera.open(PATH, lease=False) as opened:
            assert not opened.lease_held
            assert not opened.lease_intact()
    with camera.open(PATH, lease=True) as opened:
        assert opened.lease_held
        assert opened.lease_intact()


def test_a_writer_in_this_very_process_counts_too(camera: Camera, planted: Path) -> None:
    with open(planted, "ab"), pytest.raises(NotSettledError), camera.open(PATH, lease=True):
        pass
    assert read(camera, PATH) == DATA


def test_a_reader_does_not_count(camera: Camera, planted: Path) -> None:
    with open(planted, "rb"), camera.open(PATH, lease=True) as opened:
        assert opened.lease_intact()


def test_a_lease_tells_of_a_writer_that_comes_and_makes_it_wait(camera: Camera, planted: Path) -> None:
    with camera.open(PATH, lease=True) as opened:
        assert opened.lease_intact()
        with writer(planted, appends="more") as process:
            wait_for(lambda: not opened.lease_intact(), "the lease to be asked back")
            assert process.poll() is None
            assert opened.look().size_bytes == len(DATA)
            assert not opened.lease_intact()
    with writer(planted) as process:
        assert is_open(process)


def test_leases_do_not_disturb_this_process_or_each_other(camera: Camera, planted: Path) -> None:
    plant(planted.with_name("two.MP4"), DATA)
    with camera.open(PATH, lease=True) as one, camera.open(b"DCIM/two.MP4", lease=True) as two, writer(planted):
        wait_for(lambda: not one.lease_intact(), "the lease to be asked back")
        assert two.lease_intact()
    assert read(camera, PATH).startswith(DATA)


def test_an_open_file_is_looked_at_anew(camera: Camera, planted: Path) -> None:
    with camera.open(PATH, lease=False) as opened:
        before = opened.look()
        with open(planted, "ab") as file:
            file.write(b"more")
        after = opened.look()
        assert after.size_bytes == before.size_bytes + 4
        assert after != before == opened.seen


# --- deleting ----------------------------------------------------------------------------------------


def test_deleting_takes_this_file_and_no_other(camera: Camera, planted: Path) -> None:
    plant(planted.with_name("two.MP4"), DATA)
    seen = camera.list(Steps()).files
    camera.delete(PATH, seen[PATH])
    camera.settle_deletions([PATH])
    assert camera.is_gone(PATH)
    assert not camera.is_gone(b"DCIM/two.MP4")
    assert camera.list(Steps()).files.keys() == {b"DCIM/two.MP4"}


def another_file(path: Path, outside: Path) -> None:
    os.rename(plant(path.with_name("new"), DATA), path)


def longer(path: Path, outside: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def shorter(path: Path, outside: Path) -> None:
    os.truncate(path, 10)


def a_link(path: Path, outside: Path) -> None:
    os.link(path, outside / "same.MP4")
    path.unlink()
    path.symlink_to(outside / "same.MP4")


def a_folder(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def parent_swapped_for_a_link(path: Path, outside: Path) -> None:
    """Beyond the link lies the very same file, so that only not following it helps."""
    os.link(path, outside / path.name)
    os.rename(path.parent, path.parent.with_name("away"))
    path.parent.symlink_to(outside)


def parent_swapped_for_another(path: Path, outside: Path) -> None:
    os.rename(path.parent, path.parent.with_name("away"))
    plant(path, DATA)


def parent_swapped_for_a_file(path: Path, outside: Path) -> None:
    os.rename(path.parent, path.parent.with_name("away"))
    path.parent.write_bytes(b"")


def nothing(path: Path, outside: Path) -> None:
    path.unlink()


SWAPS = [
    another_file,
    longer,
    shorter,
    a_link,
    a_folder,
    a_pipe,
    parent_swapped_for_a_link,
    parent_swapped_for_another,
    parent_swapped_for_a_file,
    nothing,
]


def names_below(*roots: Path) -> set[Path]:
    return {path for root in roots for path in root.rglob("*")}


@pytest.mark.parametrize("swap", SWAPS)
def test_what_took_the_place_of_the_file_is_not_deleted(
    camera_kind: CameraKind, camera: Camera, planted: Path, swap: Callable[[Path, Path], None]
) -> None:
    outside = camera_kind.root.parent.parent / "outside"
    outside.mkdir()
    seen = camera.list(Steps()).files[PATH]
    swap(planted, outside)
    before = names_below(camera_kind.root, outside)
    with pytest.raises(SourceChangedError):
        camera.delete(PATH, seen)
    assert names_below(camera_kind.root, outside) == before


@pytest.mark.parametrize("path", [b"../outside/one.MP4", b"DCIM/../../outside/one.MP4", b"/", b"", b"DCIM"])
def test_nothing_above_the_camera_is_reached(
    camera_kind: CameraKind, camera: Camera, planted: Path, path: bytes
) -> None:
    outside = camera_kind.root.parent / "outside" / "one.MP4"
    outside.parent.mkdir()
    os.link(planted, outside)
    seen = camera.list(Steps()).files[PATH]
    with pytest.raises((DockdError, ValueError)):
        camera.delete(path, seen)
    with pytest.raises((DockdError, ValueError)):
        read(camera, path)
    assert outside.exists()
    assert planted.exists()


def test_deleting_is_made_durable(tmp_path: Path) -> None:
    kind = FolderKind(tmp_path / "cameras" / "CAM-1")
    for name in ("DCIM/a.MP4", "DCIM/b.MP4", "c.MP4"):
        plant(kind.root / name, b"x")
    log = tmp_path / "calls"
    watched = tracer(log, "unlink,unlinkat,fsync,fdatasync,syncfs,rmdir,rename,renameat2")
    told = in_child("delete", tracer=watched, folder=str(kind.root), paths=["DCIM/a.MP4", "DCIM/b.MP4", "c.MP4"])
    assert told == {"gone": [True, True, True]}
    calls = [call for call in calls_in(log) if call.ok]
    deleted = [call for call in calls if call.name in {"unlink", "unlinkat"}]
    assert [call.name for call in calls[:3]] == ["unlinkat"] * 3
    for folder in (kind.root, kind.root / "DCIM"):
        assert any(c.name == "fsync" and c.paths[0] == str(folder) and c.begun > deleted[-1].ended for c in calls)
    assert any(call.name == "syncfs" and call.begun > deleted[-1].ended for call in calls)


def test_a_folder_that_went_does_not_keep_deletions_from_being_settled(camera: Camera, planted: Path) -> None:
    camera.delete(PATH, camera.list(Steps()).files[PATH])
    planted.parent.rmdir()
    camera.settle_deletions([PATH])
    assert camera.is_gone(PATH)


# --- whether a file is gone --------------------------------------------------------------------------


@pytest.mark.parametrize("swap", [nothing, parent_swapped_for_a_file])
def test_what_cannot_be_there_is_gone(planted: Path, camera: Camera, swap: Callable[[Path, Path], None]) -> None:
    assert not camera.is_gone(PATH)
    swap(planted, planted.parent)
    assert camera.is_gone(PATH)


def test_what_lies_beyond_a_link_is_not_on_the_camera(camera_kind: CameraKind, planted: Path, camera: Camera) -> None:
    outside = camera_kind.root.parent / "outside"
    outside.mkdir()
    parent_swapped_for_a_link(planted, outside)
    assert camera.is_gone(PATH)


@pytest.mark.parametrize("swap", [another_file, a_folder, a_pipe])
def test_a_name_that_is_taken_is_not_gone(planted: Path, camera: Camera, swap: Callable[[Path, Path], None]) -> None:
    swap(planted, planted.parent)
    assert not camera.is_gone(PATH)


# --- when the camera is no longer there --------------------------------------------------------------


def renamed(root: Path) -> None:
    os.rename(root, root.with_name("elsewhere"))


def removed(root: Path) -> None:
    (root / "DCIM" / "one.MP4").unlink()
    (root / "DCIM").rmdir()
    root.rmdir()


def removed_and_made_anew(root: Path) -> None:
    removed(root)
    plant(root / "DCIM" / "one.MP4", DATA)


def replaced(root: Path) -> None:
    renamed(root)
    plant(root / "DCIM" / "one.MP4", b"another camera's")


def replaced_by_a_link_to_itself(root: Path) -> None:
    renamed(root)
    root.symlink_to(root.with_name("elsewhere"))


def replaced_by_a_file(root: Path) -> None:
    renamed(root)
    root.write_bytes(b"")


FATES = [renamed, removed, removed_and_made_anew, replaced, replaced_by_a_link_to_itself, replaced_by_a_file]


def assert_gone(camera: Camera, planted: Path) -> None:
    """It says that it is gone, changes nothing, and never reads what took its place."""
    there = planted.exists()
    with pytest.raises(CameraGoneError):
        camera.check()
    with pytest.raises(CameraGoneError):
        camera.list(Steps())
    with pytest.raises(CameraGoneError):
        camera.is_gone(PATH)
    with pytest.raises(CameraGoneError):
        camera.is_gone(b"DCIM/never was there")
    with pytest.raises(CameraGoneError), camera.open(b"DCIM/never was there", lease=True):
        pass
    with contextlib.suppress(CameraGoneError):
        assert read(camera, PATH) == DATA
    assert planted.exists() == there


@pytest.mark.parametrize("fate", FATES)
def test_a_camera_that_went_says_so(
    camera_kind: CameraKind, camera: Camera, planted: Path, fate: Callable[[Path], None]
) -> None:
    seen = camera.list(Steps()).files[PATH]
    fate(camera_kind.root)
    assert_gone(camera, planted)
    there = planted.exists()
    with pytest.raises(CameraGoneError):
        camera.delete(PATH, seen)
    assert planted.exists() == there
    assert (camera_kind.root.with_name("elsewhere") / "DCIM" / "one.MP4").exists() == (
        camera_kind.root.with_name("elsewhere").exists()
    )


def test_a_camera_that_is_mounted_over_is_gone(
    camera_kind: CameraKind, camera: Camera, planted: Path, mounts: Mounts
) -> None:
    seen = camera.list(Steps()).files[PATH]
    mounts.memory(camera_kind.root)
    assert_gone(camera, planted)
    with pytest.raises(CameraGoneError):
        camera.delete(PATH, seen)
    mounts.unmount(camera_kind.root)
    assert camera.list(Steps()).files == {PATH: seen}


def test_a_camera_that_goes_while_it_is_listed_is_not_taken_for_an_empty_one(
    camera_kind: CameraKind, camera: Camera, planted: Path
) -> None:
    for number in range(10):
        plant(planted.with_name(f"{number}.MP4"), b"x")
    with pytest.raises(CameraGoneError):
        camera.list(Steps(4, lambda: renamed(camera_kind.root)))


def test_reading_a_file_while_it_is_deleted_is_no_matter(camera: Camera) -> None:
    seen = camera.list(Steps()).files[PATH]
    with camera.open(PATH, lease=True) as opened:
        camera.delete(PATH, seen)
        data = b"".join(bytes(chunk) for chunk in opened.reader(Buffer(), direct=True).chunks())
        assert data == DATA
        assert opened.look() != seen
