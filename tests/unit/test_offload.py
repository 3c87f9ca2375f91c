"""A recording on its way from the camera into the spool: whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.tools import (
    MIB,
    SIZES,
    At,
    content,
    digests_of,
    go_on,
    in_child,
    is_open,
    need_program,
    need_root,
    plant,
    result_of,
    start_child,
    stopping,
    wait_for,
    waits,
    writer,
)
from contract.world import PATH, World
from e2e.kernel import Mounts, fill

from dockd.errors import (
    CameraGoneError,
    NotSettledError,
    SourceChangedError,
    SpoolCorruptError,
    SpoolFullError,
    StoppedError,
)
from dockd.identity import recording_key
from dockd.lifecycle import RecordingState

FOUND, SPOOLED = RecordingState.FOUND, RecordingState.SPOOLED


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "dock")
    yield made
    made.close()


def assert_spooled(world: World, recording: int, data: bytes) -> None:
    """Whole in the spool, with the digests that others compute, and nothing else claimed or kept."""
    row = world.row(recording)
    digests = digests_of(data)
    assert row.state is SPOOLED
    assert (row.size_bytes, row.blake3, row.sha256) == (digests.size_bytes, digests.blake3, digests.sha256)
    assert world.spool_file(recording).read_bytes() == data
    assert world.marks(recording) == []


def assert_nothing_claimed(world: World, recording: int) -> None:
    row = world.row(recording)
    assert row.state is FOUND
    assert (row.blake3, row.sha256, row.store_key) == (None, None, None)
    size = world.spool_file(recording).stat().st_size if row.spool_name in world.spooled() else 0
    assert max(world.marks(recording), default=0) <= size


@pytest.mark.parametrize("size", SIZES)
def test_a_recording_is_copied_whole(world: World, size: int) -> None:
    data = content(size)
    planted = world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        world.copy(camera, recording)
        key = recording_key("calgary", camera.identity, PATH, digests_of(data).blake3)
    assert_spooled(world, recording, data)
    row = world.row(recording)
    assert (row.read_whole, row.store_key) == (True, key)
    assert world.events().count("recording_copied") == 1
    assert planted.read_bytes() == data
    assert len(world.spooled()) == 1


@pytest.mark.parametrize("path", [b"\xff\xfe.MP4", b"new\nline", b"d" * 255 + b"/" + b"\xe9" * 255, b".hidden/.mp4"])
def test_whatever_it_is_called(world: World, path: bytes) -> None:
    world.plant(b"footage", path)
    with world.attached() as camera:
        recording = world.dock(camera)[path]
        world.copy(camera, recording)
    assert_spooled(world, recording, b"footage")


def test_two_of_the_same_content_have_a_spool_file_each(world: World) -> None:
    world.plant(b"same", b"a.MP4")
    world.plant(b"same", b"b.MP4")
    with world.attached() as camera:
        ids = world.dock(camera)
        for recording in ids.values():
            world.copy(camera, recording)
    assert sorted(world.spooled().values()) == [b"same", b"same"]
    assert len({world.row(recording).spool_name for recording in ids.values()}) == 2


def test_a_copy_that_is_stopped_claims_nothing_but_what_is_durable(world: World) -> None:
    data = content(20 * MIB)
    world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        with pytest.raises(StoppedError):
            world.copy(camera, recording, stopping(18 * MIB))
        assert_nothing_claimed(world, recording)
        assert world.marks(recording) == [8 * MIB, 16 * MIB]
        world.copy(camera, recording)
    assert_spooled(world, recording, data)


# --- the camera goes, the file changes ---------------------------------------------------------------


def test_a_camera_that_goes_under_way_leaves_what_is_durable(world: World) -> None:
    data = content(20 * MIB)
    world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        with pytest.raises(CameraGoneError):
            world.copy(camera, recording, stopping(17 * MIB, CameraGoneError("pulled")))
    assert_nothing_claimed(world, recording)
    assert world.marks(recording) == [8 * MIB, 16 * MIB]


@pytest.mark.parametrize("gone", ["before", "under way"])
def test_a_file_that_is_replaced_is_the_old_one_whole_or_nothing(world: World, gone: str) -> None:
    data = content(5 * MIB)
    planted = world.plant(data)

    def replace() -> None:
        os.rename(plant(planted.with_name("new"), content(5 * MIB, seed=1)), planted)

    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        if gone == "before":
            replace()
            with pytest.raises(SourceChangedError):
                world.copy(camera, recording)
            assert_nothing_claimed(world, recording)
        else:
            world.copy(camera, recording, At(replace, 2 * MIB))
            assert_spooled(world, recording, data)


@pytest.mark.parametrize("there", ["nothing", "longer", "shorter", "touched", "folder", "link"])
def test_a_file_that_is_another_by_now_is_not_copied(world: World, tmp_path: Path, there: str) -> None:
    data = content(3 * MIB)
    planted = world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        if there == "touched":
            os.utime(planted, ns=(0, 1))
        elif there in {"longer", "shorter"}:
            os.truncate(planted, 3 * MIB + (1 if there == "longer" else -1))
        else:
            planted.unlink()
        if there == "folder":
            planted.mkdir()
        elif there == "link":
            planted.symlink_to(plant(tmp_path / "outside", data))
        with pytest.raises(SourceChangedError):
            world.copy(camera, recording)
    assert_nothing_claimed(world, recording)


def test_a_file_with_a_writer_is_not_copied(world: World) -> None:
    planted = world.plant(content(MIB))
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        with writer(planted) as process:
            assert is_open(process)
            with pytest.raises(NotSettledError):
                world.copy(camera, recording)
        assert_nothing_claimed(world, recording)
        world.copy(camera, recording)
    assert_spooled(world, recording, content(MIB))


def test_a_writer_that_comes_under_way_breaks_the_copy_off(world: World) -> None:
    data = content(20 * MIB)
    planted = world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        late = []

        def begin() -> None:
            process = writer(planted)
            late.append(process)
            process.__enter__()
            # It waits for our lease; give it the time to ask.
            with camera.open(PATH, lease=False) as opened:
                assert opened is not None
            _wait_until_asked(planted)

        with pytest.raises(NotSettledError):
            world.copy(camera, recording, At(begin, 10 * MIB))
        late[0].__exit__(None, None, None)
        assert_nothing_claimed(world, recording)
        assert world.marks(recording) == [8 * MIB]


def _wait_until_asked(path: Path) -> None:
    """Until some lease on the file is being broken: the kernel's own list of locks says so."""
    inode = f":{os.stat(path).st_ino} "
    wait_for(
        lambda: any("BREAKING" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()),
        "a writer to ask for the lease",
    )


def grows(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def shrinks(path: Path) -> None:
    os.truncate(path, 5 * MIB)


def is_written_anew(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(content(6 * MIB, seed=4))


def is_touched(path: Path) -> None:
    os.utime(path)


@pytest.mark.parametrize("change", [grows, shrinks, is_written_anew, is_touched])
def test_without_leases_a_change_under_way_shows_all_the_same(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Who may not take leases on another user's file still compares what it saw before and after."""
    need_root("a file of another user")
    need_program("setpriv", "util-linux")
    world = World(tmp_path / "dock")
    planted = world.plant(content(6 * MIB))
    os.chown(planted, 1234, 1234)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
    world.close()
    unprivileged = ["setpriv", "--bounding-set=-lease"]
    child = start_child("copy", tracer=unprivileged, folder=str(world.root), recording=recording, wait_at=3 * MIB)
    waits(child)
    change(planted)
    go_on(child)
    assert result_of(child)["error"] == "SourceChangedError"
    world = World(tmp_path / "dock")
    assert_nothing_claimed(world, recording)
    world.close()


def test_without_leases_an_unchanged_file_is_copied(tmp_path: Path) -> None:
    need_root("a file of another user")
    need_program("setpriv", "util-linux")
    world = World(tmp_path / "dock")
    os.chown(world.plant(content(3 * MIB)), 1234, 1234)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
    world.close()
    told = in_child("copy", tracer=["setpriv", "--bounding-set=-lease"], folder=str(world.root), recording=recording)
    assert told["blake3"] == digests_of(content(3 * MIB)).blake3


# --- the spool ---------------------------------------------------------------------------------------


def test_what_does_not_fit_stays_on_the_camera(tmp_path: Path) -> None:
    world = World(tmp_path / "dock", min_free=1 << 60)
    data = content(MIB)
    planted = world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        with pytest.raises(SpoolFullError):
            world.copy(camera, recording)
    assert_nothing_claimed(world, recording)
    assert world.spooled() == {}
    assert planted.read_bytes() == data
    world.close()
    world = World(tmp_path / "dock")
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        world.copy(camera, recording)
    assert_spooled(world, recording, data)
    world.close()


def test_room_that_was_set_aside_is_given_back_however_it_ends(world: World) -> None:
    world.plant(content(20 * MIB))
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        touched = At(lambda: os.utime(world.folder / os.fsdecode(PATH)), 10 * MIB)
        for control in (stopping(10 * MIB), touched):
            with pytest.raises((StoppedError, SourceChangedError)):
                world.copy(camera, recording, control)
            assert world.budget._reserved == {}


def test_a_disk_that_fills_up_under_way_loses_nothing(tmp_path: Path) -> None:
    mounts = Mounts(tmp_path)
    spool = mounts.disk(tmp_path / "dock" / "state" / "spool", 48 * MIB)
    world = World(tmp_path / "dock")
    data = content(24 * MIB)
    planted = world.plant(data)
    try:
        with world.attached() as camera:
            recording = world.dock(camera)[PATH]
            with pytest.raises(SpoolFullError):
                world.copy(camera, recording, At(lambda: fill(spool, MIB), 10 * MIB))
            assert_nothing_claimed(world, recording)
            assert planted.read_bytes() == data
            (spool / "filler.bin").unlink()
            world.copy(camera, recording)
        assert_spooled(world, recording, data)
    finally:
        world.close()
        mounts.close()


@pytest.mark.parametrize("place", [0, 5 * MIB, 9 * MIB + 4])
def test_a_spool_that_gives_back_other_bytes_is_not_believed(world: World, place: int) -> None:
    data = content(9 * MIB + 5)
    world.plant(data)

    def corrupt() -> None:
        with open(world.spool_file(recording), "r+b") as file:
            file.seek(place)
            file.write(bytes([data[place] ^ 0x10]))

    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        with pytest.raises(SpoolCorruptError):
            world.copy(camera, recording, At(corrupt, phase="checking"))
        row = world.row(recording)
        assert (row.state, row.blake3, row.spool_name) == (FOUND, None, None)
        assert "recording_copied" not in world.events()
        world.copy(camera, recording)
    assert_spooled(world, recording, data)


@pytest.mark.parametrize("change", [lambda path: os.truncate(path, MIB), lambda path: path.unlink()])
def test_a_spool_that_lost_bytes_is_not_believed(world: World, change: Callable[[Path], None]) -> None:
    data = content(3 * MIB)
    world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        with pytest.raises(SpoolCorruptError):
            world.copy(camera, recording, At(lambda: change(world.spool_file(recording)), phase="checking"))
        assert world.row(recording).state is FOUND
        world.copy(camera, recording)
    assert_spooled(world, recording, data)


def test_a_copy_that_was_given_up_takes_no_room(world: World) -> None:
    """A disk that fails again and again must not fill up with what nobody needs any more."""
    data = content(3 * MIB)
    world.plant(data)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        for _ in range(2):
            with pytest.raises(SpoolCorruptError):
                world.copy(camera, recording, At(lambda: os.truncate(world.spool_file(recording), 1), phase="checking"))
        world.copy(camera, recording)
    assert world.spooled().keys() == {world.row(recording).spool_name}
