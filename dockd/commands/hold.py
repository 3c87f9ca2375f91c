"""`dockd hold …`: legal holds, kept in the store."""

from __future__ import annotations

import os
from pathlib import Path

from dockd.commands.common import journal_read_only, known_store, print_json
from dockd.config import Config, load_config
from dockd.custody.chain import rfc3339
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG, UsageError
from dockd.identity import display_name, encode_part, plain_name, plain_text
from dockd.journal.rows import CameraRow, RecordingRow
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState
from dockd.parts import dock_name
from dockd.report.explain import find_cameras
from dockd.runtime.clock import SystemClock
from dockd.runtime.randomness import SystemRandomness
from dockd.wipe.holds import Hold, Lift, publish_hold, publish_lift, read_holds

_TOO_LATE = "state IN ('wiped', 'wipe_intent') AND camera IN (SELECT id FROM camera WHERE serial = ?1)"


def add(config_path: Path, *, camera: str | None, recording: str | None, reason: str, by: str) -> int:
    """Bring a hold into force; 1 if it comes too late for something that it covers."""
    config = load_config(config_path)
    store = known_store(config)
    late: list[RecordingRow] = []
    for hold in _make(config, camera, recording, reason, by):
        publish_hold(store, config.dock.agency, hold)
        subject = plain_text(_subject(hold))
        print(f"hold {hold.hold} is in force: {subject} is not wiped by any dock that sees this store")
        # Looked at only now: whatever is not about to be wiped by now finds the hold.
        with journal_read_only(config, may_lack=True) as tx:
            late += [] if tx is None else _too_late(tx, hold)
    for row in late:
        done = "is wiped already" if row.state is RecordingState.WIPED else "was about to be wiped"
        print(f"too late: {plain_name(row.path)} {done}; it is in the store as {row.store_key}")
    return EXIT_FOUND_WRONG if late else EXIT_DONE


def _make(config: Config, camera: str | None, recording: str | None, reason: str, by: str) -> list[Hold]:
    """One hold over the camera, or one over each recording that is meant: the same content may be on several."""
    common = {"reason": reason, "by": by, "created": rfc3339(SystemClock().now()), "dock": dock_name(config)}
    if camera is not None:
        raw = _serial(config, camera)
        subjects: list[dict[str, str | None]] = [
            {"scope": "camera", "camera": display_name(raw), "camera_hex": raw.hex()}
        ]
    else:
        assert recording is not None
        subjects = [
            {
                "scope": "recording",
                "camera": display_name(owner.serial),
                "camera_hex": owner.serial.hex(),
                "recording": row.uid,
                "path_hex": row.path.hex(),
                "blake3": row.blake3,
            }
            for row, owner in _recordings(config, recording)
        ]
    token = SystemRandomness().token
    return [Hold.model_validate({**common, **subject, "hold": token(8)}) for subject in subjects]


def _serial(config: Config, camera: str) -> bytes:
    """The one camera that this dock knows by that name, or else the name itself: another dock may know it."""
    with journal_read_only(config, may_lack=True) as tx:
        known = {row.serial for row in ([] if tx is None else find_cameras(tx, camera))}
    if len(known) > 1:
        parts = ", ".join(sorted(encode_part(serial) for serial in known))
        raise UsageError(f"{len(known)} cameras go by this name", f"Nothing is held. Name one of them: {parts}")
    if not known:
        print("this dock has never seen a camera of that name; the hold is for the name exactly as it was given")
    return known.pop() if known else os.fsencode(camera)


def _recordings(config: Config, recording: str) -> list[tuple[RecordingRow, CameraRow]]:
    with journal_read_only(config, may_lack=True) as tx:
        rows = [] if tx is None else tx.recordings("uid = ?1 OR blake3 = ?1", recording)
        if not rows or tx is None:
            raise UsageError(
                f"this dock knows no recording {recording}",
                "Nothing is held. Find the id with: dockd explain CAMERA, or hold the whole camera with --camera.",
            )
        return [(row, tx.camera(row.camera)) for row in rows]


def _too_late(tx: Transaction, hold: Hold) -> list[RecordingRow]:
    serial = bytes.fromhex(hold.camera_hex)
    if hold.scope == "camera":
        return tx.recordings(_TOO_LATE, serial)
    return tx.recordings(_TOO_LATE + " AND (uid = ?2 OR blake3 = ?3)", serial, hold.recording, hold.blake3)


def _subject(hold: Hold) -> str:
    return f"camera {hold.camera}" if hold.scope == "camera" else f"recording {hold.recording} of {hold.camera}"


def remove(config_path: Path, name: str, *, reason: str, by: str) -> int:
    """Lift a hold."""
    config = load_config(config_path)
    store = known_store(config)
    if name not in {hold.hold for hold in read_holds(store, config.dock.agency).in_force}:
        raise UsageError(f"there is no hold {name} in force", "See: dockd hold list")
    created = rfc3339(SystemClock().now())
    lift = Lift(hold=name, reason=reason, by=by, created=created, dock=dock_name(config))
    publish_lift(store, config.dock.agency, lift)
    print(f"hold {name} is lifted")
    return EXIT_DONE


def show(config_path: Path, *, as_json: bool) -> int:
    """List the holds in force."""
    config = load_config(config_path)
    holds = read_holds(known_store(config), config.dock.agency).in_force
    if as_json:
        print_json([hold.model_dump(exclude_none=True) for hold in holds])
        return EXIT_DONE
    for hold in sorted(holds, key=lambda hold: hold.created):
        print(f"{hold.hold}  {hold.created}  {plain_text(f'{_subject(hold)}  by {hold.by}: {hold.reason}')}")
    if not holds:
        print("no hold is in force")
    return EXIT_DONE
