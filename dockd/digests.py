"""Content: its size and its two digests, computed in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import blake3


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


class Progress(Protocol):
    """What a loop over bytes reports to; raises what makes it stop."""

    def advance(self, size_bytes: int = 0) -> None:
        """Say that `size_bytes` more were done."""


class Hasher:
    """Both digests of a stream of bytes."""

    def __init__(self) -> None:
        self._blake3 = blake3.blake3()
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def update(self, data: memoryview) -> None:
        """Take in the next bytes."""
        self._blake3.update(data)
        self._sha256.update(data)
        self.size_bytes += len(data)

    def prefix_blake3(self) -> bytes:
        """BLAKE3 of everything so far; going on afterwards is possible."""
        return self._blake3.digest()

    def digests(self) -> Digests:
        """The digests of everything so far."""
        return Digests(self.size_bytes, self._blake3.hexdigest(), self._sha256.hexdigest())


def digest_of(chunks: Iterable[memoryview], progress: Progress) -> Digests:
    """Read all chunks and give their digests."""
    hasher = Hasher()
    for chunk in chunks:
        hasher.update(chunk)
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
