"""Signs what a journal has recorded, as the notary does, for tests that have no daemon."""

from __future__ import annotations

from dockd.custody.keys import SigningKey
from dockd.identity import custody_prefix
from dockd.journal import segments
from dockd.journal.signing_key import register_key
from dockd.journal.transaction import Transaction
from dockd.stages.notary import objects_of


def sign_all(tx: Transaction, key: SigningKey) -> dict[str, bytes]:
    """Sign what is not signed yet, and call it stored; the objects by key, for whoever has a store."""
    register_key(tx, key.public)
    if not segments.next_uncut(tx).lines:
        return {}
    segments.sign_rest(tx, key, "2026-03-01T12:00:00.000Z")
    made = segments.newest_segment(tx, tx.chain)
    assert made is not None
    segments.segment_stored(tx, made, "2026-03-01T12:00:00.000Z")
    folder = f"{custody_prefix(tx.dock)}/{made.chain_name}"
    return {f"{folder}/{name}": data for name, data in objects_of(tx, made).items()}
