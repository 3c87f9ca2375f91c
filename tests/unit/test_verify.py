"""Into the store and confirmed: only what the store was seen to hold, and only then the spool lets go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.tools import MIB, At, content, digests_of, plant, stopping
from contract.world import PATH, World

from dockd.direct_io import Buffer
from dockd.errors import SpoolCorruptError, StoppedError, StoreConflictError, StoreUnavailableError, StoreUnknownError
from dockd.journal import recordings
from dockd.journal.startup import start
from dockd.lifecycle import RecordingState
from dockd.runtime.workers import Control
from dockd.stages.trash import abandon_uploads, empty_trash
from dockd.stages.upload import spool_copy_lost, upload_recording
from dockd.stages.verify import confirm_again, confirm_recording

DATA = content(3 * MIB + 11)
SPOOLED, UPLOADED, CONFIRMED = RecordingState.SPOOLED, RecordingState.UPLOADED, RecordingState.CONFIRMED


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "dock")
    yield made
    made.close()


@pytest.fixture
def recording(world: World) -> int:
    """One recording, copied."""
    return copied(world, DATA)


def copied(world: World, data: bytes, path: bytes = PATH) -> int:
    world.plant(data, path)
    with world.attached() as camera:
        recording = (world.note(camera) if world.docking_id else world.dock(camera))[path]
        world.copy(camera, recording)
    return recording


def upload(world: World, recording: int, control: Control | None = None) -> None:
    upload_recording(world.storing, recording, Buffer(), control or Control())


def confirm(world: World, recording: int, control: Control | None = None) -> bool:
    return confirm_recording(world.storing, recording, 12.5, Buffer(), control or Control())


def object_of(world: World, recording: int) -> Path:
    key = world.row(recording).store_key
    assert key is not None
    return world.store.root / key


# --- the right way -----------------------------------------------------------------------------------


def test_a_recording_is_confirmed_once_the_store_gave_it_back(world: World, recording: int) -> None:
    upload(world, recording)
    row = world.row(recording)
    assert (row.state, row.upload_id, row.store_version) == (UPLOADED, None, None)
    assert world.spool_file(recording).exists()
    assert confirm(world, recording)
    row = world.row(recording)
    assert row.state is CONFIRMED
    assert row.store_version == world.store.version(row.store_key or "")
    assert (row.confirmed_seen_s, row.readback_boot_id) == (12.5, world.clock.boot_id)
    assert row.spool_name is None
    assert world.spooled() == {}
    assert world.stored() == {row.store_key: DATA}
    assert world.events()[-2:] == ["recording_uploaded", "recording_confirmed"]
    world.journal.run_in_thread(lambda tx: None)
    assert world.query("SELECT name FROM spool_trash") == []


def test_uploads_go_on_under_the_id_that_the_journal_named(world: World, recording: int) -> None:
    with pytest.raises(StoppedError):
        upload(world, recording, stopping(2 * MIB, phase="uploading"))
    named = world.row(recording).upload_id
    assert named is not None
    left = {path.name for path in world.store.root.rglob(".*.partial")}
    assert left == {f".{named}.partial"}
    world.close()
    again = World(world.root)
    upload(again, recording)
    assert again.stored() == {again.row(recording).store_key: DATA}
    assert list(again.store.root.rglob(".*.partial")) == []
    again.close()


def test_the_same_content_of_a_camera_is_stored_once_whatever_its_name(world: World) -> None:
    ids = [copied(world, DATA, path) for path in (b"a.MP4", b"b.MOV", b"c")]
    for number in ids:
        world.store_it(number)
    assert list(world.stored().values()) == [DATA]
    assert len({world.row(number).store_key for number in ids}) == 1
    told = [line for (line,) in world.query("SELECT line ->> 'already_there' FROM record") if line is not None]
    assert told == [0, 1, 1]


# --- what is not confirmed ---------------------------------------------------------------------------


def test_what_the_store_does_not_hold_after_all_is_sent_again(world: World, recording: int) -> None:
    upload(world, recording)
    object_of(world, recording).unlink()
    assert not confirm(world, recording)
    assert world.row(recording).state is SPOOLED
    assert world.spool_file(recording).read_bytes() == DATA
    assert world.events()[-1] == "recording_returned"
    assert world.store_it(recording).state is CONFIRMED


SPOILT: list[Callable[[Path], object]] = [
    lambda path: os.truncate(path, len(DATA) - 1),
    lambda path: os.truncate(path, len(DATA) + 1),
    lambda path: os.truncate(path, 0),
    lambda path: plant(path, content(len(DATA), seed=2)),
    lambda path: plant(path, DATA[:-1] + b"?"),
    lambda path: plant(path, b"?" + DATA[1:]),
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_the_store_holds_otherwise_is_an_integrity_failure(
    world: World, recording: int, spoil: Callable[[Path], object]
) -> None:
    upload(world, recording)
    spoil(object_of(world, recording))
    there = object_of(world, recording).read_bytes()
    with pytest.raises(StoreConflictError):
        confirm(world, recording)
    row = world.row(recording)
    assert (row.state, row.problem) == (UPLOADED, "store_conflict")
    assert world.spool_file(recording).read_bytes() == DATA
    assert object_of(world, recording).read_bytes() == there
    assert "recording_confirmed" not in world.events()
    assert "recording_anomaly" in world.events()


def test_other_content_that_was_there_before_is_an_integrity_failure(world: World, recording: int) -> None:
    plant(object_of(world, recording), b"something else")
    upload(world, recording)
    with pytest.raises(StoreConflictError):
        confirm(world, recording)
    assert object_of(world, recording).read_bytes() == b"something else"
    assert world.spool_file(recording).read_bytes() == DATA


def test_a_read_back_that_is_stopped_confirms_nothing(world: World, recording: int) -> None:
    upload(world, recording)
    with pytest.raises(StoppedError):
        confirm(world, recording, stopping(2 * MIB, phase="confirming"))
    assert world.row(recording).state is UPLOADED
    assert world.spool_file(recording).exists()
    assert confirm(world, recording)


def test_an_object_that_changes_while_it_is_read_back_confirms_nothing(world: World, recording: int) -> None:
    upload(world, recording)
    path = object_of(world, recording)
    touch = At(lambda: os.utime(path, ns=(1, 1)), 2 * MIB, phase="confirming")
    with pytest.raises(StoreUnavailableError):
        confirm(world, recording, touch)
    assert world.row(recording).state is UPLOADED
    assert world.spool_file(recording).exists()


def test_a_store_that_is_away_confirms_nothing(world: World, recording: int) -> None:
    upload(world, recording)
    os.rename(world.store.root, world.store.root.with_name("away"))
    with pytest.raises(StoreUnavailableError):
        confirm(world, recording)
    row = world.row(recording)
    assert (row.state, row.problem) == (UPLOADED, None)
    assert world.spool_file(recording).exists()


# --- confirmed, and read again -----------------------------------------------------------------------


@pytest.fixture
def confirmed(world: World, recording: int) -> int:
    world.store_it(recording)
    return recording


def again(world: World, recording: int) -> bool:
    return confirm_again(world.storing, recording, Buffer(), Control())


def test_reading_back_again_renews_the_proof(world: World, confirmed: int) -> None:
    before = world.row(confirmed)
    path = object_of(world, confirmed)
    os.rename(plant(path.with_name("copy"), DATA), path)
    assert again(world, confirmed)
    after = world.row(confirmed)
    assert after.store_version == world.store.version(after.store_key or "") != before.store_version
    assert after.readback_boottime_s is not None
    assert before.readback_boottime_s is not None
    assert after.readback_boottime_s > before.readback_boottime_s


@pytest.mark.parametrize(("spoil", "fault"), [(Path.unlink, "missing"), *((each, "altered") for each in SPOILT)])
def test_what_is_lost_or_altered_later_is_said_and_comes_back(
    world: World, confirmed: int, spoil: Callable[[Path], object], fault: str
) -> None:
    path = object_of(world, confirmed)
    spoil(path)
    for _ in range(2):
        assert not again(world, confirmed)
    assert world.row(confirmed).store_fault == fault
    assert world.query("SELECT bucket FROM recording") == [("unaccounted",)]
    assert world.events().count("integrity_failure") == 1
    path.unlink(missing_ok=True)
    plant(path, DATA)
    assert again(world, confirmed)
    assert world.row(confirmed).store_fault is None
    assert world.query("SELECT bucket FROM recording") == [("in_store",)]


# --- spool files -------------------------------------------------------------------------------------


def test_a_spool_file_that_a_crash_left_behind_is_removed_at_the_next_start(world: World, recording: int) -> None:
    upload(world, recording)
    spooled = world.spool_file(recording)
    row = world.row(recording)
    read = world.store.read_back(row.store_key or "", Buffer(), Control())
    assert read is not None
    found = read
    world.journal.run_in_thread(lambda tx: recordings.confirmed(tx, recording, found, 0.0))
    assert spooled.exists()
    started = world.restarted()
    assert started.trash == (spooled.name,)
    assert started.orphans == ()
    empty_trash(world.journal, world.spool, started.trash)
    assert not spooled.exists()
    assert world.restarted().trash == ()


def test_a_spool_file_that_no_row_names_is_kept_and_told(world: World, recording: int) -> None:
    orphan = plant(world.spool.path("ab" * 16 + ".part"), b"whose?")
    started = world.restarted()
    assert started.orphans == (orphan.name,)
    assert started.trash == ()
    assert orphan.exists()
    assert world.spool_file(recording).exists()


def test_removing_what_is_gone_already_is_no_matter(world: World) -> None:
    world.journal.run_in_thread(lambda tx: tx.insert("spool_trash", name="ab" * 16 + ".part"))
    empty_trash(world.journal, world.spool, ["ab" * 16 + ".part"])
    assert world.restarted().trash == ()


def begun(world: World) -> list[Path]:
    """What uploads that were begun have left in the store."""
    return list(world.store.root.rglob(".*.partial"))


def spoil_spool(world: World, recording: int) -> SpoolCorruptError:
    """Let an upload find out that the spool gives back other bytes."""
    with open(world.spool_file(recording), "r+b") as file:
        file.seek(2 * MIB)
        file.write(b"????")
    with pytest.raises(SpoolCorruptError) as raised:
        upload(world, recording)
    assert world.stored() == {}
    return raised.value


def test_a_bad_spool_file_is_copied_anew_while_the_camera_is_there(world: World, recording: int) -> None:
    error = spoil_spool(world, recording)
    assert spool_copy_lost(world.storing, recording, error)
    row = world.row(recording)
    assert (row.state, row.spool_name, row.blake3, row.store_key) == (RecordingState.FOUND, None, None, None)
    assert world.spooled() == {}
    assert begun(world)
    assert abandon_uploads(world.journal, world.store) == 1
    assert begun(world) == []
    assert abandon_uploads(world.journal, world.store) == 0
    with world.attached() as camera:
        world.copy(camera, recording)
    assert world.store_it(recording).state is CONFIRMED
    assert list(world.stored().values()) == [DATA]


def test_a_bad_spool_file_that_is_the_only_copy_is_kept_and_said_to_be_bad(world: World, recording: int) -> None:
    world.leave()
    error = spoil_spool(world, recording)
    spooled = world.spool_file(recording)
    assert not spool_copy_lost(world.storing, recording, error)
    row = world.row(recording)
    assert (row.state, row.spool_name) == (RecordingState.VANISHED, spooled.name)
    assert spooled.exists()
    assert digests_of(spooled.read_bytes()) != digests_of(DATA)
    assert world.restarted().trash == ()
    assert world.events().count("integrity_failure") == 1
    assert abandon_uploads(world.journal, world.store) == 1
    assert begun(world) == []


def test_what_was_begun_of_a_recording_that_is_another_by_now_is_taken_out_of_the_store(
    world: World, recording: int
) -> None:
    world.journal.run_in_thread(lambda tx: tx.update(tx.recording(recording), read_whole=False))
    with pytest.raises(StoppedError):
        upload(world, recording, stopping(2 * MIB, phase="uploading"))
    world.journal.run_in_thread(lambda tx: recordings.reread_differs(tx, recording, "uid-2", "other bytes"))
    assert (world.row(recording).state, world.row(recording).upload_id) == (RecordingState.VANISHED, None)
    sentinel, away = world.store.root / ".dockd-store", world.root / "away"
    sentinel.rename(away)
    with pytest.raises(StoreUnknownError):
        abandon_uploads(world.journal, world.store)
    assert len(begun(world)) == 1
    away.rename(sentinel)
    assert abandon_uploads(world.journal, world.store) == 1
    assert begun(world) == []
    assert world.stored() == {}


def test_starting_anew_asks_again_what_a_person_may_have_mended(world: World, recording: int) -> None:
    plant(object_of(world, recording), b"something else")
    upload(world, recording)
    with pytest.raises(StoreConflictError):
        confirm(world, recording)
    object_of(world, recording).unlink()
    world.journal.run_in_thread(lambda tx: start(tx, world.started, None, ()))
    assert world.row(recording).problem is None
    assert not confirm(world, recording)
    assert world.store_it(recording).state is CONFIRMED
