"""Upload: from the spool into the store, resumably, under a key that names the content."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dockd.digests import Digests, PartDigests
from dockd.direct_io import Buffer
from dockd.errors import SpoolCorruptError
from dockd.identity import display_name
from dockd.journal import queries, recordings
from dockd.journal.journal import Journal
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.runtime.randomness import Randomness
from dockd.runtime.workers import Control
from dockd.spool.spool import Spool
from dockd.stages.trash import empty_trash
from dockd.stores.base import EvidenceStore, Upload


@dataclass(frozen=True, slots=True)
class StoreParts:
    """What uploading and verifying need."""

    journal: Journal
    spool: Spool
    store: EvidenceStore
    randomness: Randomness


def upload_recording(parts: StoreParts, recording_id: int, buffer: Buffer, control: Control) -> RecordingRow:
    """Bring one spooled recording into the store; its row, by then UPLOADED.

    Raises StoreUnavailableError, StoreFullError, StoreUnknownError, StoreConflictError, SpoolCorruptError.
    """
    token = parts.randomness.token()
    row = parts.journal.run_in_thread(lambda tx: recordings.begin_upload(tx, recording_id, token))
    assert row.store_key and row.spool_name and row.upload_id and row.blake3 and row.sha256
    control.begin("uploading", display_name(row.path), row.size_bytes)
    row = _same_content(parts, row)
    assert row.store_key and row.spool_name and row.upload_id and row.blake3 and row.sha256
    digests = Digests(row.size_bytes, row.blake3, row.sha256)
    upload = Upload(row.upload_id, partial(_remember, parts, recording_id), _part_digests(parts, recording_id))
    saved = parts.store.save(row.store_key, parts.spool.path(row.spool_name), digests, upload, buffer, control)
    parts.journal.run_in_thread(lambda tx: recordings.uploaded(tx, recording_id, already_there=saved.already_there))
    return parts.journal.run_in_thread(lambda tx: tx.recording(recording_id))


def _remember(parts: StoreParts, recording_id: int, upload_id: str) -> None:
    """Journal what the store calls an upload, before anything is sent to it."""
    parts.journal.run_in_thread(lambda tx: recordings.upload_named(tx, recording_id, upload_id))


def _part_digests(parts: StoreParts, recording_id: int) -> PartDigests | None:
    return parts.journal.run_in_thread(lambda tx: queries.part_digests(tx, recording_id))


def _same_content(parts: StoreParts, row: RecordingRow) -> RecordingRow:
    """If the camera's folder holds the same bytes already, under another suffix, use that key."""
    folder = (row.store_key or "").rpartition("/")[0]
    found = parts.store.find_content(folder, row.blake3 or "")
    if found is None or found == row.store_key:
        return row
    if row.upload_id is not None and row.store_key is not None:
        # It was begun under the other key, by which alone it can be found.
        parts.store.abandon(row.store_key, row.upload_id)
    parts.journal.run_in_thread(lambda tx: tx.update(row, store_key=found))
    return parts.journal.run_in_thread(lambda tx: tx.recording(row.id))


def spool_copy_lost(parts: StoreParts, recording_id: int, error: SpoolCorruptError) -> bool:
    """A spool file turned out to be bad: begin anew from the camera, if the recording is still on it.

    False if it is not: then nobody has it whole, which is said, and this copy, bad as it is, is kept.
    """
    row = parts.journal.run_in_thread(lambda tx: tx.recording(recording_id))

    def decide(tx: Transaction) -> bool:
        row = tx.recording(recording_id)
        if row.on_device:
            recordings.copy_again(tx, recording_id, error.message)
            return True
        recordings.spool_lost(tx, recording_id, error.message)
        return False

    again = parts.journal.run_in_thread(decide)
    if again and row.spool_name is not None:
        empty_trash(parts.journal, parts.spool, [row.spool_name])
    return again
