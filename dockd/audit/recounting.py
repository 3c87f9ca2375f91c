"""The journal's counts held against those that its records give."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dockd.audit.report import Compared
from dockd.custody.recount import recount
from dockd.digests import Progress
from dockd.journal import queries
from dockd.journal.transaction import Transaction


def compare(tx: Transaction, progress: Progress) -> Compared:
    """Count the journal's recordings from the records of all its chains, beside the counts that it keeps."""
    # Both of one moment, though the daemon goes on writing: records are only ever added behind these ends.
    tx.connection.execute("BEGIN")
    try:
        kept = queries.counts(tx)
        ends = tx.all("SELECT chain, max(seq) FROM record GROUP BY chain ORDER BY chain")
    finally:
        tx.connection.execute("COMMIT")
    found = recount(_records(tx, ends, progress))
    return Compared(kept, dict(found.counts), found.strange)


def _records(tx: Transaction, ends: Sequence[tuple[int, int]], progress: Progress) -> Iterator[Mapping[str, Any]]:
    query = "SELECT seq, line FROM record WHERE chain = ? AND seq <= ? ORDER BY seq"
    for chain_id, last in ends:
        for seq, line in tx.connection.execute(query, (chain_id, last)):
            progress.advance()
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            # What is no record is told as one that lacks everything.
            yield record if isinstance(record, dict) else {"seq": seq}
