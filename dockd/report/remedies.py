"""What happened to a camera, and what to do about it, in one sentence each: for `dockd explain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dockd.identity import encode_part, plain_name, plain_text
from dockd.journal import queries
from dockd.journal.rows import CameraRow
from dockd.journal.transaction import Transaction
from dockd.lifecycle import DockingState

_ABOUT_BAYS = frozenset({"device_refused", "no_medium", "port_not_listed"})


def of_camera(tx: Transaction, camera: CameraRow, status: Mapping[str, Any]) -> list[str]:
    """The sentences about one camera: how its last docking ended, and what stands against it now."""
    name = plain_name(camera.serial)
    found = []
    row = tx.one("SELECT max(id) FROM docking WHERE camera = ?", camera.id)
    docking = None if row is None or row[0] is None else tx.docking(row[0])
    if docking is not None and docking.state in (DockingState.ENDED, DockingState.CLOSED):
        found.append(f"{name} left bay {docking.bay} at {docking.ended_utc}: {_and_now(tx, camera, docking.ended_why)}")
    subject = f"camera-{encode_part(camera.serial)}"
    return found + _standing([alert for alert in status["alerts"] if alert["about"] == subject])


def _and_now(tx: Transaction, camera: CameraRow, why: str | None) -> str:
    serial = camera.serial
    awaited = sum(count for other, count, _ in queries.awaited(tx) if other == serial)
    begun = len(tx.recordings("camera = ? AND state = 'wipe_intent'", camera.id))
    told = plain_text(why or "nobody knows why")
    if begun:
        return f"{told}, while it was being wiped; all of that is in the store. Dock it again, and it is looked at."
    if awaited:
        return (
            f"{told}; {awaited} of its recordings are not whole here. Dock it again, and the copy goes on where it was."
        )
    return f"{told}; everything that was seen on it is whole here or in the store. Nothing is to be done."


def of_stranger(serial: str, status: Mapping[str, Any]) -> list[str]:
    """The sentences about a camera that was never docked, by what stands of bays and ports."""
    if not serial:
        return []
    subject = f"camera-{encode_part(serial.encode('utf-8', 'surrogateescape'))}"
    named = [a for a in status["alerts"] if a["code"] in _ABOUT_BAYS and serial in a["what"]]
    return _standing([a for a in status["alerts"] if a["about"] == subject] + named)


def _standing(alerts: Sequence[Mapping[str, Any]]) -> list[str]:
    # Whoever reads this has asked already.
    hints = [str(alert["hint"]).replace("See: dockd explain CAMERA", "") for alert in alerts]
    return [plain_text(f"{_sentence(a['what'])} {hint}").strip() for a, hint in zip(alerts, hints, strict=True)]


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
