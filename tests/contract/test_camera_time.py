"""The file into which a camera writes its own clock's time: read, never taken for a recording, never followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from contract.cameras import CameraKind
from contract.tools import Steps, plant

from dockd.cameras.time_file import LIMIT_BYTES, TimeFile
from dockd.errors import CameraGoneError

TIME_FILE = b"LOG/TIME.TXT"
TEXT = b"2026-03-01 12:00:00\n"


def test_it_is_read_and_is_no_recording_and_nothing_that_was_left_alone(camera_kind: CameraKind) -> None:
    path = plant(camera_kind.root / "LOG" / "TIME.TXT", TEXT)
    plant(camera_kind.root / "LOG" / "b.mp4", b"footage")
    os.utime(path, ns=(10**18, 1_700_000_000_000_000_000))
    camera = camera_kind.docked(time_file=TIME_FILE)
    assert camera.read_time_file() == TimeFile(TEXT, 1_700_000_000_000_000_000)
    listing = camera.list(Steps())
    assert set(listing.files) == {b"LOG/b.mp4"}
    assert set(listing.others) == {TIME_FILE}
    assert dict(listing.left_alone) == {}
    assert path.stat().st_atime_ns == 10**18


def test_without_a_name_for_it_nothing_is_read_and_it_is_a_recording_like_any_other(camera_kind: CameraKind) -> None:
    plant(camera_kind.root / "LOG" / "TIME.TXT", TEXT)
    camera = camera_kind.docked()
    assert camera.read_time_file() is None
    assert set(camera.list(Steps()).files) == {TIME_FILE}


def test_of_a_long_one_only_the_beginning_is_read(camera_kind: CameraKind) -> None:
    plant(camera_kind.root / "LOG" / "TIME.TXT", TEXT * 10_000)
    found = camera_kind.docked(time_file=TIME_FILE).read_time_file()
    assert found is not None
    assert len(found.content) == LIMIT_BYTES


@pytest.mark.parametrize("what", ["nothing", "link", "folder", "pipe"])
def test_what_is_no_file_says_nothing(camera_kind: CameraKind, what: str, tmp_path: Path) -> None:
    folder = camera_kind.root / "LOG"
    folder.mkdir()
    outside = tmp_path / "outside"
    outside.write_bytes(TEXT)
    there = folder / "TIME.TXT"
    {
        "nothing": lambda: None,
        "link": lambda: there.symlink_to(outside),
        "folder": there.mkdir,
        "pipe": lambda: os.mkfifo(there),
    }[what]()
    assert camera_kind.docked(time_file=TIME_FILE).read_time_file() is None


def test_a_camera_that_is_gone_is_no_camera_without_a_file(tmp_path: Path, camera_kind: CameraKind) -> None:
    plant(camera_kind.root / "LOG" / "TIME.TXT", TEXT)
    camera = camera_kind.docked(time_file=TIME_FILE)
    camera.close()
    if camera.write_block == "none":
        with pytest.raises(CameraGoneError):
            camera.read_time_file()
