"""Going along a chain with public keys alone: records, digest lists, signatures, and heads known from elsewhere.

Pure over bytes: where they come from is `look`'s business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from dockd.custody.breaks import CustodyBreakError
from dockd.custody.chain import CHAIN_NAME_DIGITS, GENESIS, BadLineError, read_line
from dockd.custody.segments import BadSegmentError, DigestList, head_text, segment_name
from dockd.custody.sshsig import PublicKey
from dockd.custody.trust import (
    KEY_EVENTS,
    STRANGER,
    KeyBook,
    Trust,
    check_vouched,
    moment,
    signed_by,
)

LONGEST_LINE_BYTES: Final = 4 * 1024 * 1024
_TOLD_EVERY: Final = 5000

ALTERED: Final = "The record was changed, or another one was put in its place, after its digest was taken."
MOVED: Final = "A record was removed, inserted, repeated or moved here, or the one before it was changed."
MISSING: Final = "Records are missing from here on: they were cut off, or they are not signed and stored yet."
ANOTHER: Final = (
    "This is not the chain that the head is of: it was replaced, or went on in two ways from here or before."
)

OnProgress = Callable[[int, int], None]
"""Told now and then how many more records, and how many more bytes of recordings, were read."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A record that a chain is known to hold from elsewhere; `reached`: it must go that far, too."""

    seq: int
    sha256: str
    said_by: str
    reached: bool = True
    signature: str | None = None


def parse_head(text: bytes, said_by: str) -> tuple[str, KnownHead]:
    """Chain and head from JSON as over MQTT or as `dockd status --json` prints it; raises ValueError."""
    value = json.loads(text)
    if isinstance(value, dict) and isinstance(value.get("dock"), dict):
        value = value["dock"]
    found = value if isinstance(value, dict) else {}
    chain, seq, sha256, signature = (found.get(name) for name in ("chain", "seq", "sha256", "signature"))
    if not (isinstance(chain, str) and type(seq) is int and seq > 0 and isinstance(sha256, str)):
        raise ValueError("it has no chain, seq and sha256")
    if signature is not None and not isinstance(signature, str):
        raise ValueError("its signature is no text")
    return chain, KnownHead(seq, sha256, said_by, signature=signature or None)


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file with their ends; one that is too long to be a record is cut."""
    while line := file.readline(LONGEST_LINE_BYTES):
        yield line


@dataclass(slots=True)
class Walk:
    """One chain from its first record on; raises CustodyBreakError at the first thing that is wrong.

    `name` is what the chain is called where it lies, if that is known.
    """

    name: str | None = None
    trust: Trust = field(default_factory=Trust)
    heads: tuple[KnownHead, ...] = ()
    on_progress: OnProgress | None = None
    keys: KeyBook = field(default_factory=KeyBook)
    signed_with: dict[PublicKey, int] = field(default_factory=dict)
    segments: int = 0
    seq: int = 0
    head: str = GENESIS
    chain: str = ""
    _last: Mapping[str, Any] = field(default_factory=dict)
    _told: int = 0
    _wanted: dict[int, list[KnownHead]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for head in self.heads:
            self._wanted.setdefault(head.seq, []).append(head)

    @property
    def dock(self) -> str:
        """Whose chain its last record says that it is."""
        return str(self._last.get("dock"))

    def records(self, lines: Iterable[bytes]) -> None:
        """Take in lines with their ends."""
        for line in lines:
            self._take(line, hashlib.sha256(line[:-1]).hexdigest())
        self._tell()

    def segment(self, first: int, last: int, listing: bytes, signature: bytes, lines: Iterable[bytes]) -> None:
        """Take in the next segment: what its name says, its digest list, its signature, and its lines."""
        name = segment_name(first, last)
        digests = self._listed(first, last, listing)
        seq = digests.before_seq
        for line in lines:
            seq += 1
            found = hashlib.sha256(line[:-1]).hexdigest()
            expected = digests.sha256s[seq - first] if seq <= last else "no further record"
            if found != expected:
                raise CustodyBreakError(
                    "the record is not the one whose digest is listed",
                    expected=expected,
                    found=found,
                    means=ALTERED if line.endswith(b"\n") else "The file is cut off within this record.",
                    seq=seq,
                    file=f"{name}.jsonl",
                )
            self._take(line, found)
        self._tell()
        if seq < last:
            raise CustodyBreakError(
                "records are listed that are not there",
                expected=f"records up to {last}",
                found=f"the file ends after record {seq}",
                means=MISSING,
                seq=seq + 1,
                file=f"{name}.jsonl",
            )
        self._signed(digests, signature, f"{name}.sha256")
        self.segments += 1

    def _listed(self, first: int, last: int, listing: bytes) -> DigestList:
        name = segment_name(first, last)
        if first != self.seq + 1:
            raise CustodyBreakError(
                "the segments do not follow one another",
                expected=f"a segment that begins with record {self.seq + 1}",
                found=f"{name}, which begins with record {first}",
                means="Segments are missing, or one is there that belongs elsewhere.",
                seq=min(first, self.seq + 1),
                file=f"{name}.sha256",
            )
        try:
            digests = DigestList.parse(listing)
        except BadSegmentError as error:
            raise CustodyBreakError(
                f"the digest list cannot be read: {error}",
                expected=f"a list of records {first} to {last}",
                found=str(error),
                means="The list was changed or cut off.",
                seq=first,
                file=f"{name}.sha256",
            ) from error
        if (digests.first, digests.last) != (first, last) or digests.before_sha256 != self.head:
            where = (digests.first, digests.last) != (first, last)
            raise CustodyBreakError(
                "the digest list is of other records" if where else "the digest list follows another record",
                expected=f"records {first} to {last} after {self.head}",
                found=f"records {digests.first} to {digests.last} after {digests.before_sha256}",
                means="The segment was replaced, or the one before it was.",
                seq=first if where else digests.before_seq or first,
                file=f"{name}.sha256",
            )
        return digests

    def _signed(self, digests: DigestList, signature: bytes, file: str) -> None:
        try:
            key = signed_by(signature, digests.text(), f"records {digests.first} to {digests.last}")
            why = self.keys.refusal(key, digests.first, digests.last)
            if why is not None:
                raise CustodyBreakError(
                    f"records {digests.first} to {digests.last} are signed with a key that is not the dock's",
                    expected=f"{self.keys.current.fingerprint}"
                    if self.keys.current
                    else "a key that the chain registered",
                    found=f"{key.fingerprint}: {why}",
                    means=STRANGER,
                )
            check_vouched(self.trust, key, self.dock, moment(self._last), f"records {digests.first} to {digests.last}")
        except CustodyBreakError as found:
            found.seq = digests.first
            raise found.in_file(f"{file}.sig") from None
        except BadLineError as bad:
            raise _broken(bad, digests.last) from bad
        self.signed_with.setdefault(key, digests.first)

    def _take(self, line: bytes, digest: str) -> None:
        seq = self.seq + 1
        try:
            if not line.endswith(b"\n"):
                raise BadLineError("the line has no end", "a whole line", f"{len(line)} bytes without an end of line")
            record = read_line(line[:-1].decode(), seq=seq, prev=self.head)
            if seq == 1:
                self._check_name(digest)
            if str(record.get("event")) in KEY_EVENTS:
                self.keys.learn(record)
        except UnicodeDecodeError as error:
            raise _broken(BadLineError("the line is not UTF-8", "UTF-8", str(error)), seq) from error
        except BadLineError as bad:
            raise _broken(bad, seq) from bad
        if seq in self._wanted:
            self._compare(seq, digest)
        self.seq, self.head, self._last = seq, digest, record
        if seq % _TOLD_EVERY == 0:
            self._tell()

    def _check_name(self, digest: str) -> None:
        self.chain = digest[:CHAIN_NAME_DIGITS]
        if self.name not in (None, self.chain):
            raise BadLineError("it is not the first record of this chain", f"chain {self.name}", f"chain {self.chain}")

    def _compare(self, seq: int, digest: str) -> None:
        for head in self._wanted[seq]:
            if head.sha256 != digest:
                raise CustodyBreakError(
                    f"it is not the record that {head.said_by} names",
                    expected=head.sha256,
                    found=digest,
                    means=ANOTHER,
                    seq=seq,
                )

    def _tell(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.seq - self._told, 0)
        self._told = self.seq

    def finish(self) -> None:
        """The chain ends here; raises CustodyBreakError if a head says that it goes on, or was not signed so."""
        for head in self.heads:
            if head.reached and head.seq > self.seq:
                raise CustodyBreakError(
                    f"the chain ends before the record that {head.said_by} names",
                    expected=f"record {head.seq} ({head.sha256})",
                    found=f"the last record is {self.seq} ({self.head})" if self.seq else "no record at all",
                    means=MISSING,
                    seq=self.seq + 1,
                )
            check_head(head, self.chain, self.dock, self.keys, self.trust)


def check_head(head: KnownHead, chain: str, dock: str, keys: KeyBook, trust: Trust) -> None:
    """Look at the signature of a head, if it has one; raises CustodyBreakError."""
    if head.signature is None:
        return
    what = f"the head in {head.said_by}"
    key = signed_by(head.signature.encode(), head_text(chain, head.seq, head.sha256), what)
    if key not in keys:
        raise CustodyBreakError(
            f"{what} is signed with a key that the chain did not register",
            expected="a key of the chain",
            found=key.fingerprint,
            means=STRANGER,
        )
    check_vouched(trust, key, dock, datetime.now(UTC), what)


def _broken(bad: BadLineError, seq: int) -> CustodyBreakError:
    means = MOVED if bad.expected.startswith(("seq", "prev")) else ALTERED
    return CustodyBreakError(bad.what, expected=bad.expected, found=bad.found, means=means, seq=seq)
