"""Whose signatures count: the keys that a chain registered itself, and those that somebody outside vouches for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dockd.custody.breaks import CustodyBreakError
from dockd.custody.chain import BadLineError
from dockd.custody.sshsig import CUSTODY, ROTATION, BadSignatureError, PublicKey, Signers, verify
from dockd.events import KeyRegistered, KeyRotated

KEY_EVENTS: Final = frozenset({KeyRegistered.event, KeyRotated.event})
"""The events that say which key a dock signs with."""

FORGED: Final = "The bytes were changed after they were signed, or somebody else's signature was put there."
STRANGER: Final = (
    "Whoever signed this did not do it with a key that counts here: a foreign key, one that was replaced before, or a "
    "list of signers that lacks it."
)


def rotation_statement(dock: str, chain: str, old: PublicKey, new: PublicKey) -> str:
    """What both keys sign when one takes the other's place."""
    return f"dockd key rotation\ndock {dock}\nchain {chain}\nold {old.line}\nnew {new.line}\n"


def is_rotation(statement: str, dock: str, old: PublicKey, new: PublicKey) -> bool:
    """Whether a statement is that of this dock's rotation from one key to the other, in whichever chain."""
    found = re.search(r"^chain ([0-9a-f]{16})$", statement, re.MULTILINE)
    return found is not None and statement == rotation_statement(dock, found[1], old, new)


@dataclass(slots=True)
class _Term:
    """A key and the records that say since when the dock signs with it, and until when."""

    key: PublicKey
    since: int
    until: int | None = None


class KeyBook:
    """The keys that a chain registered itself, in order."""

    def __init__(self) -> None:
        self._terms: list[_Term] = []

    @property
    def current(self) -> PublicKey | None:
        """The key that the dock signs with, as far as the chain was read."""
        return self._terms[-1].key if self._terms else None

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take in a record of `KEY_EVENTS`; raises BadLineError for a key or a rotation that cannot be believed."""
        try:
            if record["event"] == KeyRegistered.event:
                key = PublicKey.parse(str(record.get("public_key")))
                if record.get("fingerprint") != key.fingerprint:
                    raise BadSignatureError(f"the fingerprint is not that of the key ({key.fingerprint})")
            else:
                key = self._rotated(record)
        except ValueError as error:
            raise BadLineError(f"the record names no key that can be believed: {error}", "a key", str(error)) from error
        if self._terms and self._terms[-1].key != key:
            self._terms[-1].until = int(record["seq"])
        if not self._terms or self._terms[-1].key != key:
            self._terms.append(_Term(key, int(record["seq"])))

    def _rotated(self, record: Mapping[str, Any]) -> PublicKey:
        old = PublicKey.parse(str(record.get("old_public_key")))
        new = PublicKey.parse(str(record.get("new_public_key")))
        if old != self.current:
            raise BadSignatureError(f"{old.fingerprint} was not the dock's key, so it cannot hand over")
        text = str(record.get("statement"))
        if not is_rotation(text, str(record.get("dock")), old, new):
            raise BadSignatureError("the statement is not that the one key takes the other's place")
        statement = text.encode(errors="surrogatepass")
        for key, name in ((old, "old"), (new, "new")):
            if verify(str(record.get(f"{name}_signature")), ROTATION, statement) != key:
                raise BadSignatureError(f"the statement is not signed by the {name} key")
        return new

    def refusal(self, key: PublicKey, first: int, last: int) -> str | None:
        """Why a key may not have signed records `first` to `last`; None if it may."""
        terms = [term for term in self._terms if term.key == key]
        if not terms or all(term.since > last for term in terms):
            return f"the chain registered no such key up to record {last}"
        replaced = [term.until for term in terms if term.until is not None]
        if len(replaced) == len(terms) and max(replaced) < first:
            return f"the chain replaced this key in record {max(replaced)}"
        return None

    def __contains__(self, key: PublicKey) -> bool:
        return any(term.key == key for term in self._terms)


@dataclass(frozen=True, slots=True)
class Trust:
    """Who vouches for keys from outside of what is checked; nobody without `signers`."""

    signers: Signers | None = None
    source: str = ""

    def refusal(self, key: PublicKey, principal: str, at: datetime) -> str | None:
        """Why nobody vouches for that key in that name at that time; None if somebody does, or nobody was asked."""
        if self.signers is None or self.signers.vouch(key, principal, CUSTODY, at):
            return None
        known = "; ".join(self.signers.names_of(key))
        if not known:
            return f"{self.source} does not have it"
        return f"{self.source} has it for {known}, which is not this dock at that time in this namespace"


def signed_by(signature: bytes, message: bytes, what: str) -> PublicKey:
    """The key that signed a message of a dock; raises CustodyBreakError, which tells it of `what`."""
    try:
        return verify(signature.decode("ascii"), CUSTODY, message)
    except (BadSignatureError, UnicodeDecodeError) as error:
        raise CustodyBreakError(
            f"the signature of {what} does not hold",
            expected="a signature of these bytes",
            found=str(error),
            means=FORGED,
        ) from error


def check_vouched(trust: Trust, key: PublicKey, principal: str, at: datetime, what: str) -> None:
    """Raise CustodyBreakError unless somebody vouches for the key, or nobody was asked."""
    why = trust.refusal(key, principal, at)
    if why is not None:
        raise CustodyBreakError(
            f"nobody vouches for the key that signed {what}",
            expected=f"a key of {principal} in {trust.source}, as of {at.isoformat()}",
            found=f"{key.fingerprint}: {why}",
            means=STRANGER,
        )


def moment(record: Mapping[str, Any]) -> datetime:
    """When a record says that it was written; raises BadLineError."""
    try:
        return datetime.fromisoformat(str(record.get("time"))).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadLineError("the record has no time", "RFC 3339", repr(record.get("time"))[:60]) from error
