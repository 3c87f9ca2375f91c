"""An audit's figures agree with the journal's, whoever else looks at the same time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract.tools import content
from contract.world import DOCK, World

from dockd.audit import AuditReport, audit, record_audit
from dockd.journal import queries
from dockd.journal.database import open_for_reading
from dockd.journal.transaction import Transaction
from dockd.runtime.workers import Control

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
        second = audit(tx, world.store, Control(), on_recording=lambda row: world.row(row.id) and take_up(world, first))
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
