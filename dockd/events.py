"""The models of everything that is recorded in the custody chain.

One class per event of the chain; its fields are what the record carries beside the envelope
(`seq`, `prev`, `time`, `clock`, `dock`, `event`). Names from cameras are text with a `_hex` twin when the
bytes are not UTF-8. Digests are lower-case hex, sizes are bytes, times are RFC 3339 UTC.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict

CHANGED_BEFORE_COPY: Final = "changed-before-copy"
CHANGED_ON_CAMERA: Final = "changed-on-camera"
GONE_FROM_CAMERA: Final = "gone-from-camera"
"""Anomalies that tell where a recording's bytes are: on its docked camera, or not there any more."""


class Event(BaseModel):
    """Base of all events; `payload` is what goes into the record."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    event: ClassVar[str]

    def payload(self) -> dict[str, Any]:
        """The event's own fields, without those that are not known."""
        return self.model_dump(exclude_none=True)


class Head(BaseModel):
    """The last record of a chain: its number and the SHA-256 of its line."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    chain: str
    seq: int
    sha256: str


class DockStarted(Event):
    """The daemon began to run; in a chain's first record `predecessor` names the chain before it, or `unknown`."""

    event = "dock_started"
    version: str
    package_sha256: str
    configuration_sha256: str
    python: str
    kernel: str
    boot: str
    predecessor: Head | Literal["unknown"] | None = None


class ConfigurationChanged(Event):
    """The configuration is another one than at the last start or reload."""

    event = "configuration_changed"
    before_sha256: str
    after_sha256: str
    wipe_mode: str
    releases: int


class OfCamera(Event):
    """Base of what concerns one camera in one docking."""

    camera: str
    camera_hex: str | None = None
    docking: str


class CameraDocked(OfCamera):
    """A camera was found in a bay."""

    event = "camera_docked"
    bay: str
    vendor: str = ""
    product: str = ""
    write_block: Literal["block", "mount", "none"]


class CameraRemoved(OfCamera):
    """A camera left its bay, or it can no longer be shown that it stayed."""

    event = "camera_removed"
    why: str
    recordings: int
    confirmed: int
    wiped: int


class CameraClock(OfCamera):
    """How far the camera's clock was ahead of the dock's when it was docked, as measured before any recording was read.

    With `bound` it is no more than that: the clock was at least so far ahead. `camera_time`: what its time file said.
    `time_zone_known`: False if the camera's time may be local time, and the offset be wrong by its zone.
    """

    event = "camera_clock"
    offset_ms: int
    uncertainty_ms: int | None = None
    method: Literal["time-file", "newest-mtime"]
    bound: Literal["lower"] | None = None
    camera_time: str | None = None
    time_source: Literal["content", "mtime"] | None = None
    time_zone_known: bool


class OfRecording(Event):
    """Base of what concerns one recording."""

    recording: str
    camera: str
    camera_hex: str | None = None
    path: str
    path_hex: str | None = None
    generation: int
    docking: str | None = None


class RecordingFound(OfRecording):
    """A recording was seen whole on a camera, for the first time, as a new generation, or again."""

    event = "recording_found"
    size: int
    mtime: str
    again: bool = False


class RecordingCopied(OfRecording):
    """The recording is whole and durable in the spool; the digests are of what was read off the device."""

    event = "recording_copied"
    size: int
    blake3: str
    sha256: str
    read_in_one_docking: bool


class RecordingReread(OfRecording):
    """The device's file was read whole once more, past the page cache, and gave the same digests."""

    event = "recording_reread"
    size: int
    blake3: str
    sha256: str


class RecordingUploaded(OfRecording):
    """The store said that it holds the recording."""

    event = "recording_uploaded"
    key: str
    size: int
    already_there: bool


class RecordingConfirmed(OfRecording):
    """The store's copy was read back: size and both digests are equal."""

    event = "recording_confirmed"
    key: str
    version: str
    size: int
    blake3: str
    sha256: str
    past_cache: bool


class RecordingReturned(OfRecording):
    """The recording goes back to an earlier state because of what was found."""

    event = "recording_returned"
    state: str
    why: str


class RecordingAnomaly(OfRecording):
    """Something about the recording is odd; it is kept, and not wiped where `blocks_wipe`."""

    event = "recording_anomaly"
    anomaly: str
    detail: str
    blocks_wipe: bool


class RecordingVanished(OfRecording):
    """The recording is no longer on its device, and it was not whole here."""

    event = "recording_vanished"
    why: str
    copied_bytes: int
    size: int


class WipeStarted(OfRecording):
    """The gate was passed; the file is about to be unlinked on the device."""

    event = "wipe_started"
    key: str
    blake3: str
    sha256: str


class RecordingWiped(OfRecording):
    """The file was unlinked on the device, made durable, and seen gone. This is not sanitisation.

    `interrupted`: the wipe was broken off, and the file was found gone later: who removed it was not seen.
    """

    event = "recording_wiped"
    method: Literal["unlink", "unlink+discard"]
    key: str
    interrupted: bool | None = None


class WipeRefused(OfRecording):
    """The gate was not passed."""

    event = "wipe_refused"
    reason: str
    detail: str


class HoldAdded(Event):
    """A legal hold came into force on this dock; `uid` and `sudo_user` are those of the process that placed it."""

    event = "hold_added"
    hold: str
    scope: Literal["camera", "recording"]
    subject: str
    reason: str
    by: str
    uid: int | None = None
    sudo_user: str | None = None


class HoldRemoved(Event):
    """A legal hold was lifted, on the word of an approver whose signature this dock has verified.

    `approver` is the name in this dock's configuration, `approver_key` the fingerprint of the key that signed.
    """

    event = "hold_removed"
    hold: str
    reason: str
    by: str
    approver: str
    approver_key: str
    uid: int | None = None
    sudo_user: str | None = None


class ClockStepped(Event):
    """The wall clock moved against the monotonic clock."""

    event = "clock_stepped"
    step_ms: int


class IntegrityFailure(Event):
    """Bytes or records were not what they were proven to be."""

    event = "integrity_failure"
    what: str
    detail: str
    recording: str | None = None
    key: str | None = None


class StoreFaultOver(OfRecording):
    """The store's copy, which had been found missing or altered, was read back, and is as it was proven to be."""

    event = "store_fault_over"
    fault: str
    key: str


class Audit(Event):
    """The store was read again and compared with the journal, and the journal's counts with its records."""

    event = "audit"
    checked: int
    sample: int | None = None
    unaccounted: int
    missing: int
    altered: int
    chain_ok: bool
    counts_agree: bool | None = None
    segments_ok: bool | None = None


class KeyRegistered(Event):
    """From this record on the dock signs with this key; its first, or one in place of a key that was lost."""

    event = "key_registered"
    public_key: str
    fingerprint: str
    replaces: str | None = None


class KeyRotated(Event):
    """The dock's key was replaced by another; both signed `statement`, each in OpenSSH's form."""

    event = "key_rotated"
    old_public_key: str
    new_public_key: str
    statement: str
    old_signature: str
    new_signature: str


class CustodyAcknowledged(Event):
    """A person acknowledged that this chain begins without a proven predecessor; wiping may go on."""

    event = "custody_acknowledged"
    by: str


def all_events() -> list[type[Event]]:
    """Every event class that has a name, by name."""
    found: list[type[Event]] = []
    todo: list[type[Event]] = [Event]
    while todo:
        kind = todo.pop()
        todo.extend(kind.__subclasses__())
        if "event" in vars(kind):
            found.append(kind)
    return sorted(found, key=lambda kind: kind.event)
