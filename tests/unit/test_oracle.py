"""The oracle judged: in a sound world it is content, and each thing that can be wrong it names."""

import json
import subprocess
import sys

import oracle
import pytest
from fake_world import CAMERA, DATA, PATH, Fake, assert_named, digests, docked_world, sound_world
from oracle_world import Planted, part_of_key


@pytest.fixture
def sound(tmp_path):
    return sound_world(tmp_path)


@pytest.fixture
def docked(tmp_path):
    return docked_world(tmp_path)


def test_a_sound_world_is_found_sound(sound):
    assert sound.violations() == []


def test_footage_that_waits_on_its_camera_is_sound(docked):
    assert docked.violations() == []


def test_lost_footage_is_named(sound):
    (sound.root / "store" / sound.key(DATA)).unlink()
    assert_named(sound, "LOST")
    assert_named(sound, "recording_confirmed", "not in the store with that content")
    assert_named(sound, "status says 1 for in_store, at most 0")


def test_an_altered_object_is_named(sound):
    (sound.root / "store" / sound.key(DATA)).write_bytes(DATA[:-1] + b"!")
    assert_named(sound, "partial or altered")
    assert_named(sound, "LOST")


def test_a_truncated_object_is_named(sound):
    (sound.root / "store" / sound.key(DATA)).write_bytes(DATA[:100])
    assert_named(sound, "partial or altered")


def test_content_that_nobody_planted_is_named(sound):
    sound.keep(b"half old, half new")
    assert_named(sound, "never planted as a recording")


def test_what_another_dock_stored_is_no_violation(sound):
    sound.keep(b"of another dock")
    sound.options["foreign"] = frozenset({(CAMERA, digests(b"of another dock").blake3)})
    assert sound.violations() == []


def test_a_recording_stored_twice_is_named(sound):
    sound.keep(DATA, sound.key(DATA, ".avi"))
    assert_named(sound, "2 times")
    assert_named(sound, "suffix")


def test_a_name_that_is_no_key_is_named(sound):
    sound.keep(DATA, f"calgary/recordings/{part_of_key(CAMERA)}/one.mp4")
    assert_named(sound, "not the name of a recording")


def test_a_link_in_the_store_is_no_recording(sound):
    path = sound.root / "store" / sound.key(DATA)
    path.rename(path.with_name("x"))
    path.symlink_to("x")
    assert_named(sound, "not the name of a recording")


def test_a_partial_left_behind_is_named_once_all_is_finished(sound):
    sound.keep(DATA, f"calgary/recordings/{part_of_key(CAMERA)}/.ab.partial")
    assert_named(sound, "left behind")
    sound.options["finished"] = sound.options["complete"] = False
    assert sound.violations() == []


def test_bytes_that_the_test_destroyed_are_not_lost(docked):
    docked.planted[0] = Planted(CAMERA, PATH, digests(DATA), frozenset({"removed_by_test"}))
    (docked.folder / PATH.decode()).unlink()
    docked.counts = {"recordings": 1, "unaccounted": 1}
    assert docked.violations() == []


def test_unaccounted_without_cause_is_named(docked):
    docked.counts = {"recordings": 1, "unaccounted": 1}
    assert_named(docked, "for unaccounted, at most 0")


def test_counts_that_do_not_add_up_are_named(sound):
    sound.counts["recordings"] = 2
    assert_named(sound, "do not add up")


def test_a_negative_count_is_named(docked):
    docked.counts |= {"on_docked_camera": 2, "sole_copy": -1}
    assert_named(docked, "negative")


def test_more_recordings_than_were_planted_are_named(docked):
    docked.counts |= {"recordings": 2, "on_docked_camera": 2}
    assert_named(docked, "for recordings, at most 1")


def test_a_false_wiped_count_is_named(sound):
    sound.plant(DATA, on_camera=True)
    sound.options["complete"] = False
    sound.counts |= {"recordings": 2, "in_store": 2, "wiped": 2}
    assert_named(sound, "for wiped, at most 1")


def test_figures_and_chain_have_to_agree(sound):
    sound.counts["wiped"] = 0
    assert_named(sound, "status says 0 for wiped, the chain names 1")


def test_what_should_be_stored_by_now_is_named(docked):
    docked.options = {"finished": True, "complete": True}
    assert_named(docked, "should be in the store by now")
    assert_named(docked, "should have been wiped by now")
    assert_named(docked, "for in_store, 1 recordings are there")


@pytest.mark.parametrize("flag", ["not_a_recording", "held"])
def test_what_had_to_stay_and_did_not_is_named(sound, flag):
    sound.planted[0] = Planted(CAMERA, PATH, digests(DATA), frozenset({flag}))
    assert_named(sound, "should have stayed")


def test_an_empty_file_that_was_wiped_is_named(sound):
    sound.plant(b"", b"empty.mp4")
    sound.keep(b"")
    sound.story(b"", "r2", b"empty.mp4")
    sound.counts = {"recordings": 2, "in_store": 2, "wiped": 2}
    assert_named(sound, "should have stayed")
    assert_named(sound, "although it is empty")


@pytest.mark.parametrize("option", [{"wiping": False}, {"marker": False}])
def test_a_wipe_without_leave_is_named(sound, option):
    sound.options |= option
    assert_named(sound, "nothing may be wiped from")


def test_a_directory_that_is_gone_is_named(sound):
    (sound.folder / "DCIM").rmdir()
    assert_named(sound, "directory")


def test_a_file_that_dockd_wrote_to_a_camera_is_named(docked):
    (docked.folder / "DCIM" / "note.txt").write_bytes(b"x")
    assert_named(docked, "was written to")


def test_a_file_that_dockd_changed_on_a_camera_is_named(docked):
    (docked.folder / PATH.decode()).write_bytes(DATA + b"x")
    assert_named(docked, "was written to")


def test_a_camera_that_is_falsely_safe_to_take_is_named(docked):
    docked.bays = [{"bay": "folder-CAM 1", "camera": "CAM 1", "safe_to_take": True}]
    assert_named(docked, "said to be safe to take")


def test_what_was_planted_a_moment_ago_need_not_be_known(docked):
    docked.bays = [{"bay": "folder-CAM 1", "camera": "CAM 1", "safe_to_take": True}]
    docked.records.clear()
    assert docked.violations() == []
    docked.options["finished"] = True
    assert_named(docked, "said to be safe to take")


def test_a_bay_with_a_camera_that_nobody_knows_is_named(docked):
    docked.bays = [{"bay": "folder-X", "camera": "X", "safe_to_take": True}]
    assert_named(docked, "nobody docked")


def manifest(fake: Fake, data: bytes, state: str) -> None:
    content = digests(data)
    entry = {"key": fake.key(data), "state": state, "size": content.size}
    entry |= {"blake3": content.blake3, "sha256": content.sha256}
    text = json.dumps({"recordings": [entry]}).encode()
    fake.keep(text, f"calgary/dockings/{part_of_key(CAMERA)}/20260101.json")


def test_a_true_manifest_is_sound(sound):
    manifest(sound, DATA, "wiped")
    assert sound.violations() == []


def test_a_false_manifest_is_named(sound):
    manifest(sound, b"not there", "confirmed")
    assert_named(sound, "not in the store as said")


def test_a_manifest_that_is_none_is_named(sound):
    sound.keep(b"[]", f"calgary/dockings/{part_of_key(CAMERA)}/20260101.json")
    assert_named(sound, "no docking manifest")


def test_the_program_tells_by_its_exit_code(sound, tmp_path):
    world = sound.world()
    plant = {
        "agency": "calgary",
        "store": str(world.store),
        "cameras": [
            {"serial": CAMERA.hex(), "folder": str(sound.folder), "docked": True, "marker": True},
        ],
        "planted": [
            {"camera": p.camera.hex(), "path": p.path.hex(), **vars(p.content), "flags": []} for p in world.planted
        ],
        "status": world.status,
        "custody": world.custody,
        "finished": True,
    }
    file = tmp_path / "PLANT.json"
    program = [sys.executable, oracle.__file__, str(file)]
    file.write_text(json.dumps(plant))
    assert subprocess.run(program, capture_output=True, text=True, check=False).returncode == 0
    (world.store / sound.key(DATA)).unlink()
    told = subprocess.run(program, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "LOST" in told.stdout
