"""The gate (I1): one fact spoiled at a time, each refused for the reason that it is; then any facts at all."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from gate_facts import DEVICE, GOOD_DIGESTS, ROW, STANDING, with_device, with_row, with_site
from journal_desk import digests, seen

from dockd.lifecycle import RecordingState
from dockd.wipe.gate import READ_BACK_LIMIT_S, Device, Standing, refusal, standing_refusal

DAY_S = 24 * 3600.0

OF_THE_RECORDING = [
    *[(with_row(state=state), "not-confirmed") for state in RecordingState if state is not RecordingState.CONFIRMED],
    (with_row(size_bytes=0), "implausible-size"),
    (with_row(size_bytes=-1), "implausible-size"),
    (with_row(size_bytes=2**32 - 1), "implausible-size"),
    (with_row(blocks_wipe="cross-linked"), "anomaly"),
    (with_row(blocks_wipe=""), "anomaly"),
    (with_row(store_fault="missing"), "store-fault"),
    (with_row(store_fault="altered"), "store-fault"),
    (with_row(blake3=None), "no-digests"),
    (with_row(sha256=None), "no-digests"),
    (with_row(read_whole=False), "no-digests"),
]
OF_THE_SITE = [
    (with_site(wipe_on=False), "mode"),
    (with_site(chain_acknowledged=False), "chain"),
    (with_site(custody_problem=("signing-key", "it is lost")), "signing-key"),
    (with_site(heads_checked=False), "chain-unchecked"),
    (with_site(record_in_store=False), "custody"),
    (with_site(record_in_store=None), "custody"),
    (with_site(identity_clash=True), "identity-clash"),
    (with_site(camera_refusal="no-marker"), "no-marker"),
    (with_site(camera_past_cache=False), "device-cached"),
    (with_site(holds=None), "holds-unreadable"),
    (with_site(holds=("hold-1",)), "hold"),
    (with_site(holds=("hold-1", "hold-2")), "hold"),
    (with_site(grace_left_s=None), "grace"),
    (with_site(grace_left_s=0.001), "grace"),
    (with_site(grace_left_s=math.inf), "grace"),
    (with_site(grace_left_s=math.nan), "grace"),
]
OF_THE_STORE = [
    (with_site(unaccepted_weaknesses=None), "store-unknown"),
    (with_site(unaccepted_weaknesses=("same-disk",)), "store-weak"),
    (with_site(unaccepted_weaknesses=("cached-readback", "same-disk")), "store-weak"),
    (with_site(store_version=None), "store-missing"),
    (with_site(store_version="version-2"), "store-changed"),
    (with_site(store_version=""), "store-changed"),
    (with_row(store_version=None), "store-changed"),
    (with_site(same_file=None), "same-file"),
    (with_site(same_file=True), "same-file"),
    (with_site(read_back_age_s=None), "read-back-old"),
    (with_site(read_back_age_s=DAY_S), "read-back-old"),
    (with_site(read_back_age_s=math.inf), "read-back-old"),
    (with_site(read_back_age_s=math.nan), "read-back-old"),
    # A read-back from the future: the clock that told it is none.
    (with_site(read_back_age_s=-0.001), "read-back-old"),
]
OF_THE_DEVICE = [
    (with_device(digests=None), "device-unread"),
    (with_device(digests=digests(999)), "device-differs"),
    (with_device(digests=replace(GOOD_DIGESTS, blake3="0" * 64)), "device-differs"),
    (with_device(digests=replace(GOOD_DIGESTS, sha256="0" * 64)), "device-differs"),
    (with_device(digests=digests(content=b"other")), "device-differs"),
    (with_device(digests=replace(GOOD_DIGESTS, blake3="", sha256="")), "device-differs"),
    (with_device(seen=seen(999)), "device-changed"),
    (with_device(seen=seen(inode=12)), "device-changed"),
    (with_device(seen=seen(device=6)), "device-changed"),
    (with_device(past_cache=False), "device-cached"),
    (with_device(lease_intact=False), "no-lease"),
]


def test_what_is_good_in_all_points_may_be_wiped() -> None:
    assert standing_refusal(STANDING) is None
    assert refusal(STANDING, DEVICE) is None


@pytest.mark.parametrize(("standing", "reason"), OF_THE_RECORDING + OF_THE_SITE + OF_THE_STORE)
def test_one_point_against_it_keeps_it_before_the_device_is_even_read(standing: Standing, reason: str) -> None:
    found = standing_refusal(standing)
    assert found is not None
    assert found.reason == reason
    assert found.detail
    assert refusal(standing, DEVICE) == found


@pytest.mark.parametrize(("device", "reason"), OF_THE_DEVICE)
def test_one_point_on_the_device_keeps_it(device: Device, reason: str) -> None:
    found = refusal(STANDING, device)
    assert found is not None
    assert found.reason == reason
    assert found.detail


@pytest.mark.parametrize("age_s", [0.0, 1.0, DAY_S - 0.001])
def test_a_read_back_within_a_day_is_proof(age_s: float) -> None:
    assert READ_BACK_LIMIT_S == DAY_S
    assert refusal(with_site(read_back_age_s=age_s), DEVICE) is None


@pytest.mark.parametrize("size_bytes", [1, 2**32 - 2, 2**32, 5 * 2**30])
def test_sizes_around_the_odd_ones_are_believed(size_bytes: int) -> None:
    device = with_device(digests=digests(size_bytes), seen=seen(size_bytes))
    assert refusal(with_row(size_bytes=size_bytes), device) is None


def test_what_cannot_be_told_is_refused_for_every_fact_that_can_be_unknown() -> None:
    """None is an answer of its own: a fact that may be None and is None never lets anything pass."""
    # Of these None is the good answer, and what is not known yet is another fact.
    good = {"camera_refusal", "custody_problem"}
    unknown = [name for name, kind in Standing.__annotations__.items() if "None" in kind and name not in good]
    assert set(unknown) == {
        "grace_left_s",
        "record_in_store",
        "unaccepted_weaknesses",
        "holds",
        "store_version",
        "same_file",
        "read_back_age_s",
    }
    for name in unknown:
        assert refusal(with_site(**{name: None}), DEVICE) is not None, name
    for name in [name for name, kind in Device.__annotations__.items() if "None" in kind]:
        assert refusal(STANDING, with_device(**{name: None})) is not None, name
    for name in ("blake3", "sha256", "store_version"):
        assert refusal(with_row(**{name: None}), DEVICE) is not None, name


def test_two_unknowns_do_not_make_a_known() -> None:
    """A version missing on both sides is no equal version; digests missing on both sides are no equal digests."""
    nowhere = replace(STANDING, store_version=None, row=replace(ROW, store_version=None))
    assert refusal(nowhere, DEVICE) is not None
    bare = with_row(blake3=None, sha256=None)
    assert refusal(bare, with_device(digests=None)) is not None
    assert refusal(bare, with_device(digests=replace(GOOD_DIGESTS, blake3="", sha256=""))) is not None


LASTING = {
    "not-confirmed": True,
    "hold": True,
    "holds-unreadable": False,
    "chain-unchecked": False,
    "custody": False,
    "grace": False,
    "store-unknown": False,
    "store-missing": False,
    "read-back-old": False,
}


@pytest.mark.parametrize(("standing", "reason"), OF_THE_RECORDING + OF_THE_SITE + OF_THE_STORE)
def test_what_time_or_the_next_look_can_change_is_tried_again(standing: Standing, reason: str) -> None:
    found = standing_refusal(standing)
    assert found is not None
    assert found.lasting is LASTING.get(reason, found.lasting)
