"""Whatever moves are tried in whatever order, a recording is wiped only after all that comes before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dockd.errors import IllegalMoveError
from dockd.lifecycle import (
    IN_STORE,
    WHOLE_HERE,
    Bucket,
    DockingState,
    RecordingState,
    bucket,
    check_docking_move,
    check_recording_move,
)

R = RecordingState
STATIONS = [R.SPOOLED, R.UPLOADED, R.CONFIRMED, R.WIPE_INTENT, R.WIPED]


def last(walk: list[R], state: R) -> int:
    return len(walk) - 1 - walk[::-1].index(state)


@given(st.lists(st.sampled_from(R), max_size=60))
def test_whatever_is_tried_wiped_has_all_its_stations_behind_it_in_order(tries: list[R]) -> None:
    walk = [R.FOUND]
    for to in tries:
        try:
            check_recording_move(walk[-1], to)
        except IllegalMoveError:
            continue
        walk.append(to)
    if R.WIPED not in walk:
        return
    assert walk[-1] is R.WIPED
    assert walk.count(R.WIPED) == 1
    assert walk[-2] is R.WIPE_INTENT
    firsts = [walk.index(station) for station in STATIONS]
    assert firsts == sorted(firsts)
    # After the last time that it was not in the store, it was whole here, then uploaded, then confirmed.
    since = max(last(walk, state) for state in set(walk) - IN_STORE)
    assert walk[since] is R.UPLOADED
    assert walk[since + 1] is R.CONFIRMED


@given(st.lists(st.sampled_from(DockingState), max_size=20))
def test_a_docking_only_goes_forward(tries: list[DockingState]) -> None:
    order = list(DockingState)
    state = DockingState.IDENTIFYING
    for to in tries:
        try:
            check_docking_move(state, to)
        except IllegalMoveError:
            continue
        assert order.index(to) > order.index(state)
        state = to


@given(st.sampled_from(R), st.booleans(), st.booleans())
def test_a_count_claims_no_more_than_its_state(state: R, on_device: bool, store_fault: bool) -> None:
    counted = bucket(state, on_device=on_device, store_fault=store_fault)
    if counted is Bucket.IN_STORE:
        assert state in IN_STORE
        assert not store_fault
    if counted is Bucket.SOLE_COPY:
        assert state in WHOLE_HERE
        assert not on_device
    if counted is Bucket.ON_DOCKED_CAMERA:
        assert on_device
        assert state not in IN_STORE
