"""Verify: read back from the store what it holds, and only then call a recording confirmed."""

from __future__ import annotations

from dockd.digests import Digests, ReadBack
from dockd.direct_io import Buffer
from dockd.errors import StoreConflictError
from dockd.identity import display_name
from dockd.journal import recordings
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.runtime.workers import Control
from dockd.stages.trash import empty_trash
from dockd.stages.upload import StoreParts
from dockd.stores.compare import read_and_compare


def read_back(parts: StoreParts, row: RecordingRow, buffer: Buffer, control: Control) -> ReadBack | None:
    """Read a recording back from the store and compare; None if the store does not hold it.

    Raises StoreConflictError when size or a digest differs, and what the store raises.
    """
    assert row.store_key and row.blake3 and row.sha256
    control.begin("confirming", display_name(row.path), row.size_bytes)
    expected = Digests(row.size_bytes, row.blake3, row.sha256)
    found = read_and_compare(parts.store, row.store_key, expected, buffer, control)
    if found is not None and found.digests != expected:
        raise StoreConflictError(
            f"{row.store_key} holds {found.digests.size_bytes} bytes with SHA-256 {found.digests.sha256}; "
            f"{row.size_bytes} bytes with SHA-256 {row.sha256} were uploaded"
        )
    return found


def confirm_recording(parts: StoreParts, recording_id: int, seen_s: float, buffer: Buffer, control: Control) -> bool:
    """Confirm one uploaded recording and remove its spool file; False if it has to be uploaded again.

    Raises StoreConflictError, having recorded the failure, and what the store raises.
    """
    row = parts.journal.run_in_thread(lambda tx: tx.recording(recording_id))
    try:
        found = read_back(parts, row, buffer, control)
    except StoreConflictError as error:
        detail = error.message

        def refuse(tx: Transaction) -> None:
            recordings.problem(tx, recording_id, "store_conflict", detail, integrity=True)

        parts.journal.run_in_thread(refuse)
        raise
    if found is None:
        why = "the store does not hold what it said it holds"
        parts.journal.run_in_thread(lambda tx: recordings.upload_lost(tx, recording_id, why))
        return False
    read = found
    trash = parts.journal.run_in_thread(lambda tx: recordings.confirmed(tx, recording_id, read, seen_s))
    if trash is not None:
        empty_trash(parts.journal, parts.spool, [trash])
    return True


def confirm_again(parts: StoreParts, recording_id: int, buffer: Buffer, control: Control) -> bool:
    """Read a confirmed recording back once more; False, and recorded, if it is missing or altered."""
    row = parts.journal.run_in_thread(lambda tx: tx.recording(recording_id))
    try:
        found = read_back(parts, row, buffer, control)
    except StoreConflictError as error:
        detail = error.message
        parts.journal.run_in_thread(lambda tx: recordings.store_fault(tx, recording_id, "altered", detail))
        return False
    if found is None:
        why = "the store no longer holds it"
        parts.journal.run_in_thread(lambda tx: recordings.store_fault(tx, recording_id, "missing", why))
        return False
    read = found
    parts.journal.run_in_thread(lambda tx: recordings.read_back_again(tx, recording_id, read))
    return True
