"""The counts, from what the chains say alone: what the journal keeps is held against it in every audit.

The records of all chains of one journal are followed in order. Nothing is known here of tables; a step that does not
follow from those before makes the count one that proves nothing, and is told.

Kept of each recording is its name and a small number: 106 MiB for a million of them, however many records there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dockd.errors import IllegalMoveError
from dockd.events import CHANGED_BEFORE_COPY, CHANGED_ON_CAMERA, GONE_FROM_CAMERA
from dockd.lifecycle import Bucket, RecordingState, bucket, check_recording_move

_STATES: Final = tuple(RecordingState)
_STATE, _HERE, _FAULT = 0x07, 0x08, 0x10
"""A recording in one small number: its state, whether its camera is docked and has it, whether the store lost it."""

_MOVES: Final = {
    "recording_copied": RecordingState.SPOOLED,
    "recording_uploaded": RecordingState.UPLOADED,
    "recording_confirmed": RecordingState.CONFIRMED,
    "wipe_started": RecordingState.WIPE_INTENT,
    "recording_wiped": RecordingState.WIPED,
    "recording_vanished": RecordingState.VANISHED,
}
_GONE: Final = frozenset({GONE_FROM_CAMERA, CHANGED_ON_CAMERA})
_FAULTS: Final = frozenset({"store-missing", "store-altered"})


@dataclass(frozen=True, slots=True)
class Recount:
    """What the records count up to; `strange`: the first that does not follow from those before, and why."""

    counts: Mapping[str, int]
    strange: str | None


def recount(records: Iterable[Mapping[str, Any]]) -> Recount:
    """Count the recordings that all chains of one journal, in order, tell of."""
    counter = _Counter()
    strange: str | None = None
    for record in records:
        try:
            counter.take(record)
        except (KeyError, TypeError, ValueError, IllegalMoveError) as error:
            if strange is None:
                strange = f"record {record.get('seq')} ({record.get('event')}): {_told(error)}"
    return Recount(counter.counts(), strange)


def _told(error: Exception) -> str:
    if isinstance(error, IllegalMoveError):
        return error.message
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


class _Counter:
    """Where each recording is, as far as the records have been followed."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._docked: dict[str, set[str]] = {}
        """What is on the cameras that are docked, by docking."""

    def counts(self) -> dict[str, int]:
        """The counts as they are now."""
        found = dict.fromkeys(("recordings", *map(str, Bucket), "wiped"), 0)
        for word, number in Counter(self._known.values()).items():
            state = _STATES[word & _STATE]
            where = bucket(state, on_device=bool(word & _HERE), store_fault=bool(word & _FAULT))
            found["recordings"] += number
            found[where] += number
            if state is RecordingState.WIPED and where is Bucket.IN_STORE:
                found["wiped"] += number
        return found

    def take(self, record: Mapping[str, Any]) -> None:
        """Follow one record; raises if it does not follow from those before."""
        event = record["event"]
        if event == "recording_confirmed" and self._is_confirmed(record["recording"]):
            # A chain says once more what an earlier one has said: it wipes only what it has confirmed itself.
            return
        if event in _MOVES:
            self._move(record["recording"], _MOVES[event])
            if event in ("recording_wiped", "recording_vanished"):
                self._is_gone(record["recording"])
        elif event == "recording_found":
            self._found(record["recording"], record["docking"], again=record["again"])
        elif event == "recording_returned":
            self._returned(record["recording"], RecordingState(record["state"]))
        elif event == "recording_anomaly":
            self._anomaly(record)
        elif event == "integrity_failure" and record["what"] in _FAULTS:
            self._known[record["recording"]] = self._word(record["recording"]) | _FAULT
        elif event == "store_fault_over":
            self._known[record["recording"]] = self._word(record["recording"]) & ~_FAULT
        elif event == "camera_docked":
            self._docked[record["docking"]] = set()
        elif event == "camera_removed":
            for uid in self._docking(record["docking"]):
                self._known[uid] &= ~_HERE
            del self._docked[record["docking"]]

    def _word(self, uid: str) -> int:
        if uid not in self._known:
            raise ValueError(f"recording {uid} was never found")
        return self._known[uid]

    def _is_confirmed(self, uid: str) -> bool:
        return _STATES[self._word(uid) & _STATE] is RecordingState.CONFIRMED

    def _docking(self, name: str) -> set[str]:
        if name not in self._docked:
            raise ValueError(f"docking {name} is not under way")
        return self._docked[name]

    def _move(self, uid: str, to: RecordingState) -> None:
        word = self._word(uid)
        check_recording_move(_STATES[word & _STATE], to)
        self._known[uid] = word & ~_STATE | _STATES.index(to)

    def _found(self, uid: str, docking: str, *, again: bool) -> None:
        here = self._docking(docking)
        if again == (uid not in self._known):
            raise ValueError(f"recording {uid} was {'never' if again else 'already'} found")
        word = self._known.setdefault(uid, _STATES.index(RecordingState.FOUND))
        if _STATES[word & _STATE] is RecordingState.VANISHED:
            self._move(uid, RecordingState.FOUND)
        self._is_here(uid, here)

    def _returned(self, uid: str, to: RecordingState) -> None:
        self._move(uid, to)
        if to is RecordingState.FOUND:
            # What was in the store begins anew, and so does what is said of the store.
            self._known[uid] &= ~_FAULT

    def _anomaly(self, record: Mapping[str, Any]) -> None:
        uid = record["recording"]
        if record["anomaly"] in _GONE:
            self._is_gone(uid)
        elif record["anomaly"] == CHANGED_BEFORE_COPY:
            self._word(uid)
            self._is_here(uid, self._docking(record["docking"]))

    def _is_here(self, uid: str, docking: set[str]) -> None:
        docking.add(uid)
        self._known[uid] |= _HERE

    def _is_gone(self, uid: str) -> None:
        self._known[uid] = self._word(uid) & ~_HERE
        for there in self._docked.values():
            there.discard(uid)
