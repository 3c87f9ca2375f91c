"""That a chain of this journal was found broken: remembered until a person has acknowledged it."""

from __future__ import annotations

from typing import Final

from dockd.journal.transaction import Transaction

_BROKEN: Final = "chain_broken"
_ACKNOWLEDGED: Final = "chain_broken_acknowledged"


def note_break(tx: Transaction, what: str) -> None:
    """A chain was found broken: `what` names the record. One that was acknowledged already is no news."""
    if tx.meta(_ACKNOWLEDGED) != what:
        tx.set_meta(_BROKEN, what)


def noted_break(tx: Transaction) -> str | None:
    """At which record a chain was found broken, and how; None if none was, or that is acknowledged."""
    return tx.meta(_BROKEN)


def acknowledge_break(tx: Transaction) -> bool:
    """A person knows of it; False if there was nothing to know."""
    what = tx.meta(_BROKEN)
    if what is None:
        return False
    tx.set_meta(_ACKNOWLEDGED, what)
    tx.run("DELETE FROM meta WHERE key = ?", _BROKEN)
    return True
