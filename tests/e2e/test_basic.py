"""The main job: a camera is docked, its footage lands whole in the store, and only then it is emptied."""

import json
import os
import subprocess

import pytest
from e2e.harness import alerts
from e2e.planting import MIB
from oracle_world import OBJECT_NAME

FILES = {b"DCIM/100/a.MP4": 3 * MIB + 17, b"DCIM/100/b.mp4": 4096, b"GPS/track.gpx": 1, b"c": 70_000}


def test_a_camera_is_stored_confirmed_and_emptied(dock):
    folder = dock.cameras.add("CAM1", FILES)
    status = dock.finish()
    counts = status["counts"]
    assert counts["recordings"] == counts["in_store"] == counts["wiped"] == len(FILES)
    assert counts["unaccounted"] == counts["sole_copy"] == counts["awaiting_return"] == 0
    # Directories and the marker stay.
    assert sorted(path.name for path in folder.rglob("*")) == [".dockd-camera", "100", "DCIM", "GPS"]
    bay = dock.bay("CAM1", status)
    assert (bay["state"], bay["camera"], bay["safe_to_take"]) == ("ready", "CAM1", True)
    assert bay["recordings_total"] == bay["recordings_confirmed"] == bay["recordings_wiped"] == len(FILES)
    assert status["daemon"]["running"] is True
    assert status["wipe_mode"] == "on"


def test_nothing_stays_in_the_spool_once_it_is_confirmed(dock):
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    dock.until(lambda: not dock.spool_files(), "the spool is empty")


def test_keys_follow_the_contract(dock):
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    names = {path.name for path in dock.objects("CAM1")}
    assert all(OBJECT_NAME.match(name) for name in names)
    digests = {entry.path: entry.content.blake3 for entry in dock.cameras.recordings()}
    assert names == {
        digests[b"DCIM/100/a.MP4"] + ".mp4",
        digests[b"DCIM/100/b.mp4"] + ".mp4",
        digests[b"GPS/track.gpx"] + ".gpx",
        digests[b"c"],
    }


def test_the_chain_tells_the_story_in_order(dock):
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    dock.finish()
    events = [json.loads(line)["event"] for line in dock.custody()]
    story = ["dock_started", "camera_docked", "recording_found", "recording_copied", "recording_uploaded"]
    story += ["recording_confirmed", "wipe_started", "recording_wiped"]
    assert [event for event in events if event in story] == story


def test_explain_says_one_sentence_per_recording(dock):
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    told = dock.explain("CAM1")
    assert all(os.path.basename(path).decode() in told for path in FILES)


def test_a_docking_manifest_is_published_when_the_camera_has_left(dock):
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    dock.cameras.undock("CAM1")
    dock.until(lambda: dock.manifests("CAM1"), "a docking manifest")
    entries = {entry["path"]: entry for manifest in dock.manifests("CAM1") for entry in manifest["recordings"]}
    assert set(entries) == {path.decode() for path in FILES}
    for planted in dock.cameras.recordings():
        entry = entries[planted.path.decode()]
        content = planted.content
        assert (entry["size"], entry["blake3"], entry["sha256"]) == (
            content.size,
            content.blake3,
            content.sha256,
        )
        assert (dock.store / entry["key"]).is_file()


def test_a_file_that_appears_later_is_taken_as_well(dock):
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    dock.finish()
    dock.cameras.plant("CAM1", b"later/b.mp4", MIB)
    dock.finish()
    assert dock.counts()["wiped"] == 2


def test_several_cameras_at_once(dock):
    for number in range(4):
        dock.cameras.add(f"CAM{number}", {b"a.mp4": MIB, b"b/c.mp4": 5000})
    assert dock.finish()["counts"]["wiped"] == 8


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_without_the_wipe_switched_on_everything_stays(make_dock, mode):
    dock = make_dock(wipe_mode=mode)
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored()
    status = dock.wait_idle()
    assert dock.bay("CAM1", status)["safe_to_take"] is True
    dock.judge(finished=True, complete=True)
    assert dock.cameras.to_wipe()[0] == len(FILES)
    assert status["wipe_mode"] == mode


def test_a_folder_without_the_marker_is_never_emptied(dock):
    dock.cameras.add("STICK", FILES, marker=False)
    dock.wait_stored()
    dock.wait_idle()
    dock.judge(finished=True, complete=True)
    assert sum(path.is_file() for path in dock.cameras.folder("STICK").rglob("*")) == len(FILES)


def test_a_weakness_that_was_not_accepted_keeps_everything_on_the_camera(make_dock):
    dock = make_dock(accept=())
    dock.start()
    dock.cameras.add("CAM1", FILES)
    for path in FILES:
        dock.cameras.flag("CAM1", path, "held")
    dock.wait_stored()
    dock.wait_alert("wipe_blocked")
    dock.wait_idle()
    dock.judge(finished=True)
    assert dock.counts()["wiped"] == 0


def test_a_zero_length_file_is_stored_and_flagged_and_stays(dock):
    dock.cameras.add("CAM1", {b"empty.mp4": 0, b"a.mp4": MIB})
    dock.wait_stored()
    status = dock.finish()
    assert (status["counts"]["in_store"], status["counts"]["wiped"]) == (2, 1)
    assert dock.cameras.file("CAM1", b"empty.mp4").exists()
    anomalies = dock.events("recording_anomaly")
    assert [(record["path"], record["blocks_wipe"]) for record in anomalies] == [("empty.mp4", True)]


def test_identical_files_on_one_camera_are_stored_once(dock):
    same = b"same bytes" * 5000
    dock.cameras.add("CAM1", {b"a.mp4": same, b"sub/b.mp4": same, b"c.MP4": same})
    assert dock.finish()["counts"]["wiped"] == 3
    assert len(dock.objects("CAM1")) == 1


def test_identical_files_with_different_suffixes_are_stored_once(dock):
    same = b"same bytes" * 5000
    dock.cameras.add("CAM1", {b"a.mp4": same, b"b.mov": same})
    assert dock.finish()["counts"]["wiped"] == 2
    assert len(dock.objects("CAM1")) == 1


def test_identical_files_of_two_cameras_are_kept_for_each(dock):
    same = b"same bytes" * 5000
    dock.cameras.add("CAM1", {b"a.mp4": same})
    dock.cameras.add("CAM2", {b"a.mp4": same})
    dock.finish()
    assert len(dock.objects("CAM1")) == len(dock.objects("CAM2")) == 1


def test_the_same_content_again_after_a_wipe_is_a_recording_of_its_own(dock):
    same = b"same bytes" * 5000
    dock.cameras.add("CAM1", {b"a.mp4": same})
    dock.finish()
    dock.cameras.plant("CAM1", b"a.mp4", same)
    counts = dock.finish()["counts"]
    assert (counts["recordings"], counts["wiped"]) == (2, 2)
    assert len(dock.objects("CAM1")) == 1


def test_a_name_used_again_with_other_content_is_another_recording(dock):
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    dock.finish()
    dock.cameras.plant("CAM1", b"a.mp4", MIB)
    dock.finish()
    assert len(dock.objects("CAM1")) == 2
    assert {record["generation"] for record in dock.events("recording_wiped")} == {1, 2}


def test_a_camera_that_comes_back_unchanged_is_stored_once(make_dock):
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored()
    dock.cameras.undock("CAM1")
    dock.wait(lambda status: not status["bays"] or not status["bays"][0]["camera"], "the camera left")
    dock.cameras.redock("CAM1")
    dock.wait(lambda status: any(bay["safe_to_take"] for bay in status["bays"]), "safe to take again")
    dock.wait_idle()
    dock.judge(finished=True, complete=True)
    assert dock.counts()["recordings"] == len(FILES)
    assert len(dock.events("camera_docked")) == 2


def test_grace_keeps_confirmed_recordings_on_the_camera(make_dock):
    dock = make_dock(grace="1h")
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_stored()
    status = dock.wait_idle()
    assert status["counts"]["wiped"] == 0
    assert dock.bay("CAM1", status)["safe_to_take"] is True
    assert "grace" in dock.explain("CAM1")
    dock.restart(grace="0s")
    dock.finish()


def test_status_without_a_daemon_says_the_same_and_that_none_runs(dock):
    dock.cameras.add("CAM1", FILES)
    running = dock.finish()
    assert dock.term() == 0
    stopped = dock.status()
    assert stopped["counts"] == running["counts"]
    assert stopped["daemon"]["running"] is False


def test_the_audit_finds_everything_in_order(dock):
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    found = dock.audit()
    assert (found["unaccounted"], found["missing"], found["altered"]) == (0, 0, 0)


@pytest.mark.slow
def test_a_store_that_was_not_made_known_takes_nothing(make_dock):
    dock = make_dock(init=False)
    dock.store.mkdir()
    dock.start()
    dock.cameras.add("CAM1", FILES)
    dock.wait_alert("store_not_initialised")
    assert not list(dock.store.iterdir())
    dock.run("store", "init")
    dock.finish()
    assert not alerts(dock.status(), "store_not_initialised")


def test_commands_run_as_programs_of_their_own(dock):
    dock.cameras.add("CAM1", FILES)
    dock.finish()
    for arguments in (("status", "--json"), ("status",), ("explain", "CAM1"), ("audit",), ("hold", "list")):
        done = subprocess.run(dock.command(*arguments), cwd=dock.root, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), arguments
        assert done.stdout


def test_a_second_daemon_on_the_same_journal_is_refused(dock):
    second = dock.command("run")
    refused = subprocess.run(second, cwd=dock.root, capture_output=True, timeout=60, check=False)
    assert refused.returncode not in (0, -11)
    dock.cameras.add("CAM1", FILES)
    dock.finish()


def test_a_camera_carried_to_another_dock_is_stored_once_and_emptied_there(make_dock):
    first = make_dock(wipe_mode="off")
    second = make_dock(name="dock-08", store=first.store)
    first.neighbours.append(second)
    second.neighbours.append(first)
    first.start()
    second.start()
    first.cameras.add("CAM1", FILES)
    first.wait_stored()
    first.cameras.undock("CAM1")
    first.cameras.hand_over("CAM1", second.cameras)
    second.finish()
    assert len(first.objects("CAM1")) == len(FILES)
    assert all(record["already_there"] for record in second.events("recording_uploaded"))
