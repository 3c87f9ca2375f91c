"""The running daemon's report of itself: bays, alerts that follow from counts, spool and store."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dockd.alerts import AlertBoard
from dockd.identity import display_name
from dockd.journal import queries
from dockd.journal.journal import Journal
from dockd.journal.transaction import Transaction
from dockd.report.bay import BayFacts
from dockd.report.snapshot import DockNames, Live, bay_payload, camera_fields, count_alerts, idle_bay, status
from dockd.spool.space import SpaceBudget
from dockd.stages.bays import Bays
from dockd.stages.keeper import StoreKeeper
from dockd.stages.lane import StoreLane
from dockd.stages.session import Session
from dockd.stages.stalls import Stalls
from dockd.stages.switches import Switches

_ATTENTION = ("camera_stalled", "camera_refused", "camera_unlistable", "identity_clash", "internal_error")


@dataclass(slots=True)
class LiveReport:
    """Builds the status of a running self."""

    names: DockNames
    journal: Journal
    alerts: AlertBoard
    lane: StoreLane
    keeper: StoreKeeper
    budget: SpaceBudget
    bays: Bays | None
    stalls: Stalls
    min_free_bytes: int
    switches: Switches
    mqtt: Callable[[], dict[str, Any]]
    wipe_mode: Callable[[], str]
    orphans: Callable[[], int]
    audit: Callable[[], dict[str, Any]]
    custody: Callable[[Transaction], dict[str, Any]]

    def _sessions(self) -> list[Session]:
        return [] if self.bays is None else self.bays.sessions()

    def is_quiet(self, docking_id: int) -> bool:
        """Whether nothing more is expected of a docking that is still open."""
        for session in self._sessions():
            if session.docking is not None and session.docking.id == docking_id:
                return session.idle and not session.moving
        return False

    async def tick(self) -> None:
        """Bring the alerts that follow from counts and threads up to date."""
        found = await self.journal.run(lambda tx: count_alerts(tx, queries.counts(tx)))
        for code, what in found.items():
            self.alerts.put(code, "dock", what)
        waiting = [session.waiting_for for session in self._sessions() if session.waiting_for is not None]
        self.alerts.put("paused", "dock", self.switches.what())
        self.alerts.put("spool_full", "dock", waiting[0] if waiting else None)
        self.alerts.put("store_stalled", "dock", "; ".join(self._stuck_lanes()) or None)

    def _stuck_lanes(self) -> list[str]:
        found = [self.stalls.what(worker.control, thread=worker.name) for worker in self.lane.workers]
        return [what for what in found if what is not None]

    def _store_trouble(self) -> str | None:
        known = self.keeper.problem or self.lane.trouble
        stuck = self._stuck_lanes()
        # With one thread left the others' recordings go on; with none they wait, and it is not seen otherwise.
        return stuck[0] if known is None and stuck and len(stuck) == len(self.lane.workers) else known

    def _store_stall(self, camera_id: int) -> str | None:
        controls = self.lane.controls_of(camera_id)
        return next((what for control in controls if (what := self.stalls.what(control)) is not None), None)

    async def build(self) -> dict[str, Any]:
        """The object that `dockd status --json` prints."""
        sessions = self._sessions()
        live = Live(
            running=True,
            pid=os.getpid(),
            wipe_mode=self.wipe_mode(),
            alerts=[alert.payload() for alert in self.alerts.standing()],
            store=self.keeper.payload(),
            audit=self.audit(),
            spool={
                "free_bytes": self.budget.free_bytes(),
                "min_free_bytes": self.min_free_bytes,
            },
            mqtt=self.mqtt(),
            usb={"monitor_restarts": 0 if self.bays is None else self.bays.restarts()},
            paused=sorted(self.switches.paused_bays),
        )

        others = {} if self.bays is None else self.bays.others()

        def read(tx: Transaction) -> dict[str, Any]:
            bays = [self._bay(tx, session) for session in sessions]
            bays += [
                {**idle_bay(name, why), "identify": self.switches.identifying(name)} for name, why in others.items()
            ]
            found = status(tx, self.names, live, sorted(bays, key=_by_number), self.orphans())
            return {**found, "custody": self.custody(tx)}

        busy = [self._busy(session) for session in sessions]
        found = await self.journal.run(read)
        for bay in found["bays"]:
            if any(name == bay["bay"] for name in busy if name) and bay["state"] == "ready":
                bay["state"] = "confirming"
        return found

    def _busy(self, session: Session) -> str | None:
        docking = session.docking
        if docking is not None and self.lane.busy_with(docking.camera):
            return session.camera.bay
        return None

    def _bay(self, tx: Transaction, session: Session) -> dict[str, Any]:
        docking = session.docking
        counts = None if docking is None else queries.bay_counts(tx, docking.id)
        control = session.worker.control
        standing = self.alerts.codes_of(session.subject)
        attention = session.attention or session.stalled
        for code in _ATTENTION:
            if attention is None and code in standing:
                attention = code.replace("_", " ")
        facts = BayFacts(
            listed=docking is not None and docking.state == "active",
            phase=session.phase,
            idle=session.idle,
            busy_in_store=docking is not None and self.lane.busy_with(docking.camera),
            moving=len(session.moving),
            attention=attention,
            waiting_for=session.waiting_for,
            store_trouble=self._store_trouble(),
            waits=session.wiping.waits,
            counts=counts,
            paused=self.switches.paused(session.camera.bay),
            store_stall=None if docking is None else self._store_stall(docking.camera),
        )
        progress = None
        if control.busy and control.total_bytes:
            progress = {
                "stage": control.phase,
                "path": display_name(os.fsencode(control.subject)),
                "bytes_done": control.done_bytes,
                "bytes_total": control.total_bytes,
            }
        camera = camera_fields(session.camera.identity.serial)
        found = bay_payload(camera, session.camera.bay, facts, progress, self._in_flight(session))
        return {**found, "identify": self.switches.identifying(session.camera.bay)}

    def _in_flight(self, session: Session) -> dict[str, int]:
        controls = [session.worker.control]
        if session.docking is not None:
            controls += self.lane.controls_of(session.docking.camera)
        found: dict[str, int] = {}
        for control in controls:
            if control.busy and control.total_bytes:
                found[control.phase] = found.get(control.phase, 0) + min(control.done_bytes, control.total_bytes)
        return found


def _by_number(bay: dict[str, Any]) -> tuple[int, str]:
    name = str(bay["bay"])
    return (int(name), "") if name.isdecimal() else (1000, name)
