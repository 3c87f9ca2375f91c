"""Names as hostile as a file system allows, and entries that are no recordings."""

import os
import socket

import pytest
from e2e.harness import alerts
from e2e.kernel import need_root
from e2e.planting import MIB
from oracle_world import part_of_key

HOSTILE = [
    b"plain.mp4",
    b"with space.mp4",
    b" leading and trailing ",
    b"-rf",
    b"--config",
    b".hidden.mp4",
    b"..mp4",
    b"...",
    b"new\nline.mp4",
    b"carriage\rreturn\ttab.mp4",
    b"\x01\x02\x1b[31mred\x7f.mp4",
    b"quote\"s'and`ticks`.mp4",
    b"$(reboot);&|<>*?[]{}!.mp4",
    b"back\\slash.mp4",
    b"per%2Fcent%00.mp4",
    b"not-utf8-\xff\xfe\x80.mp4",
    b"latin1-caf\xe9.mp4",
    "überwachung-監視-🎥.mp4".encode(),
    "right-to-left-\u202e4pm.exe".encode(),
    "line\u2028separator\u0085.mp4".encode(),
    "nfc-\u00e9.mp4".encode(),
    "nfd-e\u0301.mp4".encode(),
    b"x" * 251 + b".mp4",
    b"\xff" * 255,
    b"double.tar.gz",
    b"long.suffixthatisnone",
    b"odd.m-4",
    b"UPPER.MP4",
    b"upper.mp4",
    b"dot.",
    b"~tilde~.mp4",
    b"#comment+plus=.mp4",
    b"CON",
    b"dockd.part",
    b".partial",
    b".abc.partial",
    b".dockd-store",
    b"sub/.dockd-camera",
    b"deep/" + b"d/" * 40 + b"file.mp4",
]


def test_hostile_file_names_are_just_bytes(dock):
    dock.cameras.add("CAM1", {name: 1000 + number for number, name in enumerate(HOSTILE)})
    counts = dock.finish()["counts"]
    assert counts["wiped"] == len(HOSTILE)
    assert dock.explain("CAM1")


def test_names_that_are_not_text_stand_in_hex_beside_it(dock):
    dock.cameras.add("CAM1", {b"not-utf8-\xff.mp4": 1000, b"text.mp4": 1000})
    dock.finish()
    found = {record["path"]: record.get("path_hex") for record in dock.events("recording_found")}
    assert found["text.mp4"] is None
    assert set(found.values()) == {None, b"not-utf8-\xff.mp4".hex()}


@pytest.mark.parametrize(
    "serial",
    [
        b"with space",
        b"-rf",
        b".hidden",
        b"...",
        b"a+b#c",
        b"not-utf8-\xff\x80",
        "監視".encode(),
        b"new\nline",
        b"per%2Fcent",
        b"x" * 255,
        b"\xfe" * 255,
        b"X" * 200,
        b"X" * 201,
    ],
)
def test_hostile_serials_are_encoded_part_by_part(dock, serial):
    dock.cameras.add(serial, {b"a.mp4": 5000})
    dock.finish()
    folder = dock.store / "calgary" / "recordings" / part_of_key(serial)
    assert [path.suffix for path in folder.iterdir()] == [".mp4"]
    assert list(folder.parent.iterdir()) == [folder]


def test_serials_that_differ_in_nothing_but_case_are_two_cameras(dock):
    same = b"same bytes" * 1000
    dock.cameras.add("cam", {b"a.mp4": same})
    dock.cameras.add("CAM", {b"a.mp4": same})
    dock.finish()
    assert len(dock.objects()) == 2


def test_links_pipes_and_sockets_are_left_alone_and_counted(dock, tmp_path, monkeypatch):
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"never to be taken" * 100)
    staged = tmp_path / "staged"
    staged.mkdir()
    monkeypatch.chdir(staged)
    os.symlink(outside, "link.mp4")
    os.symlink("a.mp4", "inner.mp4")
    os.symlink(tmp_path, "folder-link")
    os.symlink("nowhere", "broken.mp4")
    os.symlink("loop.mp4", "loop.mp4")
    os.mkfifo("pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.mp4")
        folder = dock.cameras.add("CAM1", {b"a.mp4": MIB}, docked=False)
        odd = sorted(os.listdir())
        for name in odd:
            os.rename(name, folder / name)
        dock.cameras.redock("CAM1")
        status = dock.finish()
    assert status["counts"]["recordings"] == 1
    assert alerts(status, "entries_left_alone")
    assert sorted(set(os.listdir(dock.cameras.folder("CAM1"))) - {".dockd-camera"}) == odd
    assert outside.exists()


def test_device_nodes_are_left_alone(dock):
    need_root("a device node")
    folder = dock.cameras.add("CAM1", {b"a.mp4": MIB}, docked=False)
    os.mknod(folder / "zero.mp4", 0o20666, os.makedev(1, 5))
    dock.cameras.redock("CAM1")
    assert dock.finish()["counts"]["recordings"] == 1
    assert (dock.cameras.folder("CAM1") / "zero.mp4").is_char_device()


def test_hard_links_are_recordings_of_their_own_stored_once(dock):
    folder = dock.cameras.add("CAM1", {b"a.mp4": MIB}, docked=False)
    os.link(folder / "a.mp4", folder / "b.mp4")
    dock.cameras.adopt("CAM1", b"b.mp4")
    dock.cameras.redock("CAM1")
    assert dock.finish()["counts"]["wiped"] == 2
    assert len(dock.objects("CAM1")) == 1


def test_a_hard_link_from_outside_keeps_its_bytes(dock, tmp_path):
    folder = dock.cameras.add("CAM1", {b"a.mp4": MIB}, docked=False)
    kept = tmp_path / "kept.mp4"
    os.link(folder / "a.mp4", kept)
    before = kept.read_bytes()
    dock.cameras.redock("CAM1")
    dock.finish()
    assert kept.read_bytes() == before


def test_a_hard_link_into_the_store_is_never_wiped(make_dock):
    """The camera's file and the object may be one and the same: deleting it proves nothing."""
    dock = make_dock(wipe_mode="off")
    dock.start()
    dock.cameras.add("CAM1", {b"a.mp4": MIB, b"b.mp4": MIB})
    dock.wait_stored()
    assert dock.term() == 0
    digest = dock.cameras.newest("CAM1", b"a.mp4").content.blake3
    (stored,) = [path for path in dock.objects("CAM1") if path.stem == digest]
    dock.cameras.remove("CAM1", b"a.mp4")
    os.link(stored, dock.cameras.file("CAM1", b"a.mp4"))
    dock.cameras.adopt("CAM1", b"a.mp4", "held")
    dock.restart(wipe_mode="on")
    dock.wait(lambda status: status["counts"]["wiped"] >= 1, "the other one is wiped")
    dock.wait_idle()
    dock.judge()
    assert dock.cameras.file("CAM1", b"a.mp4").exists()


def test_a_linked_folder_is_no_camera(dock, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".dockd-camera").touch()
    (elsewhere / "a.mp4").write_bytes(b"not on a camera")
    os.symlink(elsewhere, dock.cameras.docked / "LINK")
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    dock.finish()
    assert (elsewhere / "a.mp4").exists()
    assert [bay["bay"] for bay in dock.status()["bays"]] == ["folder-CAM1"]


def test_a_file_among_the_cameras_is_no_camera(dock):
    (dock.cameras.docked / "note.txt").write_text("hello")
    dock.cameras.add("CAM1", {b"a.mp4": MIB})
    dock.finish()
    assert (dock.cameras.docked / "note.txt").exists()


def test_the_walk_never_crosses_a_file_system(dock, mounts):
    folder = dock.cameras.add("CAM1", {b"a.mp4": MIB, b"inner/b.mp4": 1000})
    # What lies on the other disk is none of the camera's.
    mounts.memory(folder / "other")
    (folder / "other" / "c.mp4").write_bytes(b"x" * 1000)
    dock.cameras.adopt("CAM1", b"other/c.mp4", "not_a_recording")
    dock.finish()
    assert dock.counts()["recordings"] == 2


def test_what_is_no_recording_by_its_pattern_is_left_alone(make_dock):
    dock = make_dock(recordings=("DCIM/**", "*.mp4"))
    dock.start()
    dock.cameras.add("CAM1", {b"DCIM/1/a.jpg": 5000, b"top.mp4": MIB}, docked=False)
    for path in (b"notes.txt", b"GPS/track.gpx", b"DCIMX/a.mp4", b"dcim/a.mp4"):
        dock.cameras.plant("CAM1", path, 4000, "not_a_recording")
    dock.cameras.redock("CAM1")
    status = dock.finish()
    assert status["counts"]["recordings"] == 2
    assert alerts(status, "entries_left_alone")
