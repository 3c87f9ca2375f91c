"""From what is known to what is said: the retained messages of a dock, by topic below its root. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dockd.alerts import ALERTS
from dockd.identity import encode_part, name_fields
from dockd.journal.queries import CameraReport
from dockd.report.payloads import (
    VALID_S,
    AlertMessage,
    AuditState,
    BayState,
    Camera,
    ClockState,
    Counts,
    CustodyHead,
    Info,
    Payload,
    Phase,
    Progress,
    SpoolState,
    State,
    StoreState,
)

PROGRESS_EVERY_S: Final = 1.0
CAPABILITIES = ("folder-cameras", "filesystem-store")
RUNBOOK = "docs/operations.md"

_AT_REST = frozenset({"empty", "ready", "waiting", "attention"})
_BAY_FIELDS = frozenset(BayState.model_fields) - {"ts", "boot"}


def root_topic(agency: str, site: str, dock: str) -> str:
    """The topic below which a dock says everything."""
    return f"dockd/v1/{agency}/{site}/{dock}"


@dataclass(frozen=True, slots=True)
class Self:
    """What of a dock stays the same during one run of its daemon."""

    boot: str
    version: str
    configuration_sha256: str
    started: str


def phase_of(status: Mapping[str, Any], *, stopping: bool = False) -> Phase:
    """What the dock as a whole is doing."""
    if stopping:
        return "stopping"
    states = {bay["state"] for bay in status["bays"]}
    if states - _AT_REST or (status["counts"]["sole_copy"] and status["store"].get("reachable")):
        return "working"
    if "attention" in states or any(alert["severity"] == "critical" for alert in status["alerts"]):
        return "attention"
    if status["paused"]:
        return "paused"
    return "waiting" if "waiting" in states else "idle"


def compose(
    status: Mapping[str, Any], me: Self, *, phase: Phase, phase_since: str, outbox_depth: int
) -> dict[str, Payload]:
    """Every retained message but `availability` and `camera/…`, from the object that `dockd status --json` prints."""
    common = {"ts": status["ts"], "boot": me.boot}
    found: dict[str, Payload] = {
        "info": _info(status, me, common),
        "state": _state(status, common, phase, phase_since, outbox_depth),
        "custody/head": CustodyHead(
            **common,
            chain=status["dock"]["chain"],
            seq=status["dock"]["seq"],
            sha256=status["dock"]["sha256"],
            signature=status["custody"].get("head_signature"),
        ),
    }
    for bay in status["bays"]:
        fields = {key: value for key, value in bay.items() if key in _BAY_FIELDS}
        found[f"bay/{bay['bay']}"] = BayState.model_validate({**common, **fields})
    found.update(_alerts(status["alerts"], common))
    return found


def _info(status: Mapping[str, Any], me: Self, common: Mapping[str, str]) -> Info:
    return Info(
        **common,
        version=me.version,
        configuration_sha256=me.configuration_sha256,
        started=me.started,
        bays=tuple(bay["bay"] for bay in status["bays"]),
        capabilities=CAPABILITIES,
        public_key=status["custody"].get("public_key"),
        chain=status["dock"]["chain"],
    )


def _state(
    status: Mapping[str, Any], common: Mapping[str, str], phase: Phase, phase_since: str, outbox_depth: int
) -> State:
    store = status["store"]
    return State(
        **common,
        valid_s=VALID_S,
        counts=Counts(**status["counts"]),
        wipe_mode=status["wipe_mode"],
        phase=phase,
        phase_since=phase_since,
        clock=ClockState(**status["clock"]),
        spool=SpoolState(**{name: status["spool"][name] for name in SpoolState.model_fields}),
        store=StoreState(reachable=store["reachable"], since=store["since"], problem=store["problem"]),
        audit=_audit(status["audit"]),
        outbox_depth=outbox_depth,
        oldest_unconfirmed_s=status["oldest_unconfirmed_s"],
        usb_monitor_restarts=status["usb"].get("monitor_restarts", 0),
    )


def _audit(audit: Mapping[str, Any]) -> AuditState:
    last = audit["last"] or {}
    names = ("ts", "checked", "unaccounted", "missing", "altered", "chain_ok", "counts_agree", "segments_ok")
    return AuditState(
        running=audit["running"],
        checked=audit.get("checked"),
        total=audit.get("total"),
        **{f"last_{name}": last.get(name) for name in names},
    )


def _alerts(standing: Iterable[Mapping[str, Any]], common: Mapping[str, str]) -> dict[str, AlertMessage]:
    """One message for each code and subject; what stands for many recordings of one camera is one of them."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for alert in standing:
        groups.setdefault((alert["code"], alert["about"]), []).append(alert)
    found = {}
    for (code, about), alerts in groups.items():
        kind = ALERTS[code]
        what = kind.public or alerts[0]["what"]
        found[f"alert/{code}/{about}"] = AlertMessage(
            **common,
            code=code,
            subject=about,
            severity=kind.severity,
            since=min(alert["since"] for alert in alerts),
            what=f"{what} ({len(alerts)} of this kind)" if len(alerts) > 1 else what,
            hint=alerts[0]["hint"],
            runbook=f"{RUNBOOK}#{code}",
        )
    return found


def camera_messages(reports: Iterable[CameraReport], status: Mapping[str, Any], boot: str) -> dict[str, Payload]:
    """The messages about cameras; whether one is docked, and what keeps it from being wiped, the status knows."""
    docked = {_raw(bay) for bay in status["bays"] if bay["camera"] is not None}
    blocked = {alert["subject"]: alert["what"] for alert in status["alerts"] if alert["code"] == "wipe_blocked"}
    found: dict[str, Payload] = {}
    for report in reports:
        part = encode_part(report.serial)
        found[f"camera/{part}"] = Camera.model_validate(
            {
                "ts": status["ts"],
                "boot": boot,
                **name_fields("camera", report.serial),
                "docked": report.serial in docked and report.left_at is None,
                "bay": report.bay,
                "docking": report.docking,
                "docked_at": report.docked_at,
                "left_at": report.left_at,
                "recordings": report.recordings,
                "confirmed": report.confirmed,
                "wiped": report.wiped,
                "wipe_blocked": blocked.get(f"camera-{part}"),
                **_clock(report),
            }
        )
    return found


def _clock(report: CameraReport) -> dict[str, Any]:
    """A bound is no offset, and is not said as one."""
    offset_ms, bound = report.clock.get("offset_ms"), report.clock.get("bound") is not None
    return {
        "clock_offset_ms": None if bound else offset_ms,
        "clock_uncertainty_ms": report.clock.get("uncertainty_ms"),
        "clock_offset_at_least_ms": offset_ms if bound else None,
        "clock_time_zone_known": report.clock.get("time_zone_known"),
    }


def _raw(bay: Mapping[str, Any]) -> bytes:
    text = bay.get("camera_hex")
    return bytes.fromhex(text) if text else str(bay["camera"]).encode()


def bay_faces(status: Mapping[str, Any]) -> dict[bytes, dict[str, Any]]:
    """What is shown of each docked camera: when it changes, the camera's own message is due too."""
    return {
        _raw(bay): {key: value for key, value in bay.items() if key not in ("progress", "in_flight", "identify")}
        for bay in status["bays"]
        if bay["camera"] is not None
    }


class ProgressMeter:
    """Turns a row of statuses into progress messages, of a bay at most one in `PROGRESS_EVERY_S`."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._before: dict[str, tuple[str, float, int]] = {}
        """By bay: the stage, and when how much of it was done. A message is at least so much younger than that."""

    def measure(self, status: Mapping[str, Any], taken_s: float) -> dict[str, Progress]:
        """For each bay in which bytes moved: how far it is with its stage; `taken_s` is the status' monotonic time."""
        found: dict[str, Progress] = {}
        before, self._before = self._before, {}
        for bay in status["bays"]:
            stage, done, total = stage_progress(bay)
            if stage is None:
                continue
            name = bay["bay"]
            was = before.get(name)
            if was is None or was[0] != stage or done < was[2]:
                self._before[name] = (stage, taken_s, done)
                continue
            passed_s, moved = taken_s - was[1], done - was[2]
            if passed_s < PROGRESS_EVERY_S:
                self._before[name] = was
                continue
            self._before[name] = (stage, taken_s, done)
            if not moved:
                continue
            rate = moved / passed_s
            found[name] = Progress(
                ts=status["ts"],
                boot=self._boot,
                bay=name,
                stage=stage,
                bytes_done=min(done, total),
                bytes_total=total,
                bytes_per_s=round(rate, 1),
                eta_s=round(max(0, total - done) / rate, 1),
            )
        return found


def stage_progress(bay: Mapping[str, Any]) -> tuple[str | None, int, int]:
    """The stage that a bay is in, the bytes done and to do of it; None if it moves nothing."""
    flying, total = bay["in_flight"], bay["bytes_total"]
    state = bay["state"]
    if state == "offloading":
        return state, min(total, bay["bytes_copied"] + flying.get("offloading", 0)), total
    if state in ("uploading", "confirming"):
        # Each byte is sent and read back; both count.
        sent = flying.get("uploading", 0) + flying.get("confirming", 0)
        return state, min(total, bay["bytes_confirmed"] + sent), total
    if state == "wiping":
        return state, min(total, bay["bytes_wiped"] + flying.get("wiping", 0)), total
    return None, 0, 0
