"""What is made of listings: new files, known ones, others in their place, and those that are gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from journal_desk import CAMERA, MTIME_NS, OTHER_CAMERA, PATH, Desk, desk_in, seen, seen_file

from dockd.identity import Seen
from dockd.journal import dockings, queries, recordings
from dockd.journal.dockings import Rules, SeenFile, intent_resolved, mtime_text
from dockd.journal.rows import DockingRow, RecordingRow
from dockd.lifecycle import DockingState, RecordingState

R = RecordingState
HOUR_NS = 3_600_000_000_000


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


def told(desk: Desk, *events: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in desk.lines()]
    return [record for record in records if record["event"] in events] if events else records


def half_copied(desk: Desk, docking: DockingRow) -> RecordingRow:
    desk.note(docking, seen_file())
    row = desk.newest()
    desk.do(lambda tx: recordings.begin_copy(tx, row.id, "spool-1"))
    desk.do(lambda tx: recordings.add_marks(tx, row.id, [recordings.LedgerMark(500, b"m" * 32)]))
    return desk.newest()


def look_again(desk: Desk, file: SeenFile, rules: Rules | None = None) -> DockingRow:
    """The camera is docked anew, with this file on it."""
    docking = desk.dock()
    desk.note(docking, file, rules=rules)
    return docking


# --- one stay ----------------------------------------------------------------------------------------


def test_a_new_file_is_found_and_recorded_once(desk: Desk) -> None:
    docking = desk.dock()
    for _ in range(3):
        assert desk.note(docking, seen_file()) == []
    row = desk.newest()
    assert (row.state, row.generation, row.on_device, row.docking) == (R.FOUND, 1, True, docking.id)
    (found,) = told(desk, "recording_found")
    assert (found["again"], found["size"], found["docking"]) == (False, 1000, docking.name)
    assert desk.do(lambda tx: queries.to_copy(tx, docking.id)) == [row]


def test_a_known_file_is_recorded_once_in_each_stay(desk: Desk) -> None:
    first = desk.dock()
    desk.note(first, seen_file())
    second = look_again(desk, seen_file())
    desk.note(second, seen_file())
    assert [(found["again"], found["docking"]) for found in told(desk, "recording_found")] == [
        (False, first.name),
        (True, second.name),
    ]


def test_names_that_are_not_utf_8_are_recorded_byte_for_byte(desk: Desk) -> None:
    docking = desk.dock(OTHER_CAMERA)
    desk.note(docking, seen_file(b"DCIM/\xff\n.mp4"))
    (found,) = told(desk, "recording_found")
    assert bytes.fromhex(found["path_hex"]) == b"DCIM/\xff\n.mp4"
    assert bytes.fromhex(found["camera_hex"]) == OTHER_CAMERA.serial
    assert desk.newest(b"DCIM/\xff\n.mp4").path == b"DCIM/\xff\n.mp4"


@pytest.mark.parametrize("size_bytes", [0, 2**32 - 1])
def test_a_file_of_an_odd_size_is_taken_and_never_wiped(desk: Desk, size_bytes: int) -> None:
    docking = desk.dock()
    desk.note(docking, seen_file(what=seen(size_bytes)))
    assert desk.newest().blocks_wipe is not None
    (anomaly,) = told(desk, "recording_anomaly")
    assert anomaly["blocks_wipe"] is True
    assert desk.do(lambda tx: queries.to_copy(tx, docking.id)) == [desk.newest()]


def test_what_a_listing_holds_against_a_wipe_stays_even_if_the_next_does_not(desk: Desk) -> None:
    docking = desk.dock()
    desk.note(docking, seen_file())
    desk.note(docking, seen_file(blocks_wipe="hard-linked"))
    assert desk.newest().blocks_wipe == "hard-linked"
    desk.note(docking, seen_file())
    assert desk.newest().blocks_wipe == "hard-linked"


def test_a_change_before_the_first_byte_was_read_makes_no_second_recording(desk: Desk) -> None:
    docking = desk.dock()
    desk.note(docking, seen_file())
    assert desk.note(docking, seen_file(what=seen(2000, inode=12))) == []
    row = desk.newest()
    assert (row.generation, row.size_bytes, row.inode, row.state) == (1, 2000, 12, R.FOUND)
    assert desk.do(queries.counts)["recordings"] == 1
    assert [record["anomaly"] for record in told(desk, "recording_anomaly")] == ["changed-before-copy"]


@pytest.mark.parametrize(
    "other", [seen(2000), seen(mtime_ns=MTIME_NS + 1), seen(inode=12)], ids=["size", "mtime", "inode"]
)
def test_a_change_after_half_a_copy_makes_two_recordings(desk: Desk, other: Any) -> None:
    docking = desk.dock()
    old = half_copied(desk, docking)
    assert [row.id for row in desk.note(docking, seen_file(what=other))] == [old.id]
    new = desk.newest()
    assert (desk.row(old.id).state, desk.row(old.id).on_device) == (R.VANISHED, False)
    assert (new.generation, new.state, new.spool_name, new.on_device) == (2, R.FOUND, None, True)
    (vanished,) = told(desk, "recording_vanished")
    assert (vanished["recording"], vanished["copied_bytes"], vanished["size"]) == (old.uid, 500, 1000)


@pytest.mark.parametrize("state", [R.SPOOLED, R.UPLOADED, R.CONFIRMED])
def test_another_file_in_the_place_of_a_copied_one_is_a_recording_of_its_own(desk: Desk, state: R) -> None:
    docking = desk.dock()
    old = desk.bring_to(state, docking=docking)
    assert [row.id for row in desk.note(docking, seen_file(what=seen(2000)))] == [old.id]
    assert (desk.row(old.id).state, desk.row(old.id).on_device) == (state, False)
    assert (desk.newest().generation, desk.newest().state) == (2, R.FOUND)
    assert [record["anomaly"] for record in told(desk, "recording_anomaly")] == ["gone-from-camera"]


def test_after_a_wipe_the_same_file_is_a_recording_of_its_own(desk: Desk) -> None:
    docking = desk.dock()
    old = desk.bring_to(R.WIPED, docking=docking)
    assert desk.note(docking, seen_file(uid="uid-2")) == []
    assert desk.row(old.id) == old
    new = desk.newest()
    assert (new.generation, new.state, new.on_device) == (2, R.FOUND, True)
    assert desk.do(queries.counts)["wiped"] == 1


# --- the next stay -----------------------------------------------------------------------------------


def test_what_left_half_copied_goes_on_in_the_next_stay(desk: Desk) -> None:
    first = desk.dock()
    old = half_copied(desk, first)
    desk.end(first)
    assert desk.do(queries.counts)["awaiting_return"] == 1
    docking = look_again(desk, seen_file())
    row = desk.newest()
    assert (row.id, row.on_device, row.docking, row.begun_docking) == (old.id, True, docking.id, first.id)
    _, marks = desk.do(lambda tx: recordings.begin_copy(tx, row.id, "spool-2"))
    assert [mark.end_bytes for mark in marks] == [500]
    assert desk.newest().spool_name == "spool-1"


def test_the_same_name_with_other_content_in_the_next_stay_makes_two(desk: Desk) -> None:
    first = desk.dock()
    old = half_copied(desk, first)
    desk.end(first)
    look_again(desk, seen_file(what=seen(mtime_ns=MTIME_NS + 1)))
    assert desk.row(old.id).state is R.VANISHED
    assert desk.newest().generation == 2
    assert desk.do(queries.counts)["unaccounted"] == 1


def test_an_hour_of_summer_time_makes_no_new_recording_on_fat(desk: Desk) -> None:
    first = desk.dock()
    half_copied(desk, first)
    desk.end(first)
    shifted = seen_file(what=seen(mtime_ns=MTIME_NS + HOUR_NS, inode=99))
    look_again(desk, shifted, Rules(stable_inodes=False, local_times=True))
    assert (desk.newest().generation, desk.newest().inode) == (1, 99)


def test_what_vanished_and_came_back_is_found_again(desk: Desk) -> None:
    docking = desk.dock()
    row = half_copied(desk, docking)
    assert desk.listed(docking) == 1
    assert desk.row(row.id).state is R.VANISHED
    desk.note(docking, seen_file())
    assert desk.row(row.id).state is R.FOUND
    assert desk.do(queries.counts)["unaccounted"] == 0


def test_a_confirmed_one_that_is_seen_again_has_to_be_read_again(desk: Desk) -> None:
    row = desk.bring_to(R.CONFIRMED)
    docking = look_again(desk, seen_file())
    assert desk.newest().state is R.CONFIRMED
    assert [found.id for found in desk.do(lambda tx: queries.to_recheck(tx, docking.id))] == [row.id]
    counts = desk.do(lambda tx: queries.bay_counts(tx, docking.id))
    assert (counts.confirmed, counts.unverified) == (1, 1)
    desk.do(lambda tx: recordings.reread_equal(tx, row.id, docking.id))
    assert desk.do(lambda tx: queries.to_recheck(tx, docking.id)) == []
    assert desk.do(lambda tx: queries.bay_counts(tx, docking.id)).unverified == 0


def test_a_sole_copy_is_sent_first(desk: Desk) -> None:
    docked, away = desk.dock(), desk.dock(OTHER_CAMERA, "2")
    first = desk.bring_to(R.SPOOLED, b"first.mp4", docked)
    sole = desk.bring_to(R.SPOOLED, b"sole.mp4", away)
    assert [row.id for row in desk.do(queries.to_store)] == [first.id, sole.id]
    desk.end(away)
    assert [row.id for row in desk.do(queries.to_store)] == [sole.id, first.id]


# --- listings, and the end of a stay -----------------------------------------------------------------


def test_a_first_whole_listing_makes_the_stay_active(desk: Desk) -> None:
    docking = desk.dock()
    assert docking.state is DockingState.IDENTIFYING
    assert desk.listed(docking) == 0
    assert desk.do(lambda tx: tx.docking(docking.id)).state is DockingState.ACTIVE
    desk.listed(docking)


@pytest.mark.parametrize(
    ("state", "after", "counted"),
    [
        (R.FOUND, R.VANISHED, "unaccounted"),
        (R.SPOOLED, R.SPOOLED, "sole_copy"),
        (R.UPLOADED, R.UPLOADED, "sole_copy"),
        (R.CONFIRMED, R.CONFIRMED, "in_store"),
        (R.WIPE_INTENT, R.WIPE_INTENT, "in_store"),
        (R.WIPED, R.WIPED, "in_store"),
    ],
)
def test_what_is_not_in_a_whole_listing_is_gone(desk: Desk, state: R, after: R, counted: str) -> None:
    docking = desk.dock()
    row = desk.bring_to(state, docking=docking)
    lines = len(desk.lines())
    gone = desk.listed(docking)
    assert (gone, len(desk.lines()) - lines) == ((0, 0) if state in (R.WIPE_INTENT, R.WIPED) else (1, 1))
    assert desk.row(row.id).state is after
    assert desk.row(row.id).on_device is (state is R.WIPE_INTENT)
    assert desk.do(queries.counts)[counted] == 1
    # And it is told once.
    assert desk.listed(docking) == 0
    assert len(desk.lines()) - lines == gone


def test_what_is_still_being_written_is_not_gone(desk: Desk) -> None:
    docking = desk.dock()
    desk.bring_to(R.FOUND, docking=docking)
    assert desk.listed(docking, PATH) == 0
    assert desk.newest().state is R.FOUND


def test_what_was_left_behind_on_a_camera_and_is_not_there_any_more_is_gone(desk: Desk) -> None:
    first = desk.dock()
    half_copied(desk, first)
    desk.end(first)
    assert desk.listed(desk.dock()) == 1
    assert desk.newest().state is R.VANISHED


def test_the_end_of_a_stay_is_told_once_with_its_counts(desk: Desk) -> None:
    docking = desk.dock()
    for number, state in enumerate([R.FOUND, R.SPOOLED, R.CONFIRMED, R.WIPE_INTENT, R.WIPED]):
        desk.bring_to(state, f"{number}.mp4".encode(), docking)
    desk.end(docking, "it was pulled")
    desk.end(docking, "again")
    (removed,) = told(desk, "camera_removed")
    assert (removed["recordings"], removed["confirmed"], removed["wiped"]) == (5, 3, 1)
    assert removed["why"] == "it was pulled"
    ended = desk.do(lambda tx: tx.docking(docking.id))
    assert (ended.state, ended.ended_why) == (DockingState.ENDED, "it was pulled")
    assert desk.ask("SELECT count(*) FROM recording WHERE on_device") == [(0,)]


def test_a_camera_stays_in_one_place_at_a_time(desk: Desk) -> None:
    first, other = desk.dock(CAMERA, "1"), desk.dock(OTHER_CAMERA, "2")
    second = desk.dock(CAMERA, "3")
    assert desk.do(lambda tx: tx.docking(first.id)).state is DockingState.ENDED
    assert desk.do(lambda tx: tx.docking(other.id)).state is DockingState.IDENTIFYING
    assert desk.ask("SELECT count(*) FROM camera") == [(2,)]
    assert first.name < other.name < second.name


def test_cameras_with_one_serial_and_other_makers_are_two(desk: Desk) -> None:
    desk.dock(CAMERA)
    desk.dock(type(CAMERA)(CAMERA.serial, "46f4", "0002"), "2")
    assert desk.ask("SELECT count(*) FROM camera") == [(2,)]


def test_stays_are_named_in_order_when_the_clock_goes_back(desk: Desk) -> None:
    first = desk.dock()
    desk.clock.wall = desk.clock.wall.replace(year=2001)
    desk.reopen()
    assert first.name < desk.dock().name


# --- wipes that were interrupted ---------------------------------------------------------------------


@pytest.mark.parametrize(("gone", "state"), [(True, R.WIPED), (False, R.CONFIRMED)])
def test_an_interrupted_wipe_is_settled_by_a_look_at_the_device(desk: Desk, gone: bool, state: R) -> None:
    row = desk.bring_to(R.WIPE_INTENT)
    docking = desk.dock()
    assert desk.do(lambda tx: queries.intents(tx, row.camera)) == [desk.row(row.id)]
    desk.do(lambda tx: intent_resolved(tx, docking, row.id, gone=gone, key=row.store_key or ""))
    assert desk.row(row.id).state is state
    last = told(desk)[-1]
    assert last["event"] == ("recording_wiped" if gone else "recording_returned")
    assert last.get("interrupted") is (True if gone else None), "nobody saw dockd unlink it"


@pytest.mark.parametrize(
    ("mtime_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_770_000_000_123_456_789, "2026-02-02T02:40:00.123Z"),
        (-1_000_000_000, "1969-12-31T23:59:59.000Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854Z"),
        (10**21, f"{10**21} ns"),
        (-(10**21), f"{-(10**21)} ns"),
    ],
)
def test_times_as_the_camera_gave_them_are_told_or_given_in_ns(mtime_ns: int, text: str) -> None:
    assert mtime_text(mtime_ns) == text


# --- what had not come to rest -----------------------------------------------------------------------


def end_with(desk: Desk, docking: DockingRow, *files: SeenFile) -> None:
    desk.do(lambda tx: dockings.end_docking(tx, docking.id, "it left", files, Rules()))


def test_what_was_still_being_written_when_its_camera_left_is_awaited(desk: Desk) -> None:
    docking = desk.dock()
    end_with(desk, docking, seen_file(what=seen(500)))
    row = desk.newest()
    assert (row.state, row.on_device, row.problem) == (R.FOUND, False, "not_settled")
    assert desk.do(queries.counts)["awaiting_return"] == 1
    ((serial, count, since),) = desk.do(queries.awaited)
    assert (serial, count) == (CAMERA.serial, 1)
    assert since is not None
    (removed,) = told(desk, "camera_removed")
    assert removed["recordings"] == 1


@pytest.mark.parametrize("later", [seen(500), seen(2000, mtime_ns=MTIME_NS + 5)], ids=["as it was", "grown"])
def test_it_is_the_same_recording_when_it_comes_back_whole(desk: Desk, later: Seen) -> None:
    end_with(desk, desk.dock(), seen_file(what=seen(500)))
    back = desk.dock()
    desk.note(back, seen_file(what=later))
    row = desk.newest()
    assert (row.generation, row.state, row.size_bytes, row.problem) == (1, R.FOUND, later.size_bytes, None)
    assert row.on_device
    assert [one.id for one in desk.do(lambda tx: queries.to_copy(tx, back.id))] == [row.id]
    assert [one.id for one in desk.do(lambda tx: queries.unpublished(tx, back.id))] == [row.id]
    assert desk.do(queries.counts)["unaccounted"] == 0


def test_it_is_unaccounted_if_the_camera_comes_back_without_it(desk: Desk) -> None:
    end_with(desk, desk.dock(), seen_file(what=seen(500)))
    back = desk.dock()
    desk.listed(back)
    assert desk.do(queries.counts)["unaccounted"] == 1


@pytest.mark.parametrize("state", [R.SPOOLED, R.CONFIRMED])
def test_a_known_one_that_was_open_again_stays_what_it_is(desk: Desk, state: R) -> None:
    docking = desk.dock()
    row = desk.bring_to(state, docking=docking)
    end_with(desk, docking, seen_file())
    assert (desk.row(row.id).state, desk.row(row.id).problem) == (state, None)
    assert desk.do(queries.counts)["recordings"] == 1


def test_one_that_had_grown_behind_its_copy_is_awaited_beside_it(desk: Desk) -> None:
    docking = desk.dock()
    row = desk.bring_to(R.CONFIRMED, docking=docking)
    end_with(desk, docking, seen_file(what=seen(9000)))
    assert desk.row(row.id).state is R.CONFIRMED
    assert desk.newest().generation == 2
    counts = desk.do(queries.counts)
    assert (counts["recordings"], counts["in_store"], counts["awaiting_return"]) == (2, 1, 1)
