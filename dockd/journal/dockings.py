"""What the journal is told about dockings, and about what was seen in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dockd.custody.chain import rfc3339
from dockd.events import (
    CHANGED_BEFORE_COPY,
    GONE_FROM_CAMERA,
    CameraDocked,
    CameraRemoved,
    Event,
    RecordingAnomaly,
    RecordingFound,
    RecordingReturned,
    RecordingVanished,
    RecordingWiped,
)
from dockd.identity import (
    CameraIdentity,
    Seen,
    docking_name,
    implausible_size,
    name_fields,
    same_recording,
)
from dockd.journal.rows import CameraRow, DockingRow, RecordingRow, recording_names
from dockd.journal.transaction import Transaction
from dockd.lifecycle import IN_STORE, WHOLE_HERE, DockingState, RecordingState

DAEMON_STOPPED: Final = "the daemon stopped"
STARTED_ANEW: Final = "the daemon was started anew, so it cannot be shown that the camera stayed"
"""Ends of dockings that say nothing of the camera: it may well be where it was."""

NOT_SETTLED: Final = "not_settled"
"""Problem of a recording that was seen while it was still being written, and then left with its camera."""


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A whole, settled recording file in a listing; `uid` is used if it turns out to be new.

    `blocks_wipe` is why nothing of this file may ever be wiped, as far as the listing can tell.
    """

    path: bytes
    seen: Seen
    uid: str
    blocks_wipe: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How files of a camera are told apart."""

    stable_inodes: bool = True
    local_times: bool = False


def begin_docking(
    tx: Transaction, identity: CameraIdentity, *, bay: str, write_block: str, dock_name: str
) -> tuple[CameraRow, DockingRow]:
    """Record that a camera was found in a bay."""
    row = tx.one(
        "SELECT id FROM camera WHERE vendor = ? AND product = ? AND serial = ?",
        identity.vendor,
        identity.product,
        identity.serial,
    )
    camera_id = (
        row[0]
        if row is not None
        else tx.insert("camera", vendor=identity.vendor, product=identity.product, serial=identity.serial)
    )
    camera = tx.camera(camera_id)
    # One stay at a time: an end that could not be recorded (a full disk) is recorded now.
    for (open_id,) in tx.all(
        "SELECT id FROM docking WHERE camera = ? AND state IN ('identifying', 'active')", camera_id
    ):
        end_docking(tx, open_id, "it was docked anew")
    last = tx.one("SELECT id, name FROM docking ORDER BY id DESC LIMIT 1")
    now = tx.clock.now()
    number = 1 if last is None else last[0] + 1
    name = docking_name(now, None if last is None else last[1], dock_name, number)
    docking_id = tx.insert(
        "docking",
        name=name,
        camera=camera_id,
        bay=bay,
        state=DockingState.IDENTIFYING,
        started_utc=rfc3339(now),
        write_block=write_block,
    )
    tx.append(
        CameraDocked.model_validate(
            {
                **name_fields("camera", identity.serial),
                "docking": name,
                "bay": bay,
                "vendor": identity.vendor,
                "product": identity.product,
                "write_block": write_block,
            }
        )
    )
    return camera, tx.docking(docking_id)


def end_docking(
    tx: Transaction, docking_id: int, why: str, unsettled: Iterable[SeenFile] = (), rules: Rules | None = None
) -> None:
    """Record that a camera left, or that it can no longer be shown that it stayed; idempotent.

    `unsettled` are files that were seen and had not come to rest: they are awaited, not forgotten.
    """
    docking = tx.docking(docking_id)
    if docking.state in (DockingState.ENDED, DockingState.CLOSED):
        return
    camera = tx.camera(docking.camera)
    for file in unsettled:
        take_note(tx, docking, [file], rules or Rules())
        for row in tx.recordings("uid = ? AND state = 'found'", file.uid):
            what = "it had not come to rest when the camera left"
            tx.update(row, problem=NOT_SETTLED, problem_detail=what)
    counts = docking_counts(tx, docking_id)
    tx.append(
        CameraRemoved.model_validate(
            {
                **name_fields("camera", camera.serial),
                "docking": docking.name,
                "why": why,
                "recordings": sum(counts.values()),
                "confirmed": sum(counts.get(state, 0) for state in IN_STORE),
                "wiped": counts.get(RecordingState.WIPED, 0),
            }
        )
    )
    tx.run("UPDATE recording SET on_device = 0 WHERE camera = ? AND on_device", docking.camera)
    tx.move_docking(docking, DockingState.ENDED, ended_utc=rfc3339(tx.clock.now()), ended_why=why)


def end_all_dockings(tx: Transaction, why: str) -> int:
    """End every docking that a former run left open; how many those were."""
    rows = tx.all("SELECT id FROM docking WHERE state IN ('identifying', 'active')")
    for (docking_id,) in rows:
        end_docking(tx, docking_id, why)
    return len(rows)


def docking_counts(tx: Transaction, docking_id: int) -> dict[RecordingState, int]:
    """How many recordings of a docking are in which state."""
    rows = tx.all("SELECT name, count FROM counter WHERE docking = ? AND name LIKE 'state:%'", docking_id)
    return {RecordingState(name.removeprefix("state:")): count for name, count in rows if count}


def mtime_text(mtime_ns: int) -> str:
    """A file's mtime as the camera gave it, for people and records; an impossible one is given in ns."""
    try:
        return rfc3339(datetime.fromtimestamp(mtime_ns / 1e9, tz=UTC))
    except (OverflowError, ValueError, OSError):
        return f"{mtime_ns} ns"


def take_note(tx: Transaction, docking: DockingRow, files: Iterable[SeenFile], rules: Rules) -> list[RecordingRow]:
    """Take note of files seen whole in this docking: new ones, new generations, and known ones.

    Gives the recordings in whose place another file was found.
    """
    camera = tx.camera(docking.camera)
    changed: list[RecordingRow] = []
    for file in files:
        known = tx.recordings("camera = ? AND path = ? ORDER BY generation DESC LIMIT 1", docking.camera, file.path)
        if not known:
            _insert(tx, camera, docking, file, 1)
        else:
            changed += _take_note_of_known(tx, camera, docking, file, known[0], rules)
    return changed


def _take_note_of_known(
    tx: Transaction, camera: CameraRow, docking: DockingRow, file: SeenFile, known: RecordingRow, rules: Rules
) -> list[RecordingRow]:
    same = same_recording(known.seen, file.seen, stable_inodes=rules.stable_inodes, local_times=rules.local_times)
    if same and known.state is not RecordingState.WIPED:
        _seen_again(tx, camera, docking, file, known)
        return []
    untouched = (
        known.state is RecordingState.FOUND
        and (known.docking == docking.id or known.problem == NOT_SETTLED)
        and tx.one("SELECT 1 FROM ledger WHERE recording = ? LIMIT 1", known.id) is None
        and known.spool_name is None
    )
    if untouched:
        # Not one byte of it was read, so there is nothing that could be told apart from the new content.
        tx.append(_anomaly(camera, docking, known, CHANGED_BEFORE_COPY, "it changed before it was copied", None))
        columns = _seen_columns(file) | {"problem": None, "problem_detail": None}
        tx.update(known, **columns, docking=docking.id, on_device=True)
        tx.run("INSERT OR IGNORE INTO seen (docking, recording) VALUES (?, ?)", docking.id, known.id)
        return []
    changed = []
    if known.on_device or known.state is RecordingState.FOUND:
        replaced(tx, camera, docking, known, "another file of the same name took its place on the camera")
        changed.append(known)
    _insert(tx, camera, docking, file, known.generation + 1)
    return changed


def _seen_columns(file: SeenFile) -> dict[str, object]:
    return {
        "size_bytes": file.seen.size_bytes,
        "mtime_ns": file.seen.mtime_ns,
        "device": file.seen.device,
        "inode": file.seen.inode,
        "ctime_ns": file.seen.ctime_ns,
        "blocks_wipe": implausible_size(file.seen.size_bytes) or file.blocks_wipe,
    }


def _seen_again(tx: Transaction, camera: CameraRow, docking: DockingRow, file: SeenFile, known: RecordingRow) -> None:
    first = tx.run("INSERT OR IGNORE INTO seen (docking, recording) VALUES (?, ?)", docking.id, known.id)
    event = _found(camera, docking, known, file.seen, again=True)
    columns: dict[str, Any] = {
        "docking": docking.id,
        "on_device": True,
        "problem": None,
        "problem_detail": None,
    }
    if known.state is RecordingState.CONFIRMED or known.state in WHOLE_HERE:
        # A fault that is not the device's stays until it is dealt with.
        columns.pop("problem"), columns.pop("problem_detail")
    if known.blocks_wipe is None and file.blocks_wipe is not None:
        columns["blocks_wipe"] = file.blocks_wipe
    columns |= {"device": file.seen.device, "inode": file.seen.inode, "ctime_ns": file.seen.ctime_ns}
    if known.state is RecordingState.VANISHED:
        tx.move(known, RecordingState.FOUND, [event], **columns)
        return
    # What came back in the same docking is told too, or the records would leave it where it was not.
    if first or not known.on_device:
        tx.append(event)
    tx.update(known, **columns)


def _insert(tx: Transaction, camera: CameraRow, docking: DockingRow, file: SeenFile, generation: int) -> None:
    recording_id = tx.insert(
        "recording",
        uid=file.uid,
        camera=camera.id,
        path=file.path,
        generation=generation,
        state=RecordingState.FOUND,
        docking=docking.id,
        on_device=True,
        found_utc=rfc3339(tx.clock.now()),
        **_seen_columns(file),
    )
    tx.run("INSERT INTO seen (docking, recording) VALUES (?, ?)", docking.id, recording_id)
    row = tx.recording(recording_id)
    tx.append(_found(camera, docking, row, file.seen, again=False))
    if row.blocks_wipe is not None:
        detail = "it is stored like any other, and stays on the camera"
        tx.append(_anomaly(camera, docking, row, row.blocks_wipe, detail, True))


def replaced(tx: Transaction, camera: CameraRow, docking: DockingRow, known: RecordingRow, why: str) -> None:
    """A known recording's bytes are no longer under its name on the device."""
    if known.state is RecordingState.FOUND:
        copied = tx.one("SELECT max(end_bytes) FROM ledger WHERE recording = ?", known.id)
        event = RecordingVanished.model_validate(
            {
                **recording_names(camera, known),
                "docking": docking.name,
                "why": why,
                "copied_bytes": (copied[0] or 0) if copied else 0,
                "size": known.size_bytes,
            }
        )
        tx.move(known, RecordingState.VANISHED, [event], on_device=False)
        return
    tx.append(_anomaly(camera, docking, known, GONE_FROM_CAMERA, why, None))
    tx.update(known, on_device=False)


def listing_complete(tx: Transaction, docking: DockingRow, present: set[bytes], left_alone: Mapping[str, int]) -> int:
    """Compare a whole listing with what is known of the camera; how many recordings were found gone.

    `present` are the paths of all recordings in the listing, those still being written included.
    """
    camera = tx.camera(docking.camera)
    tx.run("UPDATE docking SET left_alone = ? WHERE id = ?", json.dumps(dict(left_alone)), docking.id)
    if docking.state is DockingState.IDENTIFYING:
        tx.move_docking(docking, DockingState.ACTIVE)
    gone = [
        row
        for row in tx.recordings("camera = ? AND (on_device OR state = 'found') AND state <> 'wiped'", docking.camera)
        if row.path not in present and row.state is not RecordingState.WIPE_INTENT
    ]
    for row in gone:
        replaced(tx, camera, docking, row, "it is no longer on the camera, and dockd did not delete it")
    return len(gone)


def intent_resolved(tx: Transaction, docking: DockingRow, recording_id: int, *, gone: bool, key: str) -> None:
    """After a crash in a wipe: the device was looked at, and the file is gone or still there."""
    row = tx.recording(recording_id)
    camera = tx.camera(row.camera)
    names = {**recording_names(camera, row), "docking": docking.name}
    if gone:
        event: Event = RecordingWiped.model_validate({**names, "method": "unlink", "key": key, "interrupted": True})
        utc = rfc3339(tx.clock.now())
        tx.move(
            row,
            RecordingState.WIPED,
            [event],
            only_from=RecordingState.WIPE_INTENT,
            on_device=False,
            wiped_utc=utc,
            docking=docking.id,
        )
        return
    why = "the wipe was interrupted before the file was unlinked"
    event = RecordingReturned.model_validate({**names, "state": RecordingState.CONFIRMED, "why": why})
    tx.move(row, RecordingState.CONFIRMED, [event], only_from=RecordingState.WIPE_INTENT)


def _found(camera: CameraRow, docking: DockingRow, row: RecordingRow, seen: Seen, *, again: bool) -> Event:
    return RecordingFound.model_validate(
        {
            **recording_names(camera, row),
            "docking": docking.name,
            "size": seen.size_bytes,
            "mtime": mtime_text(seen.mtime_ns),
            "again": again,
        }
    )


def _anomaly(
    camera: CameraRow, docking: DockingRow, row: RecordingRow, anomaly: str, detail: str, blocks: bool | None
) -> Event:
    return RecordingAnomaly.model_validate(
        {
            **recording_names(camera, row),
            "docking": docking.name,
            "anomaly": anomaly,
            "detail": detail,
            "blocks_wipe": bool(blocks),
        }
    )
