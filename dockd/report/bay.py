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
    being uploaded or read back; `waits`: what its wipe waits for, if it is a matter of time.
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
    if facts.paused and facts.idle and not facts.busy_in_store and state is not BayState.ATTENTION:
        return BayState.WAITING, "paused by an operator"
    return state, reason


def _unpaused_state(facts: BayFacts) -> tuple[BayState, str | None]:
    counts = facts.counts
    if facts.attention is not None:
        return BayState.ATTENTION, facts.attention
    if not facts.listed or counts is None:
        return BayState.IDENTIFYING, None
    if counts.problems:
        return BayState.ATTENTION, f"{counts.problems} recordings cannot go on"
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
