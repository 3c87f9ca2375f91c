"""The models of every MQTT message: what a dock says, and what it is asked.

Names carry units; times are RFC 3339 UTC with ms, when the thing was observed; `boot` names the run of the
daemon that says it. No personal names: what people wrote (who, why) and the names of files stay in the
custody log, which an event names by its `seq`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dockd.lifecycle import Bucket

EVERY_S = 30
"""How often `state` is said even if nothing changed."""

VALID_S = 90
"""After how long an unrenewed `state` is stale: two may be lost."""


class Payload(BaseModel):
    """What all messages of a dock carry."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ts: str
    boot: str

    def encode(self) -> bytes:
        """The message's bytes; a `…_hex` twin is there only if its name is not UTF-8."""
        twins = {name for name in type(self).model_fields if name.endswith("_hex") and getattr(self, name) is None}
        return self.model_dump_json(exclude=twins).encode()

    def content(self) -> dict[str, Any]:
        """All but the time: whether there is anything new to say."""
        return self.model_dump(exclude={"ts"})


class Part(BaseModel):
    """A nested object."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Availability(Payload):
    """Whether the dock is there; of a last will `ts` is when the connection was made."""

    state: Literal["online", "stopping", "offline"]


class Info(Payload):
    """What the dock is."""

    version: str
    configuration_sha256: str
    started: str
    bays: tuple[str, ...]
    capabilities: tuple[str, ...]
    public_key: str | None
    chain: str


class Counts(Part):
    """The counts over all recordings ever seen; the five after the first add up to it."""

    recordings: int = Field(ge=0)
    in_store: int = Field(ge=0)
    on_docked_camera: int = Field(ge=0)
    sole_copy: int = Field(ge=0)
    awaiting_return: int = Field(ge=0)
    unaccounted: int = Field(ge=0)
    wiped: int = Field(ge=0)


assert {bucket.value for bucket in Bucket} < set(Counts.model_fields), "every bucket is counted"


class ClockState(Part):
    """What the kernel says of its clock."""

    synchronised: bool
    source: str
    uncertainty_ms: int | None


class SpoolState(Part):
    """The dock's own disk."""

    used_bytes: int
    free_bytes: int
    min_free_bytes: int
    orphans: int


class StoreState(Part):
    """The evidence store as the dock sees it."""

    reachable: bool
    since: str
    problem: str | None


class AuditState(Part):
    """Whether the store is being audited now and how far that is, and what the last audit found; times RFC 3339."""

    running: bool
    checked: int | None = None
    total: int | None = None
    last_ts: str | None = None
    last_checked: int | None = None
    last_unaccounted: int | None = None
    last_missing: int | None = None
    last_altered: int | None = None
    last_chain_ok: bool | None = None
    last_counts_agree: bool | None = None
    last_segments_ok: bool | None = None


Phase = Literal["idle", "working", "waiting", "attention", "paused", "stopping"]


class State(Payload):
    """How the dock is; `valid_s` says after how many seconds without a newer one it is stale."""

    valid_s: int
    counts: Counts
    wipe_mode: Literal["on", "observe", "off"]
    phase: Phase
    phase_since: str
    clock: ClockState
    spool: SpoolState
    store: StoreState
    audit: AuditState
    outbox_depth: int = Field(ge=0)
    oldest_unconfirmed_s: float | None
    usb_monitor_restarts: int = Field(ge=0)


class BayState(Payload):
    """One bay: `reason` says why it is waiting or needs attention."""

    bay: str
    state: Literal[
        "empty", "identifying", "offloading", "uploading", "confirming", "wiping", "ready", "waiting", "attention"
    ]
    reason: str | None
    camera: str | None
    camera_hex: str | None = None
    safe_to_take: bool
    identify: bool
    recordings_total: int
    recordings_confirmed: int
    recordings_wiped: int
    bytes_total: int
    bytes_confirmed: int
    left_on_camera: int


class Progress(Payload):
    """How far a bay is with the stage that it is in; said at most once a second, only while bytes move."""

    bay: str
    stage: str
    bytes_done: int
    bytes_total: int
    bytes_per_s: float
    eta_s: float | None


class Camera(Payload):
    """A camera's last docking at this dock; of several docks' messages the one with the newest `ts` counts.

    How far its clock was ahead of the dock's: measured, or at least so far; by what zone is not known where
    `clock_time_zone_known` is false.
    """

    camera: str
    camera_hex: str | None = None
    docked: bool
    bay: str
    docking: str
    docked_at: str
    left_at: str | None
    recordings: int
    confirmed: int
    wiped: int
    wipe_blocked: str | None
    clock_offset_ms: int | None
    clock_uncertainty_ms: int | None
    clock_offset_at_least_ms: int | None
    clock_time_zone_known: bool | None


class AlertMessage(Payload):
    """Something that needs a person, or will if it lasts; an empty message takes it back."""

    code: str
    subject: str
    severity: Literal["info", "warning", "critical"]
    since: str
    what: str
    hint: str
    runbook: str


class CustodyHead(Payload):
    """The newest record of the custody chain; `signature` over it, once docks have keys."""

    chain: str
    seq: int
    sha256: str
    signature: str | None


class Command(BaseModel):
    """What a `command/{name}` carries; which other keys are needed depends on the name."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str = Field(min_length=1, max_length=128)
    expires: str | None = Field(default=None, max_length=40)
    """RFC 3339: later than that the command is not carried out."""


class Response(Payload):
    """What became of a command; `result` depends on its name."""

    id: str | None
    command: str
    ok: bool
    error: str | None = None
    result: dict[str, Any] | None = None


class EventMessage(Payload):
    """One custody record's event, in order; `ts` is the record's time.

    What people wrote and the names of files are left out: `chain` and `seq` lead to the record.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    chain: str
    seq: int = Field(ge=1)
    event: str


_RECORDING = ("recording", "camera", "camera_hex", "generation", "docking")
_CAMERA = ("camera", "camera_hex", "docking")
_CONTENT = ("size", "blake3", "sha256")

PUBLIC_FIELDS: dict[str, tuple[str, ...]] = {
    "dock_started": ("version", "package_sha256", "configuration_sha256", "python", "kernel", "predecessor"),
    "configuration_changed": ("before_sha256", "after_sha256", "wipe_mode", "releases"),
    "camera_docked": (*_CAMERA, "bay", "vendor", "product", "write_block"),
    "camera_removed": (*_CAMERA, "recordings", "confirmed", "wiped"),
    "camera_clock": (
        *_CAMERA,
        *("offset_ms", "uncertainty_ms", "method", "bound", "camera_time", "time_source", "time_zone_known"),
    ),
    "recording_found": (*_RECORDING, "size", "again"),
    "recording_copied": (*_RECORDING, *_CONTENT, "read_in_one_docking"),
    "recording_reread": (*_RECORDING, *_CONTENT),
    "recording_uploaded": (*_RECORDING, "key", "size", "already_there"),
    "recording_confirmed": (*_RECORDING, *_CONTENT, "key", "version", "past_cache"),
    "recording_returned": (*_RECORDING, "state"),
    "recording_anomaly": (*_RECORDING, "anomaly", "blocks_wipe"),
    "recording_vanished": (*_RECORDING, "copied_bytes", "size"),
    "wipe_started": (*_RECORDING, "key", "blake3", "sha256"),
    "recording_wiped": (*_RECORDING, "method", "key", "interrupted"),
    "wipe_refused": (*_RECORDING, "reason"),
    "hold_added": ("hold", "scope"),
    "hold_removed": ("hold",),
    "clock_stepped": ("step_ms",),
    "integrity_failure": ("recording", "key"),
    "store_fault_over": (*_RECORDING, "fault", "key"),
    "audit": ("checked", "sample", "unaccounted", "missing", "altered", "chain_ok", "counts_agree", "segments_ok"),
    "custody_acknowledged": (),
    "key_registered": ("public_key", "fingerprint", "replaces"),
    "key_rotated": ("old_public_key", "new_public_key"),
}
"""Which of a record's fields an event message carries; what is not named here stays in the custody log."""


def event_message(record: dict[str, Any], chain: str, boot: str) -> EventMessage:
    """The message about one record of the chain."""
    name = str(record["event"])
    fields = {key: record[key] for key in PUBLIC_FIELDS.get(name, ()) if record.get(key) is not None}
    if "size" in fields:
        fields["size_bytes"] = fields.pop("size")
    return EventMessage.model_validate(
        {"ts": record["time"], "boot": boot, "chain": chain, "seq": record["seq"], "event": name, **fields}
    )
