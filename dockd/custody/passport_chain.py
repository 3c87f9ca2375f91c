"""The part of one chain that a passport shows: some records' lines, and signed digests of all that lie between."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from dockd.custody.breaks import CustodyBreakError
from dockd.custody.chain import CHAIN_NAME_DIGITS, BadLineError, read_line
from dockd.custody.passport import RECORDS, foreground
from dockd.custody.segments import BadSegmentError, DigestList, parse_segment_name
from dockd.custody.sshsig import PublicKey
from dockd.custody.trust import KEY_EVENTS, STRANGER, KeyBook, Trust, check_vouched, moment, signed_by
from dockd.custody.verify import ALTERED, ANOTHER, KnownHead


class PassportChain:
    """One chain of a passport: lists are added, then the records taken, then all is held against each other."""

    def __init__(self, name: str, seqs: tuple[int, ...], trust: Trust) -> None:
        self.name = name
        self.seqs = seqs
        self.keys = KeyBook()
        self.records: dict[int, Mapping[str, Any]] = {}
        self.signed_with: dict[PublicKey, int] = {}
        self.lists: list[tuple[str, DigestList, bytes]] = []
        self._trust = trust

    @property
    def dock(self) -> str:
        """Whose chain the last record that is shown says that it is."""
        return str(self.records[max(self.records)].get("dock")) if self.records else ""

    def add_list(self, file: str, listing: bytes, signature: bytes) -> None:
        """Take in a digest list and its signature, in order of their names; raises CustodyBreakError."""
        named = parse_segment_name(PurePosixPath(file).name)
        try:
            digests = DigestList.parse(listing)
            if named is None or named[:2] != (digests.first, digests.last):
                raise BadSegmentError(f"the list is of records {digests.first} to {digests.last}")
        except BadSegmentError as error:
            means = "The list was changed, cut off or renamed."
            first = named[0] if named else None
            what = "a digest list cannot be read"
            raise CustodyBreakError(
                what, expected="what its name says", found=str(error), means=means, seq=first, file=file
            ) from error
        self.lists.append((file, digests, signature))

    def _at(self, seq: int) -> tuple[str, DigestList] | None:
        place = bisect_right(self.lists, seq, key=lambda one: one[1].before_seq + 1) - 1
        if place < 0 or seq > self.lists[place][1].last:
            return None
        return self.lists[place][:2]

    def digest(self, seq: int) -> str | None:
        """The digest of a record, as it is listed; None if no list covers it."""
        found = self._at(seq)
        return None if found is None else found[1].digest(seq)

    def take(self, seq: int, line: bytes) -> None:
        """Take in the next record; raises CustodyBreakError unless it is the one that is listed under its number."""
        found = self._at(seq)
        if found is None:
            raise self._break(
                seq, "no digest list covers it", "a list of the segment", "none", "A list was taken away."
            )
        digests = found[1]
        digest = hashlib.sha256(line[:-1]).hexdigest()
        if digests.digest(seq) != digest or not line.endswith(b"\n"):
            means = ALTERED if line else "The record was taken out."
            raise self._break(seq, "it is not the one whose digest is listed", digests.digest(seq), digest, means)
        prev = digests.before_sha256 if seq == digests.first else digests.digest(seq - 1)
        try:
            record = read_line(line[:-1].decode(), seq=seq, prev=prev)
            if str(record.get("event")) in KEY_EVENTS:
                self.keys.learn(record)
        except UnicodeDecodeError as error:
            raise self._break(seq, "it is not UTF-8", "UTF-8", str(error), ALTERED) from error
        except BadLineError as bad:
            raise self._break(seq, bad.what, bad.expected, bad.found, ALTERED) from bad
        if seq == 1 and digest[:CHAIN_NAME_DIGITS] != self.name:
            raise self._break(1, "it is not the first of this chain", self.name, digest[:CHAIN_NAME_DIGITS], ANOTHER)
        self.records[seq] = record

    def _break(self, seq: int, what: str, expected: str, found: str, means: str) -> CustodyBreakError:
        return CustodyBreakError(what, expected=expected, found=found, means=means, seq=seq, file=RECORDS)

    def finish(self) -> None:
        """Hold lists, records and signatures against each other; raises CustodyBreakError."""
        self._check_order()
        for file, digests, signature in self.lists:
            self._check_signature(file, digests, signature)

    def _check_order(self) -> None:
        shown = foreground(self.records)
        for (_, before, _), (file, after, _) in zip(self.lists, self.lists[1:], strict=False):
            apart = after.first > before.last + 1
            # Between the first and the last record about the recordings no list may be missing.
            if apart and not (shown and (before.last < shown[0] or after.first > shown[-1])):
                raise CustodyBreakError(
                    "digest lists are missing",
                    expected=f"a list from record {before.last + 1} on",
                    found=f"one from record {after.first} on",
                    means="Lists were taken away, and with them the proof of what lies between.",
                    seq=before.last + 1,
                    file=file,
                )
            if not apart and (after.first, after.before_sha256) != (before.last + 1, before.head):
                raise CustodyBreakError(
                    "a digest list does not follow the one before it",
                    expected=f"after record {before.last}: {before.head}",
                    found=f"after record {after.before_seq}: {after.before_sha256}",
                    means="A list was changed, or is another chain's.",
                    seq=after.first,
                    file=file,
                )

    def _check_signature(self, file: str, digests: DigestList, signature: bytes) -> None:
        what = f"records {digests.first} to {digests.last}"
        try:
            key = signed_by(signature, digests.text(), what)
            why = self.keys.refusal(key, digests.first, digests.last)
            if why is not None:
                raise CustodyBreakError(
                    f"{what} are signed with a key that is not the dock's",
                    expected="a key that the chain registered",
                    found=f"{key.fingerprint}: {why}",
                    means=STRANGER,
                )
            # The records of a list need not be shown; the last one before its end tells when, and whose it is.
            seqs = [seq for seq in self.seqs if seq <= digests.last]
            record = self.records[max(seqs) if seqs else min(self.seqs)]
            check_vouched(self._trust, key, str(record.get("dock")), moment(record), what)
        except CustodyBreakError as broken:
            broken.seq = digests.first
            raise broken.in_file(f"{file}.sig") from broken.__cause__
        except BadLineError as bad:
            raise self._break(digests.first, bad.what, bad.expected, bad.found, ALTERED) from bad
        self.signed_with.setdefault(key, digests.first)

    def compare(self, head: KnownHead) -> None:
        """Hold a head that is known from elsewhere against the lists; raises CustodyBreakError."""
        digest = self.digest(head.seq)
        if digest is not None and digest != head.sha256:
            what = f"it is not the record that {head.said_by} names"
            raise CustodyBreakError(what, expected=head.sha256, found=digest, means=ANOTHER, seq=head.seq)

    def contents(self) -> Iterator[tuple[str, str]]:
        """BLAKE3 and SHA-256 of every content that a record speaks of."""
        for record in self.records.values():
            if "blake3" in record and "sha256" in record:
                yield str(record["blake3"]), str(record["sha256"])
