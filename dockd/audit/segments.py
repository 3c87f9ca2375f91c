"""Whether the store still holds the signed custody records that it was seen to hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from dockd.custody.segments import segment_name
from dockd.digests import Progress
from dockd.identity import custody_prefix
from dockd.journal import segments
from dockd.journal.segments import SegmentRow
from dockd.journal.transaction import Transaction
from dockd.stores.base import EvidenceStore


@dataclass(slots=True)
class SegmentsFound:
    """How many segments were looked at, and which the store has lost or holds otherwise; faults by object."""

    checked: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)
    """Chain and first record of those that lack an object: they are brought there again."""

    faults: dict[str, str] = field(default_factory=dict)


def check_segments(tx: Transaction, store: EvidenceStore, progress: Progress, sample: int | None) -> SegmentsFound:
    """Hold the store's segments against the journal's: all of them, or the newest so many of each chain."""
    found = SegmentsFound()
    for chain, _ in list(segments.chains(tx)):
        rows = [row for row in segments.segments_of(tx, chain) if row.stored_utc is not None]
        for row in rows if sample is None else rows[-sample:]:
            _check(tx, store, row, found)
            found.checked += 1
            progress.advance()
    return found


def _check(tx: Transaction, store: EvidenceStore, row: SegmentRow, found: SegmentsFound) -> None:
    name = segment_name(row.first, row.last)
    lines = segments.lines_between(tx, row.chain, row.first, row.last)
    wanted = {
        f"{name}.jsonl": "".join(f"{line}\n" for line in lines).encode(),
        f"{name}.sha256": segments.digest_list(tx, row).text(),
        f"{name}.sha256.sig": row.signature.encode(),
    }
    for object_name, data in wanted.items():
        key = f"{custody_prefix(tx.dock)}/{row.chain_name}/{object_name}"
        there = store.get_small(key)
        if there == data:
            continue
        found.faults[key] = "missing" if there is None else "altered"
        if there is None and (row.chain, row.first) not in found.lost:
            found.lost.append((row.chain, row.first))
