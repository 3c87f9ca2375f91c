"""The first things told to the journal: which chain goes on, what of the spool nobody knows, which stays are over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from event_samples import HEAD
from journal_desk import OTHER_CAMERA, STARTED, STEPPED, Desk, HandClock, desk_in

from dockd.custody.chain import chain_name, find_break, line_digest
from dockd.custody.witness import Witness
from dockd.events import Head
from dockd.journal import dockings, recordings
from dockd.journal.configuration import reloaded
from dockd.journal.startup import Started, start
from dockd.journal.transaction import Transaction
from dockd.lifecycle import DockingState, RecordingState
from dockd.version import package_digest


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


def begin(desk: Desk, witness: Head | None = None, spooled: tuple[str, ...] = ()) -> Started:
    return desk.do(lambda tx: start(tx, STARTED, witness, spooled))


def chains(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.ask("SELECT name, acknowledged FROM chain ORDER BY id")


def first(desk: Desk) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(desk.lines()[0])
    return record


# --- chains ------------------------------------------------------------------------------------------


def test_the_first_chain_of_a_dock_names_an_unknown_predecessor(desk: Desk) -> None:
    started = begin(desk)
    assert not started.rolled_back
    assert first(desk)["event"] == "dock_started"
    assert first(desk)["predecessor"] == "unknown"
    assert (first(desk)["seq"], first(desk)["prev"]) == (1, "0" * 64)
    assert chains(desk) == [(line_digest(desk.lines()[0])[:16], 1)]


def test_the_next_run_goes_on_with_the_chain(desk: Desk) -> None:
    begin(desk)
    witness = desk.journal.head
    desk.reopen()
    started = begin(desk, witness)
    assert not started.rolled_back
    assert len(chains(desk)) == 1
    told = [json.loads(line) for line in desk.lines()]
    assert [record["event"] for record in told] == ["dock_started", "dock_started"]
    assert "predecessor" not in told[1]
    assert find_break(desk.lines()) is None


def restored(desk: Desk, tmp_path: Path) -> Head:
    """Put yesterday's journal in the place of today's; the head of today's."""
    begin(desk)
    desk.close()
    shutil.copyfile(desk.path, tmp_path / "yesterday.db")
    desk.open()
    begin(desk, desk.journal.head)
    desk.do(lambda tx: tx.append(STEPPED))
    today = desk.journal.head
    desk.close()
    shutil.copyfile(tmp_path / "yesterday.db", desk.path)
    desk.open()
    return today


def test_a_restored_journal_begins_a_new_chain_that_waits_for_a_person(desk: Desk, tmp_path: Path) -> None:
    today = restored(desk, tmp_path)
    started = begin(desk, today)
    assert started.rolled_back
    assert len(desk.lines()) == 1
    assert first(desk)["predecessor"] == {"chain": today.chain, "seq": today.seq, "sha256": today.sha256}
    assert (first(desk)["seq"], first(desk)["prev"]) == (1, "0" * 64)
    (_, old), (name, new) = chains(desk)
    assert (old, new) == (1, 0)
    assert name == chain_name(desk.lines()[0]) != today.chain
    # The old chain stands as it was.
    assert desk.ask("SELECT count(*) FROM record WHERE chain = 1") == [(1,)]


def test_it_goes_on_waiting_over_restarts_until_it_is_acknowledged(desk: Desk, tmp_path: Path) -> None:
    begin(desk, restored(desk, tmp_path))
    witness = desk.journal.head
    desk.reopen()
    assert not begin(desk, witness).rolled_back
    assert [acknowledged for _, acknowledged in chains(desk)] == [1, 0]


def test_a_journal_that_lost_what_a_witness_did_not_know_either_goes_on(desk: Desk) -> None:
    """The witness is written after the commit and not fsynced: it is often older, which proves nothing."""
    begin(desk)
    witness = desk.journal.head
    for _ in range(5):
        desk.do(lambda tx: tx.append(STEPPED))
    desk.reopen()
    assert not begin(desk, witness).rolled_back
    assert len(chains(desk)) == 1


def test_a_power_cut_is_no_rollback(desk: Desk, tmp_path: Path) -> None:
    witness = Witness(tmp_path / "custody-head.json")
    desk.journal.listen(witness.note)
    begin(desk)
    for _ in range(20):
        desk.do(lambda tx: tx.append(STEPPED))
        # The disk as it is now: what the witness knows was durable in the journal before.
        witness.flush()
        after = tmp_path / "after"
        after.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{desk.path}{suffix}", after / f"journal.db{suffix}")
        with desk_in(after) as other:
            assert not begin(other, witness.read()).rolled_back
        shutil.rmtree(after)


@pytest.mark.parametrize(
    "change", [{"seq": 2}, {"seq": 0}, {"sha256": "f" * 64}, {"chain": "0" * 16}], ids=lambda change: next(iter(change))
)
def test_a_head_that_differs_in_one_point_is_not_of_this_journal(desk: Desk, change: dict[str, Any]) -> None:
    begin(desk)
    witness = desk.journal.head.model_copy(update=change)
    assert begin(desk, witness).rolled_back


def test_a_lost_journal_with_a_witness_names_the_chain_that_was(desk: Desk) -> None:
    started = begin(desk, HEAD)
    assert started.rolled_back
    assert first(desk)["predecessor"]["chain"] == HEAD.chain
    assert [acknowledged for _, acknowledged in chains(desk)] == [0]


# --- the spool, and stays that are over --------------------------------------------------------------


def test_files_of_the_spool_that_no_row_knows_are_found(desk: Desk) -> None:
    row = desk.bring_to(RecordingState.SPOOLED)
    gone = desk.bring_to(RecordingState.FOUND, b"two.mp4")
    desk.do(lambda tx: recordings.begin_copy(tx, gone.id, "spool-trash"))
    desk.do(lambda tx: recordings.copy_again(tx, gone.id, "bad disk"))
    assert row.spool_name is not None
    started = begin(desk, None, (row.spool_name, "spool-trash", "nobody's", "another"))
    assert started.orphans == ("nobody's", "another")
    assert started.trash == ("spool-trash",)


def test_stays_that_were_not_ended_are_over(desk: Desk) -> None:
    docking, other = desk.dock(), desk.dock(OTHER_CAMERA, "2")
    ended = desk.dock(OTHER_CAMERA, "2")
    desk.end(ended)
    desk.bring_to(RecordingState.SPOOLED, docking=docking)
    desk.listed(docking, b"DCIM/one.MP4")
    desk.reopen()
    begin(desk, desk.journal.head)
    assert desk.ask("SELECT DISTINCT state FROM docking") == [(str(DockingState.ENDED),)]
    assert desk.newest().on_device is False
    removed = [json.loads(line) for line in desk.lines() if '"event":"camera_removed"' in line]
    assert [record["docking"] for record in removed] == [other.name, ended.name, docking.name]
    assert "cannot be shown" in removed[-1]["why"]
    assert (removed[-1]["recordings"], removed[-1]["confirmed"]) == (1, 0)
    # And that is said once.
    lines = desk.lines()
    begin(desk, desk.journal.head)
    assert len(desk.lines()) == len(lines) + 1


def test_what_only_a_person_could_mend_is_tried_again(desk: Desk) -> None:
    rows = [desk.bring_to(RecordingState.SPOOLED), desk.bring_to(RecordingState.UPLOADED, b"two.mp4")]
    for row in rows:
        desk.do(lambda tx, row=row: recordings.problem(tx, row.id, "store_conflict", "other bytes"))  # type: ignore[misc]
    begin(desk)
    assert [desk.row(row.id).problem for row in rows] == [None, None]


# --- the witness -------------------------------------------------------------------------------------


def test_a_witness_gives_back_the_head_that_it_noted(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "custody-head.json")
    assert witness.read() is None
    witness.note(HEAD)
    assert Witness(tmp_path / "custody-head.json").read() == HEAD
    assert [path.name for path in tmp_path.iterdir()] == ["custody-head.json"]


def test_a_witness_writes_now_and_then_and_in_the_end(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "custody-head.json")
    for seq in range(1, 50):
        witness.note(HEAD.model_copy(update={"seq": seq}))
    noted = witness.read()
    assert noted is not None
    assert noted.seq < 49
    witness.flush()
    assert witness.read() == HEAD.model_copy(update={"seq": 49})


@pytest.mark.parametrize(
    "left", [b"", b"{", b"null", b'{"chain":"x"}', b"\xff\xfe", b'{"chain":1,"seq":"2","sha256":3}']
)
def test_what_cannot_be_read_is_no_witness(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "custody-head.json").write_bytes(left)
    assert Witness(tmp_path / "custody-head.json").read() is None


def test_a_witness_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "custody-head.json")
    witness.note(HEAD)
    (tmp_path / "custody-head.new").mkdir()
    witness.note(HEAD.model_copy(update={"seq": 8}))
    witness.flush()
    assert witness.read() == HEAD
    (tmp_path / "custody-head.new").rmdir()
    witness.flush()
    assert witness.read() == HEAD.model_copy(update={"seq": 8})


def test_a_clock_of_the_dock_has_no_say_in_all_this(desk: Desk, tmp_path: Path) -> None:
    """A day back on the wall clock is no rollback of the journal."""
    begin(desk)
    witness = desk.journal.head
    desk.clock.wall = HandClock().wall.replace(year=2001)
    desk.reopen()
    assert not begin(desk, witness).rolled_back
    assert find_break(desk.lines()) is None


# --- the configuration --------------------------------------------------------------------------------


def run_with(desk: Desk, digit: str, mode: str) -> Started:
    event = STARTED.model_copy(update={"configuration_sha256": digit * 64})
    return desk.do(lambda tx: start(tx, event, None, (), mode))


def changes(desk: Desk) -> list[tuple[str, str, str, int]]:
    records = [record for record in desk.records() if record["event"] == "configuration_changed"]
    names = ("before_sha256", "after_sha256", "wipe_mode", "releases")
    return [(r[names[0]][0], r[names[1]][0], r[names[2]], r[names[3]]) for r in records]


def test_a_configuration_that_changed_while_nobody_ran_is_recorded_with_the_start(desk: Desk) -> None:
    assert run_with(desk, "a", "off").released is None
    assert run_with(desk, "a", "off").released is None
    assert changes(desk) == []
    assert run_with(desk, "b", "off").released == 0
    assert run_with(desk, "b", "off").released is None
    assert changes(desk) == [("a", "b", "off", 0)]
    told = [record["event"] for record in desk.records()]
    assert told == ["dock_started", "dock_started", "dock_started", "configuration_changed", "dock_started"]


def test_what_a_reload_took_over_is_not_recorded_again_at_the_next_start(desk: Desk) -> None:
    run_with(desk, "a", "off")
    assert desk.do(lambda tx: reloaded(tx, "a" * 64, "b" * 64, "on")) == 0
    assert run_with(desk, "b", "on").released is None
    assert run_with(desk, "a", "on").released == 0
    assert changes(desk) == [("a", "b", "on", 0), ("b", "a", "on", 0)]


def test_start_and_change_are_one_transaction(desk: Desk) -> None:
    run_with(desk, "a", "off")
    event = STARTED.model_copy(update={"configuration_sha256": "b" * 64})

    def fails(tx: Transaction) -> None:
        start(tx, event, None, (), "on")
        raise KeyError

    with pytest.raises(KeyError):
        desk.do(fails)
    assert len(desk.records()) == 1
    assert run_with(desk, "b", "on").released == 0


@pytest.mark.parametrize("crashed", [True, False], ids=["crashed", "stopped"])
def test_a_wipe_that_is_switched_on_while_nobody_ran_says_what_it_releases(desk: Desk, crashed: bool) -> None:
    run_with(desk, "a", "off")
    stay, other = desk.dock(), desk.dock(OTHER_CAMERA, "2")
    for path in (b"a", b"b", b"c"):
        desk.bring_to(RecordingState.CONFIRMED, path, stay)
    desk.bring_to(RecordingState.SPOOLED, b"d", stay)
    held = desk.newest(b"b")
    desk.do(lambda tx: tx.insert("hold", name="h", camera=b"", scope="recording", recording=held.uid, json="{}"))
    # A camera that a person took away is not released by anything.
    desk.bring_to(RecordingState.CONFIRMED, b"e", other)
    desk.end(other)
    if not crashed:
        desk.end(stay, dockings.DAEMON_STOPPED)
    # It came back up, and stopped again before any camera was seen; then it was switched on.
    run_with(desk, "a", "off")
    assert run_with(desk, "b", "on").released == 2
    assert changes(desk) == [("a", "b", "on", 2)]
    assert run_with(desk, "c", "on").released == 0


# --- the software ---------------------------------------------------------------------------------------


def test_the_packages_digest_is_of_every_file_and_its_name(tmp_path: Path) -> None:
    def digest() -> str:
        return package_digest(tmp_path)

    (tmp_path / "a.py").write_text("a")
    (tmp_path / "page.html").write_text("b")
    seen = {digest()}
    (tmp_path / "page.html").write_text("c")
    seen.add(digest())
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    seen.add(digest())
    assert len(seen) == 3
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "b.pyc").write_text("d")
    assert digest() in seen
