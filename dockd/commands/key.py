"""`dockd key …`: the key that the dock signs its custody log with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockd.commands.common import journal_read_only
from dockd.config import Config, load_config
from dockd.custody.chain import rfc3339
from dockd.custody.keys import SigningKey
from dockd.custody.sshsig import CUSTODY, ROTATION, PublicKey
from dockd.custody.trust import rotation_statement
from dockd.durable import fsync_dir
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG, SigningKeyError, UsageError
from dockd.events import KeyRotated
from dockd.journal.journal import Journal
from dockd.journal.segments import sign_rest
from dockd.journal.signing_key import register_key, registered_key, rotate_key
from dockd.journal.transaction import Transaction
from dockd.parts import dock_name, key_place
from dockd.paths import StatePaths, lock_state_dir
from dockd.runtime.clock import SystemClock
from dockd.stages.keyring import KeyPlace, finish_rotation

_ELSEWHERE = "Whoever put the key there puts another in its place: it is named by [custody] key_credential."


def signer_line(dock: str, key: PublicKey) -> str:
    """What the force's registry of keys, an allowed_signers file, has to say of a dock."""
    return f'{dock} namespaces="{CUSTODY}" {key.line}'


def init(config_path: Path) -> int:
    """Make the dock's key, or one in place of a key that is lost; nothing is done if there is one."""
    config = load_config(config_path)
    place = key_place(config)
    with _journal(config) as journal:
        registered = None if journal is None else journal.run_in_thread(registered_key)
        if not place.credential:
            finish_rotation(place, registered)
        found = _usable(place, registered)
        if found is not None:
            print("there is a key already", file=sys.stderr)
            print(signer_line(dock_name(config), found.public))
            return EXIT_DONE
        if place.credential:
            raise SigningKeyError(f"there is no key of this dock's in {place.path}", _ELSEWHERE)
        StatePaths(config.dock.state_dir).prepare()
        _put_aside(place.path)
        key = SigningKey.generate()
        key.save(place.path)
        if journal is not None and registered is not None:
            public = key.public
            journal.run_in_thread(lambda tx: register_key(tx, public))
            print(f"in place of the key {registered.fingerprint}; that is recorded", file=sys.stderr)
    print(signer_line(dock_name(config), key.public))
    return EXIT_DONE


def _usable(place: KeyPlace, registered: PublicKey | None) -> SigningKey | None:
    """The key in its place, if it can be used and is the one that this dock registered."""
    try:
        found = SigningKey.load(place.path, credential=place.credential)
    except SigningKeyError:
        return None
    return found if registered in (None, found.public) else None


def _put_aside(path: Path) -> None:
    """Keep what lies in the key's place under another name: it may be evidence of what happened to it."""
    if not os.path.lexists(path):
        return
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.unusable-{number}")
        if not os.path.lexists(aside):
            os.rename(path, aside)
            print(f"what was there is kept as {aside}", file=sys.stderr)
            return


def show(config_path: Path) -> int:
    """Print the dock's public key as a line for the registry; 1 if it is not the one that the dock registered."""
    config = load_config(config_path)
    place = key_place(config)
    with journal_read_only(config, may_lack=True) as tx:
        registered = None if tx is None else registered_key(tx)
    try:
        found = SigningKey.load(place.path, credential=place.credential).public
    except SigningKeyError:
        if registered is None:
            raise
        print(signer_line(dock_name(config), registered))
        raise
    print(signer_line(dock_name(config), registered or found))
    print(f"{(registered or found).fingerprint}", file=sys.stderr)
    if registered in (None, found):
        return EXIT_DONE
    print(f"the key in {place.path} is another one: {found.fingerprint}. Nothing is signed with it.", file=sys.stderr)
    return EXIT_FOUND_WRONG


def rotate(config_path: Path) -> int:
    """Put a new key in the old one's place; a record that both have signed says so."""
    config = load_config(config_path)
    place = key_place(config)
    if place.credential:
        raise UsageError("this dock's key is handed to it as a credential", _ELSEWHERE)
    with _journal(config) as journal:
        if journal is None:
            raise UsageError("this dock has never run, so there is nothing to rotate", "See: dockd key init")
        registered = journal.run_in_thread(registered_key)
        finish_rotation(place, registered)
        # One that others could read is still good enough to name its successor, which it then does.
        old = SigningKey.load(place.path, credential=True)
        if registered is not None and registered != old.public:
            raise SigningKeyError(f"the key {old.public.fingerprint} is not the one that this dock registered")
        new = SigningKey.generate()
        _rotate(place, journal, old, new)
    print(f"the key {old.public.fingerprint} is no longer used; the registry needs this line besides", file=sys.stderr)
    print(signer_line(dock_name(config), new.public))
    return EXIT_DONE


def _rotate(place: KeyPlace, journal: Journal, old: SigningKey, new: SigningKey) -> None:
    """The new key is durable before the journal names it, and in its place afterwards."""
    place.following.unlink(missing_ok=True)
    new.save(place.following)

    def tell(tx: Transaction) -> None:
        register_key(tx, old.public)
        # What was recorded so far is the old key's to sign; the daemon brings it into the store.
        sign_rest(tx, old, rfc3339(tx.clock.now()))
        statement = rotation_statement(tx.dock, tx.head.chain, old.public, new.public)
        event = KeyRotated(
            old_public_key=old.public.line,
            new_public_key=new.public.line,
            statement=statement,
            old_signature=old.sign(statement.encode(), ROTATION),
            new_signature=new.sign(statement.encode(), ROTATION),
        )
        rotate_key(tx, event)

    journal.run_in_thread(tell)
    os.replace(place.following, place.path)
    fsync_dir(place.path.parent)


@contextmanager
def _journal(config: Config) -> Iterator[Journal | None]:
    """The journal for writing, while no daemon runs; None if there is none yet. Raises ServiceMissingError."""
    paths = StatePaths(config.dock.state_dir)
    if not paths.journal.exists():
        yield None
        return
    lock = lock_state_dir(paths)
    journal = Journal.open(paths.journal, clock=SystemClock(), dock=dock_name(config))
    try:
        yield journal
    finally:
        journal.close()
        os.close(lock)
