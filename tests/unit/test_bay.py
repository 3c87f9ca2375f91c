"""What a bay says: its state, and whether the camera may be taken; restated here over all combinations of facts."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockd.journal.queries import BayCounts
from dockd.report.bay import BayFacts, BayState, bay_state, safe_to_take

DONE = BayCounts(
    total=5,
    confirmed=5,
    wiped=5,
    bytes_total=5000,
    bytes_copied=5000,
    bytes_confirmed=5000,
    bytes_wiped=5000,
    left_on_camera=0,
    unverified=0,
    problems=0,
    to_copy=0,
    to_upload=0,
    to_confirm=0,
    intents=0,
)
READY = BayFacts(
    listed=True,
    phase="idle",
    idle=True,
    busy_in_store=False,
    moving=0,
    attention=None,
    waiting_for=None,
    store_trouble=None,
    waits=None,
    counts=DONE,
)


def with_counts(facts: BayFacts = READY, **values: Any) -> BayFacts:
    assert facts.counts is not None
    return replace(facts, counts=replace(facts.counts, **values))


STATES = [
    (READY, "ready", None),
    (replace(READY, listed=False), "identifying", None),
    (replace(READY, counts=None), "identifying", None),
    (replace(READY, attention="reads hang"), "attention", "reads hang"),
    (replace(READY, attention="reads hang", listed=False), "attention", "reads hang"),
    (with_counts(problems=2), "attention", "2"),
    (with_counts(to_copy=1), "offloading", None),
    (with_counts(replace(READY, waiting_for="no room"), to_copy=1), "waiting", "no room"),
    (with_counts(to_upload=1), "uploading", None),
    (with_counts(to_confirm=1), "confirming", None),
    (with_counts(to_upload=1, to_confirm=1), "uploading", None),
    (with_counts(replace(READY, store_trouble="not mounted"), to_upload=1), "waiting", "not mounted"),
    (with_counts(replace(READY, store_trouble="not mounted"), to_confirm=1), "waiting", "not mounted"),
    (replace(READY, phase="wiping"), "wiping", None),
    (with_counts(intents=1), "wiping", None),
    (replace(READY, moving=1), "waiting", "1"),
    (with_counts(unverified=1), "confirming", None),
    (replace(READY, busy_in_store=True), "confirming", None),
    (replace(READY, idle=False), "confirming", None),
    (replace(READY, waits="grace"), "waiting", "grace"),
]


@pytest.mark.parametrize(("facts", "state", "reason"), STATES)
def test_a_bay_says_what_it_does_and_why_it_waits(facts: BayFacts, state: str, reason: str | None) -> None:
    found, why = bay_state(facts)
    assert found == state
    assert (why is None) == (reason is None)
    assert reason is None or reason in str(why)


def test_every_state_of_an_occupied_bay_is_said_of_something() -> None:
    assert {state for _, state, _ in STATES} == {str(state) for state in BayState} - {"empty"}


def test_the_states_are_the_contracts() -> None:
    assert {str(state) for state in BayState} == {
        *("empty", "identifying", "offloading", "uploading", "confirming", "wiping", "ready", "waiting", "attention"),
    }


NOT_SAFE = [
    replace(READY, listed=False),
    replace(READY, counts=None),
    replace(READY, attention="reads hang"),
    replace(READY, moving=1),
    replace(READY, phase="wiping"),
    with_counts(unverified=1),
    with_counts(to_copy=1),
    with_counts(intents=1),
    # Seen on the camera, and not confirmed, even if somebody took it from the camera since.
    with_counts(to_upload=1),
    with_counts(to_confirm=1),
]


@pytest.mark.parametrize("facts", NOT_SAFE)
def test_one_thing_that_is_not_confirmed_or_is_being_written_makes_it_unsafe(facts: BayFacts) -> None:
    assert not safe_to_take(facts)


@pytest.mark.parametrize(
    "facts",
    [
        READY,
        replace(READY, waits="grace"),
        replace(READY, store_trouble="not mounted"),
        with_counts(wiped=0, left_on_camera=5),
        replace(READY, idle=False, phase="re-reading"),
    ],
)
def test_what_is_confirmed_may_be_taken_whether_or_not_it_will_be_wiped(facts: BayFacts) -> None:
    assert safe_to_take(facts)


few = st.sampled_from([0, 0, 0, 1, 7])
COUNTS = st.builds(BayCounts, **{field.name: few for field in fields(BayCounts)})
FACTS = st.builds(
    BayFacts,
    listed=st.sampled_from([True, True, False]),
    phase=st.sampled_from(["idle", "idle", "wiping", "offloading", "re-reading", "ended", "stopped"]),
    idle=st.booleans(),
    busy_in_store=st.booleans(),
    moving=few,
    attention=st.sampled_from([None, None, "reads hang"]),
    waiting_for=st.sampled_from([None, "no room"]),
    store_trouble=st.sampled_from([None, "not mounted"]),
    waits=st.sampled_from([None, "grace"]),
    counts=st.one_of(st.none(), st.just(DONE), COUNTS),
)


def may_still_be_done(facts: BayFacts) -> bool:
    """Whether dockd may still do anything to, or for, this camera."""
    counts = facts.counts
    if counts is None or not facts.listed or facts.attention is not None:
        return True
    left = (counts.to_copy, counts.to_upload, counts.to_confirm, counts.intents, counts.unverified, counts.problems)
    return (
        any(left)
        or facts.phase == "wiping"
        or not facts.idle
        or facts.busy_in_store
        or facts.moving > 0
        or facts.waits is not None
    )


@settings(deadline=None, max_examples=1000)
@given(FACTS)
def test_ready_is_said_only_when_nothing_will_be_done_any_more(facts: BayFacts) -> None:
    state, _ = bay_state(facts)
    assert (state is BayState.READY) == (not may_still_be_done(facts))


@settings(deadline=None, max_examples=1000)
@given(FACTS)
def test_safe_is_said_only_when_all_is_confirmed_and_nothing_is_written(facts: BayFacts) -> None:
    if not safe_to_take(facts):
        return
    counts = facts.counts
    assert counts is not None
    assert facts.listed
    assert (counts.unverified, counts.to_copy, counts.to_upload, counts.to_confirm, counts.intents) == (0, 0, 0, 0, 0)
    assert facts.moving == 0
    assert facts.phase != "wiping"
    assert facts.attention is None


@settings(deadline=None, max_examples=1000)
@given(FACTS)
def test_what_is_ready_is_safe_and_a_reason_stands_where_the_contract_wants_one(facts: BayFacts) -> None:
    state, reason = bay_state(facts)
    assert state is not BayState.EMPTY
    if state is BayState.READY:
        assert safe_to_take(facts)
    assert (reason is not None) == (state in (BayState.WAITING, BayState.ATTENTION))
    assert reason is None or reason
