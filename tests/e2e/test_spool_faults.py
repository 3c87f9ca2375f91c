"""A spool without room, one that forgets, and recordings of which the dock has the only copy."""

import os
import time
from pathlib import Path

import pytest
from e2e.harness import Dock
from e2e.kernel import RENAMES, SYNCS, WRITES, fill, strace, traced
from e2e.planting import MIB

FILES = {b"a.mp4": 3 * MIB, b"b/b.mp4": 5000}


def away(dock: Dock) -> Path:
    """Take the store away, so that recordings stay in the spool."""
    hidden = dock.store.with_name("hidden")
    dock.store.rename(hidden)
    return hidden


def all_spooled(dock: Dock, count: int) -> None:
    dock.until(lambda: len(dock.events("recording_copied")) >= count, "all is in the spool")


def test_below_min_free_nothing_is_taken_in(make_dock):
    dock = make_dock(min_free="1000TiB")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_alert("spool_full")
    status = dock.wait_idle()
    assert status["counts"]["on_docked_camera"] == len(FILES)
    assert dock.bay("CAM1", status)["safe_to_take"] is False
    assert not dock.spooled_bytes()
    dock.restart(min_free="16MiB")
    dock.finish()


def small_spool(make_dock, mounts, tmp_path, *mkfs: str) -> Dock:
    """A dock whose spool alone lies on a small disk: the journal always has room."""
    spool = tmp_path / "d0" / "state" / "spool"
    mounts.disk(spool, 48 * MIB, *mkfs)
    made: Dock = make_dock(min_free="1MiB")
    return made


def test_intake_pauses_and_resumes_by_itself(make_dock, mounts, tmp_path):
    dock = small_spool(make_dock, mounts, tmp_path)
    dock.start()
    filler = fill(dock.state / "spool", leave=3 * MIB)
    dock.cameras.add("CAM1", {b"a.mp4": 8 * MIB, b"b.mp4": 8 * MIB})
    dock.wait_alert("spool_full")
    dock.judge()
    assert dock.counts()["wiped"] == 0
    filler.unlink()
    dock.finish()
    dock.wait_no_alert("spool_full")


@pytest.mark.slow
def test_more_footage_than_the_spool_holds_passes_through_it(make_dock, mounts, tmp_path):
    dock = small_spool(make_dock, mounts, tmp_path)
    dock.start()
    for number in range(3):
        dock.cameras.add(f"CAM{number}", {b"%d.mp4" % index: 9 * MIB for index in range(4)})
    dock.finish(240)


def test_no_room_when_a_spool_file_is_made(make_dock, mounts, tmp_path):
    dock = small_spool(make_dock, mounts, tmp_path, "-N", "64")
    dock.start()
    spool = dock.state / "spool"
    fillers = []
    while os.statvfs(spool).f_ffree > 0:
        fillers.append(spool / f"filler-{len(fillers)}")
        fillers[-1].touch()
    dock.cameras.add("CAM1", FILES)
    dock.wait_alert("spool_full")
    dock.judge()
    for filler in fillers:
        filler.unlink()
    dock.finish()
    dock.wait_no_alert("spool_full")


@pytest.mark.slow
def test_no_room_in_the_middle_of_a_write(make_dock, mounts, tmp_path):
    """The room was there when it was reserved; somebody else took it meanwhile."""
    dock = small_spool(make_dock, mounts, tmp_path)
    dock.start()
    assert dock.process is not None
    with traced(dock.process.pid, f"{WRITES}:delay_enter=20000"):
        dock.cameras.add("CAM1", {b"a.mp4": 32 * MIB})
        dock.until(lambda: dock.spooled_bytes() >= 4 * MIB, "something is in the spool")
        filler = fill(dock.state / "spool")
        dock.wait_alert("spool_full")
    dock.judge()
    filler.unlink()
    dock.finish()
    assert dock.counts()["recordings"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("calls", [WRITES, SYNCS, RENAMES, "fallocate,ftruncate"])
def test_no_room_at_any_call_for_a_while(dock, calls):
    """ENOSPC everywhere at once, the journal included: whatever ends then, nothing is lost."""
    dock.cameras.add("CAM0", {b"first.mp4": MIB})
    dock.finish()
    assert dock.process is not None
    with traced(dock.process.pid, f"{calls}:error=ENOSPC"):
        dock.cameras.add("CAM1", {b"a.mp4": 16 * MIB, b"b.mp4": 5000})
        # Long enough for every stage to meet it, and to try again.
        time.sleep(8)
    dock.judge()
    if not dock.running:
        # What cannot be recorded must not happen: the daemon may end, and is started again.
        assert dock.process.returncode in (69, 74)
        dock.start()
    dock.finish()


def test_a_sole_copy_is_kept_counted_and_sent_first(dock):
    hidden = away(dock)
    dock.cameras.add("CAM1", FILES)
    all_spooled(dock, len(FILES))
    dock.cameras.undock("CAM1")
    status = dock.wait(lambda s: s["counts"]["sole_copy"] == len(FILES), "sole copies")
    assert status["counts"]["unaccounted"] == 0
    dock.wait_alert("sole_copy")
    dock.judge()
    hidden.rename(dock.store)
    dock.wait_stored()
    dock.wait_no_alert("sole_copy")
    assert dock.counts()["sole_copy"] == 0
    dock.until(lambda: not dock.spool_files(), "the spool is empty")
    dock.cameras.redock("CAM1")
    dock.finish()


def test_a_sole_copy_whose_camera_is_lost_for_ever_reaches_the_store(dock):
    hidden = away(dock)
    dock.cameras.add("CAM1", FILES)
    all_spooled(dock, len(FILES))
    dock.cameras.throw_away("CAM1")
    dock.wait(lambda s: s["counts"]["sole_copy"] == len(FILES), "sole copies")
    dock.kill()
    dock.start()
    hidden.rename(dock.store)
    dock.wait_stored(len(FILES))
    assert all(dock.holds_content("CAM1", path) for path in FILES)


@pytest.mark.slow
def test_what_was_half_copied_when_its_camera_left_awaits_its_return(make_dock):
    dock = make_dock()
    dock.start(strace(f"{WRITES}:delay_enter=20000"))
    dock.cameras.add("CAM1", {b"a.mp4": 64 * MIB})
    dock.until(lambda: dock.spooled_bytes() >= 16 * MIB, "something is in the spool")
    dock.kill()
    dock.cameras.undock("CAM1")
    dock.start()
    counts = dock.wait(lambda s: s["counts"]["awaiting_return"] == 1, "it is awaited")["counts"]
    assert (counts["sole_copy"], counts["unaccounted"]) == (0, 0)
    dock.judge()
    dock.cameras.redock("CAM1")
    dock.finish()


@pytest.mark.parametrize("running", [True, False])
def test_a_spool_file_that_rots_is_copied_again_from_the_camera(dock, running):
    hidden = away(dock)
    dock.cameras.add("CAM1", FILES)
    all_spooled(dock, len(FILES))
    if not running:
        assert dock.term() == 0
    for path in dock.spool_files():
        with open(path, "r+b") as file:
            file.seek(2000)
            file.write(b"rotten")
    if not running:
        dock.start()
    hidden.rename(dock.store)
    dock.finish()


@pytest.mark.parametrize("whole", [True, False])
def test_spool_files_that_are_gone_are_copied_again_from_the_camera(dock, whole):
    hidden = away(dock)
    dock.cameras.add("CAM1", FILES)
    all_spooled(dock, len(FILES))
    assert dock.term() == 0
    for path in dock.spool_files():
        path.unlink() if whole else os.truncate(path, path.stat().st_size // 2)
    dock.start()
    hidden.rename(dock.store)
    dock.finish()


@pytest.mark.slow
def test_spool_files_that_no_journal_knows_are_kept_and_told(dock):
    hidden = away(dock)
    dock.cameras.add("CAM1", FILES)
    all_spooled(dock, len(FILES))
    assert dock.term() == 0
    orphans = {path.name: path.read_bytes() for path in dock.spool_files()}
    for path in dock.state.glob("journal.db*"):
        path.unlink()
    dock.start()
    dock.wait_alert("spool_orphans")
    hidden.rename(dock.store)
    dock.wait_stored()
    dock.judge()
    kept = {path.name: path.read_bytes() for path in dock.spool_files()}
    assert orphans.items() <= kept.items()
