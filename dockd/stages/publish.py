"""Publish: the manifest of each docking, by which evidence systems and people find recordings.

Written once, when all of a docking's recordings are confirmed or the camera has left. What comes later in
the same stay is named in a further part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from dockd.alerts import AlertBoard
from dockd.errors import DockdError, StoreConflictError
from dockd.identity import docking_key, name_fields
from dockd.journal import queries
from dockd.journal.dockings import mtime_text
from dockd.journal.journal import Journal
from dockd.journal.rows import CameraRow, DockingRow, RecordingRow
from dockd.journal.transaction import Transaction
from dockd.lifecycle import IN_STORE, DockingState
from dockd.runtime.randomness import Randomness
from dockd.stores.base import EvidenceStore
from dockd.wipe.facts import StoreCalls

log = structlog.get_logger()


def manifest(camera: CameraRow, docking: DockingRow, rows: Sequence[RecordingRow], part: int, dock: str) -> bytes:
    """The manifest's JSON for these recordings of a docking."""
    body: dict[str, Any] = {
        "docking": docking.name,
        "part": part,
        "dock": dock,
        "bay": docking.bay,
        **name_fields("camera", camera.serial),
        "vendor": camera.vendor,
        "product": camera.product,
        "started": docking.started_utc,
        "ended": docking.ended_utc,
        "ended_why": docking.ended_why,
        "write_block": docking.write_block,
        "left_alone": json.loads(docking.left_alone),
        "recordings": [_entry(row) for row in rows],
    }
    return json.dumps(body, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _entry(row: RecordingRow) -> dict[str, Any]:
    return {
        "recording": row.uid,
        **name_fields("path", row.path),
        "generation": row.generation,
        "size": row.size_bytes,
        "mtime": mtime_text(row.mtime_ns),
        "mtime_ns": row.mtime_ns,
        "blake3": row.blake3,
        "sha256": row.sha256,
        "key": row.store_key,
        "state": row.state,
        "flag": row.blocks_wipe,
    }


@dataclass(slots=True)
class Publisher:
    """Publishes manifests that are due; `quiet` tells whether nothing more is expected of an open docking."""

    journal: Journal
    calls: StoreCalls
    alerts: AlertBoard
    agency: str
    dock: str
    quiet: Callable[[int], bool]
    randomness: Randomness
    on_published: Callable[[], None]
    """Hears of each docking of which something was published, and of each that is over."""

    async def step(self) -> None:
        """Publish what is due; a store in trouble is tried again at the next step."""
        for docking in await self.journal.run(queries.to_publish):
            try:
                await self._one(docking)
            except StoreConflictError as error:
                self.alerts.put("manifest_conflict", docking.name, error.message, about="dock")
            except DockdError as error:
                log.warning("manifest_waits", docking=docking.name, error=error.message)
                return
            else:
                self.alerts.put("manifest_conflict", docking.name, None)

    async def _one(self, docking: DockingRow) -> None:
        rows = await self.journal.run(lambda tx: queries.unpublished(tx, docking.id))
        ended = docking.state is DockingState.ENDED
        if rows:
            if not ended and not (self.quiet(docking.id) and all(row.state in IN_STORE for row in rows)):
                return
            await self._publish(docking, rows)
            self.on_published()
        if ended:
            await self.journal.run(lambda tx: tx.move_docking(tx.docking(docking.id), DockingState.CLOSED))
            self.on_published()

    async def _publish(self, docking: DockingRow, rows: Sequence[RecordingRow]) -> None:
        camera = await self.journal.run(lambda tx: tx.camera(docking.camera))
        part = docking.manifest_parts + 1
        data = manifest(camera, docking, rows, part, self.dock)
        key = docking_key(self.agency, camera.identity, docking.name, part)
        store = self.calls.store
        upload_id = docking.manifest_upload or await self._name_upload(docking.id)
        named = await self.calls.run(lambda: _put(store, key, data, upload_id))

        def tell(tx: Transaction) -> None:
            for row in rows:
                if row.uid in named:
                    tx.run(
                        "UPDATE seen SET part = ? WHERE docking = ? AND recording = ?",
                        part,
                        docking.id,
                        row.id,
                    )
            tx.run("UPDATE docking SET manifest_parts = ? WHERE id = ?", part, docking.id)

        await self.journal.run(tell)

    async def _name_upload(self, docking_id: int) -> str:
        """The id under which this docking's manifests are sent: what a crash leaves of one can be taken away."""
        upload_id = self.randomness.token()
        await self.journal.run(
            lambda tx: tx.run("UPDATE docking SET manifest_upload = ? WHERE id = ?", upload_id, docking_id)
        )
        return upload_id


def _put(store: EvidenceStore, key: str, data: bytes, upload_id: str) -> set[str]:
    """Publish, and give the recordings that the manifest in the store names.

    After a crash the same part may be there already with what was true then: it stands as it is.
    """
    try:
        store.put_small(key, data, upload_id)
    except StoreConflictError:
        found = store.get_small(key)
        named = _named(found or b"", json.loads(data)["docking"])
        if named is None:
            raise
        return named
    return {entry["recording"] for entry in json.loads(data)["recordings"]}


def _named(found: bytes, docking: str) -> set[str] | None:
    """The recordings that a manifest of this docking names; None if it is anything else."""
    try:
        there = json.loads(found)
        if there["docking"] != docking:
            return None
        return {str(entry["recording"]) for entry in there["recordings"]}
    except (ValueError, TypeError, LookupError):
        return None
