"""A store that is read-only, missing, full, another one, or holds what it should not."""

import os
import shutil

import pytest
from e2e.harness import Dock, alerts
from e2e.kernel import fill, hanging
from e2e.planting import MIB
from oracle_world import part_of_key

FILES = {b"a.mp4": 3 * MIB, b"b/b.mp4": 5000}


def nothing_wiped_yet(dock: Dock) -> None:
    """The store failed: everything stays on the camera, and nobody is told to take it."""
    dock.wait_idle()
    status = dock.status()
    assert status["counts"]["wiped"] == 0
    assert dock.bay("CAM1", status)["safe_to_take"] is False
    assert len(dock.cameras.recordings()) == dock.cameras.to_wipe()[0]
    dock.judge()


@pytest.mark.slow
def test_a_read_only_store_is_waited_for(make_dock, mounts, tmp_path):
    store = mounts.disk(tmp_path / "disk", 64 * MIB)
    dock = make_dock(store=store, accept=())
    dock.start()
    mounts.remount(store, "ro")
    dock.cameras.add("CAM1", FILES)
    dock.wait_alert("store_unavailable")
    nothing_wiped_yet(dock)
    mounts.remount(store, "rw")
    dock.finish()
    dock.wait_no_alert("store_unavailable")


@pytest.mark.slow
def test_a_missing_store_is_waited_for(dock):
    hidden = dock.store.with_name("hidden")
    dock.store.rename(hidden)
    dock.cameras.add("CAM1", FILES)
    dock.wait_alert("store_unavailable")
    dock.wait(lambda status: status["counts"]["on_docked_camera"] == len(FILES), "both are found")
    dock.wait_idle()
    assert dock.counts()["wiped"] == 0
    assert not dock.store.exists(), "nothing is written where the store should be mounted"
    hidden.rename(dock.store)
    dock.finish()
    dock.wait_no_alert("store_unavailable")


@pytest.mark.slow
def test_a_store_that_is_missing_at_the_start_is_waited_for(make_dock):
    dock = make_dock()
    hidden = dock.store.with_name("hidden")
    dock.store.rename(hidden)
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_alert("store_unavailable")
    hidden.rename(dock.store)
    dock.finish()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "mount"])
def test_an_empty_folder_in_the_place_of_the_store_is_no_store(dock, mounts, kind):
    dock.cameras.add("CAM0", {b"first.mp4": MIB})
    dock.finish()
    hidden = dock.store.with_name("hidden")
    if kind == "mount":
        mounts.memory(dock.store)
    else:
        dock.store.rename(hidden)
        dock.store.mkdir()
    dock.cameras.add("CAM1", FILES)
    dock.wait(lambda s: alerts(s, "store_not_initialised") or alerts(s, "store_unavailable"), "an alert")
    dock.wait_idle()
    assert dock.counts()["wiped"] == 1
    assert not list(dock.store.iterdir()), "nothing is written beneath the mount"
    if kind == "mount":
        mounts.unmount(dock.store)
    else:
        dock.store.rmdir()
        hidden.rename(dock.store)
    dock.finish()


@pytest.mark.slow
def test_another_store_in_the_place_of_the_known_one_takes_nothing(make_dock):
    other = make_dock()
    other.start()
    dock = make_dock()
    dock.start()
    dock.cameras.add("CAM0", {b"first.mp4": MIB})
    dock.finish()
    hidden = dock.store.with_name("hidden")
    dock.store.rename(hidden)
    shutil.copytree(other.store, dock.store)
    dock.cameras.add("CAM1", FILES)
    dock.wait(lambda s: alerts(s, "store_not_initialised") or alerts(s, "store_unavailable"), "an alert")
    dock.wait_idle()
    assert dock.counts()["wiped"] == 1
    assert not dock.objects()
    shutil.rmtree(dock.store)
    hidden.rename(dock.store)
    dock.finish()


@pytest.mark.slow
def test_a_full_store_is_waited_for(make_dock, mounts, tmp_path):
    store = mounts.disk(tmp_path / "disk", 48 * MIB)
    dock = make_dock(store=store, accept=())
    dock.start()
    filler = fill(store, leave=2 * MIB)
    dock.cameras.add("CAM1", {b"a.mp4": 8 * MIB, b"b.mp4": 8 * MIB, b"c.mp4": 8 * MIB})
    dock.wait_alert("store_full")
    nothing_wiped_yet(dock)
    filler.unlink()
    dock.finish()
    dock.wait_no_alert("store_full")


@pytest.mark.slow
def test_a_store_without_room_for_names_is_waited_for(make_dock, mounts, tmp_path):
    """No inode left: the failure comes when the hidden file is made, not when it is written."""
    store = mounts.disk(tmp_path / "disk", 16 * MIB, "-N", "64")
    dock = make_dock(store=store, accept=())
    dock.start()
    fillers = []
    while os.statvfs(store).f_ffree > 0:
        fillers.append(store / f"filler-{len(fillers)}")
        fillers[-1].touch()
    dock.cameras.add("CAM1", FILES)
    dock.wait_alert("store_full")
    nothing_wiped_yet(dock)
    for filler in fillers:
        filler.unlink()
    dock.finish()


def foreign_bytes_under_the_key(dock: Dock) -> str:
    """Whoever put them there: the key of CAM1's a.mp4 holds something else."""
    digest = dock.cameras.newest("CAM1", b"a.mp4").content.blake3
    path = dock.store / "calgary" / "recordings" / part_of_key(b"CAM1") / f"{digest}.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    return dock.damage(path)


@pytest.mark.parametrize("goes_on_by", ["a restart", "retry"])
def test_other_content_under_a_key_is_neither_overwritten_nor_believed(dock, goes_on_by):
    dock.cameras.add("CAM1", FILES, docked=False)
    key = foreign_bytes_under_the_key(dock)
    dock.cameras.redock("CAM1")
    dock.wait_alert("store_conflict")
    dock.wait_idle()
    status = dock.status()
    assert dock.bay("CAM1", status)["safe_to_take"] is False
    assert (dock.store / key).read_bytes() == b"something else"
    assert dock.cameras.file("CAM1", b"a.mp4").exists()
    assert dock.events("integrity_failure")
    dock.judge()
    (dock.store / key).rename(dock.root / "moved-away")
    dock.damaged.clear()
    if goes_on_by == "retry":
        dock.run("retry")
    else:
        dock.restart()
    dock.finish()
    dock.wait_no_alert("store_conflict")


def test_the_same_content_under_a_key_is_recorded_and_done(dock):
    """A store restored from a copy, or filled by another dock."""
    dock.cameras.add("CAM1", FILES, docked=False)
    digest = dock.cameras.newest("CAM1", b"a.mp4").content.blake3
    path = dock.store / "calgary" / "recordings" / "CAM1" / f"{digest}.mp4"
    path.parent.mkdir(parents=True)
    shutil.copyfile(dock.cameras.file("CAM1", b"a.mp4"), path)
    inode = path.stat().st_ino
    dock.cameras.redock("CAM1")
    dock.finish()
    assert path.stat().st_ino == inode


@pytest.mark.slow
def test_a_store_that_hangs_over_one_recording_keeps_nobody_else_waiting(make_dock):
    dock = make_dock(stall_timeout="3s")
    dock.start()
    dock.cameras.add("BAD", FILES, docked=False)
    digest = dock.cameras.newest("BAD", b"a.mp4").content.blake3
    path = dock.store / "calgary" / "recordings" / "BAD" / f"{digest}.mp4"
    path.parent.mkdir(parents=True)
    shutil.copyfile(dock.cameras.file("BAD", b"a.mp4"), path)
    with hanging(path):
        dock.cameras.redock("BAD")
        alert = dock.wait_alert("store_stalled")
        dock.cameras.add("GOOD", FILES)
        dock.wait(lambda s: dock.find_bay("GOOD", s).get("recordings_wiped") == len(FILES), "the other is emptied")
        bay = dock.bay("BAD")
        assert (bay["state"], bay["safe_to_take"]) == ("attention", False)
        assert "no progress since" in bay["reason"]
        assert "a.mp4" not in bay["reason"] + alert["what"], "published where file names have no business"
        assert dock.bay("GOOD")["state"] == "ready"
        assert alerts(dock.status(), "store_stalled")[0]["since"] == alert["since"]
        # The hung read notwithstanding.
        assert dock.term() == 0
    dock.start()
    dock.finish()
    dock.wait_no_alert("store_stalled")


def alter(path: os.PathLike[str]) -> None:
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"altered")


def remove(path: os.PathLike[str]) -> None:
    os.unlink(path)


@pytest.mark.parametrize("spoil", [alter, remove])
def test_an_object_that_is_spoilt_before_the_wipe_keeps_the_file_on_the_camera(dock, spoil):
    dock.hold("CAM1")
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored()
    dock.wait_idle()
    digest = dock.cameras.newest("CAM1", b"a.mp4").content.blake3
    (spoilt,) = [path for path in dock.objects("CAM1") if path.stem == digest]
    dock.damage(spoilt)
    spoil(spoilt)
    dock.lift_holds()
    dock.wait(lambda status: status["counts"]["wiped"] == 1, "the other one is wiped")
    dock.wait_idle()
    assert dock.cameras.file("CAM1", b"a.mp4").exists()
    dock.judge()


@pytest.mark.parametrize(("spoil", "word"), [(alter, "altered"), (remove, "missing")])
def test_the_audit_finds_what_the_store_lost(make_dock, spoil, word):
    dock = make_dock()
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    spoilt = dock.objects("CAM1")[0]
    dock.damage(spoilt)
    spoil(spoilt)
    found = dock.audit(codes=(1,))
    assert found[word] == 1
    assert found["unaccounted"] == 1
    counts = dock.wait(lambda status: status["counts"]["unaccounted"] == 1, "it is unaccounted")["counts"]
    assert (counts["in_store"], counts["wiped"]) == (1, 1)
    dock.wait_alert("unaccounted")


def test_what_dockd_did_not_put_there_is_left_alone(dock):
    """Cleaning up touches nothing but what this journal made."""
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    strangers = [dock.objects("CAM1")[0].with_name(".0123456789abcdef0123456789abcdef.partial")]
    strangers += [dock.store / "readme.txt", dock.store / "calgary" / "recordings" / "CAM1" / ".hidden"]
    for stranger in strangers:
        stranger.write_text("of somebody else")
    dock.restart()
    dock.cameras.add("CAM2", FILES)
    dock.wait_emptied()
    dock.wait_idle()
    assert all(stranger.read_text() == "of somebody else" for stranger in strangers)


@pytest.mark.slow
def test_places_that_cannot_be_used_keep_nobody_else_waiting(dock):
    """Links where objects belong: every try ends in an error of the store, as a bad sector there would."""
    names = [b"%d.mp4" % number for number in range(5)]
    dock.cameras.add("CAM1", {name: 3000 + name[0] for name in names}, docked=False)
    folder = dock.store / "calgary" / "recordings" / "CAM1"
    folder.mkdir(parents=True)
    links = [folder / f"{dock.cameras.newest('CAM1', name).content.blake3}.mp4" for name in names]
    for link in links:
        link.symlink_to("nowhere")
    dock.cameras.redock("CAM1")
    dock.wait_alert("store_unavailable")
    dock.cameras.add("CAM2", {b"%d.mp4" % number: 5000 + number for number in range(20)})
    dock.wait(lambda status: status["counts"]["in_store"] == 20, "everything else is stored", 120)
    assert all(dock.cameras.file("CAM1", name).exists() for name in names)
    for link in links:
        link.unlink()
    dock.finish(200)
