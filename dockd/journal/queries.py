"""Reading the journal: what waits for what, and the counts."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dockd.digests import PartDigests
from dockd.identity import display_name, encode_part, plain_name
from dockd.journal.camera_clock import clock_of
from dockd.journal.dockings import DAEMON_STOPPED, STARTED_ANEW
from dockd.journal.rows import CameraRow, DockingRow, RecordingRow
from dockd.journal.transaction import CAMERA_COLUMNS, DOCKING_COLUMNS, Transaction
from dockd.lifecycle import Bucket

COUNT_NAMES = (
    "recordings",
    Bucket.IN_STORE,
    Bucket.ON_DOCKED_CAMERA,
    Bucket.SOLE_COPY,
    Bucket.AWAITING_RETURN,
    Bucket.UNACCOUNTED,
    "wiped",
)

FAULTED = "(state = 'vanished' OR store_fault IS NOT NULL) AND store_fault IS NOT NULL"
"""Confirmed recordings that an audit found at fault; worded so that the index of unaccounted ones serves it."""


_RELEASABLE = "state = 'confirmed' AND blocks_wipe IS NULL AND store_fault IS NULL"


def part_digests(tx: Transaction, recording_id: int) -> PartDigests | None:
    """The digests of a spooled recording's parts, if they were computed while it was copied."""
    found = tx.one("SELECT part_size_bytes, sha256s FROM part_digests WHERE recording = ?", recording_id)
    return None if found is None else PartDigests(*found)


def counts(tx: Transaction) -> dict[str, int]:
    """The counts over all recordings ever seen; kept by the journal, not counted."""
    found = dict(tx.all("SELECT name, count FROM counter WHERE docking = 0"))
    return {str(name): int(found.get(str(name), 0)) for name in COUNT_NAMES}


def to_copy(tx: Transaction, docking_id: int, limit: int = 64) -> list[RecordingRow]:
    """What is on the docked camera and not yet whole in the spool, and has no problem."""
    return tx.recordings(
        "state = 'found' AND docking = ? AND on_device AND problem IS NULL ORDER BY id LIMIT ?",
        docking_id,
        limit,
    )


def to_reread(tx: Transaction, docking_id: int, limit: int = 64) -> list[RecordingRow]:
    """Resumed copies: the device has to be read whole before they can be confirmed."""
    return tx.recordings(
        """state IN ('spooled', 'uploaded') AND docking = ?1 AND on_device AND problem IS NULL
           AND NOT read_whole AND reread_docking IS NOT ?1 ORDER BY id LIMIT ?2""",
        docking_id,
        limit,
    )


def to_recheck(tx: Transaction, docking_id: int, limit: int = 64) -> list[RecordingRow]:
    """Confirmed in an earlier docking and seen again: whether it is still the same only its bytes can tell."""
    return tx.recordings(
        """state = 'confirmed' AND docking = ?1 AND on_device AND problem IS NULL
           AND begun_docking IS NOT ?1 AND reread_docking IS NOT ?1 ORDER BY id LIMIT ?2""",
        docking_id,
        limit,
    )


def lost_by_store(tx: Transaction, docking_id: int) -> list[RecordingRow]:
    """Confirmed once, missing from the store by now, and still on the docked camera."""
    return tx.recordings(
        """state = 'confirmed' AND docking = ? AND on_device AND problem IS NULL AND store_fault = 'missing'
           ORDER BY id""",
        docking_id,
    )


def to_wipe(tx: Transaction, docking_id: int, after_id: int, limit: int = 64) -> list[RecordingRow]:
    """What is confirmed and still on the docked camera, in order of row id."""
    return tx.recordings(
        """state = 'confirmed' AND docking = ? AND on_device AND blocks_wipe IS NULL AND id > ?
           ORDER BY id LIMIT ?""",
        docking_id,
        after_id,
        limit,
    )


def waits_for_custody(tx: Transaction, signed_through: int, enough: int) -> bool:
    """Whether recordings that could be wiped wait for their record to be signed: so many, or the last of their camera.

    With `enough` 1 any will do.
    """
    waiting = """FROM recording WHERE state = 'confirmed' AND on_device AND blocks_wipe IS NULL
                 AND confirmed_chain = ? AND confirmed_seq > ?"""
    given = (tx.chain, signed_through)
    row = tx.one(f"SELECT count(*) FROM (SELECT 1 {waiting} LIMIT ?)", *given, enough)  # noqa: S608 - constant
    if row is not None and row[0] >= enough:
        return True
    others = """AND NOT EXISTS (
        SELECT 1 FROM recording AS other WHERE other.camera = recording.camera AND other.on_device
        AND other.state IN ('found', 'spooled', 'uploaded') AND other.problem IS NULL)"""
    return tx.one(f"SELECT 1 {waiting} {others} LIMIT 1", *given) is not None


@dataclass(frozen=True, slots=True)
class Companions:
    """Recordings on a docked device that cannot go to the gate, and keep all others of it from being wiped.

    `lasting`: only a person, or another docking, can change that.
    """

    count: int
    why: str
    lasting: bool


def companions(tx: Transaction, docking_id: int) -> Companions | None:
    """What is on the docked device and cannot be wiped now; None if nothing is."""
    row = tx.one(
        """SELECT count(*), sum(state = 'confirmed' OR problem IS NOT NULL),
                  max(coalesce(blocks_wipe, problem, 'not confirmed yet'))
           FROM recording WHERE docking = ? AND on_device AND NOT (state = 'confirmed' AND blocks_wipe IS NULL)""",
        docking_id,
    )
    if row is None or not row[0]:
        return None
    return Companions(row[0], row[2], bool(row[1]))


def intents(tx: Transaction, camera_id: int) -> list[RecordingRow]:
    """Wipes of a camera that were begun and not seen to end."""
    return tx.recordings("state = 'wipe_intent' AND camera = ?", camera_id)


def to_store(tx: Transaction, limit: int = 16) -> list[RecordingRow]:
    """What has to go to the store or be read back from there; sole copies first, then the oldest."""
    return tx.recordings(
        """state IN ('spooled', 'uploaded') AND problem IS NULL AND (state = 'spooled' OR read_whole)
           AND NOT (state = 'spooled' AND on_device AND NOT read_whole)
           ORDER BY on_device, id LIMIT ?""",
        limit,
    )


def upload_trash(tx: Transaction) -> list[tuple[str, str]]:
    """Key and id of uploads that were begun and are never gone on with; a few at a time."""
    return [(str(key), str(name)) for key, name in tx.all("SELECT store_key, upload_id FROM upload_trash LIMIT 16")]


def to_publish(tx: Transaction) -> list[DockingRow]:
    """Dockings that may have something to say in a manifest: open ones, and ended ones without one."""
    rows = tx.all(f"SELECT {DOCKING_COLUMNS} FROM docking WHERE state <> 'closed' ORDER BY id")  # noqa: S608
    return [DockingRow.from_row(row) for row in rows]


def unpublished(tx: Transaction, docking_id: int) -> list[RecordingRow]:
    """The recordings of a docking that no manifest names yet."""
    return tx.recordings(
        "id IN (SELECT recording FROM seen WHERE docking = ? AND part IS NULL) ORDER BY id", docking_id
    )


@dataclass(frozen=True, slots=True)
class BayCounts:
    """What a bay's line shows of its docking."""

    total: int
    confirmed: int
    wiped: int
    bytes_total: int
    bytes_copied: int
    bytes_confirmed: int
    bytes_wiped: int
    left_on_camera: int
    unverified: int
    """Seen on the device, but not read whole and found equal to the store's in this docking."""
    problems: int
    to_copy: int
    to_upload: int
    to_confirm: int
    intents: int


def unaccounted_cameras(tx: Transaction, limit: int = 8) -> tuple[list[bytes], int]:
    """The serials of cameras with unaccounted recordings, and how many recordings an audit found at fault."""
    rows = tx.all(
        """SELECT serial FROM camera WHERE id IN (
               SELECT camera FROM recording WHERE state = 'vanished' OR store_fault IS NOT NULL) LIMIT ?""",
        limit,
    )
    faults = tx.one(f"SELECT count(*) FROM recording WHERE {FAULTED}")  # noqa: S608
    return [serial for (serial,) in rows], int(faults[0]) if faults is not None else 0


def awaited(tx: Transaction) -> list[tuple[bytes, int, str]]:
    """Cameras that left with recordings that are not whole here: serial, how many, since when (RFC 3339)."""
    return tx.all(
        """SELECT serial, count(*), max(ended_utc) FROM recording
           JOIN camera ON camera.id = recording.camera JOIN docking ON docking.id = recording.docking
           WHERE recording.state = 'found' AND NOT on_device GROUP BY camera.id ORDER BY 3"""
    )


def bay_counts(tx: Transaction, docking_id: int) -> BayCounts:
    """The counts of one docking."""
    rows = tx.all("SELECT name, count, bytes FROM counter WHERE docking = ? AND name LIKE 'state:%'", docking_id)
    count = {name.removeprefix("state:"): n for name, n, _ in rows}
    size = {name.removeprefix("state:"): n for name, _, n in rows}
    done = ("confirmed", "wipe_intent", "wiped")
    total, bytes_total = sum(count.values()), sum(size.values())
    # What an audit found at fault is not in the store, whatever its state says.
    faulted = 0
    query = f"SELECT state, size_bytes, on_device FROM recording WHERE {FAULTED} AND docking = ?"  # noqa: S608
    for state, size_bytes, here in tx.all(query, docking_id):
        count[state] -= 1
        size[state] -= size_bytes
        faulted += not here
    on_device = tx.one(
        """SELECT count(*),
                  sum(store_fault IS NOT NULL OR NOT (state = 'confirmed'
                      AND (begun_docking IS ?1 OR reread_docking IS ?1))),
                  sum(problem IS NOT NULL OR store_fault IS NOT NULL)
           FROM recording WHERE on_device AND docking = ?1
             AND camera = (SELECT camera FROM docking WHERE id = ?1)""",
        docking_id,
    )
    assert on_device is not None
    return BayCounts(
        total=total,
        confirmed=sum(count.get(state, 0) for state in done),
        wiped=count.get("wiped", 0),
        bytes_total=bytes_total,
        bytes_copied=bytes_total - size.get("found", 0),
        bytes_confirmed=sum(size.get(state, 0) for state in done),
        bytes_wiped=size.get("wiped", 0),
        left_on_camera=on_device[0],
        unverified=on_device[1] or 0,
        problems=(on_device[2] or 0) + faulted,
        to_copy=count.get("found", 0),
        to_upload=count.get("spooled", 0),
        to_confirm=count.get("uploaded", 0),
        intents=count.get("wipe_intent", 0),
    )


def releasable(tx: Transaction) -> int:
    """How many confirmed recordings on docked cameras nothing but the wipe mode keeps, as far as the journal knows."""
    return _not_held(tx, f"on_device AND {_RELEASABLE}")


def releasable_once_docked(tx: Transaction) -> int:
    """The same of cameras that were docked when the daemon stopped, and were not since: at most so many."""
    left = """SELECT id FROM docking WHERE ended_why IN (?, ?)
              AND id IN (SELECT max(id) FROM docking GROUP BY camera)"""
    return _not_held(tx, f"NOT on_device AND {_RELEASABLE} AND docking IN ({left})", DAEMON_STOPPED, STARTED_ANEW)


def _not_held(tx: Transaction, where: str, *values: object) -> int:
    rows = tx.recordings(where, *values)
    held = tx.one("SELECT 1 FROM hold LIMIT 1") is not None
    return sum(not (held and holds_over(tx, row)) for row in rows)


def holds_over(tx: Transaction, row: RecordingRow) -> list[str]:
    """The names of the holds that cover a recording, as the journal last read them from the store."""
    camera = tx.camera(row.camera)
    rows = tx.all(
        """SELECT name FROM hold WHERE
             (scope = 'camera' AND camera = ?1)
             OR (scope = 'recording' AND (recording = ?2 OR (camera = ?1 AND (blake3 = ?3 OR path = ?4))))""",
        camera.serial,
        row.uid,
        row.blake3,
        row.path,
    )
    return [name for (name,) in rows]


def oldest_unconfirmed_utc(tx: Transaction) -> str | None:
    """When the docking began in which the longest waiting unconfirmed recording was first seen (RFC 3339)."""
    row = tx.one(
        """SELECT started_utc FROM docking WHERE id = (
               SELECT min(seen.docking) FROM recording JOIN seen ON seen.recording = recording.id
               WHERE state IN ('found', 'spooled', 'uploaded'))"""
    )
    return None if row is None else str(row[0])


def spool_used_bytes(tx: Transaction) -> int:
    """How much the spool holds, as far as the journal vouches for it."""
    row = tx.one(
        """SELECT coalesce(sum(CASE state WHEN 'found'
               THEN coalesce((SELECT max(end_bytes) FROM ledger WHERE ledger.recording = recording.id), 0)
               ELSE size_bytes END), 0) FROM recording WHERE spool_name IS NOT NULL"""
    )
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class CameraReport:
    """A camera's last docking at this dock; times RFC 3339."""

    serial: bytes
    bay: str
    docking: str
    docked_at: str
    left_at: str | None
    recordings: int
    confirmed: int
    wiped: int
    clock: dict[str, Any]
    """How its clock stood, as the docking's record `camera_clock` says; empty if there is none."""


def camera_reports(tx: Transaction, serials: Collection[bytes] | None = None) -> list[CameraReport]:
    """The last docking of each camera that this dock has ever seen, or of some of them."""
    rows = tx.all(
        """SELECT serial, max(docking.id) FROM camera JOIN docking ON docking.camera = camera.id
           GROUP BY serial ORDER BY camera.id"""
    )
    found = []
    for serial, docking_id in rows:
        if serials is not None and serial not in serials:
            continue
        docking, counts = tx.docking(docking_id), bay_counts(tx, docking_id)
        found.append(
            CameraReport(
                serial,
                docking.bay,
                docking.name,
                docking.started_utc,
                docking.ended_utc,
                counts.total,
                counts.confirmed,
                counts.wiped,
                clock_of(docking.camera_clock),
            )
        )
    return found


def find_cameras(tx: Transaction, name: str) -> list[CameraRow]:
    """The cameras that go by `name`: their serial's very bytes, else its text, or how it stands in keys.

    More than one are told apart by the caller: a serial may look like another one's text.
    """
    rows = [CameraRow.from_row(row) for row in tx.all(f"SELECT {CAMERA_COLUMNS} FROM camera")]  # noqa: S608
    exact = [row for row in rows if row.serial == os.fsencode(name)]
    return exact or [
        row for row in rows if name in (display_name(row.serial), plain_name(row.serial), encode_part(row.serial))
    ]
