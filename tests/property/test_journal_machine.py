"""Anything the stages may tell the journal, in any order, with crashes in between: its claims stay true.

What is told out of turn is refused and changes nothing. After every step the counts are what a recount of the rows
gives, and one of the records alone; the chain is whole, each state is what the chain tells of it, and nothing is
confirmed or wiped that was not proven before.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from journal_desk import CAMERA, OTHER_CAMERA, STARTED, Desk, content, digests, seen, seen_file
from journal_stories import told_of
from pydantic import ValidationError

from dockd.custody.chain import find_break, line_digest
from dockd.custody.recount import Recount, recount
from dockd.digests import ReadBack
from dockd.errors import IllegalMoveError
from dockd.events import Head
from dockd.identity import Seen, recording_key
from dockd.journal import dockings, queries, recordings, wipes
from dockd.journal.dockings import SeenFile
from dockd.journal.rows import RecordingRow
from dockd.journal.startup import start
from dockd.journal.transaction import Transaction
from dockd.lifecycle import IN_STORE, RecordingState, bucket

R = RecordingState
CAMERAS = [CAMERA, OTHER_CAMERA]
PATHS = [b"a.mp4", b"b/\xff.mp4", b"c"]
EXAMPLES = 80
BUCKETS = ["in_store", "on_docked_camera", "sole_copy", "awaiting_return", "unaccounted"]

pick = st.integers(0, 63)
cameras = st.integers(0, 1)
paths = st.sampled_from(PATHS)
found_files = st.builds(
    lambda size, age, inode: seen(size, mtime_ns=age, inode=inode),
    st.sampled_from([0, 1, 1000, 2000]),
    st.integers(1, 3),
    st.integers(1, 2),
)


class JournalMachine(RuleBasedStateMachine):
    """Two cameras with a few files, and everything that a stage, an audit or a start may say of them."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="journal-machine-"))
        self._lives = 0
        self.files: list[dict[bytes, Seen]] = [{}, {}]
        self.docked: list[int | None] = [None, None]
        self.uids = 0

    def teardown(self) -> None:
        self.desk.journal.close()
        shutil.rmtree(self._folder)

    @initialize()
    def first_start(self) -> None:
        self.desk = Desk(self._home() / "journal.db")
        self._start()
        self.files[0] = {path: seen() for path in PATHS[:2]}
        self.dock(0)
        self.look(0, whole=True)

    def _home(self) -> Path:
        self._lives += 1
        (home := self._folder / str(self._lives)).mkdir()
        return home

    def _start(self, witness: Head | None = None) -> None:
        self.desk.do(lambda tx: start(tx, STARTED, witness, []))
        self.docked = [None, None]

    # --- the cameras ---------------------------------------------------------------------------------

    @rule(camera=cameras, path=paths, what=found_files)
    def a_file_is_written(self, camera: int, path: bytes, what: Seen) -> None:
        self.files[camera][path] = what

    @rule(camera=cameras, path=paths)
    def a_file_is_taken_away(self, camera: int, path: bytes) -> None:
        self.files[camera].pop(path, None)

    @rule(camera=cameras)
    def dock(self, camera: int) -> None:
        self.docked[camera] = self.desk.dock(CAMERAS[camera]).id

    @rule(camera=cameras, unsettled=st.sets(paths, max_size=1))
    def undock(self, camera: int, unsettled: set[bytes]) -> None:
        if (docking_id := self.docked[camera]) is not None:
            files = [file for file in self.listing(camera) if file.path in unsettled]
            self.desk.do(lambda tx: dockings.end_docking(tx, docking_id, "it left", files))
            self.docked[camera] = None

    def listing(self, camera: int) -> list[SeenFile]:
        before = self.uids
        self.uids += len(self.files[camera])
        files = enumerate(self.files[camera].items(), before + 1)
        return [seen_file(path, what, f"uid-{number}") for number, (path, what) in files]

    @rule(camera=cameras, whole=st.booleans())
    def look(self, camera: int, whole: bool) -> None:
        if (docking_id := self.docked[camera]) is None:
            return
        listing = self.listing(camera)

        def tell(tx: Transaction) -> None:
            dockings.take_note(tx, tx.docking(docking_id), listing, dockings.Rules())
            if whole:
                dockings.listing_complete(tx, tx.docking(docking_id), set(self.files[camera]), {})

        self.desk.do(tell)

    @rule()
    def a_file_is_out_of_sight_for_a_moment(self) -> None:
        # One that is whole in the spool, if there is any: of those it counts where they are.
        rows = self.desk.do(
            lambda tx: tx.recordings("on_device ORDER BY state IN ('spooled', 'uploaded') DESC LIMIT 1")
        )
        for row in rows:
            camera = self.docked.index(row.docking)
            kept = self.files[camera]
            self.files[camera] = {path: what for path, what in kept.items() if path != row.path}
            self.look(camera, whole=True)
            self.files[camera] = kept
            self.look(camera, whole=False)

    # --- the stages ----------------------------------------------------------------------------------

    def tell(self, number: int, work: Callable[[Transaction, RecordingRow], object], *states: R) -> None:
        """Say something of one of the recordings, mostly one in a fitting state; refused, it changes nothing."""
        rows = self.desk.do(lambda tx: tx.recordings("1 ORDER BY id"))
        fitting = [row for row in rows if row.state in states] or rows
        if not fitting:
            return
        chosen = fitting[number % len(fitting)] if number < 56 else rows[number % len(rows)]
        before = self.dump()
        try:
            self.desk.do(lambda tx: work(tx, chosen))
        except (IllegalMoveError, AssertionError, ValidationError):
            assert self.dump() == before

    def dump(self) -> list[Any]:
        tables = ("recording", "record", "docking", "counter", "ledger", "seen", "upload_trash")
        return [self.desk.ask(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]

    @rule(number=pick, steps=st.integers(1, 5))
    def go_on(self, number: int, steps: int) -> None:
        """What a quiet day does: the next steps of one recording, in order."""
        rows = self.desk.do(lambda tx: tx.recordings("state <> 'wiped' AND state <> 'vanished' ORDER BY id"))
        if not rows:
            return
        chosen = rows[number % len(rows)].id
        for _ in range(steps):
            if not self.desk.do(lambda tx: self.next_step(tx, tx.recording(chosen))):
                return

    def next_step(self, tx: Transaction, row: RecordingRow) -> bool:
        if row.state in (R.SPOOLED, R.UPLOADED) and not row.read_whole:
            if not row.on_device or row.docking is None:
                return False
            recordings.reread_equal(tx, row.id, row.docking)
        if row.state is R.CONFIRMED and row.store_fault is not None:
            return False
        match row.state:
            case R.FOUND:
                self.copy_it(tx, row)
            case R.SPOOLED:
                recordings.uploaded(tx, row.id, already_there=False)
            case R.UPLOADED:
                self.confirm_it(tx, row)
            case R.CONFIRMED:
                wipes.wipe_intent(tx, [row.id])
            case R.WIPE_INTENT:
                self.wipe_it(tx, row)
            case _:
                return False
        return True

    def copy_it(self, tx: Transaction, row: RecordingRow) -> None:
        recordings.begin_copy(tx, row.id, f"spool-{row.id}")
        key = recording_key("calgary", tx.camera(row.camera).identity, row.path, content(row).blake3)
        recordings.copied(tx, row.id, content(row), key)

    def confirm_it(self, tx: Transaction, row: RecordingRow) -> None:
        recordings.confirmed(tx, row.id, ReadBack(content(row), "version-1", past_cache=True), 50.0)

    def wipe_it(self, tx: Transaction, row: RecordingRow) -> None:
        wipes.wiped(tx, [row.id])
        self.files[CAMERAS.index(tx.camera(row.camera).identity)].pop(row.path, None)

    @rule(number=pick)
    def copy_a_part(self, number: int) -> None:
        def work(tx: Transaction, row: RecordingRow) -> None:
            assert row.state is R.FOUND
            recordings.begin_copy(tx, row.id, f"spool-{row.id}")
            recordings.add_marks(tx, row.id, [recordings.LedgerMark(1, b"m" * 32)])

        self.tell(number, work, R.FOUND)

    @rule(number=pick)
    def copy(self, number: int) -> None:
        self.tell(number, self.copy_it, R.FOUND)

    @rule(number=pick)
    def copy_again(self, number: int) -> None:
        self.tell(number, lambda tx, row: recordings.copy_again(tx, row.id, "bad disk"), R.SPOOLED, R.UPLOADED)

    @rule(number=pick)
    def read_again_equal(self, number: int) -> None:
        def work(tx: Transaction, row: RecordingRow) -> None:
            assert row.docking is not None
            assert row.on_device
            recordings.reread_equal(tx, row.id, row.docking)

        self.tell(number, work, R.SPOOLED, R.CONFIRMED)

    @rule(number=pick)
    def read_again_and_different(self, number: int) -> None:
        def work(tx: Transaction, row: RecordingRow) -> None:
            assert row.on_device
            assert row.state in (R.SPOOLED, R.UPLOADED, R.CONFIRMED)
            self.uids += 1
            recordings.reread_differs(tx, row.id, f"uid-{self.uids}", "other bytes")

        self.tell(number, work, R.SPOOLED, R.UPLOADED, R.CONFIRMED)

    @rule(number=pick)
    def lose_the_spool(self, number: int) -> None:
        self.tell(number, lambda tx, row: recordings.spool_lost(tx, row.id, "bad disk"), R.SPOOLED, R.UPLOADED)

    @rule(number=pick, there=st.booleans())
    def upload(self, number: int, there: bool) -> None:
        self.tell(number, lambda tx, row: recordings.uploaded(tx, row.id, already_there=there), R.SPOOLED)

    @rule(number=pick)
    def lose_the_upload(self, number: int) -> None:
        self.tell(number, lambda tx, row: recordings.upload_lost(tx, row.id, "not there"), R.UPLOADED)

    @rule(number=pick, equal=st.integers(0, 7))
    def confirm(self, number: int, equal: int) -> None:
        def work(tx: Transaction, row: RecordingRow) -> None:
            back = content(row) if equal else digests(row.size_bytes, b"other")
            recordings.confirmed(tx, row.id, ReadBack(back, "version-1", past_cache=True), 50.0)
            assert equal, "other bytes were confirmed"

        self.tell(number, work, R.UPLOADED)

    @rule(number=pick)
    def intend_to_wipe(self, number: int) -> None:
        self.tell(number, lambda tx, row: wipes.wipe_intent(tx, [row.id]), R.CONFIRMED)

    @rule(number=pick)
    def wipe(self, number: int) -> None:
        self.tell(number, self.wipe_it, R.WIPE_INTENT)

    @rule(number=pick)
    def abandon_a_wipe(self, number: int) -> None:
        self.tell(number, lambda tx, row: wipes.wipe_abandoned(tx, row.id, "in use"), R.WIPE_INTENT)

    @rule(camera=cameras, gone=st.booleans())
    def look_after_interrupted_wipes(self, camera: int, gone: bool) -> None:
        if (docking_id := self.docked[camera]) is None:
            return

        def work(tx: Transaction) -> None:
            docking = tx.docking(docking_id)
            for row in queries.intents(tx, docking.camera):
                dockings.intent_resolved(tx, docking, row.id, gone=gone, key=row.store_key or "")

        self.desk.do(work)

    @rule(number=pick, fault=st.sampled_from(["missing", "altered"]), over=st.booleans())
    def an_audit_finds_a_fault(self, number: int, fault: str, over: bool) -> None:
        def work(tx: Transaction, row: RecordingRow) -> None:
            assert row.state in IN_STORE
            recordings.store_fault(tx, row.id, fault, "not as it was")
            if over:
                recordings.read_back_again(tx, row.id, ReadBack(content(row), "version-2", past_cache=True))

        self.tell(number, work, *IN_STORE)

    @rule(number=pick)
    def an_audit_finds_it_whole_again(self, number: int) -> None:
        def work(tx: Transaction, row: RecordingRow) -> None:
            assert row.state in IN_STORE
            recordings.read_back_again(tx, row.id, ReadBack(content(row), "version-2", past_cache=True))

        self.tell(number, work, *IN_STORE)

    @rule(number=pick)
    def the_camera_still_has_what_the_store_lost(self, number: int) -> None:
        def work(tx: Transaction, row: RecordingRow) -> None:
            assert row.on_device
            assert row.docking is not None
            recordings.store_fault(tx, row.id, "missing", "not there")
            recordings.reread_equal(tx, row.id, row.docking)
            recordings.take_again(tx, row.id, row.docking)

        self.tell(number, work, R.CONFIRMED)

    @rule(torn=st.booleans(), restored=st.integers(0, 3))
    def crash(self, torn: bool, restored: int) -> None:
        """The power goes, or the process alone; the next run begins where the journal stands, or on a new chain."""
        old = self.desk.path
        if torn:
            home = self._home()
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{old}{suffix}", f"{home / old.name}{suffix}")
            self.desk.close()
            self.desk.path = home / old.name
            self.desk.open()
        else:
            self.desk.reopen()
        self._start(None if restored else Head(chain="0" * 16, seq=9, sha256="e" * 64))

    # --- what is true at any moment ------------------------------------------------------------------

    @invariant()
    def the_counts_are_what_a_recount_gives(self) -> None:
        def look(tx: Transaction) -> None:
            kept = {(d, name): (n, size) for d, name, n, size in tx.all("SELECT * FROM counter") if n or size}
            again: dict[tuple[int, str], tuple[int, int]] = {}
            rows = tx.recordings("1")
            for row in rows:
                counted = bucket(row.state, on_device=row.on_device, store_fault=row.store_fault is not None)
                names = [(0, "recordings"), (0, str(counted)), (row.docking or 0, f"state:{row.state}")]
                if row.state is R.WIPED and row.store_fault is None:
                    names.append((0, "wiped"))
                for name in names:
                    n, size = again.get(name, (0, 0))
                    again[name] = (n + 1, size + row.size_bytes)
            assert {key: n for key, (n, _) in kept.items()} == {key: n for key, (n, _) in again.items()}
            assert kept == {key: value for key, value in again.items() if value != (0, 0)}
            counts = queries.counts(tx)
            assert sum(counts[name] for name in BUCKETS) == counts["recordings"] == len(rows)
            assert counts["wiped"] <= counts["in_store"]
            told = dict(tx.all("SELECT bucket, count(*) FROM recording GROUP BY bucket"))
            assert {name: counts[name] for name in BUCKETS} == dict.fromkeys(BUCKETS, 0) | told

        self.desk.do(look)

    @invariant()
    def the_records_alone_give_the_same_counts(self) -> None:
        assert recount(self.desk.records()) == Recount(self.desk.do(queries.counts), None)

    @invariant()
    def the_chain_is_whole_and_tells_of_every_state(self) -> None:
        lines = self.desk.lines()
        assert not any(map(find_break, self.desk.chains()))
        assert (self.desk.journal.head.seq, self.desk.journal.head.sha256) == (len(lines), line_digest(lines[-1]))
        told: dict[str, R] = {}
        proven: dict[str, dict[str, Any]] = {}
        for record in self.desk.records():
            if "path" in record:
                told_of(record, told, proven)
        rows = self.desk.do(lambda tx: tx.recordings("1"))
        assert told == {row.uid: row.state for row in rows}
        for row in rows:
            proof = proven.get(row.uid, {})
            if row.state in IN_STORE:
                assert row.read_whole
                assert proof["copied"] == proof["confirmed"] == (row.size_bytes, row.blake3, row.sha256)
                assert proof["whole"]
                assert row.spool_name is None
            if row.state is R.WIPED:
                # Nothing is told of it any more but what becomes of the store's copy.
                assert [event for event in proof["events"] if event != "store_fault_over"][-1] == "recording_wiped"
                assert not row.on_device

    @invariant()
    def a_file_is_on_a_device_only_while_that_is_docked_and_once(self) -> None:
        def look(tx: Transaction) -> None:
            places = Counter((row.camera, row.path) for row in tx.recordings("on_device"))
            assert not places or max(places.values()) == 1
            open_ones = {row[0] for row in tx.all("SELECT id FROM docking WHERE state IN ('identifying', 'active')")}
            assert open_ones == {docking_id for docking_id in self.docked if docking_id is not None}
            for row in tx.recordings("on_device"):
                assert row.docking in open_ones
                assert tx.docking(row.docking or 0).camera == row.camera

        self.desk.do(look)


JournalMachine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=40)
TestJournal = JournalMachine.TestCase
