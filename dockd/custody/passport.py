"""What a passport is made of: a folder with which a court can check single recordings, and sees nobody else's.

Pure functions: which records go into it, which digest lists, and what stands in its small files. Beside the records'
lines it holds digests of everybody's records, signed by the dock, so that what is shown is bound to what is not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import rfc8785

from dockd.custody.segments import DigestList, segment_name
from dockd.custody.trust import KEY_EVENTS
from dockd.events import DockStarted

FORMAT: Final = 1
RECORDS: Final = "records.jsonl"
PAGE: Final = "index.html"
GUIDE: Final = "VERIFY.md"
MANIFEST: Final = "passport.json"
SHA256SUMS: Final = "SHA256SUMS"
B3SUMS: Final = "B3SUMS"
FILES: Final = "FILES.sha256"
FILES_SIGNATURE: Final = "FILES.sha256.sig"
SEGMENTS: Final = "segments"
RECORDINGS: Final = "recordings"

BACKGROUND: Final = KEY_EVENTS | {DockStarted.event}
"""What is shown for the sake of the rest: which key, which software. It may lie long before, in segments of its own."""

_SUM = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.~%-]+(?:/[A-Za-z0-9_.~%-]+)*)\Z")


class BadPassportError(ValueError):
    """A file of a passport is not what it should be; the text says in which way."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a passport says of itself: when and by what it was made, and which records it shows of which chains."""

    dock: str
    made: str
    software: str
    recordings: tuple[str, ...]
    with_recordings: bool
    chains: tuple[tuple[str, tuple[int, ...]], ...]

    def text(self) -> bytes:
        """The manifest as it is written: one line of canonical JSON."""
        value: dict[str, Any] = {
            "format": FORMAT,
            "dock": self.dock,
            "made": self.made,
            "software": self.software,
            "recordings": list(self.recordings),
            "with_recordings": self.with_recordings,
            "chains": [{"chain": chain, "records": list(seqs)} for chain, seqs in self.chains],
        }
        return rfc8785.dumps(value) + b"\n"

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """A manifest from its text; raises BadPassportError unless it is written exactly as `text` writes it."""
        try:
            value = json.loads(text)
            found = cls(
                str(value["dock"]),
                str(value["made"]),
                str(value["software"]),
                tuple(map(str, value["recordings"])),
                value["with_recordings"] is True,
                tuple((str(one["chain"]), tuple(map(int, one["records"]))) for one in value["chains"]),
            )
            same = found.text() == text
            if not all(seqs and seqs[0] > 0 and list(seqs) == sorted(set(seqs)) for _, seqs in found.chains):
                raise ValueError(MANIFEST)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadPassportError(f"{MANIFEST} cannot be read") from error
        if not same:
            raise BadPassportError(f"{MANIFEST} is not written as dockd writes it")
        return found


@dataclass(frozen=True, slots=True)
class Content:
    """A recording in the store, and what it is called in a passport."""

    blake3: str
    sha256: str
    suffix: str

    @property
    def path(self) -> str:
        """Where it lies, or would lie, in the passport."""
        return f"{RECORDINGS}/{self.blake3}{self.suffix}"


@dataclass(frozen=True, slots=True)
class SignedList:
    """A segment's digest list with its signature."""

    digests: DigestList
    signature: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of one chain: the records' lines by number, and the signed lists that cover them."""

    chain: str
    lines: Mapping[int, str]
    lists: Sequence[SignedList]


def sums_text(digests: Iterable[tuple[str, str]]) -> bytes:
    """Digests and paths in the form of `sha256sum -c` and `b3sum -c`."""
    return "".join(f"{digest}  {path}\n" for digest, path in digests).encode("ascii")


def parse_sums(text: bytes, name: str) -> dict[str, str]:
    """Digests by path; raises BadPassportError for what names no path below, or is written in another way."""
    found: dict[str, str] = {}
    for line in text.decode("ascii", "replace").splitlines():
        match = _SUM.match(line)
        if match is None or ".." in match[2].split("/") or match[2] in found:
            raise BadPassportError(f"{name} has a line that cannot be: {line[:80]!r}")
        found[match[2]] = match[1]
    if sums_text((digest, path) for path, digest in found.items()) != text:
        raise BadPassportError(f"{name} is not written as dockd writes it")
    return found


def content_files(contents: Sequence[Content]) -> dict[str, bytes]:
    """The two lists of the recordings' digests."""
    return {
        SHA256SUMS: sums_text((one.sha256, one.path) for one in contents),
        B3SUMS: sums_text((one.blake3, one.path) for one in contents),
    }


def chain_files(shown: Sequence[Shown]) -> dict[str, bytes]:
    """The records, and the digest lists with their signatures."""
    lines = [f"{one.lines[seq]}\n" for one in shown for seq in sorted(one.lines)]
    files = {RECORDS: "".join(lines).encode()}
    for one in shown:
        for signed in one.lists:
            place = f"{SEGMENTS}/{one.chain}/{segment_name(signed.digests.first, signed.digests.last)}.sha256"
            files[place] = signed.digests.text()
            files[f"{place}.sig"] = signed.signature.encode("ascii")
    return files


def files_text(files: Mapping[str, bytes], contents: Sequence[Content], *, with_recordings: bool) -> bytes:
    """The list of every file of the passport but itself and its signature; recordings only where they are in it."""
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    if with_recordings:
        digests |= {one.path: one.sha256 for one in contents}
    return sums_text((digests[path], path) for path in sorted(digests))


def foreground(records: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """The numbers of those records that are about the recordings and their dockings, in order."""
    return sorted(seq for seq, record in records.items() if str(record.get("event")) not in BACKGROUND)
