"""Upkeep: what the daemon does once a second, whatever else is going on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from dockd.alerts import AlertBoard
from dockd.audit import record_audit
from dockd.errors import DockdError, TransientError
from dockd.events import ClockStepped
from dockd.journal.journal import Journal
from dockd.journal.seen_time import SeenTime
from dockd.journal.startup import Started
from dockd.paths import StatePaths
from dockd.report.live import LiveReport
from dockd.runtime.clock import Clock
from dockd.stages.bays import Bays
from dockd.stages.keeper import StoreKeeper
from dockd.stages.publish import Publisher

log = structlog.get_logger()

TICK_S: Final = 1.0
CLOCK_STEP_S: Final = 1.0
SAVE_SEEN_TIME_S: Final = 15.0


@dataclass(slots=True)
class Upkeep:
    """Keeps time, names stalls, takes up audits, publishes manifests; `told` is called after each round."""

    journal: Journal
    clock: Clock
    seen: SeenTime
    paths: StatePaths
    bays: Bays | None
    report: LiveReport
    keeper: StoreKeeper
    publisher: Publisher
    told: Callable[[], None]

    async def run(self) -> None:
        """Go on until cancelled."""
        saved_s = 0.0
        offset_s = self.clock.now().timestamp() - self.clock.boottime_s()
        while True:
            now_s = self.clock.monotonic_s()
            offset_s = await self._note_clock_step(offset_s)
            if now_s - saved_s >= SAVE_SEEN_TIME_S:
                with contextlib.suppress(DockdError):
                    await self.seen.save(now_s)
                saved_s = now_s
            if self.bays is not None:
                self.bays.watch_stalls()
            try:
                await self._take_up_audits()
                await self.report.tick()
                if self.keeper.usable:
                    await self.publisher.step()
            except TransientError as error:
                # No room, or another program has the journal locked: at the next tick again.
                log.warning("tick_waits", error=error.message, hint=error.hint)
            self.told()
            await asyncio.sleep(TICK_S)

    async def _note_clock_step(self, offset_s: float) -> float:
        """Record that the wall clock was set: it moved against the one that nobody sets. Gives the new offset."""
        # The monotonic clock stands still while the machine is suspended, and nobody has set anything then.
        now_s = self.clock.now().timestamp() - self.clock.boottime_s()
        step_s = now_s - offset_s
        if abs(step_s) < CLOCK_STEP_S:
            # Slow corrections are followed, or they would add up to a step that never was.
            return now_s
        log.warning("clock_stepped", step_s=round(step_s, 3))
        with contextlib.suppress(TransientError):
            await self.journal.run(lambda tx: tx.append(ClockStepped(step_ms=round(step_s * 1000))))
            return now_s
        return offset_s

    async def _take_up_audits(self) -> None:
        """Record what `dockd audit` found and left here: the daemon alone writes to the journal."""
        for path in self.paths.audit_reports():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                await self.journal.run(lambda tx, found=found: record_audit(tx, found))  # type: ignore[misc]
            except TransientError as error:
                log.warning("audit_report_waits", error=error.message)
                return
            except (DockdError, OSError, ValueError, KeyError, TypeError) as error:
                log.error("audit_report_unusable", error=str(error), hint="It is kept aside. Run the audit again.")
                path.replace(path.with_suffix(".unusable"))
                continue
            path.unlink(missing_ok=True)


def tell_of_start(alerts: AlertBoard, started: Started) -> None:
    """Raise the alerts that follow from what was found when the daemon started."""
    if started.released is not None:
        log.warning("configuration_changed", releases_recordings=started.released)
    if started.rolled_back:
        alerts.put("journal_rolled_back", "dock", "the journal does not know this dock's last custody record")
    elif not started.acknowledged:
        what = "this chain began without a proven predecessor, and nobody has acknowledged that"
        alerts.put("chain_not_acknowledged", "dock", what)
    if started.orphans:
        alerts.put("spool_orphans", "dock", f"{len(started.orphans)} spool files are not in the journal")
