"""What the journal gives for a passport: recordings as people ask for them, and the records and segments about them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dockd.custody.passport import foreground
from dockd.custody.trust import KEY_EVENTS
from dockd.events import CameraClock, CameraDocked, CameraRemoved, DockStarted
from dockd.journal.queries import find_cameras
from dockd.journal.rows import RecordingRow
from dockd.journal.segments import SegmentRow, segments_of
from dockd.journal.transaction import Transaction

_STAY: Final = frozenset({CameraDocked.event, CameraClock.event, CameraRemoved.event})
# Within a line a quotation mark of a name is escaped, so that none can look like a field.
_EVENT: Final = re.compile(r'"event":"([a-z_0-9]+)"')
_RECORDING: Final = re.compile(r'"recording":"([^"\\]+)"')


def by_id(tx: Transaction, uid: str) -> list[RecordingRow]:
    """The recording of that id."""
    return tx.recordings("uid = ?", uid)


def by_key(tx: Transaction, key: str) -> list[RecordingRow]:
    """The recordings whose content the store keeps under that key."""
    return tx.recordings("store_key = ? ORDER BY id", key)


def by_camera(tx: Transaction, name: str, since: str, until: str) -> list[RecordingRow]:
    """What was seen on a camera in dockings that began from `since` on and before `until` (RFC 3339, UTC)."""
    return [
        row
        for camera in find_cameras(tx, name)
        for row in tx.recordings(
            """id IN (SELECT seen.recording FROM seen JOIN docking ON docking.id = seen.docking
               WHERE docking.camera = ?1 AND docking.started_utc >= ?2 AND docking.started_utc < ?3) ORDER BY id""",
            camera.id,
            since,
            until,
        )
    ]


@dataclass(slots=True)
class ChainPart:
    """What a passport shows of one chain: records by number with their lines, and the segments that cover them.

    `unsigned`: the first of its records that no signed segment covers yet.
    """

    id: int
    lines: dict[int, str] = field(default_factory=dict)
    records: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    name: str = ""
    segments: list[SegmentRow] = field(default_factory=list)
    unsigned: int | None = None

    def add(self, seq: int, line: str) -> None:
        """Show one more record."""
        self.lines[seq] = line
        self.records[seq] = json.loads(line)

    def drop(self, seqs: Collection[int]) -> None:
        """Do not show these."""
        for seq in seqs:
            del self.lines[seq], self.records[seq]


def chain_parts(tx: Transaction, uids: Collection[str]) -> list[ChainPart]:
    """All records about recordings and about the dockings in which they were seen, with what they stand on.

    That is the start of the daemon under which each was written, and every key of the chain. The present chain is
    there in any case, for its keys' sake.
    """
    found: dict[int, ChainPart] = {}
    stays: list[tuple[int, int, str, str]] = []
    starts: dict[int, list[tuple[int, str]]] = {}
    wanted = set(uids)
    for chain, seq, line in tx.connection.execute("SELECT chain, seq, line FROM record ORDER BY chain, seq"):
        event = _EVENT.search(line)
        name = "" if event is None else event[1]
        recording = _RECORDING.search(line)
        if recording is not None and recording[1] in wanted:
            found.setdefault(chain, ChainPart(chain)).add(seq, line)
        elif name in _STAY:
            stays.append((chain, seq, line, str(json.loads(line)["docking"])))
        elif name == DockStarted.event:
            starts.setdefault(chain, []).append((seq, line))
        elif name in KEY_EVENTS:
            found.setdefault(chain, ChainPart(chain)).add(seq, line)
    dockings = {
        record["docking"] for part in found.values() for record in part.records.values() if record.get("docking")
    }
    for chain, seq, line, docking in stays:
        if docking in dockings:
            found.setdefault(chain, ChainPart(chain)).add(seq, line)
    present = tx.one("SELECT max(id) FROM chain")
    kept = []
    for chain, part in sorted(found.items()):
        _add_starts(part, starts.get(chain, []))
        if foreground(part.records) or (present is not None and chain == present[0]):
            _cover(tx, part)
            kept.append(part)
    return [part for part in kept if part.records]


def _add_starts(part: ChainPart, starts: Sequence[tuple[int, str]]) -> None:
    """The last start before each record that is shown for its own sake."""
    at = 0
    for seq in foreground(part.records):
        while at < len(starts) and starts[at][0] < seq:
            at += 1
        if at:
            part.add(*starts[at - 1])


def _cover(tx: Transaction, part: ChainPart) -> None:
    row = tx.one("SELECT name FROM chain WHERE id = ?", part.id)
    assert row is not None
    part.name = str(row[0])
    segments = segments_of(tx, part.id)
    signed = segments[-1].last if segments else 0
    shown = foreground(part.records)
    part.unsigned = next((seq for seq in shown if seq > signed), None)
    # A later key, or start, is of no use to anybody before it is signed.
    part.drop([seq for seq in part.records if seq > signed])
    wanted = _holding(segments, part.records, shown[0] if shown else 0, shown[-1] if shown else -1)
    part.segments = wanted


def _holding(segments: Iterable[SegmentRow], seqs: Collection[int], first: int, last: int) -> list[SegmentRow]:
    """The segments that hold any of the records, and all between the first and the last of the recordings' own."""
    return [
        segment
        for segment in segments
        if (segment.last >= first and segment.first <= last)
        or any(segment.first <= seq <= segment.last for seq in seqs)
    ]
