"""A dock without its daemon: a real folder camera, journal, spool and store, for the stages one by one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contract.tools import Steps, plant
from custody_signing import sign_all

from dockd.cameras.folder import FolderCamera
from dockd.cameras.patterns import matcher
from dockd.custody.keys import SigningKey
from dockd.direct_io import Buffer
from dockd.events import DockStarted
from dockd.journal import dockings
from dockd.journal.database import open_for_reading
from dockd.journal.dockings import Rules, SeenFile
from dockd.journal.journal import Journal
from dockd.journal.rows import RecordingRow
from dockd.journal.startup import Started, start
from dockd.paths import Forbidden
from dockd.runtime.clock import SystemClock
from dockd.runtime.randomness import SystemRandomness
from dockd.runtime.workers import Control
from dockd.spool.space import SpaceBudget
from dockd.spool.spool import Spool
from dockd.stages.offload import OffloadParts, copy_recording
from dockd.stages.upload import StoreParts, upload_recording
from dockd.stages.verify import confirm_recording
from dockd.stores.filesystem import FilesystemStore, initialise

NOTHING = Forbidden()
AGENCY = "calgary"
DOCK = "calgary/district-4/dock-07"
SERIAL = "CAM-1"
PATH = b"DCIM/one.MP4"


class World:
    """Everything that the stages work on, below one folder; opening it again is a restart of the daemon."""

    started = DockStarted(version="0", package_sha256="0", configuration_sha256="0", python="0", kernel="0", boot="0")

    def __init__(self, root: Path, *, min_free: int = 0) -> None:
        self.root = root
        self.folder = root / "cameras" / SERIAL
        self.folder.mkdir(parents=True, exist_ok=True)
        spool = root / "state" / "spool"
        spool.mkdir(parents=True, exist_ok=True)
        self.spool = Spool(spool)
        self.budget = SpaceBudget(spool, min_free)
        self.clock = SystemClock()
        self.random = SystemRandomness()
        self.store = FilesystemStore(root / "store")
        initialise(self.store.root, self.random)
        self.store.pin(self.store.identify())
        self.journal_path = root / "state" / "journal.db"
        self.journal = Journal.open(self.journal_path, clock=self.clock, dock=DOCK)
        self.offload = OffloadParts(
            self.journal, self.spool, self.budget, self.random, AGENCY, self.store.part_size_bytes
        )
        self.storing = StoreParts(self.journal, self.spool, self.store, self.random)
        self.key = SigningKey.generate()
        self.docking_id = self.last_docking()

    def close(self) -> None:
        self.journal.close()

    # --- the camera ----------------------------------------------------------------------------------

    def plant(self, data: bytes, path: bytes = PATH) -> Path:
        """Put a file on the camera."""
        return plant(self.folder / os.fsdecode(path), data)

    @contextmanager
    def attached(self, *, forbidden: Forbidden = NOTHING) -> Iterator[FolderCamera]:
        """The camera, in use."""
        camera = FolderCamera(os.fsencode(self.folder), matcher(["**"]), forbidden)
        camera.attach()
        try:
            yield camera
        finally:
            camera.close()

    def last_docking(self) -> int:
        row = self.journal.run_in_thread(lambda tx: tx.one("SELECT max(id) FROM docking"))
        return row[0] or 0 if row is not None else 0

    def restarted(self) -> Started:
        """What the journal is told, and tells, when the daemon starts."""
        return self.journal.run_in_thread(lambda tx: start(tx, self.started, None, self.spool.names()))

    def dock(self, camera: FolderCamera) -> Mapping[bytes, int]:
        """Dock the camera anew and take note of everything on it; the newest recording of each path."""
        self.restarted()
        _, docking = self.journal.run_in_thread(
            lambda tx: dockings.begin_docking(
                tx, camera.identity, bay=camera.bay, write_block="none", dock_name="dock-07"
            )
        )
        self.docking_id = docking.id
        return self.note(camera)

    def note(self, camera: FolderCamera) -> Mapping[bytes, int]:
        """Take note of everything on the camera, in the same docking; the newest recording of each path."""
        listing = camera.list(Steps())
        files = [SeenFile(path, seen, self.random.token(8)) for path, seen in listing.files.items()]
        rules = Rules(camera.stable_inodes, camera.local_times)
        docking_id = self.docking_id
        self.journal.run_in_thread(lambda tx: dockings.take_note(tx, tx.docking(docking_id), files, rules))
        rows = self.rows()
        return {row.path: row.id for row in rows}

    def leave(self) -> None:
        """The camera leaves."""
        docking_id = self.docking_id
        self.journal.run_in_thread(lambda tx: dockings.end_docking(tx, docking_id, "the test took it out"))

    # --- the way of a recording ----------------------------------------------------------------------

    def copy(self, camera: FolderCamera, recording: int, control: Control | None = None) -> None:
        copy_recording(self.offload, camera, recording, Buffer(), control or Control())

    def store_it(self, recording: int) -> RecordingRow:
        """Upload and confirm one recording; its row."""
        upload_recording(self.storing, recording, Buffer(), Control())
        assert confirm_recording(self.storing, recording, 0.0, Buffer(), Control())
        return self.row(recording)

    def sign(self) -> None:
        """Sign what was recorded so far, and bring it into the store, as the notary does."""
        for key, data in self.journal.run_in_thread(lambda tx: sign_all(tx, self.key)).items():
            self.store.put_small(key, data)

    # --- looking -------------------------------------------------------------------------------------

    def row(self, recording: int) -> RecordingRow:
        return self.journal.run_in_thread(lambda tx: tx.recording(recording))

    def rows(self) -> list[RecordingRow]:
        """All recordings, in the order in which they were found."""
        return self.journal.run_in_thread(lambda tx: tx.recordings("TRUE ORDER BY id"))

    def marks(self, recording: int) -> list[int]:
        """How far the ledger says that a recording is durable: the end of each chunk."""
        found = self.query("SELECT end_bytes FROM ledger WHERE recording = ? ORDER BY 1", recording)
        return [end for (end,) in found]

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.journal.run_in_thread(lambda tx: tx.all(sql, *values))

    def events(self) -> list[str]:
        """The names of all recorded events, in order."""
        return [event for (event,) in self.query("SELECT line ->> 'event' FROM record ORDER BY chain, seq")]

    def spooled(self) -> dict[str, bytes]:
        """What lies in the spool."""
        return {path.name: path.read_bytes() for path in self.spool.directory.iterdir()}

    def spool_file(self, recording: int) -> Path:
        name = self.row(recording).spool_name
        assert name is not None
        return self.spool.path(name)

    def stored(self) -> dict[str, bytes]:
        """All visible recordings in the store, by key."""
        root = self.store.root
        return {str(p.relative_to(root)): p.read_bytes() for p in root.glob(f"{AGENCY}/recordings/*/[!.]*")}


def ledger_of(journal: Path, recording: int) -> Sequence[int]:
    """What a journal says that nobody has open any more: the ends of a recording's durable chunks."""
    connection: sqlite3.Connection = open_for_reading(journal, in_use=False)
    try:
        rows = connection.execute("SELECT end_bytes FROM ledger WHERE recording = ? ORDER BY 1", (recording,))
        return [end for (end,) in rows]
    finally:
        connection.close()
