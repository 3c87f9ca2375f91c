"""What the journal is told when recordings are wiped from their camera, or are not."""

from __future__ import annotations

from collections.abc import Sequence

from dockd.custody.chain import rfc3339
from dockd.errors import IllegalMoveError
from dockd.events import RecordingReturned, RecordingWiped, WipeRefused, WipeStarted
from dockd.journal.recordings import event_of
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState


def wipe_intent(tx: Transaction, recording_ids: Sequence[int]) -> None:
    """The gate was passed for these: from now on each file may be gone from the device."""
    for recording_id in recording_ids:
        row = tx.recording(recording_id)
        if row.store_fault is not None:
            raise IllegalMoveError(f"recording {row.uid} is {row.store_fault} in the store")
        event = event_of(WipeStarted, tx, row, key=row.store_key, blake3=row.blake3, sha256=row.sha256)
        tx.move(row, RecordingState.WIPE_INTENT, [event], only_from=RecordingState.CONFIRMED)


def wiped(tx: Transaction, recording_ids: Sequence[int]) -> None:
    """These were unlinked, made durable, and seen gone."""
    for recording_id in recording_ids:
        row = tx.recording(recording_id)
        event = event_of(RecordingWiped, tx, row, method="unlink", key=row.store_key)
        utc = rfc3339(tx.clock.now())
        tx.move(
            row, RecordingState.WIPED, [event], only_from=RecordingState.WIPE_INTENT, on_device=False, wiped_utc=utc
        )


def wipe_abandoned(tx: Transaction, recording_id: int, why: str) -> None:
    """The file was not unlinked after all."""
    row = tx.recording(recording_id)
    event = event_of(RecordingReturned, tx, row, state=RecordingState.CONFIRMED, why=why)
    tx.move(row, RecordingState.CONFIRMED, [event], only_from=RecordingState.WIPE_INTENT)


def wipe_refused(tx: Transaction, recording_id: int, reason: str, detail: str, *, record: bool = True) -> None:
    """The gate was not passed, and why; recorded when it is news and `record`."""
    row = tx.recording(recording_id)
    text = f"{reason}: {detail}"
    if row.wipe_refusal == text:
        return
    if record:
        tx.append(event_of(WipeRefused, tx, row, reason=reason, detail=detail))
    tx.update(row, wipe_refusal=text)
