"""Signs what a journal has recorded, as the notary does, for tests that have no daemon."""

from __future__ import annotations

from dockd.custody.chain import GENESIS
from dockd.custody.keys import SigningKey
from dockd.custody.segments import DigestList
from dockd.identity import custody_prefix
from dockd.journal import segments
from dockd.journal.signing_key import register_key
from dockd.journal.transaction import Transaction
from dockd.stages.notary import objects_of


def sign_all(tx: Transaction, key: SigningKey) -> dict[str, bytes]:
    """Sign what is not signed yet, and call it stored; the objects by key, for whoever has a store."""
    register_key(tx, key.public)
    newest = segments.newest_segment(tx, tx.chain)
    first, before = (1, GENESIS) if newest is None else (newest.last + 1, newest.head_sha256)
    if tx.head.seq < first:
        return {}
    digests = DigestList.of(segments.lines_between(tx, tx.chain, first, tx.head.seq), first - 1, before)
    segments.add_segment(tx, tx.chain, digests, key.public, key.sign(digests.text()), "2026-03-01T12:00:00.000Z")
    made = segments.newest_segment(tx, tx.chain)
    assert made is not None
    segments.segment_stored(tx, made, "2026-03-01T12:00:00.000Z")
    folder = f"{custody_prefix(tx.dock)}/{made.chain_name}"
    return {f"{folder}/{name}": data for name, data in objects_of(tx, made).items()}
