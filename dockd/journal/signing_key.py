"""Which key a dock signs with, as its journal knows it: registered once in every chain, changed by a rotation only."""

from __future__ import annotations

from typing import Final

from dockd.custody.sshsig import PublicKey
from dockd.events import KeyRegistered, KeyRotated
from dockd.journal.transaction import Transaction

_KEY: Final = "signing_key"
_SINCE: Final = "signing_key_since"
_PROBLEM: Final = "signing_key_problem"


def registered_key(tx: Transaction) -> PublicKey | None:
    """The key that this journal last registered, or None if it never had one."""
    text = tx.meta(_KEY)
    return None if text is None else PublicKey.parse(text.partition(" ")[2])


def in_this_chain(tx: Transaction, key: PublicKey) -> bool:
    """Whether the present chain says that the dock signs with this key."""
    return tx.meta(_KEY) == f"{tx.chain} {key.line}"


def register_key(tx: Transaction, key: PublicKey) -> None:
    """Record in the present chain that from now on the dock signs with this key; idempotent.

    A key that takes the place of another names it: nobody but the dock vouches for that.
    """
    if in_this_chain(tx, key):
        return
    before = registered_key(tx)
    replaces = None if before is None or before == key else before.fingerprint
    seq = tx.append(KeyRegistered(public_key=key.line, fingerprint=key.fingerprint, replaces=replaces))
    _note(tx, key.line, seq)


def _note(tx: Transaction, line: str, seq: int) -> None:
    tx.set_meta(_KEY, f"{tx.chain} {line}")
    tx.set_meta(_SINCE, str(seq))


def signs_since(tx: Transaction) -> int:
    """The record of the present chain that names its key: a segment signed with that must not end before it."""
    return int(tx.meta(_SINCE) or 1)


def rotate_key(tx: Transaction, event: KeyRotated) -> None:
    """Record a rotation that both keys have signed."""
    _note(tx, event.new_public_key, tx.append(event))


def note_key_problem(tx: Transaction, problem: str | None) -> None:
    """Remember why nothing can be signed; None if it can."""
    if problem is None:
        tx.run("DELETE FROM meta WHERE key = ?", _PROBLEM)
    else:
        tx.set_meta(_PROBLEM, problem)


def key_problem(tx: Transaction) -> str | None:
    """Why nothing could be signed when the daemon last started; None if it could."""
    return tx.meta(_PROBLEM)
