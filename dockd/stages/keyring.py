"""The dock's signing key while it runs: loaded, made at the very first start, or missed and told of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dockd.custody.chain import rfc3339
from dockd.custody.keys import SigningKey
from dockd.custody.sshsig import PublicKey
from dockd.durable import fsync_dir
from dockd.errors import SigningKeyError
from dockd.journal.journal import Journal
from dockd.journal.segments import sign_tails
from dockd.journal.signing_key import note_key_problem, register_key, registered_key
from dockd.journal.transaction import Transaction

log = structlog.get_logger()

NEXT_SUFFIX: Final = ".next"
"""A key that a rotation has made and the journal may not know yet."""


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the key lies; `credential`: it was put there by somebody else, and is never made or moved by dockd."""

    path: Path
    credential: bool = False

    @property
    def following(self) -> Path:
        """Where a rotation keeps the new key until it is in force."""
        return self.path.with_name(self.path.name + NEXT_SUFFIX)


@dataclass(slots=True)
class Keyring:
    """The key, or why there is none."""

    place: KeyPlace
    key: SigningKey | None = None
    problem: SigningKeyError | None = None

    @classmethod
    def open(cls, place: KeyPlace, journal: Journal) -> Keyring:
        """Load the key and register it in the present chain; a dock that never had one makes it."""
        made = cls(place)
        registered = journal.run_in_thread(registered_key)
        try:
            made.key = _load(place, registered)
        except SigningKeyError as error:
            made.problem = error
        except OSError as error:
            made.problem = SigningKeyError(f"the signing key {place.path} cannot be used: {error}")
        if made.problem is not None:
            log.error("signing_key_unusable", error=made.problem.message, hint=made.problem.hint)
        else:
            made.register(journal)
        problem = None if made.problem is None else made.problem.message
        journal.run_in_thread(lambda tx: note_key_problem(tx, problem))
        return made

    def register(self, journal: Journal) -> None:
        """See to it that the present chain says which key signs it, and that earlier ones are signed to their end."""
        key = self.key
        if key is None:
            return

        def tell(tx: Transaction) -> None:
            register_key(tx, key.public)
            sign_tails(tx, key, rfc3339(tx.clock.now()))

        journal.run_in_thread(tell)


def _load(place: KeyPlace, registered: PublicKey | None) -> SigningKey:
    finish_rotation(place, registered)
    if not place.credential and registered is None and not place.path.exists():
        key = SigningKey.generate()
        key.save(place.path)
        log.info("signing_key_made", fingerprint=key.public.fingerprint)
        return key
    key = SigningKey.load(place.path, credential=place.credential)
    if registered is not None and key.public != registered:
        raise SigningKeyError(
            f"the signing key {key.public.fingerprint} is not the one that this dock registered, "
            f"{registered.fingerprint}",
            "Footage is taken in and stored; nothing is wiped. Put the dock's own key back; if it is lost, stop dockd "
            "and run: dockd key init",
        )
    return key


def finish_rotation(place: KeyPlace, registered: PublicKey | None) -> None:
    """After a crash in a rotation: put the new key in force if the journal knows it, else forget it."""
    if place.credential or not place.following.exists():
        return
    following = SigningKey.load(place.following)
    if following.public == registered:
        os.replace(place.following, place.path)
    else:
        place.following.unlink()
    fsync_dir(place.path.parent)
