"""An audit's figures agree with the journal's, whoever else looks at the same time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from contract.tools import content
from contract.world import DOCK, World

from dockd.audit import AuditReport, Finding, audit, record_audit
from dockd.audit.reading import begin
from dockd.audit.report import AuditProgress
from dockd.direct_io import Buffer
from dockd.errors import IllegalMoveError, StoppedError
from dockd.journal import queries, recordings
from dockd.journal.database import open_for_reading
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.runtime.workers import Control
from dockd.stages.offload import reread_recording
from dockd.stages.verify import confirm_again

NAMES = [b"a.mp4", b"b.mp4", b"c.mp4"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "dock")
    for name in NAMES:
        made.plant(content(3000 + name[0]), name)
    with made.attached() as camera:
        for recording in made.dock(camera).values():
            made.copy(camera, recording)
            made.store_it(recording)
    yield made
    made.close()


@contextmanager
def reading(world: World) -> Iterator[Transaction]:
    connection = open_for_reading(world.journal_path, in_use=True)
    try:
        tx = Transaction(connection, world.clock, DOCK)
        tx.load_head()
        yield tx
    finally:
        connection.close()


def audited(world: World, sample: int | None = None) -> AuditReport:
    with reading(world) as tx:
        return audit(tx, world.store, Control(), sample=sample)


def take_up(world: World, report: AuditReport) -> None:
    world.journal.run_in_thread(lambda tx: record_audit(tx, report.hand_over()))


def unaccounted(world: World) -> int:
    return world.journal.run_in_thread(lambda tx: queries.counts(tx)["unaccounted"])


def spoil(world: World, name: bytes) -> Path:
    """Take one recording's object out of the store."""
    (row,) = [row for row in world.rows() if row.path == name]
    path = world.store.root / (row.store_key or "")
    path.rename(path.with_name("away"))
    return path


def test_what_is_found_is_unaccounted_before_and_after_it_is_taken_up(world: World) -> None:
    assert audited(world).good
    spoil(world, b"a.mp4")
    for _ in range(3):
        report = audited(world)
        assert (report.missing, report.altered, report.unaccounted) == (1, 0, 1)
        take_up(world, report)
        assert unaccounted(world) == 1


def test_a_sample_does_not_forget_what_it_did_not_read(world: World) -> None:
    spoil(world, b"a.mp4")
    take_up(world, audited(world))
    seen = set()
    for _ in range(40):
        report = audited(world, sample=1)
        assert report.checked == 1
        assert report.unaccounted == 1
        assert not report.good
        seen.add(report.missing)
    assert seen == {0, 1}


def test_what_is_back_is_accounted_for_again(world: World) -> None:
    path = spoil(world, b"a.mp4")
    take_up(world, audited(world))
    path.with_name("away").rename(path)
    report = audited(world)
    assert report.unaccounted == 0
    take_up(world, report)
    assert unaccounted(world) == 0


def test_another_audit_taken_up_meanwhile_is_not_counted_twice(world: World) -> None:
    spoil(world, b"a.mp4")
    spoil(world, b"b.mp4")
    first = audited(world)
    with reading(world) as tx:
        second = audit(tx, world.store, Control(), on_recording=lambda row, come: take_up(world, first))
    assert (second.missing, second.unaccounted) == (2, 2)
    take_up(world, second)
    assert unaccounted(world) == 2


def test_an_audit_of_another_journal_is_not_recorded(world: World) -> None:
    found = audited(world).hand_over() | {"chain": "0123456789abcdef"}
    before = world.journal.head
    with pytest.raises(ValueError, match="0123456789abcdef"):
        world.journal.run_in_thread(lambda tx: record_audit(tx, found))
    assert world.journal.head == before


def test_the_bay_does_not_call_stored_what_the_store_lost(world: World) -> None:
    counts = world.journal.run_in_thread(lambda tx: queries.bay_counts(tx, world.docking_id))
    assert (counts.total, counts.confirmed, counts.problems) == (3, 3, 0)
    spoil(world, b"a.mp4")
    take_up(world, audited(world))
    counts = world.journal.run_in_thread(lambda tx: queries.bay_counts(tx, world.docking_id))
    assert (counts.total, counts.confirmed, counts.problems) == (3, 2, 1)
    # Also once it is not on the camera any more.
    world.journal.run_in_thread(lambda tx: tx.run("UPDATE recording SET on_device = 0"))
    counts = world.journal.run_in_thread(lambda tx: queries.bay_counts(tx, world.docking_id))
    assert (counts.total, counts.confirmed, counts.problems) == (3, 2, 1)


def test_faults_are_found_by_an_index(world: World) -> None:
    """Asked for every second; a million recordings are not gone through for it."""
    connection = sqlite3.connect(world.journal_path)
    try:
        query = f"EXPLAIN QUERY PLAN SELECT state FROM recording WHERE {queries.FAULTED} AND docking = 1"
        plan = " ".join(str(row) for row in connection.execute(query))
    finally:
        connection.close()
    assert "recording_unaccounted" in plan


def test_an_audit_goes_on_where_another_came_to(world: World) -> None:
    spoil(world, b"a.mp4")
    kept: list[AuditProgress] = []
    read: list[bytes] = []

    def stop_behind_the_second(row: RecordingRow, _: Finding | None, come: AuditProgress) -> None:
        read.append(row.path)
        kept.append(AuditProgress.of(json.loads(json.dumps(come.payload()))))
        if len(read) == 2:
            raise StoppedError("the daemon is stopping")

    with reading(world) as tx, pytest.raises(StoppedError):
        audit(tx, world.store, Control(), on_judged=stop_behind_the_second)
    with reading(world) as tx:
        report = audit(tx, world.store, Control(), resume=kept[-1], on_judged=lambda row, *_: read.append(row.path))
    assert sorted(read) == NAMES
    assert (report.checked, report.missing, report.unaccounted) == (3, 1, 1)


def test_a_sample_that_is_gone_on_with_is_the_same_sample(world: World) -> None:
    with reading(world) as tx:
        come = begin(tx, 2)
        assert come.ids is not None
        assert (come.total, len(come.ids)) == (2, 2)
        come.last_id, come.checked = come.ids[0], 1
        report = audit(tx, world.store, Control(), resume=come)
    assert (report.checked, report.sample) == (2, 2)


SOUND = {"chain": "x", "sample": None, "ids": None, "upper_id": 9, "total": 1, "findings": []}


@pytest.mark.parametrize("spoilt", [{}, {"chain": 1}, SOUND | {"upper_id": "9"}, SOUND | {"findings": [1]}, []])
def test_what_is_no_progress_is_refused(spoilt: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        AuditProgress.of(spoilt)


def test_a_finding_does_not_stand_against_a_later_read_back(world: World) -> None:
    path = spoil(world, b"a.mp4")
    report = audited(world)
    path.with_name("away").rename(path)
    (row,) = [row for row in world.rows() if row.path == b"a.mp4"]
    assert confirm_again(world.storing, row.id, Buffer(), Control())
    take_up(world, report)
    assert unaccounted(world) == 0
    assert world.row(row.id).store_fault is None


def lost(world: World, name: bytes) -> RecordingRow:
    """One recording that the store does not hold any more, which the journal knows; it is on its camera."""
    spoil(world, name)
    take_up(world, audited(world))
    (row,) = [row for row in world.rows() if row.path == name]
    assert row.store_fault == "missing"
    return row


def test_what_the_store_lost_is_taken_in_anew_from_a_camera_that_was_read_again(world: World) -> None:
    row = lost(world, b"a.mp4")
    docking = world.docking_id

    def take_again() -> None:
        world.journal.run_in_thread(lambda tx: recordings.take_again(tx, row.id, docking))

    with pytest.raises(IllegalMoveError):
        take_again()
    with world.attached() as camera:
        assert reread_recording(world.offload, camera, row, docking, Buffer(), Control())
        take_again()
        now = world.row(row.id)
        assert (now.state, now.blake3, now.store_key, now.store_fault) == ("found", None, None, None)
        assert (now.confirmed_utc, now.readback_boottime_s) == (None, None)
        assert unaccounted(world) == 0
        world.copy(camera, row.id)
    again = world.store_it(row.id)
    assert (again.state, again.store_key, again.blake3) == ("confirmed", row.store_key, row.blake3)
    assert audited(world).good
    assert "recording_returned" in world.events()


@pytest.mark.parametrize("why", ["altered", "away", "sound"])
def test_nothing_else_is_taken_in_anew(world: World, why: str) -> None:
    row = lost(world, b"a.mp4") if why != "sound" else world.rows()[0]
    docking = world.docking_id
    with world.attached() as camera:
        assert reread_recording(world.offload, camera, world.row(row.id), docking, Buffer(), Control())
    if why == "altered":
        world.journal.run_in_thread(lambda tx: recordings.store_fault(tx, row.id, "altered", "x"))
    if why == "away":
        world.leave()
    before = world.row(row.id)
    with pytest.raises(IllegalMoveError):
        world.journal.run_in_thread(lambda tx: recordings.take_again(tx, row.id, docking))
    assert world.row(row.id) == before
