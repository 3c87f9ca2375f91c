"""Whatever the facts, what passes the gate has every point of I1 for it; these are written down here again."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from gate_facts import DEVICE, GOOD_DIGESTS, ROW, STANDING
from hypothesis import assume, example, given
from hypothesis import strategies as st
from journal_desk import digests, seen

from dockd.lifecycle import RecordingState
from dockd.wipe.gate import Device, Standing, refusal, standing_refusal


def allowed(standing: Standing, device: Device) -> dict[str, bool]:
    """The points of I1 (and of I9: None is never good enough), each by itself."""
    row = standing.row
    read = device.digests
    age_s, left_s = standing.read_back_age_s, standing.grace_left_s
    return {
        "its row is CONFIRMED": row.state == "confirmed",
        "its size is above 0": row.size_bytes > 0,
        "its size is plausible": row.size_bytes not in (0, 0xFFFFFFFF),
        "nothing is flagged": row.blocks_wipe is None,
        "no audit found its copy at fault": row.store_fault is None,
        "its digests are of one docking": bool(row.blake3 and row.sha256) and row.read_whole is True,
        "wiping is on": standing.wipe_on is True,
        "the chain is acknowledged": standing.chain_acknowledged is True,
        "the custody log is in order": standing.custody_problem is None and standing.heads_checked is True,
        "its confirmation is signed and stored": standing.record_in_store is True,
        "one camera has this identity": standing.identity_clash is False,
        "the camera lets itself be wiped": standing.camera_refusal is None,
        "holds are known, and none covers it": standing.holds is not None and len(standing.holds) == 0,
        "grace is over": left_s is not None and left_s <= 0,
        "the store is not weak": standing.unaccepted_weaknesses is not None
        and not list(standing.unaccepted_weaknesses),
        "the store has it, unchanged": standing.store_version is not None
        and standing.store_version == row.store_version,
        "the two files are two": standing.same_file is False,
        "it was read back within 24 h": age_s is not None and 0 <= age_s < 86_400,
        "the device was read again": read is not None,
        "the device gave the confirmed bytes": read is not None
        and (read.size_bytes, read.blake3, read.sha256) == (row.size_bytes, row.blake3, row.sha256),
        "it is the same file": (device.seen.size_bytes, device.seen.device, device.seen.inode)
        == (row.size_bytes, row.device, row.inode),
        "it was read past the cache": device.past_cache is True and standing.camera_past_cache is True,
        "nobody has it open": device.lease_intact is True,
    }


def mostly(good: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The good value in most draws, so that what passes is drawn too."""
    return st.one_of(*[st.just(good)] * 7, st.sampled_from(others))


ROWS = st.builds(
    lambda **values: replace(ROW, **values),
    state=mostly(RecordingState.CONFIRMED, *RecordingState),
    size_bytes=mostly(1000, -1, 0, 1, 999, 2**32 - 1, 2**32),
    blocks_wipe=mostly(None, "", "cross-linked"),
    store_fault=mostly(None, "missing", "altered"),
    blake3=mostly(GOOD_DIGESTS.blake3, None, "0" * 64),
    sha256=mostly(GOOD_DIGESTS.sha256, None, "0" * 64),
    read_whole=mostly(True, False),
    store_version=mostly("version-1", None, "", "version-2"),
    inode=mostly(11, 12),
    device=mostly(5, 6),
    # What has no say in it.
    on_device=st.booleans(),
    problem=st.sampled_from([None, "unreadable"]),
    mtime_ns=st.integers(0, 2**62),
)
SECONDS = st.sampled_from([None, -math.inf, -1.0, -0.0, 0.0, 1e-9, 1.0, 86_399.9, 86_400.0, math.inf, math.nan])
STANDINGS = st.builds(
    Standing,
    row=ROWS,
    wipe_on=mostly(True, False),
    grace_left_s=st.one_of(st.just(0.0), st.just(-5.0), SECONDS),
    chain_acknowledged=mostly(True, False),
    custody_problem=mostly(None, ("signing-key", "lost")),
    heads_checked=mostly(True, False),
    record_in_store=mostly(True, False, None),
    identity_clash=mostly(False, True),
    camera_refusal=mostly(None, "no-marker"),
    camera_past_cache=mostly(True, False),
    unaccepted_weaknesses=mostly((), None, [], ("same-disk",)),
    holds=mostly((), None, [], ["hold-1"]),
    store_version=mostly("version-1", None, "", "version-2"),
    same_file=mostly(False, None, True),
    read_back_age_s=st.one_of(st.just(60.0), SECONDS),
)
DEVICES = st.builds(
    Device,
    seen=mostly(seen(), seen(999), seen(0), seen(inode=12), seen(device=6), seen(mtime_ns=1)),
    digests=mostly(GOOD_DIGESTS, None, digests(999), digests(content=b"other"), replace(GOOD_DIGESTS, blake3="")),
    past_cache=mostly(True, False),
    lease_intact=mostly(True, False),
)


@given(STANDINGS, DEVICES)
@example(STANDING, DEVICE)
@example(replace(STANDING, grace_left_s=math.nan), DEVICE)
def test_it_passes_if_and_only_if_every_point_speaks_for_it(standing: Standing, device: Device) -> None:
    against = [point for point, holds in allowed(standing, device).items() if not holds]
    found = refusal(standing, device)
    assert (found is None) == (not against), (found, against)


@given(STANDINGS, DEVICES)
def test_no_device_makes_good_what_stands_against_it(standing: Standing, device: Device) -> None:
    found = standing_refusal(standing)
    assume(found is not None)
    assert refusal(standing, device) == found


@given(STANDINGS, DEVICES)
def test_a_refusal_always_says_why(standing: Standing, device: Device) -> None:
    found = refusal(standing, device)
    if found is not None:
        assert found.reason
        assert found.detail
