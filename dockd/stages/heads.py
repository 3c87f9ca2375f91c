"""Whether the store's newest custody record of this dock is one of this journal's.

If it is not, the dock was cloned, re-imaged or restored: another one writes, or wrote, in its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from dockd.custody.segments import BadSegmentError, DigestList, parse_segment_name, segment_name
from dockd.custody.sshsig import CUSTODY, BadSignatureError, verify
from dockd.errors import StoreConflictError
from dockd.events import Head
from dockd.journal import segments
from dockd.journal.journal import Journal
from dockd.journal.segments import SegmentRow
from dockd.journal.startup import knows
from dockd.journal.transaction import Transaction
from dockd.stores.base import EvidenceStore

_HINT = "Nothing is wiped. Find out who put it there, and move it away; it is looked at again."


def foreign_head(store: EvidenceStore, journal: Journal, prefix: str) -> Head | None:
    """The newest head below `prefix` that this journal neither wrote nor has named in a chain of its own, or None.

    Raises what the store raises, and StoreConflictError for what is no signed segment.
    """
    chains = dict(journal.run_in_thread(lambda tx: [(name, number) for number, name in segments.chains(tx)]))
    for folder in sorted(store.list_folders(prefix)):
        chain = folder.rpartition("/")[2]
        known, ours = set[str](), dict[str, bytes]()
        if chain in chains:
            known, ours = journal.run_in_thread(partial(_ours, chain=chains[chain]))
        names = _lists(store, folder)
        strange = [name for name in names if name not in known or not _is_ours(store, folder, name, ours)]
        if not strange:
            continue
        head = _head_in(store, folder, chain, strange[-1])
        if not journal.run_in_thread(partial(_known, head=head)):
            return head
    return None


def _ours(tx: Transaction, chain: int) -> tuple[set[str], dict[str, bytes]]:
    """The names of all lists that this journal has signed of a chain; and the newest of them, to be compared."""
    rows = segments.segments_of(tx, chain)
    newest = [row for row in rows if row.last >= max(1, segments.stored_through(tx, chain))]
    lists = {_list_name(row): segments.digest_list(tx, row).text() for row in newest}
    return {_list_name(row) for row in rows}, lists


def _list_name(row: SegmentRow) -> str:
    return f"{segment_name(row.first, row.last)}.sha256"


def _lists(store: EvidenceStore, folder: str) -> list[str]:
    # All of them: a clone may have written less than the true dock, and its names sort before the newest.
    names = (key.rpartition("/")[2] for key in store.list_small(folder))
    return sorted(name for name in names if (found := parse_segment_name(name)) is not None and found[2] == "sha256")


def _is_ours(store: EvidenceStore, folder: str, name: str, ours: Mapping[str, bytes]) -> bool:
    """Whether a list of a name that is ours is ours; those that were read back before are left to the audit."""
    return name not in ours or store.get_small(f"{folder}/{name}") == ours[name]


def _head_in(store: EvidenceStore, folder: str, chain: str, name: str) -> Head:
    """The head that a strange list has; one that nobody signed, or that lies under a wrong name, is none."""
    key = f"{folder}/{name}"
    data, signature = store.get_small(key) or b"", store.get_small(f"{key}.sig") or b""
    try:
        found = DigestList.parse(data)
        if f"{segment_name(found.first, found.last)}.sha256" != name:
            raise BadSegmentError("it has another name than its records")
        verify(signature.decode("ascii", "replace"), CUSTODY, data)
    except (BadSegmentError, BadSignatureError) as error:
        raise StoreConflictError(f"{key} is no signed list of digests: {error}", _HINT) from error
    return Head(chain=chain, seq=found.last, sha256=found.head)


def _known(tx: Transaction, head: Head) -> bool:
    values = (head.chain, head.seq, head.sha256)
    named = tx.one("SELECT 1 FROM foreign_head WHERE (chain, seq, sha256) = (?, ?, ?)", *values) is not None
    return named or knows(tx, head)
