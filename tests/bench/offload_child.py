"""dockd's own offload path as a program: cameras, journal, spool and workers as the daemon has them, without a store.

Run by the bench in a process of its own: offload_child.py STATE_DIR CAMERAS_DIR. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from dockd.cameras.folder import FolderCamera
from dockd.cameras.patterns import matcher
from dockd.digests import Digests
from dockd.direct_io import Buffer
from dockd.events import DockStarted
from dockd.journal import dockings, queries
from dockd.journal.dockings import Rules, SeenFile
from dockd.journal.journal import Journal
from dockd.journal.rows import DockingRow
from dockd.journal.startup import start
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState
from dockd.paths import Forbidden, StatePaths
from dockd.runtime.clock import SystemClock
from dockd.runtime.randomness import SystemRandomness
from dockd.runtime.workers import Worker
from dockd.spool.space import SpaceBudget
from dockd.spool.spool import Spool
from dockd.stages.offload import OffloadParts, copy_recording

AGENCY = "bench"
MIN_FREE_BYTES = 16 << 20
RECORDINGS_LIMIT = 1_000_000


def open_parts(state: Path) -> OffloadParts:
    """Journal, spool and budget, made as the daemon makes them."""
    paths = StatePaths(state)
    paths.prepare()
    journal = Journal.open(paths.journal, clock=SystemClock(), dock=f"{AGENCY}/bench/bench")
    zeros = "0" * 64
    event = DockStarted(
        version="bench",
        package_sha256=zeros,
        configuration_sha256=zeros,
        python=sys.version.split()[0],
        kernel=os.uname().release,
        boot="bench",
    )
    journal.run_in_thread(lambda tx: start(tx, event, None, []))
    return OffloadParts(
        journal,
        Spool(paths.spool),
        SpaceBudget(paths.spool, MIN_FREE_BYTES),
        SystemRandomness(),
        AGENCY,
        lambda _: None,
    )


class Bay:
    """One camera with its thread."""

    def __init__(self, parts: OffloadParts, path: Path) -> None:
        self.parts = parts
        self.worker = Worker(path.name)
        self.camera = FolderCamera(os.fsencode(path), matcher(["**"]), Forbidden())

    def dock(self) -> DockingRow:
        """Take note of everything on the camera."""
        self.camera.attach()
        listing = self.camera.list(self.worker.control)
        token = self.parts.randomness.token
        files = [SeenFile(name, seen, token(8)) for name, seen in listing.files.items()]
        rules = Rules(self.camera.stable_inodes, self.camera.local_times)

        def note(tx: Transaction) -> DockingRow:
            _, docking = dockings.begin_docking(
                tx, self.camera.identity, bay=self.camera.bay, write_block="none", dock_name="bench"
            )
            dockings.take_note(tx, docking, files, rules)
            dockings.listing_complete(tx, docking, set(listing.files), {})
            return tx.docking(docking.id)

        return self.parts.journal.run_in_thread(note)

    async def offload(self) -> dict[str, Digests]:
        """Copy every recording, one after the other, as a session does; the digests by camera and name."""
        docking = await self.worker.run(self.dock)
        rows = await self.parts.journal.run(lambda tx: queries.to_copy(tx, docking.id, RECORDINGS_LIMIT))
        buffer = await self.worker.run(Buffer)
        control = self.worker.control
        found: dict[str, Digests] = {}
        for row in rows:
            name = f"{self.worker.name}/{os.fsdecode(row.path)}"
            found[name] = await self.worker.run(
                lambda row_id=row.id: copy_recording(self.parts, self.camera, row_id, buffer, control)  # type: ignore[misc]
            )
        self.worker.close()
        await self.worker.join(10)
        return found


def spooled(tx: Transaction) -> int:
    """How many recordings the journal calls whole and durable in the spool."""
    row = tx.one("SELECT count(*) FROM recording WHERE state = ?", RecordingState.SPOOLED)
    return int(row[0]) if row is not None else 0


async def offload(parts: OffloadParts, cameras: list[Path]) -> None:
    """Offload all cameras at once and print what was done."""
    bays = [Bay(parts, path) for path in cameras]
    start_s, cpu_s = time.monotonic(), time.process_time()
    done = await asyncio.gather(*(bay.offload() for bay in bays))
    work_s, work_cpu_s = time.monotonic() - start_s, time.process_time() - cpu_s
    count = await parts.journal.run(spooled)
    assert parts.journal.close(), "the journal's thread is stuck"
    sha256 = {name: digests.sha256 for found in done for name, digests in found.items()}
    print(json.dumps({"work_s": work_s, "work_cpu_s": work_cpu_s, "spooled": count, "sha256": sha256}))


if __name__ == "__main__":
    asyncio.run(offload(open_parts(Path(sys.argv[1])), sorted(Path(sys.argv[2]).iterdir())))
