"""A copy that was broken off goes on where it is proven good, and no mixture of two recordings is confirmed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.tools import MIB, At, calls_in, content, digests_of, in_child, plant, stopping, tracer
from contract.world import PATH, World

from dockd.direct_io import Buffer
from dockd.errors import SourceChangedError, StoppedError
from dockd.journal import queries, recordings
from dockd.lifecycle import RecordingState
from dockd.runtime.workers import Control
from dockd.stages.offload import reread_recording
from dockd.stages.verify import confirm_recording

SIZE = 27 * MIB + 7
DATA = content(SIZE)
OTHER = content(SIZE, seed=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "dock")
    yield made
    made.close()


def half_copied(world: World, at: int, *, data: bytes = DATA, redock: bool = True) -> int:
    """Dock, copy until `at` bytes, be stopped, and with `redock` dock once more; the recording."""
    planted = world.plant(data)
    os.utime(planted, ns=(10**18, 10**18))
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        with pytest.raises(StoppedError):
            world.copy(camera, recording, stopping(at))
        if redock:
            assert world.dock(camera) == {PATH: recording}
    return recording


def copied_in_child(world: World, tmp_path: Path, recording: int) -> int:
    """Copy in a process of its own; how many bytes of the camera's file that read."""
    root, log = world.root, tmp_path / "calls"
    world.close()
    told = in_child("copy", tracer=tracer(log, "read,pread64,preadv,preadv2"), folder=str(root), recording=recording)
    assert "error" not in told, told
    source = str(world.folder / os.fsdecode(PATH))
    return sum(call.count for call in calls_in(log) if call.ok and call.paths[:1] == [source])


def assert_whole(root: Path, recording: int, data: bytes, *, read_whole: bool) -> None:
    world = World(root)
    row = world.row(recording)
    digests = digests_of(data)
    assert (row.state, row.blake3, row.sha256) == (RecordingState.SPOOLED, digests.blake3, digests.sha256)
    assert world.spool_file(recording).read_bytes() == data
    assert row.read_whole == read_whole
    assert world.marks(recording) == []
    world.close()


@pytest.mark.parametrize(("at", "good"), [(5, 0), (9, 8), (17, 16), (27, 24)])
def test_only_the_rest_is_read_from_the_camera(world: World, tmp_path: Path, at: int, good: int) -> None:
    recording = half_copied(world, at * MIB)
    assert max(world.marks(recording), default=0) == good * MIB
    assert copied_in_child(world, tmp_path, recording) == SIZE - good * MIB
    assert_whole(world.root, recording, DATA, read_whole=good == 0)


def flipped(at: int) -> Callable[[Path], None]:
    def spoil(spooled: Path) -> None:
        with open(spooled, "r+b") as file:
            file.seek(at)
            file.write(bytes([DATA[at] ^ 1]))

    return spoil


def longer(spooled: Path) -> None:
    with open(spooled, "ab") as file:
        file.write(content(11 * MIB, seed=5))


SPOILT: list[tuple[Callable[[Path], None], int]] = [
    (flipped(0), 0),
    (flipped(8 * MIB - 1), 0),
    (flipped(8 * MIB), 8),
    (flipped(20 * MIB), 16),
    (lambda path: os.truncate(path, 0), 0),
    (lambda path: os.truncate(path, 8 * MIB - 1), 0),
    (lambda path: os.truncate(path, 8 * MIB), 8),
    (lambda path: os.truncate(path, 23 * MIB), 16),
    (lambda path: path.unlink(), 0),
    (longer, 24),
]
NAMES = ["first", "end of chunk", "next chunk", "within", "empty", "short", "chunk", "cut", "gone", "longer"]


@pytest.mark.parametrize(("spoil", "good"), SPOILT, ids=NAMES)
def test_only_what_the_ledger_vouches_for_and_the_disk_still_has_is_used(
    world: World, spoil: Callable[[Path], None], good: int
) -> None:
    """The camera's content is swapped unseen, so that the copy shows which of its bytes were read anew."""
    recording = half_copied(world, 26 * MIB)
    assert max(world.marks(recording)) == 24 * MIB
    spoil(world.spool_file(recording))
    swap_content(world.folder / os.fsdecode(PATH), OTHER)
    with world.attached() as camera:
        world.copy(camera, recording)
    expected = DATA[: good * MIB] + OTHER[good * MIB :]
    assert world.spool_file(recording).read_bytes() == expected
    row = world.row(recording)
    assert (row.blake3, row.sha256) == (digests_of(expected).blake3, digests_of(expected).sha256)
    assert good == 0 or not row.read_whole


def test_what_the_ledger_does_not_vouch_for_is_not_used(world: World, tmp_path: Path) -> None:
    recording = half_copied(world, 26 * MIB)
    world.journal.run_in_thread(lambda tx: tx.run("DELETE FROM ledger WHERE end_bytes > ?", 8 * MIB))
    assert copied_in_child(world, tmp_path, recording) == SIZE - 8 * MIB
    assert_whole(world.root, recording, DATA, read_whole=False)


@pytest.mark.parametrize("at", [3, 11])
def test_the_ledger_forgets_what_turned_out_not_to_be_there(world: World, at: int) -> None:
    """What it still claims is told as `copied_bytes` if the camera never comes back."""
    recording = half_copied(world, 26 * MIB)
    os.truncate(world.spool_file(recording), 0)
    with world.attached() as camera, pytest.raises(StoppedError):
        world.copy(camera, recording, stopping(at * MIB))
    assert max(world.marks(recording), default=0) <= world.spool_file(recording).stat().st_size


def test_a_copy_may_be_broken_off_again_and_again(world: World) -> None:
    world.plant(DATA)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        for at in (1, 9, 10, 20, 25, 26):
            with pytest.raises(StoppedError):
                world.copy(camera, recording, stopping(at * MIB))
            world.dock(camera)
        world.copy(camera, recording)
    assert_whole_here(world, recording, read_whole=False)


def assert_whole_here(world: World, recording: int, *, read_whole: bool) -> None:
    row = world.row(recording)
    assert (row.state, row.blake3, row.read_whole) == (RecordingState.SPOOLED, digests_of(DATA).blake3, read_whole)
    assert world.spool_file(recording).read_bytes() == DATA


def test_a_copy_begun_anew_in_a_later_docking_was_read_whole_there(world: World) -> None:
    recording = half_copied(world, 3 * MIB)
    with world.attached() as camera:
        world.copy(camera, recording)
    assert_whole_here(world, recording, read_whole=True)


def reread(world: World, recording: int) -> bool:
    with world.attached() as camera:
        row = world.row(recording)
        return reread_recording(world.offload, camera, row, world.docking_id, Buffer(), Control())


def test_a_copy_from_two_dockings_is_confirmed_only_after_the_device_was_read_whole(world: World) -> None:
    recording = half_copied(world, 20 * MIB)
    with world.attached() as camera:
        world.copy(camera, recording)
    assert not world.row(recording).read_whole
    assert world.journal.run_in_thread(queries.to_store) == []
    docking_id = world.docking_id
    waiting = world.journal.run_in_thread(lambda tx: queries.to_reread(tx, docking_id))
    assert [row.id for row in waiting] == [recording]
    assert reread(world, recording)
    assert world.row(recording).read_whole
    assert [row.id for row in world.journal.run_in_thread(queries.to_store)] == [recording]
    assert world.store_it(recording).state is RecordingState.CONFIRMED
    assert list(world.stored().values()) == [DATA]


def test_a_copy_from_two_dockings_cannot_be_confirmed_by_mistake(world: World) -> None:
    recording = half_copied(world, 20 * MIB)
    with world.attached() as camera:
        world.copy(camera, recording)
    world.journal.run_in_thread(lambda tx: recordings.begin_upload(tx, recording, "ab" * 16))
    with pytest.raises(AssertionError, match="one docking"):
        world.store_it(recording)
    assert world.row(recording).state is RecordingState.UPLOADED
    assert "recording_confirmed" not in world.events()
    with pytest.raises(AssertionError, match="one docking"):
        confirm_recording(world.storing, recording, 0.0, Buffer(), Control())
    assert world.spool_file(recording).exists()


# --- mixtures ----------------------------------------------------------------------------------------


def swap_content(planted: Path, data: bytes) -> None:
    """Other content in the same file, of the same size and with the same time."""
    before = os.stat(planted)
    with open(planted, "r+b") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.utime(planted, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(planted)
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


def test_a_name_used_again_with_other_content_after_half_a_copy_makes_two_generations(world: World) -> None:
    planted = world.folder / os.fsdecode(PATH)
    recording = half_copied(world, 20 * MIB)
    swap_content(planted, OTHER)
    with world.attached() as camera:
        assert world.dock(camera) == {PATH: recording}, "nothing but the content tells them apart"
        world.copy(camera, recording)
        mixture = world.spool_file(recording)
        assert mixture.read_bytes() == DATA[: 16 * MIB] + OTHER[16 * MIB :]
        assert not reread(world, recording)
        old, new = world.rows()
        assert (old.id, old.generation, old.state) == (recording, 1, RecordingState.VANISHED)
        assert (new.path, new.generation, new.state) == (PATH, 2, RecordingState.FOUND)
        assert mixture.exists(), "part of it may be all that is left of what was overwritten"
        world.copy(camera, new.id)
        world.store_it(new.id)
    assert list(world.stored().values()) == [OTHER]
    assert world.events().count("recording_confirmed") == 1
    assert mixture.exists()


def test_another_file_of_the_same_name_and_time_after_half_a_copy_is_a_new_generation(world: World) -> None:
    planted = world.folder / os.fsdecode(PATH)
    half_copied(world, 20 * MIB)
    os.rename(plant(planted.with_name("new"), OTHER), planted)
    os.utime(planted, ns=(10**18, 10**18))
    with world.attached() as camera:
        world.dock(camera)
        old, new = world.rows()
        assert (old.state, new.state) == (RecordingState.VANISHED, RecordingState.FOUND)
        world.copy(camera, new.id)
        world.store_it(new.id)
    assert list(world.stored().values()) == [OTHER]


def test_content_that_changed_unseen_within_one_docking_makes_no_mixture(world: World) -> None:
    """Between two tries of one docking nobody held a lease: what was read before may be of another content."""
    planted = world.folder / os.fsdecode(PATH)
    recording = half_copied(world, 20 * MIB, redock=False)
    swap_content(planted, OTHER)
    with world.attached() as camera, contextlib.suppress(SourceChangedError):
        world.copy(camera, recording)
    row = world.row(recording)
    whole = {digests_of(DATA).blake3, digests_of(OTHER).blake3}
    assert row.state is RecordingState.FOUND or not row.read_whole or row.blake3 in whole


def test_a_confirmed_recording_that_reads_otherwise_later_is_kept_beside_the_new_one(world: World) -> None:
    world.plant(b"first")
    planted = world.folder / os.fsdecode(PATH)
    with world.attached() as camera:
        recording = world.dock(camera)[PATH]
        world.copy(camera, recording)
        world.store_it(recording)
        swap_content(planted, b"other")
        world.dock(camera)
        assert not reread(world, recording)
        old, new = world.rows()
        assert (old.state, old.on_device) == (RecordingState.CONFIRMED, False)
        assert (new.state, new.generation, new.on_device) == (RecordingState.FOUND, 2, True)
        world.copy(camera, new.id)
        world.store_it(new.id)
    assert sorted(world.stored().values()) == [b"first", b"other"]


def test_stopping_while_the_prefix_is_hashed_changes_nothing(world: World) -> None:
    recording = half_copied(world, 26 * MIB)
    spooled = world.spool_file(recording).read_bytes()
    with world.attached() as camera:
        with pytest.raises(StoppedError):
            world.copy(camera, recording, stopping(10 * MIB))
        assert max(world.marks(recording)) == 24 * MIB
        assert world.spool_file(recording).read_bytes() == spooled
        world.copy(camera, recording, At(lambda: None))
    assert_whole_here(world, recording, read_whole=False)
