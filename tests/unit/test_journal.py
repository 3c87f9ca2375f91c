"""The journal's one writer: commits shared by many, each work whole or not at all, troubles told for what they are."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from journal_desk import DOCK, STEPPED, Desk, desk_in, raw

from dockd.custody.chain import chain_name, find_break, line_digest
from dockd.errors import JournalBusyError, JournalDamagedError, SpoolFullError
from dockd.events import ClockStepped, Head
from dockd.journal.database import APPLICATION_ID, SCHEMA_VERSION, open_for_reading
from dockd.journal.journal import GROUP_LIMIT, Work
from dockd.journal.transaction import Transaction


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


@contextmanager
def held_writer(desk: Desk) -> Iterator[list[str]]:
    """Keep the writer busy, so that what is handed in meanwhile shares a commit; the statements it runs."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        begun.set()
        assert go_on.wait(60)

    holding = desk.journal.submit(hold)
    assert begun.wait(60)
    statements: list[str] = []
    desk.journal._connection.set_trace_callback(statements.append)
    try:
        yield statements
    finally:
        go_on.set()
        holding.result(60)
        desk.do(lambda tx: None)
        desk.journal._connection.set_trace_callback(None)


def append(step_ms: int) -> Work[int]:
    return lambda tx: tx.append(ClockStepped(step_ms=step_ms))


def fail(tx: Transaction) -> None:
    tx.append(STEPPED)
    tx.set_meta("half", "done")
    raise LookupError("thought better of it")


def steps(lines: list[str]) -> list[int]:
    return [json.loads(line)["step_ms"] for line in lines]


def test_a_new_journal_is_made_with_the_settings_that_survive_a_power_cut(desk: Desk) -> None:
    assert desk.ask("PRAGMA journal_mode") == [("wal",)]
    assert desk.ask("PRAGMA synchronous") == [(2,)]
    assert desk.ask("PRAGMA foreign_keys") == [(1,)]
    assert desk.ask("PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert desk.ask("PRAGMA application_id") == [(APPLICATION_ID,)]
    assert desk.journal.head == Head(chain="", seq=0, sha256="0" * 64)


def test_it_is_taken_up_where_it_was_left(desk: Desk) -> None:
    for step_ms in range(3):
        desk.do(append(step_ms))
    head, lines = desk.journal.head, desk.lines()
    desk.reopen()
    assert desk.journal.head == head == Head(chain=chain_name(lines[0]), seq=3, sha256=line_digest(lines[2]))
    desk.do(append(3))
    assert steps(desk.lines()) == [0, 1, 2, 3]
    assert find_break(desk.lines()) is None
    assert json.loads(desk.lines()[3])["dock"] == DOCK


def test_many_callers_share_one_commit(desk: Desk) -> None:
    with held_writer(desk) as statements:
        futures = [desk.journal.submit(append(number)) for number in range(20)]
    assert [future.result(60) for future in futures] == list(range(1, 21))
    # One for what held the writer, one for all the others, and one that ends the test.
    assert statements.count("COMMIT") == 3


def test_no_more_than_the_limit_share_a_commit(desk: Desk) -> None:
    with held_writer(desk) as statements:
        futures = [desk.journal.submit(append(number)) for number in range(2 * GROUP_LIMIT + 1)]
    assert [future.result(60) for future in futures] == list(range(1, 2 * GROUP_LIMIT + 2))
    assert statements.count("COMMIT") in (4, 5)


def test_one_that_fails_is_rolled_back_alone_and_leaves_no_gap(desk: Desk) -> None:
    with held_writer(desk):
        before = desk.journal.submit(append(1))
        failing = desk.journal.submit(fail)
        after = desk.journal.submit(append(2))
    assert (before.result(60), after.result(60)) == (1, 2)
    with pytest.raises(LookupError, match="thought better"):
        failing.result(60)
    assert steps(desk.lines()) == [1, 2]
    assert find_break(desk.lines()) is None
    assert desk.ask("SELECT * FROM meta") == []


def test_one_that_breaks_a_rule_of_the_tables_is_rolled_back_alone(desk: Desk) -> None:
    def insert(tx: Transaction) -> int:
        tx.append(STEPPED)
        return tx.insert("camera", vendor="", product="", serial=b"same")

    with held_writer(desk):
        futures = [desk.journal.submit(insert) for _ in range(3)]
        futures.append(desk.journal.submit(append(9)))
    assert futures[0].result(60) == 1
    for future in futures[1:3]:
        with pytest.raises(sqlite3.IntegrityError):
            future.result(60)
    assert futures[3].result(60) == 2
    assert desk.ask("SELECT count(*) FROM camera") == [(1,)]
    assert len(desk.lines()) == 2


def test_a_first_record_that_is_rolled_back_names_no_chain(desk: Desk) -> None:
    with pytest.raises(LookupError):
        desk.do(fail)
    assert desk.ask("SELECT count(*) FROM chain") == [(0,)]
    desk.do(append(1))
    assert desk.journal.head.chain == chain_name(desk.lines()[0])
    with pytest.raises(LookupError):
        desk.do(begin_chain_and_fail)
    desk.do(append(2))
    assert steps(desk.lines()) == [1, 2]
    assert find_break(desk.lines()) is None


def begin_chain_and_fail(tx: Transaction) -> None:
    tx.begin_chain(STEPPED, acknowledged=False)
    raise LookupError


def test_a_caller_that_gave_up_before_its_turn_changes_nothing(desk: Desk) -> None:
    with held_writer(desk):
        given_up = desk.journal.submit(append(1))
        assert given_up.cancel()
        other = desk.journal.submit(append(2))
    assert other.result(60) == 1
    assert steps(desk.lines()) == [2]


def test_many_threads_and_every_fifth_work_fails(desk: Desk) -> None:
    """What is answered is durable for everybody, what failed left nothing, and the chain has no gap."""

    def one(number: int) -> int | None:
        def work(tx: Transaction) -> int:
            seq = tx.append(ClockStepped(step_ms=number))
            tx.insert("camera", vendor="", product="", serial=str(number).encode())
            if number % 5 == 0:
                raise LookupError
            return seq

        try:
            seq = desk.journal.run_in_thread(work)
        except LookupError:
            return None
        other = open_for_reading(desk.path, in_use=True)
        try:
            row = other.execute("SELECT line FROM record WHERE seq = ?", (seq,)).fetchone()
        finally:
            other.close()
        assert json.loads(row[0])["step_ms"] == number
        return seq

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(100)))
    assert [seq is None for seq in found] == [number % 5 == 0 for number in range(100)]
    assert sorted(seq for seq in found if seq is not None) == list(range(1, 81))
    assert find_break(desk.lines()) is None
    assert desk.ask("SELECT count(*) FROM camera") == [(80,)]
    assert desk.journal.head.seq == 80


async def test_the_loop_waits_without_blocking(desk: Desk) -> None:
    assert await desk.journal.run(append(1)) == 1
    with pytest.raises(LookupError):
        await desk.journal.run(fail)


# --- listeners, ends and troubles --------------------------------------------------------------------


def test_listeners_hear_of_each_new_head_once_it_is_durable(desk: Desk) -> None:
    heard: list[tuple[int, int]] = []

    def listen(head: Head) -> None:
        other = open_for_reading(desk.path, in_use=True)
        try:
            heard.append((head.seq, other.execute("SELECT max(seq) FROM record").fetchone()[0]))
        finally:
            other.close()

    desk.journal.listen(listen)
    desk.do(append(1))
    desk.do(lambda tx: tx.set_meta("no", "record"))
    with pytest.raises(LookupError):
        desk.do(fail)
    desk.do(append(2))
    assert heard == [(1, 1), (2, 2)]


def test_a_listener_that_fails_stops_nobody(desk: Desk) -> None:
    def listen(head: Head) -> None:
        raise RuntimeError("the broker's library has a defect")

    desk.journal.listen(listen)
    assert desk.journal.submit(append(1)).result(2) == 1
    assert desk.journal.submit(append(2)).result(2) == 2


def test_what_was_handed_in_before_the_end_is_committed(desk: Desk) -> None:
    with held_writer(desk):
        futures = [desk.journal.submit(append(number)) for number in range(5)]
    assert desk.journal.close()
    assert [future.result(5) for future in futures] == [1, 2, 3, 4, 5]
    desk.open()
    assert len(desk.lines()) == 5


def test_what_is_handed_in_after_the_end_is_told_so_and_waits_for_nothing(desk: Desk) -> None:
    assert desk.journal.close()
    assert desk.journal.submit(append(1)).exception(2) is not None


def test_what_waits_behind_the_end_is_told_so(desk: Desk) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        begun.set()
        assert go_on.wait(60)

    desk.journal.submit(hold)
    assert begun.wait(60)
    before = desk.journal.submit(append(1))
    assert not desk.journal.close(0.05)
    behind: Future[int] = desk.journal.submit(append(2))
    go_on.set()
    assert before.result(5) == 1
    assert behind.exception(2) is not None


def test_a_full_disk_is_told_as_such_and_the_journal_goes_on_afterwards(desk: Desk) -> None:
    desk.do(append(1))
    pages = desk.ask("PRAGMA page_count")[0][0]
    desk.ask(f"PRAGMA max_page_count = {pages}")

    def big(tx: Transaction) -> None:
        tx.append(ClockStepped(step_ms=2))
        tx.set_meta("big", "x" * 100_000)

    for _ in range(2):
        with pytest.raises(SpoolFullError) as caught:
            desk.do(big)
        assert caught.value.hint
    assert desk.journal.fatal is None
    desk.ask("PRAGMA max_page_count = 1000000")
    desk.do(append(3))
    assert steps(desk.lines()) == [1, 3]
    assert find_break(desk.lines()) is None
    assert desk.journal.head.seq == 2
    desk.do(big)
    desk.reopen()
    assert len(desk.lines()) == 3


def test_a_full_disk_fails_the_group_and_nothing_of_it_is_claimed(desk: Desk) -> None:
    desk.do(append(1))
    desk.ask(f"PRAGMA max_page_count = {desk.ask('PRAGMA page_count')[0][0]}")
    with held_writer(desk):
        futures: list[Future[Any]] = [desk.journal.submit(append(2))]
        futures.append(desk.journal.submit(lambda tx: tx.set_meta("big", "x" * 100_000)))
    for future in futures:
        with pytest.raises(SpoolFullError):
            future.result(60)
    assert steps(desk.lines()) == [1]


def test_a_journal_that_cannot_be_written_ends_everything(desk: Desk) -> None:
    told: list[Exception] = []
    desk.journal.on_fatal = told.append
    desk.do(append(1))
    raw(desk.path, "DROP TABLE record")
    for _ in range(2):
        with pytest.raises(JournalDamagedError) as caught:
            desk.do(append(2))
        assert caught.value.hint
    assert told == [desk.journal.fatal]


def test_a_lock_that_somebody_else_held_for_a_while_is_no_damage(desk: Desk) -> None:
    desk.do(append(1))
    desk.do(lambda tx: tx.all("PRAGMA busy_timeout = 50"))
    with closing(sqlite3.connect(desk.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalBusyError, match="lock"):
            desk.do(append(2))
        other.execute("ROLLBACK")
    assert desk.journal.fatal is None
    assert desk.do(append(3)) == 2
