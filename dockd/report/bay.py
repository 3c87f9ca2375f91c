"""What is said of a bay: one state, why, and whether the camera may be taken. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dockd.journal.queries import BayCounts


class BayState(StrEnum):
    """What a bay shows."""

    EMPTY = "empty"
    IDENTIFYING = "identifying"
    OFFLOADING = "offloading"
    UPLOADING = "uploading"
    CONFIRMING = "confirming"
    WIPING = "wiping"
    READY = "ready"
    WAITING = "waiting"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class BayFacts:
    """What is known of an occupied bay at one instant.

    `idle`: its session has gone through everything and waits; `busy_in_store`: a recording of its camera is
    being uploaded or read back; `waits`: what its wipe waits for, if it is a matter of time; `store_stall`: what
    hangs of that in the store, which does not touch the camera.
    """

    listed: bool
    phase: str
    idle: bool
    busy_in_store: bool
    moving: int
    attention: str | None
    waiting_for: str | None
    store_trouble: str | None
    waits: str | None
    counts: BayCounts | None
    paused: bool = False
    store_stall: str | None = None
    empty: bool = False


def safe_to_take(facts: BayFacts) -> bool:
    """Everything seen is confirmed, and nothing is being written to the device."""
    counts = facts.counts
    return (
        facts.listed
        and counts is not None
        and counts.unverified == 0
        and counts.to_copy == counts.to_upload == counts.to_confirm == 0
        and counts.intents == 0
        and facts.moving == 0
        and facts.phase != "wiping"
        and facts.attention is None
    )


def bay_state(facts: BayFacts) -> tuple[BayState, str | None]:
    """The bay's state, and the reason for `waiting` and `attention`."""
    state, reason = _unpaused_state(facts)
    if state is BayState.EMPTY:
        return state, reason
    if facts.paused and facts.idle and not facts.busy_in_store and state is not BayState.ATTENTION:
        return BayState.WAITING, "paused by an operator"
    return state, reason


def _attention(facts: BayFacts) -> str | None:
    if facts.attention is not None:
        return facts.attention
    if facts.store_stall is not None:
        return f"the store: {facts.store_stall}"
    if facts.listed and facts.counts is not None and facts.counts.problems:
        return f"{facts.counts.problems} recordings cannot go on"
    return None


def _unpaused_state(facts: BayFacts) -> tuple[BayState, str | None]:
    counts = facts.counts
    if facts.empty:
        return BayState.EMPTY, None
    needed = _attention(facts)
    if needed is not None:
        return BayState.ATTENTION, needed
    if not facts.listed or counts is None:
        return BayState.IDENTIFYING, None
    if counts.to_copy:
        if facts.waiting_for is not None:
            return BayState.WAITING, facts.waiting_for
        return BayState.OFFLOADING, None
    if counts.to_upload or counts.to_confirm:
        if facts.store_trouble is not None:
            return BayState.WAITING, f"the store: {facts.store_trouble}"
        return (BayState.UPLOADING if counts.to_upload else BayState.CONFIRMING), None
    if facts.phase == "wiping" or counts.intents:
        return BayState.WIPING, None
    if facts.moving:
        return BayState.WAITING, f"{facts.moving} files are still being written"
    if counts.unverified or facts.busy_in_store or not facts.idle:
        return BayState.CONFIRMING, None
    if facts.waits is not None:
        return BayState.WAITING, facts.waits
    return BayState.READY, None
