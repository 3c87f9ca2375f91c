"""What the journal is told about one recording on its way from the device to the store and off the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dockd.custody.chain import rfc3339
from dockd.digests import Digests, PartDigests, ReadBack
from dockd.errors import IllegalMoveError
from dockd.events import (
    CHANGED_ON_CAMERA,
    Event,
    IntegrityFailure,
    OfRecording,
    RecordingAnomaly,
    RecordingConfirmed,
    RecordingCopied,
    RecordingFound,
    RecordingReread,
    RecordingReturned,
    RecordingUploaded,
    RecordingVanished,
    StoreFaultOver,
)
from dockd.journal.rows import RecordingRow, recording_names
from dockd.journal.transaction import Transaction
from dockd.lifecycle import WHOLE_HERE, RecordingState

LOST_HERE: Final = frozenset({"spool_lost", "device_differs"})
"""Problems of a vanished recording that are not the doing of whoever used the camera."""


@dataclass(frozen=True, slots=True)
class LedgerMark:
    """The spool holds `end_bytes` durably, and their BLAKE3 is `blake3`."""

    end_bytes: int
    blake3: bytes


def names(tx: Transaction, row: RecordingRow) -> dict[str, object]:
    """The fields by which a record names this recording and its docking."""
    found: dict[str, object] = recording_names(tx.camera(row.camera), row)
    if row.docking is not None:
        found["docking"] = tx.docking(row.docking).name
    return found


def event_of(kind: type[OfRecording], tx: Transaction, row: RecordingRow, **values: object) -> Event:
    """An event about one recording, with the fields that name it."""
    return kind.model_validate({**names(tx, row), **values})


def begin_copy(tx: Transaction, recording_id: int, spool_name: str) -> tuple[RecordingRow, list[LedgerMark]]:
    """Give the recording a spool file, if it has none yet; the row, and how far an earlier copy came."""
    row = tx.recording(recording_id)
    marks = tx.all("SELECT end_bytes, blake3 FROM ledger WHERE recording = ? ORDER BY end_bytes", row.id)
    if not marks:
        tx.update(row, spool_name=row.spool_name or spool_name, begun_docking=row.docking)
    return tx.recording(recording_id), [LedgerMark(*mark) for mark in marks]


def forget_marks(tx: Transaction, recording_id: int, beyond_bytes: int) -> None:
    """Take back what was claimed of the spool behind `beyond_bytes`: it is not there."""
    tx.run("DELETE FROM ledger WHERE recording = ? AND end_bytes > ?", recording_id, beyond_bytes)


def add_marks(tx: Transaction, recording_id: int, marks: Sequence[LedgerMark]) -> None:
    """Claim that the spool is durable up to each mark; called only after it was made so."""
    for mark in marks:
        tx.run("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?)", recording_id, mark.end_bytes, mark.blake3)


def copied(
    tx: Transaction,
    recording_id: int,
    digests: Digests,
    key: str,
    *,
    resumed: bool = False,
    part_digests: PartDigests | None = None,
) -> None:
    """The recording is whole and durable in the spool, and was read back from there.

    `resumed`: part of it was read earlier than the rest, so that it may be a mixture of two files.
    """
    row = tx.recording(recording_id)
    whole = not resumed and row.begun_docking == row.docking
    event = event_of(
        RecordingCopied,
        tx,
        row,
        size=digests.size_bytes,
        blake3=digests.blake3,
        sha256=digests.sha256,
        read_in_one_docking=whole,
    )
    tx.run("DELETE FROM ledger WHERE recording = ?", row.id)
    if part_digests is not None:
        tx.run(
            "INSERT OR REPLACE INTO part_digests VALUES (?, ?, ?)",
            row.id,
            part_digests.part_size_bytes,
            part_digests.sha256s,
        )
    tx.move(
        row,
        RecordingState.SPOOLED,
        [event],
        only_from=RecordingState.FOUND,
        blake3=digests.blake3,
        sha256=digests.sha256,
        read_whole=whole,
        store_key=key,
        problem=None,
        problem_detail=None,
    )


def copy_again(tx: Transaction, recording_id: int, why: str) -> None:
    """Forget a copy in the spool that cannot be used, and begin the copy anew from the device."""
    row = tx.recording(recording_id)
    columns: dict[str, Any] = {
        "spool_name": None,
        "begun_docking": None,
        "blake3": None,
        "sha256": None,
        "read_whole": False,
    }
    tx.run("DELETE FROM ledger WHERE recording = ?", row.id)
    _trash(tx, row)
    if row.state is RecordingState.FOUND:
        tx.update(row, **columns)
        return
    if row.state is RecordingState.UPLOADED:
        event = event_of(RecordingReturned, tx, row, state=RecordingState.SPOOLED, why=why)
        tx.move(row, RecordingState.SPOOLED, [event])
        row = tx.recording(recording_id)
    _trash_upload(tx, row)
    event = event_of(RecordingReturned, tx, row, state=RecordingState.FOUND, why=why)
    tx.move(
        row, RecordingState.FOUND, [event], only_from=RecordingState.SPOOLED, **columns, store_key=None, upload_id=None
    )


def _trash_upload(tx: Transaction, row: RecordingRow) -> None:
    """An upload of it that was begun is never gone on with; whoever calls this takes its id from the row."""
    if row.upload_id is not None and row.store_key is not None:
        tx.run("INSERT OR IGNORE INTO upload_trash VALUES (?, ?)", row.store_key, row.upload_id)


def _trash(tx: Transaction, row: RecordingRow) -> None:
    tx.run("DELETE FROM part_digests WHERE recording = ?", row.id)
    if row.spool_name is not None:
        tx.run("INSERT OR IGNORE INTO spool_trash VALUES (?)", row.spool_name)


def reread_equal(tx: Transaction, recording_id: int, docking_id: int) -> None:
    """The device's file was read whole in this docking and gave the digests that are on record."""
    row = tx.recording(recording_id)
    assert row.blake3 is not None and row.sha256 is not None
    tx.append(event_of(RecordingReread, tx, row, size=row.size_bytes, blake3=row.blake3, sha256=row.sha256))
    tx.update(row, reread_docking=docking_id, read_whole=True)


def reread_differs(tx: Transaction, recording_id: int, uid: str, detail: str) -> None:
    """The device's file has other bytes than are on record: what is there now is a new generation.

    A copy that was put together in more than one docking is no recording that ever was: it becomes
    unaccounted, and its spool file is kept, for part of it may be all that is left of an overwritten one.
    """
    row = tx.recording(recording_id)
    tx.append(IntegrityFailure(what="device-differs", detail=detail, recording=row.uid))
    if row.state in WHOLE_HERE and not row.read_whole:
        event = event_of(RecordingVanished, tx, row, why=detail, copied_bytes=row.size_bytes, size=row.size_bytes)
        _trash_upload(tx, row)
        tx.move(
            row,
            RecordingState.VANISHED,
            [event],
            on_device=False,
            upload_id=None,
            problem="device_differs",
            problem_detail=detail,
        )
    else:
        tx.append(event_of(RecordingAnomaly, tx, row, anomaly=CHANGED_ON_CAMERA, detail=detail, blocks_wipe=True))
        tx.update(row, on_device=False)
    new_id = tx.insert(
        "recording",
        uid=uid,
        camera=row.camera,
        path=row.path,
        generation=row.generation + 1,
        state=RecordingState.FOUND,
        docking=row.docking,
        on_device=True,
        found_utc=rfc3339(tx.clock.now()),
        size_bytes=row.size_bytes,
        mtime_ns=row.mtime_ns,
        device=row.device,
        inode=row.inode,
        ctime_ns=row.ctime_ns,
        blocks_wipe=row.blocks_wipe,
    )
    tx.run("INSERT INTO seen (docking, recording) VALUES (?, ?)", row.docking, new_id)
    new = tx.recording(new_id)
    tx.append(event_of(RecordingFound, tx, new, size=new.size_bytes, mtime=f"{new.mtime_ns} ns", again=False))


def spool_lost(tx: Transaction, recording_id: int, why: str) -> None:
    """The only copy, in the spool, is not what was written there: the recording is unaccounted for."""
    row = tx.recording(recording_id)
    event = event_of(RecordingVanished, tx, row, why=why, copied_bytes=0, size=row.size_bytes)
    tx.append(IntegrityFailure(what="spool-lost", detail=why, recording=row.uid))
    _trash_upload(tx, row)
    tx.move(row, RecordingState.VANISHED, [event], upload_id=None, problem="spool_lost", problem_detail=why)


def begin_upload(tx: Transaction, recording_id: int, upload_id: str) -> RecordingRow:
    """Name the upload before its first byte is sent, so that only what this journal began is cleaned up."""
    row = tx.recording(recording_id)
    if row.upload_id is None:
        tx.update(row, upload_id=upload_id)
    return tx.recording(recording_id)


def upload_named(tx: Transaction, recording_id: int, upload_id: str) -> None:
    """The store calls the upload that was begun by this name; "" if it knows of none any more."""
    tx.update(tx.recording(recording_id), upload_id=upload_id or None)


def uploaded(tx: Transaction, recording_id: int, *, already_there: bool) -> None:
    """The store said that it holds the whole."""
    row = tx.recording(recording_id)
    event = event_of(RecordingUploaded, tx, row, key=row.store_key, size=row.size_bytes, already_there=already_there)
    tx.move(row, RecordingState.UPLOADED, [event], only_from=RecordingState.SPOOLED, upload_id=None)


def upload_lost(tx: Transaction, recording_id: int, why: str) -> None:
    """The store does not hold what it said it holds: it is sent again."""
    row = tx.recording(recording_id)
    event = event_of(RecordingReturned, tx, row, state=RecordingState.SPOOLED, why=why)
    tx.move(row, RecordingState.SPOOLED, [event], only_from=RecordingState.UPLOADED)


def confirmed(tx: Transaction, recording_id: int, read_back: ReadBack, seen_s: float) -> str | None:
    """The store's copy is proven equal; the spool file that is needed no more, already forgotten here."""
    row = tx.recording(recording_id)
    wanted = Digests(row.size_bytes, row.blake3 or "", row.sha256 or "")
    assert row.read_whole, "CONFIRMED asks for digests that were read in one docking"
    assert read_back.digests == wanted, "CONFIRMED asks for equal digests"
    event = _confirmation(tx, row, read_back)
    _trash(tx, row)
    tx.move(
        row,
        RecordingState.CONFIRMED,
        [event],
        only_from=RecordingState.UPLOADED,
        spool_name=None,
        store_version=read_back.version,
        confirmed_utc=rfc3339(tx.clock.now()),
        confirmed_seen_s=seen_s,
        **_read_now(tx),
        problem=None,
        problem_detail=None,
    )
    _note_proof(tx, row)
    return row.spool_name


def _confirmation(tx: Transaction, row: RecordingRow, read_back: ReadBack) -> Event:
    return event_of(
        RecordingConfirmed,
        tx,
        row,
        key=row.store_key,
        version=read_back.version,
        size=row.size_bytes,
        blake3=row.blake3,
        sha256=row.sha256,
        past_cache=read_back.past_cache,
    )


def _note_proof(tx: Transaction, row: RecordingRow) -> None:
    """The record that was just written says that the recording is confirmed."""
    tx.update(row, confirmed_chain=tx.chain, confirmed_seq=tx.head.seq)


def _read_now(tx: Transaction) -> dict[str, object]:
    return {"readback_boot_id": tx.clock.boot_id, "readback_boottime_s": tx.clock.boottime_s()}


def read_back_again(tx: Transaction, recording_id: int, read_back: ReadBack) -> None:
    """A confirmed recording was read back from the store once more, and is equal."""
    row = tx.recording(recording_id)
    assert read_back.digests == Digests(row.size_bytes, row.blake3 or "", row.sha256 or "")
    store_fault_over(tx, row)
    tx.update(row, store_version=read_back.version, **_read_now(tx))
    if row.confirmed_chain != tx.chain and row.state is RecordingState.CONFIRMED:
        # What an earlier chain says of it is not signed any more.
        tx.append(_confirmation(tx, row, read_back))
        _note_proof(tx, row)


def store_fault(tx: Transaction, recording_id: int, fault: str, detail: str) -> None:
    """A confirmed recording is missing from the store, or altered there: it is unaccounted from now on."""
    row = tx.recording(recording_id)
    if row.store_fault == fault:
        return
    tx.append(IntegrityFailure(what=f"store-{fault}", detail=detail, recording=row.uid, key=row.store_key))
    tx.update(row, store_fault=fault)


def store_fault_over(tx: Transaction, row: RecordingRow) -> None:
    """The store's copy was found whole and equal; recorded if it was not before."""
    if row.store_fault is None:
        return
    tx.append(event_of(StoreFaultOver, tx, row, fault=row.store_fault, key=row.store_key))
    tx.update(row, store_fault=None)


def take_again(tx: Transaction, recording_id: int, docking_id: int) -> None:
    """The store lost a confirmed recording, and its camera was read whole in this docking and has it: begin anew.

    Raises IllegalMoveError for any other.
    """
    row = tx.recording(recording_id)
    if row.store_fault != "missing" or not row.on_device or row.reread_docking != docking_id:
        raise IllegalMoveError(f"recording {row.uid} is not to be taken in anew")
    why = "the store lost it; the camera still has the same bytes, and it is taken in anew"
    event = event_of(RecordingReturned, tx, row, state=RecordingState.FOUND, why=why)
    never = ("spool_name", "upload_id", "begun_docking", "blake3", "sha256", "store_key", "store_version")
    proofs = ("confirmed_utc", "confirmed_seen_s", "readback_boot_id", "readback_boottime_s", "store_fault")
    record = ("confirmed_chain", "confirmed_seq")
    columns: dict[str, Any] = dict.fromkeys((*never, *proofs, *record, "wipe_refusal"))
    tx.move(row, RecordingState.FOUND, [event], only_from=RecordingState.CONFIRMED, read_whole=False, **columns)


def problem(tx: Transaction, recording_id: int, code: str, detail: str, *, integrity: bool = False) -> None:
    """Something keeps the recording from going on; recorded when it is news."""
    row = tx.recording(recording_id)
    if row.problem == code:
        return
    tx.append(event_of(RecordingAnomaly, tx, row, anomaly=code, detail=detail, blocks_wipe=False))
    if integrity:
        tx.append(IntegrityFailure(what=code, detail=detail, recording=row.uid, key=row.store_key))
    tx.update(row, problem=code, problem_detail=detail)


def problem_over(tx: Transaction, recording_id: int) -> None:
    """Try again what could not go on."""
    tx.update(tx.recording(recording_id), problem=None, problem_detail=None)


def retry_storing(tx: Transaction) -> None:
    """Try again what could not go to the store: what only a person could mend may have been mended."""
    tx.run("UPDATE recording SET problem = NULL, problem_detail = NULL WHERE state IN ('spooled', 'uploaded')")
