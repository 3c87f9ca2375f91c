"""What holds for folder cameras alone: what can be one, and the marker by which it may be emptied."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from contract.cameras import FolderKind
from contract.tools import Steps, plant

from dockd.cameras.folder import FolderCamera
from dockd.cameras.patterns import matcher
from dockd.errors import CameraGoneError
from dockd.paths import Forbidden

DATA = b"footage" * 1000


@pytest.mark.parametrize("what", ["nothing", "file", "link", "socket"])
def test_what_is_no_folder_cannot_be_docked(tmp_path: Path, what: str) -> None:
    path = tmp_path / "CAM"
    (tmp_path / "real").mkdir()
    if what == "file":
        path.write_bytes(b"")
    elif what == "link":
        path.symlink_to(tmp_path / "real")
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    camera = FolderCamera(os.fsencode(path), matcher(["**"]), Forbidden())
    with pytest.raises(CameraGoneError):
        camera.attach()
    camera.close()


# --- the marker of folder cameras --------------------------------------------------------------------


def test_only_a_regular_marker_allows_a_wipe(tmp_path: Path) -> None:
    kind = FolderKind(tmp_path / "CAM-1")
    camera = kind.docked()
    marker = kind.root / ".dockd-camera"
    assert camera.may_wipe() == "no-marker"
    marker.symlink_to(plant(tmp_path / "elsewhere", b""))
    assert camera.may_wipe() == "no-marker"
    marker.unlink()
    marker.mkdir()
    assert camera.may_wipe() == "no-marker"
    marker.rmdir()
    marker.write_bytes(b"")
    assert camera.may_wipe() is None
    listing = camera.list(Steps())
    assert (dict(listing.files), dict(listing.left_alone)) == ({}, {})
    marker.unlink()
    assert camera.may_wipe() == "no-marker"
    kind.close()


def test_a_folder_of_the_markers_name_hides_no_recording(tmp_path: Path) -> None:
    kind = FolderKind(tmp_path / "CAM-1")
    plant(kind.root / ".dockd-camera" / "one.MP4", DATA)
    camera = kind.docked()
    listing = camera.list(Steps())
    assert listing.files.keys() == {b".dockd-camera/one.MP4"} or sum(listing.left_alone.values()) == 1
    kind.close()
