"""Facts for the gate that are all good, to be spoiled by tests one at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from journal_desk import digests, seen

from dockd.journal.rows import RecordingRow
from dockd.lifecycle import RecordingState
from dockd.wipe.gate import Device, Standing

GOOD_DIGESTS = digests()

ROW = RecordingRow(
    id=1,
    uid="uid-1",
    camera=1,
    path=b"DCIM/one.MP4",
    generation=1,
    state=RecordingState.CONFIRMED,
    docking=1,
    on_device=True,
    size_bytes=1000,
    mtime_ns=seen().mtime_ns,
    device=5,
    inode=11,
    ctime_ns=seen().ctime_ns,
    blocks_wipe=None,
    problem=None,
    problem_detail=None,
    begun_docking=1,
    blake3=GOOD_DIGESTS.blake3,
    sha256=GOOD_DIGESTS.sha256,
    read_whole=True,
    reread_docking=None,
    spool_name=None,
    upload_id=None,
    store_key="calgary/recordings/CAM%201/digest.mp4",
    store_version="version-1",
    store_fault=None,
    confirmed_utc="2026-03-01T12:00:00.000Z",
    confirmed_seen_s=50.0,
    readback_boot_id="boot-1",
    readback_boottime_s=90.0,
    wiped_utc=None,
    wipe_refusal=None,
    confirmed_chain=1,
    confirmed_seq=7,
)
STANDING = Standing(
    row=ROW,
    wipe_on=True,
    grace_left_s=0.0,
    chain_acknowledged=True,
    custody_problem=None,
    heads_checked=True,
    record_in_store=True,
    identity_clash=False,
    camera_refusal=None,
    camera_past_cache=True,
    unaccepted_weaknesses=(),
    holds=(),
    store_version="version-1",
    same_file=False,
    read_back_age_s=60.0,
)
DEVICE = Device(seen=seen(), digests=GOOD_DIGESTS, past_cache=True, lease_intact=True)


def with_row(**values: Any) -> Standing:
    return replace(STANDING, row=replace(ROW, **values))


def with_site(**values: Any) -> Standing:
    return replace(STANDING, **values)


def with_device(**values: Any) -> Device:
    return replace(DEVICE, **values)
