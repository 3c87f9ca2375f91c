"""A record in plain words, for people who have never seen the dock: one sentence for each event.

Names of files and cameras are hostile text: what is given here is text, and who prints it escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dockd.identity import plain_text

Record = Mapping[str, Any]

NOT_RECORDED: Final = "not recorded"
NOT_STORED: Final = "not shown to be there"

_BLOCKED: Final = {
    "block": "The dock's kernel refused every write to it, and it was mounted read-only.",
    "mount": "It was mounted read-only.",
    "none": "It was not write-protected; the dock only read from it.",
}


def text(record: Record, name: str) -> str:
    """A field as text that obeys nothing; `NOT_RECORDED` where the record does not have it."""
    return plain_text(str(record[name])) if record.get(name) is not None else NOT_RECORDED


def when(record: Record) -> str:
    """When a record was written, by the dock's clock."""
    return moment_text(record.get("time"))


def moment_text(raw: object) -> str:
    """A time in UTC for people; what cannot be read as one is given as it is."""
    try:
        moment = datetime.fromisoformat(str(raw)).astimezone(UTC)
    except (ValueError, OverflowError):
        return plain_text(str(raw))
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def size_text(size: object) -> str:
    """A size in bytes, with thousands apart."""
    return f"{size:,} bytes" if isinstance(size, int) else f"{plain_text(str(size))} bytes"


def _copied(record: Record) -> str:
    whole = record.get("read_in_one_docking") is True
    tail = "" if whole else " The copying had been broken off and went on later; so it had to be read once more."
    return (
        "The dock had copied the whole file to its own disk, had read that copy back, and had computed both digests."
        + tail
    )


def _confirmed(record: Record) -> str:
    where = "from its disk" if record.get("past_cache") is True else "possibly from memory, not from its disk"
    return (
        f"The evidence store's copy was read back ({where}). Its size and both digests were those of the bytes that "
        "were read from the camera."
    )


def _wiped(record: Record) -> str:
    if record.get("interrupted") is True:
        return (
            "Deleting the file had been interrupted; it was found gone from the camera at the next look. That the dock "
            "deleted it was not seen."
        )
    return "The file was deleted on the camera and seen to be gone. Deleting is not sanitisation: traces may remain."


def _found(record: Record) -> str:
    again = "seen again" if record.get("again") is True else "found"
    return (
        f"The file was {again} on the camera: {size_text(record.get('size'))}, last changed "
        f"{moment_text(record.get('mtime'))} by the camera's own clock."
    )


def _camera_clock(record: Record) -> str:
    offset = record.get("offset_ms")
    ahead = isinstance(offset, int) and offset >= 0
    size = f"{abs(offset) / 1000:,.1f} s" if isinstance(offset, int) else "an unknown time"
    zone = "" if record.get("time_zone_known") is True else (
        " The camera writes times without a time zone: whole hours of that may be the zone."
    )  # fmt: skip
    if record.get("bound") == "lower":
        told = f"ahead of the dock's by at least {size}" if ahead else f"behind the dock's by at most {size}"
        return (
            f"Nothing on the camera told its clock's time. From the newest file on it follows no more than that its "
            f"clock was {told}.{zone}"
        )
    told = f"{size} {'ahead of' if ahead else 'behind'} the dock's"
    uncertain = record.get("uncertainty_ms")
    give = f", give or take {uncertain / 1000:,.1f} s" if isinstance(uncertain, int) else ""
    return f"The camera's clock was measured before anything was read: {told}{give}.{zone}"


_SENTENCES: Final[Mapping[str, Callable[[Record], str]]] = {
    "dock_started": lambda r: f"The dock's software began to run: dockd {text(r, 'version')}.",
    "key_registered": lambda r: f"From here on the dock signs with the key {text(r, 'fingerprint')}.",
    "key_rotated": lambda _: "The dock's key was replaced by another; both keys signed that.",
    "camera_docked": lambda r: (
        f"The camera {text(r, 'camera')} was found in bay {text(r, 'bay')}. {_BLOCKED.get(text(r, 'write_block'), '')}"
    ),
    "camera_clock": _camera_clock,
    "camera_removed": lambda r: f"The camera's stay in the dock ended: {text(r, 'why')}.",
    "recording_found": _found,
    "recording_copied": _copied,
    "recording_reread": lambda _: "The file was read whole on the camera once more, and gave the same digests.",
    "recording_uploaded": lambda r: (
        "The evidence store had the same bytes already, and was asked to keep them."
        if r.get("already_there") is True
        else "The evidence store said that it has the file."
    ),
    "recording_confirmed": _confirmed,
    "recording_anomaly": lambda r: f"Something was odd: {text(r, 'anomaly')} ({text(r, 'detail')}).",
    "recording_returned": lambda r: f"It went back to an earlier state, {text(r, 'state')}: {text(r, 'why')}.",
    "recording_vanished": lambda r: f"It was gone from the camera before it was whole here: {text(r, 'why')}.",
    "wipe_started": lambda _: (
        "All checks before deleting had been passed; the file was about to be deleted on the camera."
    ),
    "recording_wiped": _wiped,
    "wipe_refused": lambda r: f"It was not deleted on the camera: {text(r, 'reason')} ({text(r, 'detail')}).",
    "store_fault_over": lambda r: (
        f"The evidence store's copy, which had been {text(r, 'fault')}, was read back and is as it was proven to be."
    ),
    "integrity_failure": lambda r: (
        f"Bytes were not what they had been proven to be: {text(r, 'what')} ({text(r, 'detail')})."
    ),
}


def sentence(record: Record) -> str:
    """What a record says, in one or two sentences."""
    tell = _SENTENCES.get(str(record.get("event")))
    return f"Recorded: {text(record, 'event')}." if tell is None else tell(record).strip()


def clock_text(record: Record) -> str:
    """What a record says of the dock's clock."""
    clock = record.get("clock")
    if not isinstance(clock, Mapping) or clock.get("synchronised") is not True:
        return "not synchronised"
    error = clock.get("uncertainty_ms")
    return "synchronised" if error is None else f"synchronised, ± {plain_text(str(error))} ms"


@dataclass(frozen=True, slots=True)
class Story:
    """One recording: what it is called, what is known of it, and its records in order, as (chain, record)."""

    recording: str
    entries: tuple[tuple[str, Record], ...]

    @property
    def own(self) -> list[Record]:
        """The records that name the recording."""
        return [record for _, record in self.entries if record.get("recording") == self.recording]

    def last(self, field: str) -> str:
        """The field as the last record that has it says."""
        return next(
            (text(record, field) for record in reversed(self.own) if record.get(field) is not None), NOT_RECORDED
        )

    @property
    def size(self) -> str:
        """Its size, as last recorded."""
        return next((size_text(r["size"]) for r in reversed(self.own) if r.get("size") is not None), NOT_RECORDED)

    @property
    def in_store(self) -> str:
        """Whether it is in the evidence store, as far as these records tell."""
        state = NOT_STORED
        for record in self.own:
            event = record.get("event")
            if event == "recording_confirmed":
                state = f"since {when(record)}"
            elif event == "recording_vanished" or (
                event == "recording_returned" and record.get("state") in ("found", "spooled", "uploaded")
            ):
                state = NOT_STORED
            elif event == "integrity_failure" and str(record.get("what")).startswith("store-"):
                state = f"found missing or altered there, {when(record)}"
        return state

    @property
    def on_camera(self) -> str:
        """Whether the dock deleted it on the camera."""
        state = "not deleted by the dock"
        for record in self.own:
            if record.get("event") == "recording_wiped":
                found = "found gone after an interrupted deletion" if record.get("interrupted") is True else "deleted"
                state = f"{found}, {when(record)}"
            elif record.get("event") == "recording_vanished":
                state = f"gone without the dock's doing, seen {when(record)}"
        return state


def stories(recordings: Iterable[str], shown: Mapping[str, Mapping[int, Record]]) -> list[Story]:
    """The story of each recording from its first docking on: its own records, and those of its dockings."""
    told = []
    for recording in recordings:
        own = [
            record for records in shown.values() for record in records.values() if record.get("recording") == recording
        ]
        dockings = {record["docking"] for record in own if record.get("docking") is not None}
        entries = tuple(
            (chain, records[seq])
            for chain, records in shown.items()
            for seq in sorted(records)
            if records[seq].get("recording") == recording
            or ("recording" not in records[seq] and records[seq].get("docking") in dockings)
        )
        told.append(Story(recording, entries))
    return told
