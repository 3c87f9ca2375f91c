"""The status of the whole dock as one JSON object, from the journal and from what is going on now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from dockd.alerts import AlertBoard
from dockd.audit.taking_up import last_audit
from dockd.custody.chain import rfc3339
from dockd.identity import display_name, name_fields
from dockd.journal import queries
from dockd.journal.chain_break import noted_break
from dockd.journal.queries import BayCounts
from dockd.journal.rows import CameraRow, DockingRow
from dockd.journal.transaction import DOCKING_COLUMNS, Transaction
from dockd.report.bay import BayFacts, bay_state, safe_to_take
from dockd.runtime.clock import SystemClock


@dataclass(frozen=True, slots=True)
class DockNames:
    """Whose dock it is."""

    agency: str
    site: str
    name: str
    version: str


@dataclass(slots=True)
class Live:
    """What only a running daemon knows; the defaults are what is said without one."""

    running: bool = False
    pid: int | None = None
    wipe_mode: str = "off"
    alerts: Sequence[dict[str, Any]] = ()
    store: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=lambda: {"running": False})
    spool: dict[str, Any] = field(default_factory=dict)
    mqtt: dict[str, Any] = field(default_factory=dict)
    usb: dict[str, Any] = field(default_factory=dict)
    paused: Sequence[str] = ()


def status(
    tx: Transaction, names: DockNames, live: Live, bays: Sequence[dict[str, Any]], orphans: int = 0
) -> dict[str, Any]:
    """The object that `dockd status --json` prints."""
    counts = queries.counts(tx)
    return {
        "dock": {
            "agency": names.agency,
            "site": names.site,
            "name": names.name,
            "version": names.version,
            "chain": tx.head.chain,
            "seq": tx.head.seq,
            "sha256": tx.head.sha256,
        },
        "daemon": {"running": live.running, "pid": live.pid},
        "ts": rfc3339(tx.clock.now()),
        "counts": counts,
        "awaiting_return": [
            {**camera_fields(serial), "recordings": count, "since": since}
            for serial, count, since in (queries.awaited(tx) if counts["awaiting_return"] else ())
        ],
        "oldest_unconfirmed_s": _age_s(tx.clock.now(), queries.oldest_unconfirmed_utc(tx)),
        "wipe_mode": live.wipe_mode,
        "paused": list(live.paused),
        "bays": list(bays),
        "alerts": list(live.alerts),
        "store": live.store,
        "audit": {**live.audit, "last": last_audit(tx)},
        "spool": {"used_bytes": queries.spool_used_bytes(tx), **live.spool, "orphans": orphans},
        "mqtt": live.mqtt,
        "usb": live.usb,
        "clock": asdict(tx.clock.synchronised()),
        "custody": {},
    }


def _age_s(now: datetime, since: str | None) -> float | None:
    """How long ago a moment was; 0 for one that a set clock has put into the future."""
    return None if since is None else max(0.0, round((now - datetime.fromisoformat(since)).total_seconds(), 3))


def bay_payload(
    camera: Mapping[str, str | None],
    bay: str,
    facts: BayFacts,
    progress: dict[str, Any] | None = None,
    in_flight: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One bay of the status; `in_flight` has for each stage the bytes done of recordings not through it yet."""
    state, reason = bay_state(facts)
    counts = facts.counts
    return {
        "bay": bay,
        "state": state,
        "reason": reason,
        **camera,
        "safe_to_take": safe_to_take(facts),
        "recordings_total": counts.total if counts else 0,
        "recordings_confirmed": counts.confirmed if counts else 0,
        "recordings_wiped": counts.wiped if counts else 0,
        "bytes_total": counts.bytes_total if counts else 0,
        "bytes_copied": counts.bytes_copied if counts else 0,
        "bytes_confirmed": counts.bytes_confirmed if counts else 0,
        "bytes_wiped": counts.bytes_wiped if counts else 0,
        "left_on_camera": counts.left_on_camera if counts else 0,
        "progress": progress,
        "in_flight": dict(in_flight or {}),
    }


def idle_bay(name: str, why: str | None) -> dict[str, Any]:
    """A bay that no session serves: empty, or `why` not."""
    facts = BayFacts(
        listed=False,
        phase="idle",
        idle=True,
        busy_in_store=False,
        moving=0,
        attention=why,
        waiting_for=None,
        store_trouble=None,
        waits=None,
        counts=None,
        empty=why is None,
    )
    return bay_payload({"camera": None}, name, facts)


def camera_fields(serial: bytes) -> dict[str, str]:
    """A camera's name for JSON."""
    return name_fields("camera", serial)


def bays_without_daemon(tx: Transaction) -> list[dict[str, Any]]:
    """Bays as the journal last knew them: nobody serves them, so each says that it waits."""
    rows = tx.all(f"SELECT {DOCKING_COLUMNS} FROM docking WHERE state IN ('identifying', 'active')")  # noqa: S608
    found = []
    for docking in map(DockingRow.from_row, rows):
        camera: CameraRow = tx.camera(docking.camera)
        counts: BayCounts = queries.bay_counts(tx, docking.id)
        facts = BayFacts(
            listed=docking.state == "active",
            phase="stopped",
            idle=False,
            busy_in_store=False,
            moving=0,
            attention="dockd is not running",
            waiting_for=None,
            store_trouble=None,
            waits=None,
            counts=counts,
        )
        found.append(bay_payload(camera_fields(camera.serial), docking.bay, facts))
    return found


def count_alerts(tx: Transaction, counts: dict[str, int]) -> dict[str, str | None]:
    """The alerts that follow from the journal alone."""
    unaccounted, sole = counts["unaccounted"], counts["sole_copy"]
    cameras, faults = queries.unaccounted_cameras(tx) if unaccounted else ([], 0)
    names = ", ".join(display_name(serial) for serial in cameras)
    last = last_audit(tx)
    return {
        "unaccounted": f"{unaccounted} recordings are unaccounted for, of: {names}" if unaccounted else None,
        "store_fault": f"{faults} confirmed recordings are missing or altered in the store" if faults else None,
        "sole_copy": f"{sole} recordings are on this dock only" if sole else None,
        "counts_disagree": f"the audit of {last['ts']} found the journal's counts and its records apart"
        if last and last.get("counts_agree") is False
        else None,
        "custody_at_fault": f"the audit of {last['ts']} found signed custody records missing or altered in the store"
        if last and last.get("segments_ok") is False
        else None,
        "chain_broken": noted_break(tx),
    }


def plain_alerts(tx: Transaction, counts: dict[str, int]) -> list[dict[str, Any]]:
    """The alerts that the journal alone can tell of, for a status without a daemon."""
    board = AlertBoard(tx.clock.now)
    for code, what in count_alerts(tx, counts).items():
        board.put(code, "dock", what)
    return [alert.payload() for alert in board.standing()]


def empty_status(names: DockNames, wipe_mode: str) -> dict[str, Any]:
    """The status of a dock that has never run."""
    clock = SystemClock()
    return {
        "dock": {
            "agency": names.agency,
            "site": names.site,
            "name": names.name,
            "version": names.version,
            "chain": "",
            "seq": 0,
            "sha256": "",
        },
        "daemon": {"running": False, "pid": None},
        "ts": rfc3339(clock.now()),
        "counts": dict.fromkeys(map(str, queries.COUNT_NAMES), 0),
        "awaiting_return": [],
        "oldest_unconfirmed_s": None,
        "wipe_mode": wipe_mode,
        "paused": [],
        "bays": [],
        "alerts": [],
        "store": {},
        "audit": {"running": False, "last": None},
        "spool": {},
        "mqtt": {},
        "usb": {},
        "clock": asdict(clock.synchronised()),
        "custody": {},
    }
