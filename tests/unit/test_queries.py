"""What the journal is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_desk import CAMERA, OTHER_CAMERA, Desk, desk_in

from dockd.journal import queries
from dockd.lifecycle import RecordingState

R = RecordingState


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


def test_what_switching_the_wipe_on_releases_is_what_nothing_else_keeps(desk: Desk) -> None:
    docking = desk.dock()
    rows = [desk.bring_to(R.CONFIRMED, b"%d.mp4" % number, docking) for number in range(6)]
    desk.bring_to(R.SPOOLED, b"spooled.mp4", docking)
    desk.bring_to(R.WIPED, b"wiped.mp4", docking)
    assert desk.do(queries.releasable) == 6
    desk.do(lambda tx: tx.update(rows[0], blocks_wipe="zero-length"))
    desk.do(lambda tx: tx.update(rows[1], store_fault="missing"))
    assert desk.do(queries.releasable) == 4
    hold = {"name": "h", "camera": CAMERA.serial, "scope": "recording", "recording": rows[2].uid, "json": "{}"}
    desk.do(lambda tx: tx.insert("hold", **hold))
    assert desk.do(queries.releasable) == 3
    desk.do(lambda tx: tx.insert("hold", **hold | {"name": "i", "camera": OTHER_CAMERA.serial, "scope": "camera"}))
    assert desk.do(queries.releasable) == 3
    desk.end(docking)
    assert desk.do(queries.releasable) == 0


def test_cameras_that_are_awaited_are_named_with_since_when(desk: Desk) -> None:
    assert desk.do(queries.awaited) == []
    docking = desk.dock()
    desk.bring_to(R.FOUND, b"one.mp4", docking)
    desk.bring_to(R.FOUND, b"two.mp4", docking)
    desk.bring_to(R.CONFIRMED, b"three.mp4", docking)
    assert desk.do(queries.awaited) == []
    desk.end(docking)
    ((serial, count, since),) = desk.do(queries.awaited)
    assert (serial, count) == (CAMERA.serial, 2)
    assert since.startswith("2026-03-01T12:00:00")


def test_cameras_of_unaccounted_recordings_are_named(desk: Desk) -> None:
    assert desk.do(queries.unaccounted_cameras) == ([], 0)
    row = desk.bring_to(R.CONFIRMED, b"one.mp4")
    desk.do(lambda tx: tx.update(row, store_fault="altered"))
    assert desk.do(queries.unaccounted_cameras) == ([CAMERA.serial], 1)
    desk.bring_to(R.VANISHED, b"two.mp4", desk.dock(OTHER_CAMERA, "2"))
    serials, faults = desk.do(queries.unaccounted_cameras)
    assert (set(serials), faults) == ({CAMERA.serial, OTHER_CAMERA.serial}, 1)
