"""`dockd passport`: the folder with which a court can check recordings."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dockd.commands.common import journal_read_only, known_store
from dockd.config import Config, load_config
from dockd.custody import passport as parts
from dockd.custody.breaks import CustodyBreakError
from dockd.custody.chain import rfc3339
from dockd.custody.keys import SigningKey
from dockd.custody.passport import Content, Manifest, Shown, SignedList
from dockd.custody.passport_check import check_passport
from dockd.custody.passport_guide import guide
from dockd.custody.passport_page import Signing, page
from dockd.custody.sshsig import PublicKey
from dockd.custody.trust import KEY_EVENTS, KeyBook, Trust
from dockd.direct_io import Buffer
from dockd.errors import (
    EXIT_DONE,
    EXIT_FOUND_WRONG,
    AccessError,
    DockdError,
    JournalDamagedError,
    ServiceMissingError,
    UsageError,
)
from dockd.identity import plain_text, suffix_of
from dockd.journal import passports
from dockd.journal.passports import ChainPart
from dockd.journal.rows import RecordingRow
from dockd.journal.segments import digest_list
from dockd.journal.transaction import Transaction
from dockd.parts import dock_name, key_place
from dockd.runtime.clock import SystemClock
from dockd.runtime.randomness import SystemRandomness
from dockd.runtime.workers import Control
from dockd.stores.base import EvidenceStore
from dockd.version import version

_NOTHING_MADE = "No passport was made."


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which recordings: by id, by camera and time of docking, or by their key in the store."""

    recordings: Sequence[str]
    camera: str | None
    since: str | None
    until: str | None
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Material:
    """All that the journal gives for a passport."""

    rows: Sequence[RecordingRow]
    chains: Sequence[ChainPart]
    shown: Sequence[Shown]


class _NotYetError(DockdError):
    """What the passport would show is not signed, or not stored: nothing was made."""

    exit_code = EXIT_FOUND_WRONG
    default_hint = _NOTHING_MADE


def passport(config_path: Path, wanted: Wanted, out: Path, *, with_recordings: bool) -> int:
    """Make a passport in a new folder; 1 if the records are not all signed yet, or the store lacks a recording."""
    config = load_config(config_path)
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already", "Nothing is ever overwritten. Name a folder that is not there.")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{out.absolute().parent} is no folder", "Make it first.")
    if not os.access(out.absolute().parent, os.W_OK | os.X_OK):
        hint = "Root's commands act as the user that dockd runs as: name a folder that it may write to, such as /tmp."
        raise AccessError(f"{out.absolute().parent} cannot be written to", hint)
    store = known_store(config) if with_recordings else None
    place = key_place(config)
    key = SigningKey.load(place.path, credential=place.credential)
    with journal_read_only(config) as tx:
        if tx is None:
            raise ServiceMissingError("there is no journal yet", "Start dockd once.")
        material = _material(tx, _rows(tx, wanted), key.public)
    contents = _contents(material.rows)
    absent = [row.uid for row in material.rows if row.confirmed_utc is None]
    if with_recordings and absent:
        raise _NotYetError(f"recording {absent[0]} is not in the store", f"{_NOTHING_MADE} Ask without its content.")
    hidden = out.absolute().with_name(f".{out.name}.{SystemRandomness().token(8)}.partial")
    hidden.mkdir(mode=0o750)
    try:
        if store is not None:
            _copy_contents(store, contents, hidden)
        _write(hidden, _files(config, material, contents, key, with_recordings=with_recordings))
        _prove(hidden)
        _publish(hidden, out)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    print(f"{out}: passport of {len(material.rows)} recordings; check it with: dockd custody verify {out}")
    return EXIT_DONE


# --- which recordings --------------------------------------------------------------------------------


def _rows(tx: Transaction, wanted: Wanted) -> list[RecordingRow]:
    if not (wanted.recordings or wanted.keys or wanted.camera is not None):
        raise UsageError("no recording is named", "Give ids (dockd explain CAMERA tells them), --camera, or --key.")
    if wanted.camera is None and (wanted.since or wanted.until):
        raise UsageError("--from and --to go with --camera", "See: dockd passport --help")
    found: dict[int, RecordingRow] = {}

    def add(rows: Sequence[RecordingRow], what: str) -> None:
        if not rows:
            raise UsageError(f"this dock knows no recording {plain_text(what)}", _NOTHING_MADE)
        found.update((row.id, row) for row in rows)

    for uid in wanted.recordings:
        add(passports.by_id(tx, uid), uid)
    for key in wanted.keys:
        add(passports.by_key(tx, key), key)
    if wanted.camera is not None:
        since = _moment(wanted.since, "--from", timedelta(0)) or ""
        until = _moment(wanted.until, "--to", timedelta(days=1)) or "~"
        add(passports.by_camera(tx, wanted.camera, since, until), f"of camera {wanted.camera} at that time")
    return [row for _, row in sorted(found.items())]


def _moment(text: str | None, option: str, of_a_day: timedelta) -> str | None:
    """A time as the journal writes it; without a zone it is UTC, and `of_a_day` is added to a mere day."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        utc = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return rfc3339(utc + (of_a_day if len(text) == len("2026-11-30") else timedelta(0)))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option} {text!r} is no time", "Write it as 2026-11-30 or 2026-11-30T14:30:00Z.") from error


# --- what is shown of them ---------------------------------------------------------------------------


def _material(tx: Transaction, rows: Sequence[RecordingRow], key: PublicKey) -> _Material:
    chains = passports.chain_parts(tx, {row.uid for row in rows})
    for part in chains:
        if part.unsigned is not None:
            raise _NotYetError(
                f"record {part.unsigned} of chain {part.name}, about these recordings, is not signed yet",
                f"{_NOTHING_MADE} Wait for the next signing, and ask again.",
            )
    if not any(key in _keys(part) for part in chains):
        raise _NotYetError(
            f"the dock's key {key.fingerprint} stands in no signed record yet",
            f"{_NOTHING_MADE} Wait for the next signing, and ask again.",
        )
    shown = [
        Shown(part.name, part.lines, [SignedList(digest_list(tx, one), one.signature) for one in part.segments])
        for part in chains
    ]
    return _Material(rows, chains, shown)


def _keys(part: ChainPart) -> KeyBook:
    keys = KeyBook()
    for seq in sorted(part.records):
        if part.records[seq]["event"] in KEY_EVENTS:
            keys.learn(part.records[seq])
    return keys


def _contents(rows: Sequence[RecordingRow]) -> dict[Content, str]:
    """The content of each recording that was seen to be in the store, and its key there."""
    found: dict[Content, str] = {}
    for row in rows:
        if row.confirmed_utc is not None:
            assert row.blake3 is not None and row.sha256 is not None and row.store_key is not None
            found[Content(row.blake3, row.sha256, suffix_of(row.path))] = row.store_key
    return dict(sorted(found.items(), key=lambda item: item[0].path))


def _files(
    config: Config, material: _Material, contents: dict[Content, str], key: SigningKey, *, with_recordings: bool
) -> dict[str, bytes]:
    manifest = Manifest(
        dock_name(config),
        rfc3339(SystemClock().now()),
        version(),
        tuple(row.uid for row in material.rows),
        with_recordings,
        tuple((part.name, tuple(sorted(part.lines))) for part in material.chains),
    )
    signings = [
        Signing(part.name, one.first, one.last, PublicKey.parse(one.public_key).fingerprint)
        for part in material.chains
        for one in part.segments
    ]
    files = {
        **parts.chain_files(material.shown),
        **parts.content_files(list(contents)),
        parts.MANIFEST: manifest.text(),
        parts.PAGE: page(manifest, {part.name: part.records for part in material.chains}, signings),
        parts.GUIDE: guide(manifest, len(contents)),
    }
    listed = parts.files_text(files, list(contents), with_recordings=with_recordings)
    return {**files, parts.FILES: listed, parts.FILES_SIGNATURE: key.sign(listed).encode("ascii")}


# --- writing it --------------------------------------------------------------------------------------


def _copy_contents(store: EvidenceStore, contents: dict[Content, str], folder: Path) -> None:
    """Copy recordings out of the store, read past its caches and compared on the way."""
    buffer = Buffer()
    (folder / parts.RECORDINGS).mkdir(mode=0o750)
    tell = _teller(len(contents))
    for content, key in contents.items():
        tell(key)
        with open(folder / content.path, "xb") as file:
            found = store.read_back(key, buffer, Control(), file.write)
        if found is None:
            raise _NotYetError(f"the store does not hold {key} now", f"{_NOTHING_MADE} Run: dockd audit")
        if (found.digests.blake3, found.digests.sha256) != (content.blake3, content.sha256):
            raise _NotYetError(f"the store holds other bytes under {key} than were recorded", f"{_NOTHING_MADE}")


def _teller(total: int) -> Callable[[str], None]:
    """Says what is copied to a person who waits."""
    done = 0

    def tell(key: str) -> None:
        nonlocal done
        done += 1
        print(f"copying {done} of {total}: {plain_text(key)}", file=sys.stderr)

    return tell if sys.stderr.isatty() else lambda _: None


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        path.write_bytes(data)


def _prove(folder: Path) -> None:
    """Verify what was made, as its reader will; raises JournalDamagedError."""
    try:
        check_passport(folder, Trust())
    except CustodyBreakError as broken:
        where = "" if broken.seq is None else f"record {broken.seq}: "
        raise JournalDamagedError(
            f"the passport does not hold: {where}{broken.what}", f"{_NOTHING_MADE} Run: dockd audit"
        ) from broken


def _publish(hidden: Path, out: Path) -> None:
    """Give the folder its name, if nobody took that meanwhile."""
    for place, folders, names in os.walk(hidden, topdown=False):
        for name in (*names, *folders):
            _sync(os.path.join(place, name))
    _sync(hidden)
    try:
        out.mkdir()
    except FileExistsError:
        raise UsageError(f"{out} is there by now", "Nothing is ever overwritten.") from None
    # A folder takes the place of an empty one, and of no other.
    hidden.rename(out)
    _sync(out.absolute().parent)


def _sync(path: str | Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
