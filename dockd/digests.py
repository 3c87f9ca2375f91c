"""Content: its size and its two digests, computed in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import blake3

SHA256_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Digests:
    """Size in bytes, BLAKE3 and SHA-256 (lower-case hex) of a file's whole content."""

    size_bytes: int
    blake3: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a read-back from a store found.

    `version` names the very object that was read; `past_cache` tells that the bytes did not come from
    this host's memory.
    """

    digests: Digests
    version: str
    past_cache: bool


Sink = Callable[[memoryview], object]
"""Is handed bytes as they were read; they are its own until it returns."""


class Progress(Protocol):
    """What a loop over bytes reports to; raises what makes it stop."""

    def advance(self, size_bytes: int = 0) -> None:
        """Say that `size_bytes` more were done."""

    def check(self) -> None:
        """Raise what makes it stop, if something does; no progress is claimed."""


@dataclass(frozen=True, slots=True)
class PartDigests:
    """The SHA-256 (32 bytes each, one behind the other) of a file's parts, all of one size but for the last."""

    part_size_bytes: int
    sha256s: bytes

    def __post_init__(self) -> None:
        assert self.part_size_bytes > 0 and len(self.sha256s) % SHA256_BYTES == 0

    def __len__(self) -> int:
        return len(self.sha256s) // SHA256_BYTES

    def __getitem__(self, index: int) -> bytes:
        return self.sha256s[index * SHA256_BYTES :][:SHA256_BYTES]


class PartHasher:
    """The digests of the parts of a stream of bytes."""

    def __init__(self, part_size_bytes: int) -> None:
        self._part_size_bytes = part_size_bytes
        self._done = bytearray()
        self._current = hashlib.sha256()
        self._room_bytes = part_size_bytes

    def update(self, data: memoryview) -> None:
        """Take in the next bytes."""
        while data:
            piece = data[: self._room_bytes]
            self._current.update(piece)
            self._room_bytes -= len(piece)
            data = data[len(piece) :]
            if self._room_bytes == 0:
                self._end_part()

    def _end_part(self) -> None:
        self._done += self._current.digest()
        self._current = hashlib.sha256()
        self._room_bytes = self._part_size_bytes

    def finish(self) -> PartDigests:
        """The digests of all parts, the last and shorter one included."""
        if self._room_bytes < self._part_size_bytes:
            self._end_part()
        return PartDigests(self._part_size_bytes, bytes(self._done))


class Hasher:
    """Both digests of a stream of bytes, and the SHA-256 of its parts where a part's size is given."""

    def __init__(self, part_size_bytes: int | None = None) -> None:
        self._blake3 = blake3.blake3()
        self._sha256 = hashlib.sha256()
        self._parts = None if part_size_bytes is None else PartHasher(part_size_bytes)
        self.size_bytes = 0

    def update(self, data: memoryview) -> None:
        """Take in the next bytes."""
        self._blake3.update(data)
        self._sha256.update(data)
        if self._parts is not None:
            self._parts.update(data)
        self.size_bytes += len(data)

    def prefix_blake3(self) -> bytes:
        """BLAKE3 of everything so far; going on afterwards is possible."""
        return self._blake3.digest()

    def digests(self) -> Digests:
        """The digests of everything so far."""
        return Digests(self.size_bytes, self._blake3.hexdigest(), self._sha256.hexdigest())

    def parts(self) -> PartDigests | None:
        """The digests of the parts, once everything was taken in; None if no part's size was given."""
        return None if self._parts is None else self._parts.finish()


def digest_of(chunks: Iterable[memoryview], progress: Progress, into: Sink | None = None) -> Digests:
    """Read all chunks and give their digests; each chunk is handed to `into` too."""
    hasher = Hasher()
    for chunk in chunks:
        hasher.update(chunk)
        if into is not None:
            into(chunk)
        progress.advance(len(chunk))
    return hasher.digests()


def blake3_of(chunks: Iterable[memoryview], progress: Progress) -> tuple[int, str]:
    """Read all chunks and give their size in bytes and BLAKE3; a quarter of the cost of both digests."""
    hasher = blake3.blake3()
    size_bytes = 0
    for chunk in chunks:
        hasher.update(chunk)
        size_bytes += len(chunk)
        progress.advance(len(chunk))
    return size_bytes, hasher.hexdigest()
