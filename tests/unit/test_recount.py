"""The counts from the records alone: what tells of where a recording is, and what follows from nothing."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from journal_desk import DOCK, OTHER_CAMERA, STARTED, Desk, digests, seen, seen_file

from dockd.audit import record_audit
from dockd.audit.recounting import compare
from dockd.audit.report import Compared
from dockd.custody.recount import Recount, recount
from dockd.digests import ReadBack
from dockd.events import Head
from dockd.journal import dockings, queries, recordings
from dockd.journal.database import open_for_reading
from dockd.journal.startup import start
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState
from dockd.report.snapshot import count_alerts
from dockd.runtime.workers import Control

R = RecordingState
D = "20260301T120000000Z-00000001-dock-07"
COUNT_NAMES = ("recordings", "in_store", "on_docked_camera", "sole_copy", "awaiting_return", "unaccounted", "wiped")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "journal.db")
    made.do(lambda tx: start(tx, STARTED, None, []))
    yield made
    made.journal.close()


def told(desk: Desk) -> Recount:
    return recount(desk.records())


def agree(desk: Desk) -> dict[str, int]:
    """The counts that are not 0, of journal and records alike."""
    found = told(desk)
    assert found.strange is None
    assert found.counts == desk.do(queries.counts)
    assert tuple(found.counts) == COUNT_NAMES
    return {name: count for name, count in found.counts.items() if count}


@pytest.mark.parametrize(
    ("state", "bucket"),
    [
        (R.FOUND, {"on_docked_camera": 1}),
        (R.SPOOLED, {"on_docked_camera": 1}),
        (R.UPLOADED, {"on_docked_camera": 1}),
        (R.CONFIRMED, {"in_store": 1}),
        (R.WIPE_INTENT, {"in_store": 1}),
        (R.WIPED, {"in_store": 1, "wiped": 1}),
        (R.VANISHED, {"unaccounted": 1}),
    ],
)
def test_every_state_is_told_by_records(desk: Desk, state: R, bucket: dict[str, int]) -> None:
    desk.bring_to(state)
    assert agree(desk) == {"recordings": 1, **bucket}


def test_a_camera_that_leaves_takes_its_recordings_along_and_no_others(desk: Desk) -> None:
    stay, other = desk.dock(), desk.dock(OTHER_CAMERA, "2")
    for path in (b"a", b"b", b"c"):
        desk.note(stay, seen_file(path))
    desk.note(other, seen_file(b"d"))
    desk.copy(desk.newest(b"b"))
    desk.bring_to(R.CONFIRMED, b"c", stay)
    desk.end(stay)
    left = {"recordings": 4, "in_store": 1, "sole_copy": 1, "awaiting_return": 1, "on_docked_camera": 1}
    assert agree(desk) == left
    again = desk.dock()
    desk.note(again, seen_file(b"a"), seen_file(b"b"))
    assert agree(desk) == {"recordings": 4, "in_store": 1, "on_docked_camera": 3}


def test_what_goes_and_comes_back_within_one_docking_is_told(desk: Desk) -> None:
    row = desk.bring_to(R.SPOOLED)
    stay = desk.do(lambda tx: tx.docking(row.docking or 0))
    desk.listed(stay)
    assert agree(desk) == {"recordings": 1, "sole_copy": 1}
    desk.note(stay, seen_file())
    assert agree(desk) == {"recordings": 1, "on_docked_camera": 1}


def test_what_was_still_written_when_its_camera_left_is_here_again_with_other_bytes(desk: Desk) -> None:
    stay = desk.dock()
    desk.do(lambda tx: dockings.end_docking(tx, stay.id, "it left", [seen_file()]))
    assert agree(desk) == {"recordings": 1, "awaiting_return": 1}
    desk.note(desk.dock(), seen_file(what=seen(2000, mtime_ns=5), uid="another"))
    assert agree(desk) == {"recordings": 1, "on_docked_camera": 1}


def test_a_fault_in_the_store_is_unaccounted_until_it_is_over(desk: Desk) -> None:
    row = desk.bring_to(R.WIPED)
    desk.do(lambda tx: recordings.store_fault(tx, row.id, "altered", "other bytes"))
    assert agree(desk) == {"recordings": 1, "unaccounted": 1}
    back = ReadBack(digests(), "version-2", past_cache=True)
    for _ in range(2):
        desk.do(lambda tx: recordings.read_back_again(tx, row.id, back))
    assert agree(desk) == {"recordings": 1, "in_store": 1, "wiped": 1}
    over = [record for record in map(json.loads, desk.lines()) if record["event"] == "store_fault_over"]
    assert [(record["fault"], record["recording"], record["key"]) for record in over] == [
        ("altered", row.uid, row.store_key)
    ]


def test_what_is_taken_in_anew_is_not_in_the_store_any_more(desk: Desk) -> None:
    row = desk.bring_to(R.CONFIRMED)
    desk.do(lambda tx: recordings.store_fault(tx, row.id, "missing", "not there"))
    desk.do(lambda tx: recordings.reread_equal(tx, row.id, row.docking or 0))
    desk.do(lambda tx: recordings.take_again(tx, row.id, row.docking or 0))
    assert agree(desk) == {"recordings": 1, "on_docked_camera": 1}
    desk.copy(desk.row(row.id))
    desk.do(lambda tx: recordings.uploaded(tx, row.id, already_there=False))
    desk.confirm(desk.row(row.id))
    assert agree(desk) == {"recordings": 1, "in_store": 1}


def test_the_count_goes_on_over_a_new_chain(desk: Desk) -> None:
    desk.bring_to(R.SPOOLED)
    head = Head(chain="0" * 16, seq=9, sha256="e" * 64)
    assert desk.do(lambda tx: start(tx, STARTED, head, [])).rolled_back
    assert len(desk.lines()) < 4
    assert agree(desk) == {"recordings": 1, "sole_copy": 1}


# --- what follows from nothing --------------------------------------------------------------------------


def found(uid: str, *, again: bool = False, docking: str = D) -> dict[str, Any]:
    return {"event": "recording_found", "recording": uid, "docking": docking, "again": again}


def of(event: str, uid: str, **more: object) -> dict[str, Any]:
    return {"event": event, "recording": uid, **more}


DOCKED = {"event": "camera_docked", "docking": D}
LEFT = {"event": "camera_removed", "docking": D}


@pytest.mark.parametrize(
    ("records", "what"),
    [
        ([of("recording_copied", "r")], "never found"),
        ([DOCKED, found("r"), of("recording_confirmed", "r")], "cannot go from found to confirmed"),
        ([found("r")], "not under way"),
        ([DOCKED, LEFT, found("r")], "not under way"),
        ([LEFT], "not under way"),
        ([DOCKED, found("r"), found("r")], "already found"),
        ([DOCKED, found("r", again=True)], "never found"),
        ([of("recording_anomaly", "r", anomaly="gone-from-camera")], "never found"),
        ([of("integrity_failure", "r", what="store-missing")], "never found"),
        ([of("store_fault_over", "r")], "never found"),
        ([DOCKED, found("r"), of("recording_returned", "r", state="lost")], "lost"),
        ([{"event": "recording_copied"}], "lacks 'recording'"),
        ([{"seq": 1}], "lacks 'event'"),
    ],
)
def test_what_does_not_follow_is_told_and_stops_nothing(records: list[dict[str, Any]], what: str) -> None:
    numbered = [{"seq": seq, **record} for seq, record in enumerate(records, 1)]
    result = recount([*numbered, {"seq": 99, **DOCKED, "docking": "other"}, found("s", docking="other")])
    assert result.strange is not None
    assert result.strange.startswith(f"record {len(records)} (")
    assert what in result.strange
    assert result.counts["on_docked_camera"] >= 1


# --- beside the journal -----------------------------------------------------------------------------------


def test_a_counter_that_was_altered_is_found_recorded_and_alerted(desk: Desk) -> None:
    desk.bring_to(R.CONFIRMED)
    compared = compare_now(desk)
    assert (compared.agree, compared.told()) == (True, [])
    desk.do(lambda tx: tx.run("UPDATE counter SET count = 5 WHERE docking = 0 AND name = 'in_store'"))
    compared = compare_now(desk)
    assert not compared.agree
    assert compared.told() == ["in_store: the journal counts 5, its records give 1"]
    report = {"checked": 0, "sample": None, "unaccounted": 0, "missing": 0, "altered": 0, "chain_ok": True}
    report |= {"chain": desk.journal.head.chain, "findings": [], "good_again": []}
    for figures, stands in (({"counts_agree": False}, True), ({"counts_agree": True}, False), ({}, False)):
        desk.do(lambda tx, figures=figures: record_audit(tx, report | figures))
        record = json.loads(desk.lines()[-1])
        assert record.get("counts_agree") == figures.get("counts_agree")
        alerts = desk.do(lambda tx: count_alerts(tx, queries.counts(tx)))
        assert (alerts["counts_disagree"] is not None) == stands


def compare_now(desk: Desk) -> Compared:
    connection = open_for_reading(desk.path, in_use=True)
    try:
        return compare(Transaction(connection, desk.clock, DOCK), Control())
    finally:
        connection.close()


def test_what_is_no_record_makes_them_disagree(desk: Desk) -> None:
    desk.do(lambda tx: tx.insert("record", chain=1, seq=2, line="[" * 100_000))
    compared = compare_now(desk)
    assert not compared.agree
    assert compared.strange is not None
    assert compared.strange.startswith("record 2 (None)")


# --- how much memory ----------------------------------------------------------------------------------


def stories(number: int) -> Iterator[dict[str, Any]]:
    """Cameras with a hundred recordings each, all of which go all the way."""
    for start_at in range(0, number, 100):
        docking = f"docking-{start_at}"
        yield {"event": "camera_docked", "docking": docking}
        uids = [f"{uid:016x}" for uid in range(start_at, start_at + 100)]
        for uid in uids:
            yield found(uid, docking=docking)
        for event in ("copied", "uploaded", "confirmed"):
            for uid in uids:
                yield of(f"recording_{event}", uid)
        for uid in uids:
            yield of("wipe_started", uid)
            yield of("recording_wiped", uid)
        yield {"event": "camera_removed", "docking": docking}


def test_memory_grows_with_recordings_by_a_name_each_and_not_with_records() -> None:
    number = 20_000
    tracemalloc.start()
    try:
        result = recount(stories(number))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (result.strange, result.counts["wiped"]) == (None, number)
    assert peak_bytes / number < 250
