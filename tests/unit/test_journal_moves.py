"""No state without its record, no record that changes, no recording that is forgotten, and counts that add up."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from journal_desk import PATH, STEPPED, Desk, desk_in, digests, seen, seen_file

from dockd.digests import Digests, ReadBack
from dockd.errors import IllegalMoveError
from dockd.events import RecordingVanished
from dockd.journal import queries, recordings, wipes
from dockd.journal.dockings import intent_resolved
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState

R = RecordingState
MUST = "id, uid, camera, path, generation, state, on_device, size_bytes, mtime_ns, device, inode, ctime_ns"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


def state_and_lines(desk: Desk) -> tuple[Any, ...]:
    return desk.ask("SELECT * FROM recording"), desk.ask("SELECT * FROM counter"), desk.lines()


@pytest.mark.parametrize("to", [R.UPLOADED, R.CONFIRMED, R.WIPE_INTENT, R.WIPED])
def test_an_illegal_move_stores_nothing(desk: Desk, to: R) -> None:
    row = desk.bring_to(R.FOUND)
    before = state_and_lines(desk)
    with pytest.raises(IllegalMoveError):
        desk.do(lambda tx: tx.move(row, to, [STEPPED], wiped_utc="now"))
    assert state_and_lines(desk) == before


def test_a_move_without_a_record_is_impossible(desk: Desk) -> None:
    row = desk.bring_to(R.FOUND)
    before = state_and_lines(desk)
    with pytest.raises(AssertionError, match="without a record"):
        desk.do(lambda tx: tx.move(row, R.SPOOLED, []))
    assert state_and_lines(desk) == before


def test_what_is_known_of_a_recording_changes_without_its_state(desk: Desk) -> None:
    row = desk.bring_to(R.FOUND)
    before = state_and_lines(desk)
    for values in ({"state": R.WIPED}, {"uid": "other"}, {"id": 5}, {"camera": 2}, {"bucket": "in_store"}):
        with pytest.raises(AssertionError):
            desk.do(lambda tx, values=values: tx.update(row, **values))  # type: ignore[misc]
    assert state_and_lines(desk) == before


def test_a_move_from_a_state_that_is_over_is_refused(desk: Desk) -> None:
    stale = desk.bring_to(R.FOUND)
    docking = desk.do(lambda tx: tx.docking(stale.docking or 0))
    desk.copy(stale)
    before = state_and_lines(desk)
    event = RecordingVanished.model_validate(
        {"recording": stale.uid, "camera": "c", "path": "p", "generation": 1, "why": "w", "copied_bytes": 0, "size": 1}
    )
    with pytest.raises(IllegalMoveError, match="by now"):
        desk.do(lambda tx: tx.move(stale, R.VANISHED, [event]))
    assert state_and_lines(desk) == before
    desk.end(docking)
    with pytest.raises(IllegalMoveError):
        desk.do(lambda tx: tx.move_docking(tx.docking(docking.id), docking.state))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET line = 'other' WHERE seq = 1",
        "UPDATE record SET seq = 100 WHERE seq = 1",
        "DELETE FROM record WHERE seq = 1",
        "DELETE FROM record",
        "INSERT OR REPLACE INTO record SELECT chain, seq, 'other' FROM record WHERE seq = 1",
        "DELETE FROM recording",
        "DELETE FROM recording WHERE id = 1",
        f"INSERT OR REPLACE INTO recording ({MUST}) SELECT {MUST} FROM recording",
    ],
)
def test_records_never_change_and_recordings_are_never_forgotten(desk: Desk, statement: str) -> None:
    desk.bring_to(R.WIPED)
    before = state_and_lines(desk)
    with pytest.raises(sqlite3.DatabaseError):
        desk.do(lambda tx: tx.run(statement))
    if desk.journal.fatal is None:
        assert state_and_lines(desk) == before


def test_each_state_change_has_its_record_behind_it(desk: Desk) -> None:
    row = desk.bring_to(R.WIPED)
    told = [json.loads(line) for line in desk.lines()]
    assert [record["event"] for record in told if record.get("recording") == row.uid] == [
        "recording_found",
        "recording_copied",
        "recording_uploaded",
        "recording_confirmed",
        "wipe_started",
        "recording_wiped",
    ]
    assert {record["docking"] for record in told} == {desk.ask("SELECT name FROM docking")[0][0]}


def test_numbers_as_large_as_a_file_system_gives_them_can_be_kept(desk: Desk) -> None:
    docking = desk.dock()
    desk.note(docking, seen_file(PATH, seen(2**63 - 1, inode=2**64 - 1, device=2**64 - 1, mtime_ns=-(2**62))))
    row = desk.newest()
    assert (row.size_bytes, row.inode, row.device) == (2**63 - 1, 2**64 - 1, 2**64 - 1)
    assert desk.do(queries.counts)["recordings"] == 1


def test_a_copy_goes_on_where_its_ledger_says(desk: Desk) -> None:
    row = desk.bring_to(R.FOUND)
    desk.do(lambda tx: recordings.begin_copy(tx, row.id, "spool-1"))
    marks = [recordings.LedgerMark(8 << 20, b"a" * 32), recordings.LedgerMark(16 << 20, b"b" * 32)]
    desk.do(lambda tx: recordings.add_marks(tx, row.id, marks))
    again, found = desk.do(lambda tx: recordings.begin_copy(tx, row.id, "spool-2"))
    assert (again.spool_name, found) == ("spool-1", marks)


# --- what the stages say, said out of turn -----------------------------------------------------------

BACK = ReadBack(digests(), "version-1", past_cache=True)
SAID: dict[str, tuple[set[R], Callable[[Transaction, int], object]]] = {
    "copied": ({R.FOUND}, lambda tx, row_id: recordings.copied(tx, row_id, digests(), "calgary/recordings/c/key")),
    "uploaded": ({R.SPOOLED}, lambda tx, row_id: recordings.uploaded(tx, row_id, already_there=False)),
    "upload lost": ({R.UPLOADED}, lambda tx, row_id: recordings.upload_lost(tx, row_id, "why")),
    "confirmed": ({R.UPLOADED}, lambda tx, row_id: recordings.confirmed(tx, row_id, BACK, 50.0)),
    "wipe begun": ({R.CONFIRMED}, lambda tx, row_id: wipes.wipe_intent(tx, [row_id])),
    "wiped": ({R.WIPE_INTENT}, lambda tx, row_id: wipes.wiped(tx, [row_id])),
    "wipe abandoned": ({R.WIPE_INTENT}, lambda tx, row_id: wipes.wipe_abandoned(tx, row_id, "why")),
    "seen gone": ({R.WIPE_INTENT}, lambda tx, row_id: intent_resolved(tx, tx.docking(1), row_id, gone=True, key="k")),
    "seen there": ({R.WIPE_INTENT}, lambda tx, row_id: intent_resolved(tx, tx.docking(1), row_id, gone=False, key="k")),
    "copied again": (
        {R.FOUND, R.SPOOLED, R.UPLOADED},
        lambda tx, row_id: recordings.copy_again(tx, row_id, "why"),
    ),
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("state", R)
def test_what_is_said_out_of_turn_is_refused_and_stores_nothing(desk: Desk, said: str, state: R) -> None:
    states, work = SAID[said]
    row = desk.bring_to(state)
    if state in states:
        desk.do(lambda tx: work(tx, row.id))
        return
    before = state_and_lines(desk)
    with pytest.raises((IllegalMoveError, AssertionError, ValueError)):
        desk.do(lambda tx: work(tx, row.id))
    assert state_and_lines(desk) == before


@pytest.mark.parametrize(
    "back",
    [digests(999), digests(content=b"other"), replace(digests(), blake3="0" * 64), replace(digests(), sha256="0" * 64)],
)
def test_nothing_is_confirmed_by_other_bytes(desk: Desk, back: Digests) -> None:
    row = desk.bring_to(R.UPLOADED)
    before = state_and_lines(desk)
    with pytest.raises(AssertionError, match="equal digests"):
        desk.do(lambda tx: recordings.confirmed(tx, row.id, ReadBack(back, "v", past_cache=True), 50.0))
    assert state_and_lines(desk) == before


def half_copied_before(desk: Desk) -> RecordingRow:
    """A recording in the store, copied half in one docking and half in the next."""
    first = desk.dock()
    desk.note(first, seen_file())
    row = desk.newest()
    desk.do(lambda tx: recordings.begin_copy(tx, row.id, "spool-1"))
    desk.do(lambda tx: recordings.add_marks(tx, row.id, [recordings.LedgerMark(500, b"m" * 32)]))
    desk.end(first)
    desk.note(desk.dock(), seen_file())
    desk.copy(row)
    desk.do(lambda tx: recordings.uploaded(tx, row.id, already_there=False))
    return desk.newest()


def test_a_copy_of_two_dockings_is_not_confirmed_before_the_device_was_read_whole(desk: Desk) -> None:
    row = half_copied_before(desk)
    assert not row.read_whole
    told = [json.loads(line) for line in desk.lines()]
    assert [record["read_in_one_docking"] for record in told if record["event"] == "recording_copied"] == [False]
    assert desk.do(queries.to_store) == []
    assert desk.do(lambda tx: queries.to_reread(tx, row.docking or 0)) == [row]
    with pytest.raises(AssertionError, match="one docking"):
        desk.confirm(row)
    assert desk.newest() == row
    desk.do(lambda tx: recordings.reread_equal(tx, row.id, row.docking or 0))
    assert desk.do(lambda tx: queries.to_reread(tx, row.docking or 0)) == []
    desk.confirm(desk.newest())
    assert desk.newest().state is R.CONFIRMED


def test_a_chimera_of_two_dockings_is_told_as_unaccounted_and_its_copy_is_kept(desk: Desk) -> None:
    row = half_copied_before(desk)
    desk.do(lambda tx: recordings.reread_differs(tx, row.id, "uid-2", "other bytes"))
    old, new = desk.row(row.id), desk.newest()
    assert (old.state, old.on_device, old.spool_name) == (R.VANISHED, False, "spool-1")
    assert (new.uid, new.generation, new.state, new.on_device) == ("uid-2", 2, R.FOUND, True)
    assert (new.spool_name, new.blake3, new.read_whole) == (None, None, False)
    assert desk.ask("SELECT * FROM spool_trash") == []


def test_a_wipe_is_not_begun_for_what_was_found_at_fault_meanwhile(desk: Desk) -> None:
    """While the device is read, which takes minutes, an audit or the lane may find the store's copy altered."""
    row = desk.bring_to(R.CONFIRMED)
    desk.do(lambda tx: recordings.store_fault(tx, row.id, "altered", "other bytes"))
    before = state_and_lines(desk)
    with pytest.raises((IllegalMoveError, AssertionError)):
        desk.do(lambda tx: wipes.wipe_intent(tx, [row.id]))
    assert state_and_lines(desk) == before


# --- counts ------------------------------------------------------------------------------------------


def count(desk: Desk) -> dict[str, int]:
    return {name: number for name, number in desk.do(queries.counts).items() if number}


@pytest.mark.parametrize(
    ("state", "docked", "away"),
    [
        (R.FOUND, "on_docked_camera", "awaiting_return"),
        (R.SPOOLED, "on_docked_camera", "sole_copy"),
        (R.UPLOADED, "on_docked_camera", "sole_copy"),
        (R.CONFIRMED, "in_store", "in_store"),
        (R.WIPE_INTENT, "in_store", "in_store"),
        (R.VANISHED, "unaccounted", "unaccounted"),
    ],
)
def test_a_recording_is_counted_where_its_bytes_are(desk: Desk, state: R, docked: str, away: str) -> None:
    docking = desk.dock()
    desk.bring_to(state, docking=docking)
    assert count(desk) == {"recordings": 1, docked: 1}
    desk.end(docking)
    assert count(desk) == {"recordings": 1, away: 1}


def test_wiped_counts_those_that_the_store_holds_and_the_camera_does_not(desk: Desk) -> None:
    row = desk.bring_to(R.WIPED)
    assert count(desk) == {"recordings": 1, "in_store": 1, "wiped": 1}
    for fault in ("missing", "altered"):
        desk.do(lambda tx, fault=fault: recordings.store_fault(tx, row.id, fault, "why"))  # type: ignore[misc]
        assert count(desk) == {"recordings": 1, "unaccounted": 1}
    desk.do(lambda tx: recordings.read_back_again(tx, row.id, BACK))
    assert count(desk) == {"recordings": 1, "in_store": 1, "wiped": 1}


def test_one_wiped_while_an_audit_found_it_missing_is_not_counted_as_held(desk: Desk) -> None:
    row = desk.bring_to(R.WIPE_INTENT)
    desk.do(lambda tx: recordings.store_fault(tx, row.id, "missing", "why"))
    desk.do(lambda tx: wipes.wiped(tx, [row.id]))
    assert count(desk) == {"recordings": 1, "unaccounted": 1}
    desk.do(lambda tx: recordings.read_back_again(tx, row.id, BACK))
    assert count(desk) == {"recordings": 1, "in_store": 1, "wiped": 1}
