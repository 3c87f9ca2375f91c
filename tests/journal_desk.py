"""A journal of its own with a clock that is set by hand, and shorthands for what the stages tell it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import blake3
from custody_signing import sign_all

from dockd.custody.keys import SigningKey
from dockd.digests import Digests, ReadBack
from dockd.events import ClockStepped, DockStarted
from dockd.identity import CameraIdentity, Seen, recording_key
from dockd.journal import dockings, recordings, wipes
from dockd.journal.dockings import Rules, SeenFile
from dockd.journal.journal import Journal
from dockd.journal.rows import DockingRow, RecordingRow
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState
from dockd.runtime.clock import Synchronised

T = TypeVar("T")

DOCK = "calgary/district-4/dock-07"
CAMERA = CameraIdentity(b"CAM 1")
OTHER_CAMERA = CameraIdentity(b"CAM\xff2", "46f4", "0001")
PATH = b"DCIM/one.MP4"
START = datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC)
MTIME_NS = 1_770_000_000_000_000_000

STARTED = DockStarted(
    version="0.1.0", package_sha256="a" * 64, configuration_sha256="b" * 64, python="3.11", kernel="6.1", boot="c" * 16
)
STEPPED = ClockStepped(step_ms=5)
"""Any event, for a record that is there for its place in the chain."""


@dataclass
class HandClock:
    """Clocks that stand still until a test moves them."""

    wall: datetime = START
    passed_s: float = 100.0
    boot_id: str = "boot-1"
    sync: tuple[bool, int | None] = (True, 7)

    def now(self) -> datetime:
        return self.wall

    def monotonic_s(self) -> float:
        return self.passed_s

    def boottime_s(self) -> float:
        return self.passed_s

    def synchronised(self) -> Synchronised:
        return Synchronised(*self.sync, "kernel" if self.sync[0] else "unknown")


def seen(size_bytes: int = 1000, *, mtime_ns: int = MTIME_NS, inode: int = 11, device: int = 5) -> Seen:
    return Seen(size_bytes, mtime_ns, device, inode, mtime_ns)


def seen_file(path: bytes = PATH, what: Seen | None = None, uid: str = "", blocks_wipe: str | None = None) -> SeenFile:
    """A settled file; unless told, its id is made of its path and of what was seen of it."""
    found = what if what is not None else seen()
    made = hashlib.sha256(repr((path, found)).encode()).hexdigest()[:16]
    return SeenFile(path, found, uid or made, blocks_wipe)


def digests(size_bytes: int = 1000, content: bytes = b"footage") -> Digests:
    return Digests(size_bytes, blake3.blake3(content).hexdigest(), hashlib.sha256(content).hexdigest())


def content(row: RecordingRow) -> Digests:
    """Digests that no other recording has."""
    return digests(row.size_bytes, repr((row.camera, row.path, row.generation)).encode())


@dataclass
class Desk:
    """One journal, open or not."""

    path: Path
    clock: HandClock = field(default_factory=HandClock)
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.journal = Journal.open(self.path, clock=self.clock, dock=DOCK)

    def close(self) -> None:
        assert self.journal.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    def do(self, work: Callable[[Transaction], T]) -> T:
        return self.journal.submit(work).result(timeout=60)

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.do(lambda tx: tx.all(sql, *values))

    def lines(self) -> list[str]:
        """The present chain."""
        return [
            line
            for (line,) in self.ask("SELECT line FROM record WHERE chain = (SELECT max(id) FROM chain) ORDER BY seq")
        ]

    def chains(self) -> list[list[str]]:
        """The lines of all chains, in their order."""
        lines = self.ask("SELECT chain, line FROM record ORDER BY chain, seq")
        return [[line for _, line in group] for _, group in groupby(lines, key=lambda row: int(row[0]))]

    def records(self) -> list[dict[str, Any]]:
        """The records of all chains, in their order."""
        return [json.loads(line) for lines in self.chains() for line in lines]

    # --- what the stages tell ------------------------------------------------------------------------

    def dock(self, camera: CameraIdentity = CAMERA, bay: str = "1") -> DockingRow:
        return self.do(
            lambda tx: dockings.begin_docking(tx, camera, bay=bay, write_block="none", dock_name="dock-07")[1]
        )

    def note(self, docking: DockingRow, *files: SeenFile, rules: Rules | None = None) -> list[RecordingRow]:
        return self.do(lambda tx: dockings.take_note(tx, tx.docking(docking.id), files, rules or Rules()))

    def listed(self, docking: DockingRow, *present: bytes) -> int:
        return self.do(lambda tx: dockings.listing_complete(tx, tx.docking(docking.id), set(present), {}))

    def end(self, docking: DockingRow, why: str = "it left") -> None:
        self.do(lambda tx: dockings.end_docking(tx, docking.id, why))

    def row(self, recording_id: int) -> RecordingRow:
        return self.do(lambda tx: tx.recording(recording_id))

    def newest(self, path: bytes = PATH) -> RecordingRow:
        """The newest generation of a path, of whatever camera."""
        return self.do(lambda tx: tx.recordings("path = ? ORDER BY generation DESC LIMIT 1", path)[0])

    def copy(self, row: RecordingRow, content: bytes = b"footage") -> None:
        """Copy it whole in one go."""
        key = recording_key("calgary", CAMERA, row.path, digests(content=content).blake3)
        self.do(lambda tx: recordings.begin_copy(tx, row.id, f"spool-{row.uid}"))
        self.do(lambda tx: recordings.copied(tx, row.id, digests(row.size_bytes, content), key))

    def confirm(self, row: RecordingRow, content: bytes = b"footage") -> None:
        back = ReadBack(digests(row.size_bytes, content), "version-1", past_cache=True)
        self.do(lambda tx: recordings.confirmed(tx, row.id, back, 50.0))

    def sign(self) -> None:
        """Sign what was recorded so far, and call it stored."""
        self.do(lambda tx: sign_all(tx, SigningKey.generate()))

    def bring_to(self, state: RecordingState, path: bytes = PATH, docking: DockingRow | None = None) -> RecordingRow:
        """A recording that came to `state` by the way that the stages go."""
        stay = docking if docking is not None else self.dock()
        self.note(stay, seen_file(path))
        recording_id = self.newest(path).id
        if state is RecordingState.VANISHED:
            self.listed(stay)
            return self.row(recording_id)
        steps: list[tuple[RecordingState, Callable[[], object]]] = [
            (RecordingState.SPOOLED, lambda: self.copy(self.row(recording_id))),
            (
                RecordingState.UPLOADED,
                lambda: self.do(lambda tx: recordings.uploaded(tx, recording_id, already_there=False)),
            ),
            (RecordingState.CONFIRMED, lambda: self.confirm(self.row(recording_id))),
            (RecordingState.WIPE_INTENT, lambda: self.do(lambda tx: wipes.wipe_intent(tx, [recording_id]))),
            (RecordingState.WIPED, lambda: self.do(lambda tx: wipes.wiped(tx, [recording_id]))),
        ]
        for reached, step in steps:
            if self.row(recording_id).state is state:
                break
            step()
            assert self.row(recording_id).state is reached
        return self.row(recording_id)


@contextmanager
def desk_in(folder: Path) -> Iterator[Desk]:
    """A desk with a journal in `folder`, closed at the end."""
    desk = Desk(folder / "journal.db")
    try:
        yield desk
    finally:
        desk.journal.close()


def raw(path: Path, *statements: str) -> None:
    """Change a closed journal behind dockd's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def closed_journal(folder: Path) -> Path:
    """A journal with a few recordings in it, cleanly closed."""
    with desk_in(folder) as desk:
        docking = desk.dock()
        for number in range(12):
            desk.bring_to(RecordingState.WIPED, f"{number}.mp4".encode(), docking)
        desk.close()
        return desk.path
