"""Segments: stretches of a chain as they lie in the store, each with the list of digests that the dock signs.

Three objects: `{first}-{last}.jsonl` (the records), `.sha256` (first the head before it, then a line per record:
`{sha256}  {seq}`), and `.sha256.sig` (an SSH signature of that list). Who holds a list and its signature can check
single records without seeing the others. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dockd.custody.chain import GENESIS, line_digest

LONGEST_RECORDS = 5000
"""At most so many records are in one segment."""

_NAME = re.compile(r"(\d{12})-(\d{12})\.(jsonl|sha256|sha256\.sig|sha256\.tsr)\Z")
_LINE = re.compile(r"([0-9a-f]{64})  (0|[1-9]\d{0,15})\Z")


class BadSegmentError(ValueError):
    """A digest list is not what it should be; the text says in which way."""


@dataclass(frozen=True, slots=True)
class DigestList:
    """What is signed of a segment: the head before it, and each of its records' digests, in order."""

    before_seq: int
    before_sha256: str
    sha256s: tuple[str, ...]

    @property
    def first(self) -> int:
        """The number of its first record."""
        return self.before_seq + 1

    @property
    def last(self) -> int:
        """The number of its last record."""
        return self.before_seq + len(self.sha256s)

    @property
    def head(self) -> str:
        """The digest of its last record."""
        return self.sha256s[-1]

    def digest(self, seq: int) -> str:
        """The digest of one of its records; raises KeyError."""
        if not self.first <= seq <= self.last:
            raise KeyError(seq)
        return self.sha256s[seq - self.first]

    def text(self) -> bytes:
        """The list as it is signed and stored."""
        heads = [
            (self.before_sha256, self.before_seq),
            *zip(self.sha256s, range(self.first, self.last + 1), strict=True),
        ]
        return "".join(f"{digest}  {seq}\n" for digest, seq in heads).encode()

    @classmethod
    def of(cls, lines: Sequence[str], before_seq: int, before_sha256: str) -> DigestList:
        """The list for the lines that follow a head."""
        assert lines
        assert (before_seq == 0) == (before_sha256 == GENESIS)
        return cls(before_seq, before_sha256, tuple(map(line_digest, lines)))

    @classmethod
    def parse(cls, text: bytes) -> DigestList:
        """A list from its text; raises BadSegmentError unless it is written exactly as `text` writes it."""
        try:
            lines = text.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise BadSegmentError("the digest list is no text") from error
        if lines.pop() or len(lines) < 2:
            raise BadSegmentError("the digest list is cut short")
        found = []
        for number, line in enumerate(lines):
            match = _LINE.match(line)
            if match is None:
                raise BadSegmentError(f"line {number + 1} of the digest list is none: {line[:80]!r}")
            found.append((match[1], int(match[2])))
        start = found[0][1]
        for offset, (_, seq) in enumerate(found):
            if seq != start + offset:
                raise BadSegmentError(f"record {start + offset} is missing from the digest list, or moved")
        if (start == 0) != (found[0][0] == GENESIS):
            raise BadSegmentError("the digest list does not begin as a chain's first segment does")
        return cls(start, found[0][0], tuple(digest for digest, _ in found[1:]))


def segment_name(first: int, last: int) -> str:
    """What the objects of a segment are called, without their endings."""
    return f"{first:012d}-{last:012d}"


def parse_segment_name(name: str) -> tuple[int, int, str] | None:
    """First and last record, and the ending, of an object of a segment; None if it is none."""
    match = _NAME.match(name)
    return None if match is None else (int(match[1]), int(match[2]), match[3])


def head_text(chain: str, seq: int, sha256: str) -> bytes:
    """What a dock signs of the head that it publishes over MQTT."""
    return f"{chain} {seq} {sha256}\n".encode()
