"""Whether the store's newest custody record of this dock is one of this journal's.

If it is not, the dock was cloned, re-imaged or restored: another one writes, or wrote, in its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from dockd.custody.segments import BadSegmentError, DigestList, parse_segment_name, segment_name
from dockd.errors import StoreConflictError
from dockd.events import Head
from dockd.journal import segments
from dockd.journal.journal import Journal
from dockd.journal.transaction import Transaction
from dockd.stores.base import EvidenceStore

_HINT = "Nothing is wiped. Find out who put it there, and move it away; it is looked at again."


def foreign_head(store: EvidenceStore, journal: Journal, prefix: str) -> Head | None:
    """The newest head below `prefix` that this journal neither wrote nor has named in a chain of its own, or None.

    Raises what the store raises, and StoreConflictError for what is no segment.
    """
    chains = dict(journal.run_in_thread(lambda tx: [(name, number) for number, name in segments.chains(tx)]))
    for folder in sorted(store.list_folders(prefix)):
        chain = folder.rpartition("/")[2]
        ours = _Ours("", {})
        if chain in chains:
            ours = journal.run_in_thread(partial(_ours, chain=chains[chain]))
        strange = [name for name in _lists(store, folder, ours.after) if not _is_ours(store, folder, name, ours)]
        if not strange:
            continue
        head = _head_in(store, folder, chain, strange[-1])
        if not journal.run_in_thread(partial(_known, head=head)):
            return head
    return None


@dataclass(frozen=True, slots=True)
class _Ours:
    """What this journal has signed of a chain, from its newest segment in the store on; digest lists by name."""

    after: str
    lists: Mapping[str, bytes]


def _ours(tx: Transaction, chain: int) -> _Ours:
    rows = segments.segments_of(tx, chain, from_seq=max(1, segments.stored_through(tx, chain)))
    lists = {f"{segment_name(row.first, row.last)}.sha256": segments.digest_list(tx, row).text() for row in rows}
    return _Ours(f"{segment_name(rows[0].first, rows[0].last)}." if rows else "", lists)


def _lists(store: EvidenceStore, folder: str, after: str) -> list[str]:
    names = (key.rpartition("/")[2] for key in store.list_small(folder, f"{folder}/{after}"))
    return sorted(name for name in names if (found := parse_segment_name(name)) is not None and found[2] == "sha256")


def _is_ours(store: EvidenceStore, folder: str, name: str, ours: _Ours) -> bool:
    return name in ours.lists and store.get_small(f"{folder}/{name}") == ours.lists[name]


def _head_in(store: EvidenceStore, folder: str, chain: str, name: str) -> Head:
    data = store.get_small(f"{folder}/{name}")
    try:
        found = DigestList.parse(data or b"")
    except BadSegmentError as error:
        raise StoreConflictError(f"{folder}/{name} is no digest list: {error}", _HINT) from error
    return Head(chain=chain, seq=found.last, sha256=found.head)


def _known(tx: Transaction, head: Head) -> bool:
    values = (head.chain, head.seq, head.sha256)
    return tx.one("SELECT 1 FROM foreign_head WHERE (chain, seq, sha256) = (?, ?, ?)", *values) is not None
