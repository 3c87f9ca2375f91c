"""Placing a legal hold: what it covers, and whether it comes too late for something."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from dockd.errors import UsageError
from dockd.identity import display_name, encode_part
from dockd.journal import queries
from dockd.journal.rows import CameraRow, RecordingRow
from dockd.journal.transaction import Transaction
from dockd.wipe.holds import Hold

_TOO_LATE = "state IN ('wiped', 'wipe_intent') AND camera IN (SELECT id FROM camera WHERE serial = ?1)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A hold that somebody asked for: on a camera by its serial, or on a recording by its id or BLAKE3."""

    camera: str | None
    recording: str | None
    reason: str
    by: str
    created: str
    dock: str
    uid: int | None = None
    """Of the process that asked, where there is one of its own; so is `sudo_user`."""
    sudo_user: str | None = None


def make_holds(tx: Transaction | None, wanted: Wanted, token: Callable[[], str]) -> list[Hold]:
    """One hold over the camera, or one over each recording that is meant: the same content may be on several.

    `tx` is this dock's journal, if it has one; raises UsageError.
    """
    common = {
        "reason": wanted.reason,
        "by": wanted.by,
        "created": wanted.created,
        "dock": wanted.dock,
        "uid": wanted.uid,
        "sudo_user": wanted.sudo_user,
    }
    if wanted.camera is not None:
        raw = _serial(tx, wanted.camera)
        subjects: list[dict[str, str | None]] = [
            {"scope": "camera", "camera": display_name(raw), "camera_hex": raw.hex()}
        ]
    else:
        assert wanted.recording is not None
        subjects = [
            {
                "scope": "recording",
                "camera": display_name(owner.serial),
                "camera_hex": owner.serial.hex(),
                "recording": row.uid,
                "path_hex": row.path.hex(),
                "blake3": row.blake3,
            }
            for row, owner in _recordings(tx, wanted.recording)
        ]
    return [Hold.model_validate({**common, **subject, "hold": token()}) for subject in subjects]


def knows_camera(tx: Transaction | None, camera: str) -> bool:
    """Whether this dock has ever seen a camera that goes by this name."""
    return tx is not None and bool(queries.find_cameras(tx, camera))


def _serial(tx: Transaction | None, camera: str) -> bytes:
    """The one camera that this dock knows by that name, or else the name itself: another dock may know it."""
    known = {row.serial for row in ([] if tx is None else queries.find_cameras(tx, camera))}
    if len(known) > 1:
        parts = ", ".join(sorted(encode_part(serial) for serial in known))
        raise UsageError(f"{len(known)} cameras go by this name", f"Nothing is held. Name one of them: {parts}")
    return known.pop() if known else os.fsencode(camera)


def _recordings(tx: Transaction | None, recording: str) -> list[tuple[RecordingRow, CameraRow]]:
    rows = [] if tx is None else tx.recordings("uid = ?1 OR blake3 = ?1", recording)
    if not rows or tx is None:
        raise UsageError(
            f"this dock knows no recording {recording}",
            "Nothing is held. Find the id with: dockd explain CAMERA, or hold the whole camera with --camera.",
        )
    return [(row, tx.camera(row.camera)) for row in rows]


def too_late(tx: Transaction, hold: Hold) -> list[RecordingRow]:
    """What the hold covers and is wiped, or about to be; to be asked once the hold is in the store."""
    serial = bytes.fromhex(hold.camera_hex)
    if hold.scope == "camera":
        return tx.recordings(_TOO_LATE, serial)
    return tx.recordings(_TOO_LATE + " AND (uid = ?2 OR blake3 = ?3)", serial, hold.recording, hold.blake3)
