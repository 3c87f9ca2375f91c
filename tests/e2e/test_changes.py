"""Files that change on the camera: between copy and wipe, in the middle of a copy, while they are written."""

import os
import time

import pytest
from e2e.harness import Dock, alerts
from e2e.kernel import WRITES, strace
from e2e.planting import MIB

SIZE = 2 * MIB
HALF_SIZE = 96 * MIB


def rewrite_unseen(dock: Dock) -> None:
    """Other bytes in the very file, size and mtime as before: only reading it tells."""
    dock.cameras.overwrite_in_place("CAM1", b"a.mp4", SIZE, keep_mtime=True)


def rewrite(dock: Dock) -> None:
    dock.cameras.overwrite_in_place("CAM1", b"a.mp4", SIZE)


def grow(dock: Dock) -> None:
    dock.cameras.overwrite_in_place("CAM1", b"a.mp4", SIZE + 4096)


def truncate(dock: Dock) -> None:
    dock.cameras.truncate("CAM1", b"a.mp4", SIZE // 2)


def replace(dock: Dock) -> None:
    dock.cameras.plant("CAM1", b"a.mp4", SIZE)


def replace_unseen(dock: Dock) -> None:
    mtime_ns = os.stat(dock.cameras.file("CAM1", b"a.mp4")).st_mtime_ns
    dock.cameras.plant("CAM1", b"a.mp4", SIZE, mtime_ns=mtime_ns)


CHANGES = [rewrite_unseen, rewrite, grow, truncate, replace, replace_unseen]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_between_copy_and_wipe_is_not_taken_for_what_was_copied(dock, change):
    # The hold keeps the camera from being emptied before the test has changed the file.
    dock.hold("CAM1")
    dock.cameras.add("CAM1", {b"a.mp4": SIZE, b"b.mp4": SIZE})
    dock.wait_stored()
    dock.wait_idle()
    change(dock)
    dock.lift_holds()
    dock.finish()
    first = next(entry for entry in dock.cameras.entries if entry.path == b"a.mp4")
    assert dock.world().holds(b"CAM1", first.content), "what was confirmed stays in the store"
    wiped = [(record["path"], record["generation"]) for record in dock.events("recording_wiped")]
    assert sorted(wiped) == [("a.mp4", 2), ("b.mp4", 1)]
    assert dock.counts()["unaccounted"] == 0


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_while_the_daemon_was_down_is_not_taken_for_what_was_copied(make_dock, change):
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", {b"a.mp4": SIZE, b"b.mp4": SIZE})
    dock.wait_stored()
    assert dock.term() == 0
    change(dock)
    dock.restart(wipe_mode="on")
    dock.finish()
    wiped = [(record["path"], record["generation"]) for record in dock.events("recording_wiped")]
    assert sorted(wiped) == [("a.mp4", 2), ("b.mp4", 1)]


@pytest.mark.slow
def test_a_change_of_time_alone_loses_nothing_and_stores_nothing_twice(dock):
    dock.hold("CAM1")
    dock.cameras.add("CAM1", {b"a.mp4": SIZE})
    dock.wait_stored()
    content = dock.cameras.newest("CAM1", b"a.mp4").content
    dock.cameras.flag("CAM1", b"a.mp4", "overwritten_by_test")
    os.utime(dock.cameras.file("CAM1", b"a.mp4"), (1_000_000_000, 1_000_000_000))
    dock.cameras.adopt("CAM1", b"a.mp4")
    dock.wait(lambda status: status["counts"]["in_store"] == 2, "the second generation")
    dock.lift_holds()
    dock.finish()
    assert [path.stem for path in dock.objects("CAM1")] == [content.blake3]


@pytest.mark.slow
def test_a_file_that_somebody_removes_after_it_was_confirmed_is_not_missed(dock):
    dock.hold("CAM1")
    dock.cameras.add("CAM1", {b"a.mp4": SIZE, b"b.mp4": SIZE})
    dock.wait_stored()
    dock.cameras.remove("CAM1", b"a.mp4")
    dock.lift_holds()
    counts = dock.finish()["counts"]
    assert (counts["in_store"], counts["unaccounted"]) == (2, 0)


def half_copied(dock: Dock) -> None:
    """A daemon that was killed when about half of one file was in the spool."""
    dock.start(strace(f"{WRITES}:delay_enter=20000"))
    dock.cameras.add("CAM1", {b"a.mp4": HALF_SIZE})
    dock.until(lambda: dock.spooled_bytes() >= HALF_SIZE // 2, "half of the file is in the spool")
    dock.kill()
    assert dock.counts()["in_store"] == 0


def other_bytes(dock: Dock) -> None:
    dock.cameras.plant("CAM1", b"a.mp4", HALF_SIZE)


def other_bytes_same_time(dock: Dock) -> None:
    mtime_ns = os.stat(dock.cameras.file("CAM1", b"a.mp4")).st_mtime_ns
    dock.cameras.plant("CAM1", b"a.mp4", HALF_SIZE, mtime_ns=mtime_ns)


def other_bytes_in_the_very_file(dock: Dock) -> None:
    dock.cameras.overwrite_in_place("CAM1", b"a.mp4", HALF_SIZE, keep_mtime=True)


@pytest.mark.slow
@pytest.mark.parametrize("change", [other_bytes, other_bytes_same_time, other_bytes_in_the_very_file])
def test_the_same_name_and_size_after_half_a_copy_makes_no_chimera(make_dock, change):
    dock = make_dock()
    half_copied(dock)
    change(dock)
    dock.start()
    counts = dock.finish()["counts"]
    content = dock.cameras.newest("CAM1", b"a.mp4").content
    assert [path.stem for path in dock.objects("CAM1")] == [content.blake3]
    # What the camera lost in the meantime was never whole here, and that is said.
    assert (counts["recordings"], counts["in_store"], counts["unaccounted"]) == (2, 1, 1)
    assert alerts(dock.status(), "unaccounted")


@pytest.mark.slow
def test_a_copy_that_was_broken_off_goes_on(make_dock):
    dock = make_dock()
    half_copied(dock)
    dock.start()
    assert dock.finish()["counts"]["recordings"] == 1


@pytest.mark.slow
def test_a_file_that_vanishes_after_half_a_copy_is_unaccounted(make_dock):
    dock = make_dock()
    half_copied(dock)
    dock.cameras.remove("CAM1", b"a.mp4")
    dock.start()
    dock.wait(lambda status: status["counts"]["unaccounted"] == 1, "it is unaccounted")
    dock.wait_alert("unaccounted")
    assert dock.events("recording_vanished")
    assert dock.audit(codes=(1,))["unaccounted"] == 1
    assert not dock.objects()


@pytest.mark.parametrize("stall_s", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_a_writer_that_stalls_with_the_file_open_is_waited_for(dock, stall_s):
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    with dock.cameras.writer("CAM1", b"live.mp4") as file:
        file.write(b"first half" * 100_000)
        dock.wait_alert("recording_not_settled")
        time.sleep(stall_s)
        status = dock.wait_stored(1)
        assert status["counts"]["in_store"] == 1
        assert dock.bay("CAM1", status)["safe_to_take"] is False
        assert len(dock.objects("CAM1")) == 1
        file.write(b"other half" * 100_000)
    dock.finish()
    dock.wait_no_alert("recording_not_settled")
    assert dock.counts()["recordings"] == 2


def test_what_is_still_written_when_its_camera_is_pulled_is_awaited(dock):
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    with dock.cameras.writer("CAM1", b"live.mp4") as file:
        file.write(b"first half" * 100_000)
        file.flush()
        dock.wait_alert("recording_not_settled")
        dock.wait_stored(1)
        dock.cameras.undock("CAM1")
        status = dock.wait(lambda status: status["counts"]["awaiting_return"] == 1, "it is awaited")
        (away,) = status["awaiting_return"]
        assert (away["camera"], away["recordings"]) == ("CAM1", 1)
        assert away["since"]
        assert "not come to rest" in dock.explain("CAM1")
        (removed,) = dock.events("camera_removed")
        assert removed["recordings"] == 2
        file.write(b"other half" * 100_000)
    dock.cameras.redock("CAM1")
    counts = dock.finish()["counts"]
    assert (counts["recordings"], counts["wiped"], counts["unaccounted"]) == (2, 2, 0)


@pytest.mark.slow
def test_a_writer_that_comes_back_before_the_wipe_is_waited_for(dock):
    """The lease at the gate: whoever has the file open for writing keeps it from being deleted."""
    dock.hold("CAM1")
    dock.cameras.add("CAM1", {b"a.mp4": SIZE, b"b.mp4": SIZE})
    dock.wait_stored()
    dock.wait_idle()
    with open(dock.cameras.file("CAM1", b"a.mp4"), "r+b") as file:
        dock.lift_holds()
        dock.wait(lambda status: status["counts"]["wiped"] == 1, "the other file is wiped")
        time.sleep(2)
        assert dock.cameras.file("CAM1", b"a.mp4").exists()
        dock.cameras.flag("CAM1", b"a.mp4", "overwritten_by_test")
        file.write(b"new beginning")
        file.flush()
        dock.cameras.adopt("CAM1", b"a.mp4")
    dock.finish()
    assert len(dock.objects("CAM1")) == 3
