"""One sentence for each recording, and none that contradicts what is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from journal_desk import CAMERA, OTHER_CAMERA, Desk, desk_in, seen, seen_file

from dockd.journal import recordings
from dockd.journal.queries import find_cameras
from dockd.journal.rows import RecordingRow
from dockd.lifecycle import IN_STORE, RecordingState
from dockd.report.explain import explain

R = RecordingState
MODES = ("on", "observe", "off")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


def sentence(desk: Desk, row: RecordingRow, mode: str = "on", grace_s: float = 0.0) -> str:
    return desk.do(lambda tx: explain(tx, tx.recording(row.id), mode, grace_s))


def known(desk: Desk, row: RecordingRow, **values: Any) -> RecordingRow:
    desk.do(lambda tx: tx.update(row, **values))
    return desk.row(row.id)


def hold(desk: Desk, **values: Any) -> None:
    common = {"name": "hold-1", "camera": CAMERA.serial, "scope": "camera", "json": "{}"}
    desk.do(lambda tx: tx.insert("hold", **(common | values)))


CASES = [
    (state, docked, fault)
    for state, docked, fault in product(R, (True, False), (None, "missing", "altered"))
    if fault is None or state in IN_STORE
]


@pytest.mark.parametrize(("state", "docked", "fault"), CASES)
def test_no_sentence_contradicts_the_state(desk: Desk, state: R, docked: bool, fault: str | None) -> None:
    docking = desk.dock()
    row = known(desk, desk.bring_to(state, docking=docking), store_fault=fault)
    if not docked:
        desk.end(docking)
    for mode in MODES:
        check_sentence(desk.row(row.id), sentence(desk, row, mode), mode)


def check_sentence(row: RecordingRow, said: str, mode: str) -> None:
    state, fault = row.state, row.store_fault
    assert said.startswith("DCIM/one.MP4: ")
    assert said.endswith(".")
    assert "None" not in said
    assert ("was wiped" in said) == (state is R.WIPED), said
    if state in (R.WIPED, R.WIPE_INTENT):
        assert "not wiped" not in said
        assert "stays on the camera" not in said
    if state not in IN_STORE or fault is not None:
        assert "is in the store" not in said
    if fault is not None:
        assert fault in said
    if not row.on_device:
        assert "stays on the camera" not in said
        assert "on the docked camera" not in said
    if mode != "on" or state is not R.CONFIRMED or not row.on_device or fault is not None:
        assert "it is wiped as soon as" not in said
    if state is R.FOUND:
        assert ("dock the camera again" in said) is not row.on_device


def test_what_keeps_a_confirmed_one_on_the_camera_is_named(desk: Desk) -> None:
    row = desk.bring_to(R.CONFIRMED)
    assert row.store_key is not None
    assert row.store_key in sentence(desk, row)
    assert row.confirmed_utc is not None
    assert row.confirmed_utc in sentence(desk, row)
    assert "once the record of that is signed" in sentence(desk, row)
    desk.sign()
    assert "wiped as soon as" in sentence(desk, row)
    assert "wipe.mode is off" in sentence(desk, row, "off")
    assert "observe" in sentence(desk, row, "observe")
    known(desk, row, wipe_refusal="grace: 5 s of the grace time are left")
    assert "grace: 5 s" in sentence(desk, row)
    known(desk, row, blocks_wipe="zero-length")
    assert "zero-length" in sentence(desk, row)
    hold(desk)
    assert "hold-1" in sentence(desk, row)
    assert "hold-1" in sentence(desk, row, "off")


def test_grace_is_told_in_seconds_that_are_left(desk: Desk) -> None:
    row = desk.bring_to(R.CONFIRMED)
    desk.do(lambda tx: tx.set_meta("seen_s", "60.0"))
    assert "90 s" in sentence(desk, row, grace_s=100.0)
    assert "grace" not in sentence(desk, row, grace_s=10.0)


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ({}, True),
        ({"camera": OTHER_CAMERA.serial}, False),
        ({"scope": "recording", "recording": "elsewhere"}, False),
        ({"scope": "recording", "recording": "elsewhere", "path": b"DCIM/one.MP4"}, True),
        ({"scope": "recording", "camera": OTHER_CAMERA.serial, "path": b"DCIM/one.MP4"}, False),
    ],
)
def test_a_hold_is_named_if_it_covers_the_recording(desk: Desk, values: dict[str, Any], held: bool) -> None:
    row = desk.bring_to(R.CONFIRMED)
    hold(desk, **values)
    assert ("hold-1" in sentence(desk, row)) is held


def test_a_hold_by_id_or_by_content_covers_it(desk: Desk) -> None:
    row = desk.bring_to(R.CONFIRMED)
    hold(desk, scope="recording", recording=row.uid, camera=b"written otherwise by another dock")
    assert "hold-1" in sentence(desk, row)
    desk.do(lambda tx: tx.run("DELETE FROM hold"))
    hold(desk, scope="recording", blake3=row.blake3)
    assert "hold-1" in sentence(desk, row)


@pytest.mark.parametrize("state", [R.FOUND, R.SPOOLED, R.UPLOADED])
def test_what_cannot_go_on_says_why(desk: Desk, state: R) -> None:
    row = desk.bring_to(state)
    desk.do(lambda tx: recordings.problem(tx, row.id, "unreadable", "input/output error"))
    assert "unreadable: input/output error" in sentence(desk, row)


def resumed(desk: Desk) -> RecordingRow:
    return known(desk, desk.bring_to(R.SPOOLED), read_whole=False)


def test_a_copy_that_was_resumed_says_what_it_waits_for(desk: Desk) -> None:
    row = resumed(desk)
    assert "read whole once more" in sentence(desk, row)
    desk.end(desk.do(lambda tx: tx.docking(row.docking or 0)))
    assert "waits for its camera" in sentence(desk, row)


def test_one_that_the_docks_own_disk_lost_is_not_laid_to_the_camera(desk: Desk) -> None:
    docking = desk.dock()
    row = desk.bring_to(R.SPOOLED, docking=docking)
    desk.end(docking)
    desk.do(lambda tx: recordings.spool_lost(tx, row.id, "the spool gave back other bytes"))
    said = sentence(desk, row)
    assert "unaccounted" in said
    assert "was not whole here" not in said
    assert "Ask who used the camera" not in said


def test_generations_of_one_name_are_told_apart(desk: Desk) -> None:
    docking = desk.dock()
    old = desk.bring_to(R.CONFIRMED, docking=docking)
    desk.note(docking, seen_file(what=seen(2000)))
    assert "version" not in sentence(desk, old)
    assert sentence(desk, desk.newest()).startswith("DCIM/one.MP4 (version 2): ")


def test_a_name_that_is_not_utf_8_can_be_printed(desk: Desk) -> None:
    row = desk.bring_to(R.FOUND, b"DCIM/\xff.mp4")
    sentence(desk, row).encode("utf-8")


@pytest.mark.parametrize("name", ["CAM\ufffd2", "CAM%FF2"])
def test_a_camera_is_found_by_its_text_and_by_its_part_of_keys(desk: Desk, name: str) -> None:
    desk.dock()
    desk.dock(OTHER_CAMERA, "2")
    assert [row.serial for row in desk.do(lambda tx: find_cameras(tx, name))] == [OTHER_CAMERA.serial]
    assert desk.do(lambda tx: find_cameras(tx, "CAM")) == []
