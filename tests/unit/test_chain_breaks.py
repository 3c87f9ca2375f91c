"""A custody chain that somebody edited: footage is taken in all the same, and nothing is wiped."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from journal_desk import DOCK, Desk, HandClock, closed_journal, desk_in, raw

from dockd.custody.chain import find_break
from dockd.events import ClockStepped, DockStarted
from dockd.journal.database import CHECKED_RECORDS
from dockd.journal.journal import Journal
from dockd.journal.startup import Started, start

STARTED = DockStarted(version="0", package_sha256="0", configuration_sha256="0", python="0", kernel="0", boot="0")
DROP_GUARDS = ("DROP TRIGGER record_unchanged", "DROP TRIGGER record_kept")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    return closed_journal(tmp_path)


EDITS = {
    "a word changed": "UPDATE record SET line = replace(line, 'dock-07', 'dock-08') WHERE seq = 5",
    "an event changed": 'UPDATE record SET line = replace(line, \'"event":"\', \'"event":"un\') WHERE seq = 10',
    "the newest changed": "UPDATE record SET line = line || ' ' WHERE seq = (SELECT max(seq) FROM record)",
    "no JSON": "UPDATE record SET line = 'gone' WHERE seq = 5",
    "bytes": "UPDATE record SET line = x'00ff' WHERE seq = 5",
    "bytes of the same": "UPDATE record SET line = CAST(line AS BLOB) WHERE seq = 5",
    "no UTF-8": "UPDATE record SET line = CAST(x'7bff7d' AS TEXT) WHERE seq = 5",
    "no number": "UPDATE record SET line = replace(line, 'seq\":5,', 'seq\":5,\"x\":NaN,') WHERE seq = 5",
    "two swapped": "UPDATE record SET seq = CASE seq WHEN 5 THEN -6 ELSE -5 END WHERE seq IN (5, 6)",
    "the first changed": "UPDATE record SET line = replace(line, 'dock-07', 'dock-08') WHERE seq = 1",
    "one removed": "DELETE FROM record WHERE seq = 5",
    "the first removed": "DELETE FROM record WHERE seq = 1",
    "the first half removed": "DELETE FROM record WHERE seq < 30",
    "all but the newest removed": "DELETE FROM record WHERE seq < (SELECT max(seq) FROM record)",
    "all removed": "DELETE FROM record",
    "one doubled": "INSERT INTO record SELECT chain, (SELECT max(seq) + 1 FROM record), line FROM record WHERE seq = 5",
    "the chain renamed": "UPDATE chain SET name = '0123456789abcdef'",
}


def started(path: Path) -> tuple[Started, list[str], list[tuple[str, bytes]]]:
    """What a start finds; the events of the chain that is in force then; the lines that were there before."""
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute("SELECT seq, CAST(line AS BLOB) FROM record ORDER BY 1, 2").fetchall()
    journal = Journal.open(path, clock=HandClock(), dock=DOCK)
    try:
        found = journal.run_in_thread(lambda tx: start(tx, STARTED, None, []))
        journal.run_in_thread(lambda tx: tx.append(ClockStepped(step_ms=1)))
        records = journal.run_in_thread(lambda tx: tx.all("SELECT line FROM record WHERE chain = ?", tx.chain))
        chain = journal.run_in_thread(lambda tx: tx.chain)
        kept = journal.run_in_thread(
            lambda tx: tx.all("SELECT seq, CAST(line AS BLOB) FROM record WHERE chain <> ? ORDER BY 1, 2", chain)
        )
    finally:
        journal.close()
    lines = [line for (line,) in records]
    if found.broken:
        assert kept == before, "what was found broken is kept as it is"
        assert find_break(lines) is None
    return found, [json.loads(line)["event"] for line in lines], before


@pytest.mark.parametrize("edit", EDITS)
def test_behind_a_chain_that_was_edited_a_new_one_begins_and_nothing_is_wiped(closed: Path, edit: str) -> None:
    raw(closed, *DROP_GUARDS, EDITS[edit], "UPDATE record SET seq = -seq WHERE seq < 0")
    found, events, _ = started(closed)
    assert found.broken
    assert not found.acknowledged
    assert (*events[:2], events[-1]) == ("dock_started", "integrity_failure", "clock_stepped")
    # At the next start it is still so, until a person has acknowledged it.
    found, events, _ = started(closed)
    assert (found.broken, found.acknowledged) == (None, False)
    assert events[:2] == ["dock_started", "integrity_failure"]


def test_the_record_at_fault_is_named(closed: Path) -> None:
    raw(closed, *DROP_GUARDS, EDITS["a word changed"])
    # It names itself as it should, so the one after it betrays it.
    assert "record 6" in str(started(closed)[0].broken)


@pytest.fixture
def long_chain(desk: Desk) -> Path:
    def many(tx: object) -> None:
        for number in range(CHECKED_RECORDS + 50):
            tx.append(ClockStepped(step_ms=number))  # type: ignore[attr-defined]

    desk.do(many)
    desk.close()
    return desk.path


@pytest.mark.parametrize("seq", [52, 60, CHECKED_RECORDS + 49])
def test_the_newest_records_of_a_long_chain_are_checked_at_start(long_chain: Path, seq: int) -> None:
    raw(long_chain, *DROP_GUARDS, f"UPDATE record SET line = replace(line, 'dock-07', 'dock-08') WHERE seq = {seq}")
    assert started(long_chain)[0].broken


def test_older_records_of_a_long_chain_are_left_to_the_audit(long_chain: Path) -> None:
    raw(long_chain, *DROP_GUARDS, "UPDATE record SET line = replace(line, 'dock-07', 'dock-08') WHERE seq = 5")
    assert started(long_chain)[0].broken is None
