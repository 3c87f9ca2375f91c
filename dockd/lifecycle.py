"""States of a docking and of a recording, and the only table of legal moves.

Each member says what is true in it. Nothing here touches the world: the journal asks `check_move`
before it writes, so a move that is not in the table cannot be stored.
"""

from __future__ import annotations

from enum import StrEnum

from dockd.errors import IllegalMoveError


class RecordingState(StrEnum):
    """How far one recording has come, and what has been checked about it."""

    FOUND = "found"
    """It was seen whole on a camera; fewer bytes than the whole, maybe none, are in the spool."""

    SPOOLED = "spooled"
    """Whole in the spool and durable; both digests computed; the spool's disk gave the same bytes back."""

    UPLOADED = "uploaded"
    """The store said that it holds the whole under its key; nobody has checked that yet."""

    CONFIRMED = "confirmed"
    """Read back from the store: size and both digests equal what was read off the device in one docking."""

    WIPE_INTENT = "wipe_intent"
    """Confirmed, the gate was passed, and the file on the device may or may not be gone by now."""

    WIPED = "wiped"
    """Confirmed, unlinked on the device by dockd, made durable, and seen gone afterwards."""

    VANISHED = "vanished"
    """Not whole here, and no longer on the device on which it was seen: unaccounted."""


class DockingState(StrEnum):
    """What is known about one stay of one camera in one bay."""

    IDENTIFYING = "identifying"
    """The camera is there; its first listing is not complete."""

    ACTIVE = "active"
    """The camera is there and was listed whole at least once."""

    ENDED = "ended"
    """The camera left, or it cannot be shown that it stayed; its manifest may still have to be published."""

    CLOSED = "closed"
    """Ended, and its manifest is in the store."""


WHOLE_HERE = frozenset({RecordingState.SPOOLED, RecordingState.UPLOADED})
"""States in which the recording is whole in the spool and not yet confirmed."""

IN_STORE = frozenset({RecordingState.CONFIRMED, RecordingState.WIPE_INTENT, RecordingState.WIPED})
"""States in which the store was seen to hold every byte."""

_R = RecordingState
RECORDING_MOVES: dict[RecordingState, frozenset[RecordingState]] = {
    # SPOOLED falls back to FOUND only when the spool gave back wrong bytes.
    _R.FOUND: frozenset({_R.SPOOLED, _R.VANISHED}),
    _R.SPOOLED: frozenset({_R.UPLOADED, _R.FOUND, _R.VANISHED}),
    # An upload that turns out not to be there, or whose spool copy is needed anew, is sent again.
    _R.UPLOADED: frozenset({_R.CONFIRMED, _R.SPOOLED, _R.VANISHED}),
    # Back to FOUND only when the store lost it and its camera, docked, still has the same bytes.
    _R.CONFIRMED: frozenset({_R.WIPE_INTENT, _R.FOUND}),
    # The file was found to be still there: nothing was unlinked.
    _R.WIPE_INTENT: frozenset({_R.WIPED, _R.CONFIRMED}),
    _R.WIPED: frozenset(),
    # It came back on the same camera as it was: it has to be read from the start of what is not here.
    _R.VANISHED: frozenset({_R.FOUND}),
}

_D = DockingState
DOCKING_MOVES: dict[DockingState, frozenset[DockingState]] = {
    _D.IDENTIFYING: frozenset({_D.ACTIVE, _D.ENDED}),
    _D.ACTIVE: frozenset({_D.ENDED}),
    _D.ENDED: frozenset({_D.CLOSED}),
    _D.CLOSED: frozenset(),
}


def check_recording_move(before: RecordingState, after: RecordingState) -> None:
    """Allow a recording's move from `before` to `after`, or raise IllegalMoveError."""
    if after not in RECORDING_MOVES[before]:
        raise IllegalMoveError(f"a recording cannot go from {before} to {after}")


def check_docking_move(before: DockingState, after: DockingState) -> None:
    """Allow a docking's move from `before` to `after`, or raise IllegalMoveError."""
    if after not in DOCKING_MOVES[before]:
        raise IllegalMoveError(f"a docking cannot go from {before} to {after}")


class Bucket(StrEnum):
    """Where the bytes of a recording are accounted for; every recording is in exactly one."""

    IN_STORE = "in_store"
    ON_DOCKED_CAMERA = "on_docked_camera"
    SOLE_COPY = "sole_copy"
    AWAITING_RETURN = "awaiting_return"
    UNACCOUNTED = "unaccounted"


def bucket(state: RecordingState, *, on_device: bool, store_fault: bool) -> Bucket:
    """The one count that a recording belongs to.

    `on_device`: it was seen on its camera since that camera was docked, and the camera is docked.
    `store_fault`: an audit found the store's copy missing or altered.
    """
    if state in IN_STORE:
        return Bucket.UNACCOUNTED if store_fault else Bucket.IN_STORE
    if state is RecordingState.VANISHED:
        return Bucket.UNACCOUNTED
    if on_device:
        return Bucket.ON_DOCKED_CAMERA
    if state in WHOLE_HERE:
        return Bucket.SOLE_COPY
    return Bucket.AWAITING_RETURN
