"""Verifying a passport: its records, lists, signatures and files against each other, with public keys alone."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from dockd.custody import passport as parts
from dockd.custody.breaks import CustodyBreakError
from dockd.custody.passport import BadPassportError, Manifest, parse_sums
from dockd.custody.passport_chain import PassportChain
from dockd.custody.sshsig import PublicKey
from dockd.custody.trust import STRANGER, Trust, check_vouched, signed_by
from dockd.custody.verify import KnownHead, OnProgress, check_head, lines_of
from dockd.digests import Hasher

PASSPORT_MARKS: Final = frozenset({parts.MANIFEST, parts.RECORDS, parts.FILES, parts.FILES_SIGNATURE})
"""A folder that has any of these is taken for a passport."""

_NEEDED: Final = (*sorted(PASSPORT_MARKS), parts.PAGE, parts.GUIDE, parts.SHA256SUMS, parts.B3SUMS)

_SMALL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_CHANGED: Final = "The passport was changed after it was made."


@dataclass(slots=True)
class Recordings:
    """What a passport has of recordings: their ids, how many of them lie in it, and on which chains they are."""

    ids: tuple[str, ...]
    chains: tuple[str, ...]
    contents: int = 0
    here: int = 0

    def payload(self) -> dict[str, Any]:
        """For JSON."""
        return {"ids": list(self.ids), "contents": self.contents, "here": self.here}


@dataclass(slots=True)
class Checked:
    """What a passport was found to hold."""

    recordings: Recordings
    dock: str
    records: int = 0
    segments: int = 0
    keys: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_passport(
    folder: Path, trust: Trust, head: tuple[str, KnownHead] | None = None, on_progress: OnProgress | None = None
) -> Checked:
    """What a passport holds; raises CustodyBreakError at the first thing that is not as it should be."""
    names = _names(folder)
    for name in _NEEDED:
        if name not in names:
            raise _file_break(name, "it is not there", "the file", "no such file")
    with _telling(parts.MANIFEST):
        manifest = Manifest.parse(_read(folder / parts.MANIFEST))
    found = Checked(Recordings(manifest.recordings, tuple(chain for chain, _ in manifest.chains)), manifest.dock)
    chains = [PassportChain(chain, seqs, trust) for chain, seqs in manifest.chains]
    for chain in chains:
        _read_lists(folder, names, chain)
    with _open(folder / parts.RECORDS) as file:
        _read_records(chains, lines_of(file))
    for chain in chains:
        chain.finish()
        found.records += len(chain.records)
        found.segments += len(chain.lists)
        _compare_head(found, chain, head, trust)
    known = _check_contents(folder, names, chains, found, on_progress)
    _check_files(folder, names, manifest, known)
    key = _check_signature(folder, chains, trust, manifest)
    _tell_keys(found, chains, key, trust)
    return found


def _names(folder: Path) -> set[str]:
    """All files below, by their paths; raises CustodyBreakError for what is neither file nor folder."""
    found = set()
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.add(relative)
            elif not stat.S_ISDIR(mode):
                raise _file_break(relative, "it is no plain file", "files and folders", "a link, or a device")
    return found


def _open(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")


def _read(path: Path) -> bytes:
    with _open(path) as file:
        data = file.read(_SMALL_LIMIT_BYTES + 1)
    if len(data) > _SMALL_LIMIT_BYTES:
        raise _file_break(path.name, "it is too long", f"at most {_SMALL_LIMIT_BYTES} bytes", "more")
    return data


def _file_break(name: str, what: str, expected: str, found: str, means: str = _CHANGED) -> CustodyBreakError:
    return CustodyBreakError(f"{name}: {what}", expected=expected, found=found, means=means, file=name)


@contextmanager
def _telling(name: str) -> Iterator[None]:
    try:
        yield
    except BadPassportError as error:
        raise _file_break(name, "it cannot be read", "what dockd writes", str(error)) from error


def _read_lists(folder: Path, names: set[str], chain: PassportChain) -> None:
    place = f"{parts.SEGMENTS}/{chain.name}"
    for name in sorted(name for name in names if name.startswith(f"{place}/") and name.endswith(".sha256")):
        if f"{name}.sig" not in names:
            raise _file_break(f"{name}.sig", "it is not there", "a signature", "no such file")
        chain.add_list(name, _read(folder / name), _read(folder / f"{name}.sig"))


def _read_records(chains: list[PassportChain], lines: Iterator[bytes]) -> None:
    """Each chain's records in the order of the manifest; every line has to be the one that belongs there."""
    for chain in chains:
        for seq in chain.seqs:
            chain.take(seq, next(lines, b""))
    if next(lines, b""):
        last = chains[-1].seqs[-1] if chains and chains[-1].seqs else 0
        raise CustodyBreakError(
            f"{parts.RECORDS} has more records than the passport names",
            expected=f"nothing after record {last}",
            found="another line",
            means="A record was put in.",
            seq=last + 1,
            file=parts.RECORDS,
        )


def _compare_head(found: Checked, chain: PassportChain, head: tuple[str, KnownHead] | None, trust: Trust) -> None:
    if head is None or head[0] != chain.name:
        return
    digest = chain.digest(head[1].seq)
    if digest is None:
        found.notes.append(f"Record {head[1].seq}, which {head[1].said_by} names, is beyond what this passport covers.")
    chain.compare(head[1])
    check_head(head[1], chain.name, chain.dock, chain.keys, trust)


def _check_contents(
    folder: Path, names: set[str], chains: list[PassportChain], found: Checked, on_progress: OnProgress | None
) -> dict[str, str]:
    """The recordings: both lists against the records, and the files that are here; SHA-256 by path of those."""
    with _telling(parts.SHA256SUMS):
        sha256s = parse_sums(_read(folder / parts.SHA256SUMS), parts.SHA256SUMS)
    with _telling(parts.B3SUMS):
        blake3s = parse_sums(_read(folder / parts.B3SUMS), parts.B3SUMS)
    if list(sha256s) != list(blake3s):
        raise _file_break(parts.B3SUMS, "it names other recordings than SHA256SUMS", "the same", "others")
    recorded = {pair for chain in chains for pair in chain.contents()}
    for path, sha256 in sha256s.items():
        name = path.removeprefix(f"{parts.RECORDINGS}/")
        if "/" in name or name.partition(".")[0] != blake3s[path] or (blake3s[path], sha256) not in recorded:
            means = "The list was changed: no record speaks of such content."
            raise _file_break(parts.SHA256SUMS, f"{path} is in no record", "digests of a record", sha256, means)
    found.recordings.contents = len(sha256s)
    here = {}
    for path in sorted(name for name in names if name.startswith(f"{parts.RECORDINGS}/")):
        if path not in sha256s:
            raise _file_break(path, "no record speaks of this file", "recordings that are listed", path)
        here[path] = _content(folder, path, sha256s[path], blake3s[path], on_progress)
    found.recordings.here = len(here)
    return here


def _content(folder: Path, path: str, sha256: str, blake3: str, on_progress: OnProgress | None) -> str:
    hasher = Hasher()
    with _open(folder / path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(memoryview(chunk))
            if on_progress is not None:
                on_progress(0, len(chunk))
    digests = hasher.digests()
    if (digests.sha256, digests.blake3) != (sha256, blake3):
        means = "The recording was changed, or it was damaged while it was copied."
        raise _file_break(path, "it is not what was recorded", f"sha256 {sha256}", f"sha256 {digests.sha256}", means)
    return digests.sha256


def _check_files(folder: Path, names: set[str], manifest: Manifest, known: Mapping[str, str]) -> None:
    """Every file is on the list and as it was; recordings that were added later are on the recordings' lists alone."""
    with _telling(parts.FILES):
        listed = parse_sums(_read(folder / parts.FILES), parts.FILES)
    there = names - {parts.FILES, parts.FILES_SIGNATURE}
    if not manifest.with_recordings:
        there -= known.keys()
    for name in sorted(there | listed.keys()):
        if name not in listed:
            raise _file_break(name, "it does not belong to the passport", "the files that are listed", name)
        if name not in there:
            raise _file_break(name, "it is not there", "the file", "no such file")
        sha256 = known[name] if name in known else _sha256(folder / name)
        if sha256 != listed[name]:
            raise _file_break(name, "it was changed", f"sha256 {listed[name]}", f"sha256 {sha256}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with _open(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _check_signature(folder: Path, chains: list[PassportChain], trust: Trust, manifest: Manifest) -> PublicKey:
    try:
        signature, listed = _read(folder / parts.FILES_SIGNATURE), _read(folder / parts.FILES)
        key = signed_by(signature, listed, parts.FILES)
        if not any(key in chain.keys for chain in chains):
            raise CustodyBreakError(
                f"{parts.FILES} is signed with a key that is not the dock's",
                expected="a key that the chain registered",
                found=key.fingerprint,
                means=STRANGER,
            )
        try:
            made = datetime.fromisoformat(manifest.made).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise _file_break(parts.MANIFEST, "it has no time", "RFC 3339", manifest.made) from error
        check_vouched(trust, key, manifest.dock, made, parts.FILES)
    except CustodyBreakError as broken:
        raise broken.in_file(parts.FILES_SIGNATURE) from broken.__cause__
    return key


def _tell_keys(found: Checked, chains: list[PassportChain], last: PublicKey, trust: Trust) -> None:
    keys = dict.fromkeys([key for chain in chains for key in chain.signed_with] + [last])
    found.keys = [
        {"public_key": key.line, "fingerprint": key.fingerprint, "vouched": trust.signers is not None} for key in keys
    ]
    absent = found.recordings.contents - found.recordings.here
    if absent:
        found.notes.append(
            f"{absent} of {found.recordings.contents} recordings are not in this folder; SHA256SUMS and B3SUMS tell "
            "which bytes they have to be."
        )
