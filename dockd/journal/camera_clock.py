"""What the journal is told of a camera's clock."""

from __future__ import annotations

import json
from typing import Any

from dockd.events import CameraClock
from dockd.identity import name_fields
from dockd.journal.transaction import Transaction


def note_camera_clock(tx: Transaction, docking_id: int, **measured: object) -> None:
    """Record how a camera's clock stood when it was docked; once in a docking. `measured`: see `CameraClock`."""
    docking = tx.docking(docking_id)
    assert docking.camera_clock is None, "it is measured once"
    names = {**name_fields("camera", tx.camera(docking.camera).serial), "docking": docking.name}
    event = CameraClock.model_validate({**names, **measured})
    tx.append(event)
    kept = {name: value for name, value in event.payload().items() if name not in names}
    tx.run("UPDATE docking SET camera_clock = ? WHERE id = ?", json.dumps(kept), docking_id)


def last_camera_time(tx: Transaction, docking_id: int) -> str | None:
    """What a camera's time file said in its last docking before this in which it said anything."""
    rows = tx.all(
        """SELECT camera_clock FROM docking WHERE camera = (SELECT camera FROM docking WHERE id = ?1) AND id < ?1
           AND camera_clock IS NOT NULL ORDER BY id DESC LIMIT 8""",
        docking_id,
    )
    return next((time for (text,) in rows if (time := clock_of(text).get("camera_time")) is not None), None)


def clock_of(text: str | None) -> dict[str, Any]:
    """What `note_camera_clock` kept of a docking; empty if it kept nothing."""
    return {} if text is None else dict(json.loads(text))
