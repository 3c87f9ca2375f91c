"""The gate: the one function that says whether a recording may be deleted from its device.

It is pure. What it is told was looked up anew for this very wipe; what could not be looked up is None, and
None permits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dockd.digests import Digests
from dockd.identity import Seen, implausible_size
from dockd.journal.rows import RecordingRow
from dockd.lifecycle import RecordingState

READ_BACK_LIMIT_S: Final = 24 * 3600.0
"""A read-back from the store that is older than this is no proof any more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is true before the device is read: of the site, the store and the journal."""

    row: RecordingRow
    wipe_on: bool
    grace_left_s: float | None
    chain_acknowledged: bool
    custody_problem: tuple[str, str] | None
    heads_checked: bool
    record_in_store: bool | None
    identity_clash: bool
    camera_refusal: str | None
    camera_past_cache: bool
    unaccepted_weaknesses: Sequence[str] | None
    holds: Sequence[str] | None
    store_version: str | None
    same_file: bool | None
    read_back_age_s: float | None


@dataclass(frozen=True, slots=True)
class Device:
    """What the second read of the device found, with the file still open and its lease held."""

    seen: Seen
    digests: Digests | None
    past_cache: bool
    lease_intact: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a recording is not wiped now; `lasting` if only a person or another docking can change that."""

    reason: str
    detail: str
    lasting: bool = True


def standing_refusal(facts: Standing) -> Refusal | None:
    """Why the recording may not be wiped whatever the device says, or None."""
    for test in (_of_recording, _of_site, _of_store):
        found = test(facts)
        if found is not None:
            return found
    return None


def _of_recording(facts: Standing) -> Refusal | None:
    row = facts.row
    if row.state is not RecordingState.CONFIRMED:
        return Refusal("not-confirmed", f"it is {row.state}")
    odd = implausible_size(row.size_bytes)
    if odd is not None or row.size_bytes < 0:
        return Refusal("implausible-size", f"its size of {row.size_bytes} bytes cannot be believed ({odd})")
    if row.blocks_wipe is not None:
        return Refusal("anomaly", f"it is flagged: {row.blocks_wipe}")
    if row.store_fault is not None:
        return Refusal("store-fault", f"its copy in the store is {row.store_fault}")
    if row.blake3 is None or row.sha256 is None or not row.read_whole:
        return Refusal("no-digests", "its digests were not computed in one docking")
    return None


def _of_site(facts: Standing) -> Refusal | None:
    if not facts.wipe_on:
        return Refusal("mode", "wiping is not switched on")
    if not facts.chain_acknowledged:
        return Refusal("chain", "this custody chain waits for `dockd custody acknowledge`")
    if facts.custody_problem is not None:
        return Refusal(*facts.custody_problem)
    if not facts.heads_checked:
        return Refusal("chain-unchecked", "the store's custody records have not been looked at yet", lasting=False)
    if facts.identity_clash:
        return Refusal("identity-clash", "another docked camera claims the same identity or the same folder")
    if facts.camera_refusal is not None:
        return Refusal(facts.camera_refusal, "this camera is never wiped (a folder needs a file .dockd-camera)")
    if not facts.camera_past_cache:
        return Refusal("device-cached", "the camera's file system cannot be read past this host's memory")
    if facts.holds is None:
        return Refusal("holds-unreadable", "the legal holds in the store cannot be read", lasting=False)
    if facts.holds:
        return Refusal("hold", f"legal hold {', '.join(facts.holds)}")
    if facts.grace_left_s is None or not facts.grace_left_s <= 0:
        return Refusal("grace", f"{facts.grace_left_s} s of the grace time are left", lasting=False)
    return None


def _of_store(facts: Standing) -> Refusal | None:
    if facts.unaccepted_weaknesses is None:
        return Refusal("store-unknown", "the store cannot be examined now", lasting=False)
    if facts.unaccepted_weaknesses:
        weak = ", ".join(facts.unaccepted_weaknesses)
        return Refusal("store-weak", f"the store is {weak}, which this site has not accepted")
    if facts.record_in_store is not True:
        return Refusal("custody", "the record of its confirmation is not signed and in the store yet", lasting=False)
    if facts.store_version is None:
        return Refusal("store-missing", "the store does not hold it now", lasting=False)
    if facts.store_version != facts.row.store_version:
        return Refusal("store-changed", "the store's copy changed since it was read back", lasting=False)
    if facts.same_file is not False:
        return Refusal("same-file", "the camera's file and the store's copy are one and the same file")
    if facts.read_back_age_s is None or not 0 <= facts.read_back_age_s < READ_BACK_LIMIT_S:
        return Refusal("read-back-old", "the store's copy was not read back within the last 24 h", lasting=False)
    return None


def refusal(standing: Standing, device: Device) -> Refusal | None:
    """The gate (I1): why this recording may not be deleted from its device now, or None if it may."""
    found = standing_refusal(standing)
    if found is not None:
        return found
    row = standing.row
    if device.digests is None:
        return Refusal("device-unread", "its file on the camera could not be read", lasting=False)
    if device.digests != Digests(row.size_bytes, row.blake3 or "", row.sha256 or ""):
        return Refusal("device-differs", "its file on the camera has other bytes than the confirmed ones")
    if (device.seen.size_bytes, device.seen.device, device.seen.inode) != (
        row.size_bytes,
        row.device,
        row.inode,
    ):
        return Refusal("device-changed", "its file on the camera is another one than was recorded", lasting=False)
    if not device.past_cache:
        return Refusal("device-cached", "its file could not be read past this host's memory")
    if not device.lease_intact:
        return Refusal("no-lease", "it cannot be told that nobody has the file open for writing")
    return None
