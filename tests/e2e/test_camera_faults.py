"""Cameras that leave at any moment, cannot be read, hang, or are not what they seem."""

import os

import pytest
from e2e.harness import Dock
from e2e.kernel import FAN_ACCESS_PERM, FAN_OPEN_PERM, READS, UNLINKS, WRITES, hanging, strace, traced
from e2e.planting import MIB

STATS = "newfstatat,statx,fstat,lstat,stat"


def traced_daemon(dock: Dock, *faults: str):
    assert dock.process is not None
    return traced(dock.process.pid, *faults)


@pytest.mark.slow
def test_a_camera_that_leaves_while_it_is_listed(dock):
    with traced_daemon(dock, f"{STATS}:delay_enter=2000"):
        dock.cameras.add("CAM1", {b"%04d.mp4" % number: 2000 for number in range(1500)})
        dock.wait(lambda status: any(bay["camera"] for bay in status["bays"]), "the camera is noticed")
        dock.cameras.undock("CAM1")
        dock.wait(lambda status: not any(bay["camera"] for bay in status["bays"]), "the camera is gone")
        dock.judge()
    dock.cameras.redock("CAM1")
    assert dock.finish(240)["counts"]["recordings"] == 1500


@pytest.mark.slow
@pytest.mark.parametrize("returns", [True, False])
def test_a_camera_that_leaves_in_the_middle_of_a_file(dock, returns):
    with traced_daemon(dock, f"{WRITES}:delay_enter=20000"):
        dock.cameras.add("CAM1", {b"a.mp4": 64 * MIB, b"b.mp4": 4 * MIB})
        dock.until(lambda: dock.spooled_bytes() >= 16 * MIB, "something is in the spool")
        dock.cameras.undock("CAM1") if returns else dock.cameras.throw_away("CAM1")
        dock.wait(lambda s: not any(bay["camera"] for bay in s["bays"]), "the camera is gone")
        # The bay is shown empty at once; its docking ends when the copying thread has put down what it had in hand.
        status = dock.wait(lambda s: s["counts"]["on_docked_camera"] == 0, "its docking has ended")
    counts = status["counts"]
    assert counts["unaccounted"] == 0, "what left with its camera is awaited, not missed"
    if returns:
        dock.judge()
        dock.cameras.redock("CAM1")
        dock.finish()
    else:
        dock.wait(lambda s: s["counts"]["awaiting_return"] + s["counts"]["in_store"] == 2, "one is awaited")


@pytest.mark.slow
def test_a_camera_that_leaves_in_the_middle_of_the_wipe(dock):
    names = {b"%02d.mp4" % number: MIB for number in range(12)}
    dock.hold("CAM1")
    folder = dock.cameras.add("CAM1", names)
    dock.wait_stored()
    with traced_daemon(dock, f"{UNLINKS}:delay_enter=200000"):
        dock.lift_holds()
        dock.until(lambda: len(os.listdir(folder)) < len(names) + 1, "the first file is gone")
        dock.cameras.undock("CAM1")
        dock.wait(lambda s: not any(bay["camera"] for bay in s["bays"]), "the camera is gone")
        dock.judge()
    dock.cameras.redock("CAM1")
    dock.finish()


@pytest.mark.slow
def test_a_camera_that_is_thrown_away_in_the_middle_of_the_wipe(dock):
    names = {b"%02d.mp4" % number: MIB for number in range(12)}
    dock.hold("CAM1")
    folder = dock.cameras.add("CAM1", names)
    dock.wait_stored()
    with traced_daemon(dock, f"{UNLINKS}:delay_enter=200000"):
        dock.lift_holds()
        dock.until(lambda: len(os.listdir(folder)) < len(names) + 1, "the first file is gone")
        dock.cameras.throw_away("CAM1")
        status = dock.wait(lambda s: not any(bay["camera"] for bay in s["bays"]), "the camera is gone")
    assert status["counts"]["in_store"] == len(names)


@pytest.mark.parametrize("when", ["", ":when=3+"])
def test_an_unreadable_file_does_not_keep_the_others(make_dock, when):
    dock = make_dock()
    dock.cameras.add("CAM1", {b"a.mp4": 4 * MIB, b"bad.mp4": 8 * MIB, b"c.mp4": 4 * MIB})
    dock.cameras.add("CAM2", {b"a.mp4": 4 * MIB})
    bad = dock.cameras.file("CAM1", b"bad.mp4")
    dock.start(strace(f"{READS}:error=EIO{when}", paths=(bad,)))
    dock.wait(lambda status: status["counts"]["wiped"] == 3, "the others are wiped")
    dock.wait_alert("recording_unreadable")
    status = dock.wait_idle()
    bay = dock.bay("CAM1", status)
    assert (bay["state"], bay["safe_to_take"]) == ("attention", False)
    assert bay["reason"]
    dock.judge(finished=True)
    assert bad.exists()
    assert dock.term() == 0
    dock.start()
    dock.finish()


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(make_dock):
    dock = make_dock()
    dock.cameras.add("CAM1", {b"a.mp4": MIB, b"bad/b.mp4": MIB})
    bad = dock.cameras.file("CAM1", b"bad")
    dock.start(strace("getdents64:error=EIO", paths=(bad,)))
    dock.wait_stored(1)
    dock.wait_idle()
    assert dock.bay("CAM1")["safe_to_take"] is False
    assert dock.bay("CAM1")["state"] == "attention"
    assert (bad / "b.mp4").exists()
    assert dock.term() == 0
    dock.start()
    dock.finish()


@pytest.mark.slow
@pytest.mark.parametrize("mask", [FAN_ACCESS_PERM, FAN_OPEN_PERM])
def test_a_camera_whose_reads_hang_stops_nobody_else(make_dock, mask):
    dock = make_dock(stall_timeout="3s")
    dock.start()
    dock.cameras.add("BAD", {b"a.mp4": MIB, b"hangs.mp4": 8 * MIB, b"z.mp4": MIB}, docked=False)
    with hanging(dock.cameras.file("BAD", b"hangs.mp4"), mask):
        dock.cameras.redock("BAD")
        dock.wait_alert("camera_stalled")
        for number in range(3):
            dock.cameras.add(f"GOOD{number}", {b"a.mp4": 8 * MIB, b"b.mp4": 4000})
        bays = ("GOOD0", "GOOD1", "GOOD2")
        dock.wait(lambda s: all(dock.find_bay(name, s).get("recordings_wiped") == 2 for name in bays), "others")
        bay = dock.bay("BAD")
        assert (bay["state"], bay["safe_to_take"]) == ("attention", False)
        assert bay["reason"]
        # The hung read notwithstanding.
        assert dock.term() == 0
    dock.start()
    dock.finish()


@pytest.mark.slow
def test_a_hung_camera_that_is_pulled_and_docked_again_goes_on(make_dock):
    dock = make_dock(stall_timeout="2s")
    dock.start()
    dock.cameras.add("BAD", {b"hangs.mp4": 2 * MIB}, docked=False)
    with hanging(dock.cameras.file("BAD", b"hangs.mp4")):
        dock.cameras.redock("BAD")
        dock.wait_alert("camera_stalled")
        dock.cameras.undock("BAD")
        dock.wait(lambda status: not any(bay["camera"] for bay in status["bays"]), "the camera is gone")
    dock.cameras.redock("BAD")
    dock.finish()


@pytest.mark.parametrize("place", ["store", "state"])
def test_a_camera_folder_that_contains_the_store_or_the_spool_is_refused(make_dock, place, tmp_path):
    inside = tmp_path / "d0" / "cameras" / "CAM1" / place
    dock = make_dock(init=False, **{place: inside})
    dock.run("store", "init", codes=(78,))
    dock.refuses_to_start(78)
    setattr(dock, place, tmp_path / "apart")
    dock.configure()
    dock.run("store", "init")
    dock.start()
    dock.cameras.add("CAM2", {b"a.mp4": MIB})
    dock.finish()


@pytest.mark.parametrize("below", ["", "calgary"])
def test_a_camera_folder_that_is_the_store_by_a_mount_is_refused(dock, mounts, below):
    dock.cameras.add("CAM1", {b"a.mp4": MIB, b"b.mp4": MIB})
    dock.finish()
    before = dock.objects()
    evil = dock.cameras.place("EVIL")
    (dock.store / below / ".dockd-camera").touch()
    mounts.bind(dock.store / below, evil)
    dock.wait_alert("camera_refused")
    dock.cameras.add("CAM2", {b"a.mp4": MIB})
    dock.wait_emptied()
    dock.wait_idle()
    assert len(dock.objects()) == 3
    assert set(before) < set(dock.objects())
    mounts.unmount(evil)
    (dock.store / below / ".dockd-camera").unlink()
    evil.rmdir()
    dock.wait(lambda status: len(status["bays"]) == 2, "it is gone")


def test_a_camera_that_holds_links_to_the_store_takes_nothing_from_it(dock):
    folder = dock.cameras.add("CAM1", {b"a.mp4": MIB}, docked=False)
    os.symlink(dock.store, folder / "store")
    dock.cameras.redock("CAM1")
    os.symlink(dock.store, dock.cameras.docked / "LINK")
    dock.finish()
    assert dock.counts()["recordings"] == 1
    assert len(dock.objects()) == 1


@pytest.mark.slow
def test_two_folders_that_are_one_are_not_wiped(make_dock, mounts):
    dock = make_dock()
    dock.cameras.add("CAM1", {b"a.mp4": MIB, b"b.mp4": MIB})
    twin = dock.cameras.place("TWIN")
    mounts.bind(dock.cameras.place("CAM1"), twin)
    dock.cameras.markers[b"TWIN"] = True
    for path in (b"a.mp4", b"b.mp4"):
        dock.cameras.adopt("TWIN", path)
    dock.cameras.adopt("TWIN", b".dockd-camera", "not_a_recording")
    dock.start()
    dock.wait_alert("identity_clash")
    dock.wait_stored()
    dock.wait_idle()
    assert dock.counts()["wiped"] == 0
    dock.judge(finished=True)
    for entry in dock.cameras.entries:
        if entry.camera == b"TWIN":
            entry.flags.add("elsewhere")
    mounts.unmount(twin)
    twin.rmdir()
    dock.wait_no_alert("identity_clash")
    dock.wait(lambda status: status["counts"]["wiped"] == 2, "the one that is left is emptied")
    dock.wait_idle()
    dock.judge()


@pytest.mark.slow
def test_a_camera_folder_that_is_renamed_while_docked_is_another_camera(dock):
    with traced_daemon(dock, f"{WRITES}:delay_enter=10000"):
        dock.cameras.add("CAM1", {b"a.mp4": 4 * MIB, b"b.mp4": 64 * MIB, b"c.mp4": 4 * MIB})
        dock.until(lambda: dock.spooled_bytes() >= 16 * MIB, "something is in the spool")
        dock.cameras.rename_camera("CAM1", "CAM2")
    dock.finish()
    assert len(dock.objects("CAM2")) == 3
