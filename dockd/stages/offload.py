"""Offload: from the device into the spool, with both digests computed on the way.

One thread per camera runs the whole loop: read a unit into a page-aligned buffer, hash it, write it with
O_DIRECT. Every few units the spool is made durable and the ledger is told. At the end the spool is read
back from its disk. A copy that was broken off goes on where the ledger says, after the spool's prefix was
hashed again; only the rest is read from the camera.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from dockd.cameras.base import Camera, OpenFile
from dockd.digests import Digests, Hasher, PartDigests, blake3_of, digest_of
from dockd.direct_io import UNIT_BYTES, Buffer, Reader, Writer
from dockd.errors import (
    CameraGoneError,
    NotSettledError,
    RecordingUnreadableError,
    SourceChangedError,
    SpoolCorruptError,
    StoppedError,
)
from dockd.identity import recording_key, same_recording
from dockd.journal import recordings
from dockd.journal.journal import Journal
from dockd.journal.recordings import LedgerMark
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.runtime.randomness import Randomness
from dockd.runtime.workers import Control
from dockd.spool.space import SpaceBudget
from dockd.spool.spool import Spool, spool_errors
from dockd.stages.trash import empty_trash

CHUNK_BYTES: Final = 8 * UNIT_BYTES
"""One row of the ledger."""

FLUSH_BYTES: Final = 4 * CHUNK_BYTES
"""How much may be read again after a crash, together with as much that is on its way into the ledger."""

FLUSH_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class OffloadParts:
    """What offloading needs besides the camera."""

    journal: Journal
    spool: Spool
    budget: SpaceBudget
    randomness: Randomness
    agency: str
    part_size_bytes: Callable[[int], int | None]
    """The parts whose digests the store wants of a file of some size, see `EvidenceStore`."""


def copy_recording(parts: OffloadParts, camera: Camera, recording_id: int, buffer: Buffer, control: Control) -> Digests:
    """Bring one recording whole and durable into the spool.

    Raises CameraGoneError, NotSettledError, SourceChangedError, RecordingUnreadableError, SpoolFullError,
    SpoolCorruptError; what was made durable by then is kept and used again.
    """
    name = parts.spool.new_name(parts.randomness.token())
    row, marks = parts.journal.run_in_thread(lambda tx: recordings.begin_copy(tx, recording_id, name))
    assert row.spool_name is not None
    control.begin("offloading", os.fsdecode(row.path), row.size_bytes)
    with spool_errors():
        prefix = _durable_prefix(parts, row, marks, buffer, control)
        if marks and marks[-1].end_bytes > prefix.size_bytes:
            parts.journal.run_in_thread(lambda tx: recordings.forget_marks(tx, row.id, prefix.size_bytes))
        # What is not vouched for takes room that is about to be reserved.
        parts.spool.truncate(row.spool_name, prefix.size_bytes)
    resumed = prefix.size_bytes > 0
    parts.budget.reserve(row.spool_name, row.size_bytes - prefix.size_bytes)
    try:
        with camera.open(row.path, lease=True) as opened:
            _same_source(camera, row, opened)
            digests, part_digests = _copy_rest(parts, camera, row, opened, prefix, buffer, control)
            _same_source(camera, row, opened)
        if digests.size_bytes != row.size_bytes:
            raise SourceChangedError(f"{digests.size_bytes} bytes were read of a file of {row.size_bytes}")
        _compare_with_disk(parts, row, digests, buffer, control)
    finally:
        parts.budget.release(row.spool_name)
    key = recording_key(parts.agency, camera.identity, row.path, digests.blake3)

    def copied(tx: Transaction) -> None:
        recordings.copied(tx, row.id, digests, key, resumed=resumed, part_digests=part_digests)

    parts.journal.run_in_thread(copied)
    return digests


def _durable_prefix(
    parts: OffloadParts, row: RecordingRow, marks: list[LedgerMark], buffer: Buffer, control: Control
) -> Hasher:
    """Hash what an earlier copy left in the spool, as far as the ledger vouches for it and the bytes agree."""
    part_size_bytes = parts.part_size_bytes(row.size_bytes)
    hasher = Hasher(part_size_bytes)
    assert row.spool_name is not None
    if not marks or not parts.spool.path(row.spool_name).exists():
        return hasher
    good = 0
    with parts.spool.reading(row.spool_name, buffer) as (reader, size_bytes):
        wanted = {mark.end_bytes: mark.blake3 for mark in marks if mark.end_bytes <= size_bytes}
        for chunk in reader.chunks(0, max(wanted, default=0)):
            hasher.update(chunk)
            control.advance(len(chunk))
            expected = wanted.get(hasher.size_bytes)
            if expected is not None:
                if expected != hasher.prefix_blake3():
                    break
                good = hasher.size_bytes
    if good == hasher.size_bytes:
        return hasher
    # Bytes behind the last good mark cannot be unhashed: begin again up to there.
    hasher = Hasher(part_size_bytes)
    with parts.spool.reading(row.spool_name, buffer) as (reader, _):
        for chunk in reader.chunks(0, good):
            hasher.update(chunk)
    return hasher


def _same_source(camera: Camera, row: RecordingRow, opened: OpenFile) -> None:
    now = opened.look()
    if not same_recording(row.seen, now, stable_inodes=camera.stable_inodes, local_times=camera.local_times):
        raise SourceChangedError(f"{os.fsdecode(row.path)!r} changed on the camera")


def source_chunks(camera: Camera, opened: OpenFile, reader: Reader, start_bytes: int = 0) -> Iterator[memoryview]:
    """A camera file's chunks, its read errors told apart: the camera is gone, or the file is unreadable."""
    chunks = reader.chunks(start_bytes)
    read = start_bytes
    while True:
        try:
            chunk = next(chunks)
        except StopIteration:
            return
        except OSError as error:
            camera.check()
            raise RecordingUnreadableError(f"read error behind byte {read}: {error.strerror}") from error
        read += len(chunk)
        yield chunk
        if opened.lease_held and not opened.lease_intact():
            raise NotSettledError("somebody opens the file for writing")


def _copy_rest(
    parts: OffloadParts,
    camera: Camera,
    row: RecordingRow,
    opened: OpenFile,
    hasher: Hasher,
    buffer: Buffer,
    control: Control,
) -> tuple[Digests, PartDigests | None]:
    assert row.spool_name is not None
    start_bytes = hasher.size_bytes
    with spool_errors():
        manager = parts.spool.writing(row.spool_name)
        fd = manager.__enter__()
    ledger = _Ledger(parts, row, Writer(fd, start_bytes))
    try:
        with spool_errors():
            os.ftruncate(fd, start_bytes)
        reader = opened.reader(buffer, direct=False)
        for chunk in source_chunks(camera, opened, reader, start_bytes):
            if hasher.size_bytes + len(chunk) > row.size_bytes:
                raise SourceChangedError(f"{os.fsdecode(row.path)!r} grew on the camera")
            hasher.update(chunk)
            with spool_errors():
                ledger.write(hasher, chunk)
            control.advance(len(chunk))
        with spool_errors():
            os.fsync(fd)
        ledger.finish()
    except (StoppedError, CameraGoneError, NotSettledError, RecordingUnreadableError):
        with spool_errors():
            ledger.keep()
        raise
    finally:
        manager.__exit__(None, None, None)
    return hasher.digests(), hasher.parts()


class _Ledger:
    """Tells the journal how far the spool is durable, never before it is."""

    def __init__(self, parts: OffloadParts, row: RecordingRow, writer: Writer) -> None:
        self._parts = parts
        self._row = row
        self._writer = writer
        self._marks: list[LedgerMark] = []
        self._unsynced = 0
        self._last_s = time.monotonic()
        self._pending: Future[None] | None = None

    def write(self, hasher: Hasher, chunk: memoryview) -> None:
        """Write the next bytes, which `hasher` has taken in already."""
        self._writer.write(chunk)
        self._unsynced += len(chunk)
        if hasher.size_bytes % CHUNK_BYTES == 0:
            self._marks.append(LedgerMark(hasher.size_bytes, hasher.prefix_blake3()))
        due = self._unsynced >= FLUSH_BYTES or time.monotonic() - self._last_s >= FLUSH_S
        if self._marks and due:
            self._flush()

    def _flush(self) -> None:
        self._writer.flush()
        marks, self._marks = self._marks, []
        # One commit may be on its way while the next bytes are copied; never more.
        self.finish()
        row_id = self._row.id
        self._pending = self._parts.journal.submit(lambda tx: recordings.add_marks(tx, row_id, marks))
        assert self._row.spool_name is not None
        self._parts.budget.written(self._row.spool_name, self._unsynced)
        self._unsynced = 0
        self._last_s = time.monotonic()

    def keep(self) -> None:
        """The copy is broken off: make durable what there is."""
        if self._marks:
            self._flush()
        self.finish()

    def finish(self) -> None:
        """Wait for the commit that is on its way."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None


def _compare_with_disk(
    parts: OffloadParts, row: RecordingRow, digests: Digests, buffer: Buffer, control: Control
) -> None:
    """Read the spool back from its disk; raises SpoolCorruptError when it is not what was hashed."""
    assert row.spool_name is not None
    control.begin("checking", os.fsdecode(row.path), row.size_bytes)
    with spool_errors(), parts.spool.reading(row.spool_name, buffer) as (reader, _):
        size_bytes, found = blake3_of(reader.chunks(), control)
    if (size_bytes, found) != (digests.size_bytes, digests.blake3):
        parts.journal.run_in_thread(lambda tx: recordings.copy_again(tx, row.id, "the spool gave back other bytes"))
        empty_trash(parts.journal, parts.spool, [row.spool_name])
        raise SpoolCorruptError("the spool gave back other bytes than were written")


def reread_recording(
    parts: OffloadParts, camera: Camera, row: RecordingRow, docking_id: int, buffer: Buffer, control: Control
) -> bool:
    """Read a recording whole on its device, past the page cache, and compare; False if it differs.

    Raises CameraGoneError, NotSettledError, SourceChangedError, RecordingUnreadableError.
    """
    control.begin("re-reading", os.fsdecode(row.path), row.size_bytes)
    with camera.open(row.path, lease=True) as opened:
        _same_source(camera, row, opened)
        reader = opened.reader(buffer, direct=True)
        digests = digest_of(source_chunks(camera, opened, reader), control)
        _same_source(camera, row, opened)
    if digests == Digests(row.size_bytes, row.blake3 or "", row.sha256 or ""):
        parts.journal.run_in_thread(lambda tx: recordings.reread_equal(tx, row.id, docking_id))
        return True
    uid = parts.randomness.token(8)
    detail = f"the file on the camera has BLAKE3 {digests.blake3}, on record is {row.blake3}"
    parts.journal.run_in_thread(lambda tx: recordings.reread_differs(tx, row.id, uid, detail))
    return False
